//! A registry that is killed at any moment: what it was about is finished by the next, and no process is lost.

use std::time::Duration;

use super::*;

const ROUNDS: u64 = 20;
/// Where the registry that is to be killed works.
const FOLDER: &str = "RUNTIME_TEST_FOLDER";

fn at(folder: &Path) -> ProcessRuntime {
    ProcessRuntime::open(ProcessConfig {
        installation: Installation::new("test"),
        data_dir: folder.into(),
        shared_folder: folder.join("shared"),
    })
    .unwrap()
}

/// Processes whose registry's folder it is, recorded or not.
fn processes(folder: &Path) -> Vec<i32> {
    let inside = folder.join("instances");
    let is_inside = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder.starts_with(&inside))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_inside).collect()
}

/// Ends what a failed test leaves.
struct Sweep<'a>(&'a Path);

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        processes(self.0).into_iter().for_each(kill);
    }
}

#[tokio::test]
#[ignore = "the test beside it runs it, and kills it"]
async fn a_registry_that_starts_and_stops_until_it_is_killed() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let (runtime, spec) = (at(&folder), shell("exec sleep 600"));
    for round in 0.. {
        let id = InstanceId { incarnation: std::process::id(), ..id("llama", round) };
        runtime.start(&id, &spec).await.unwrap();
        if round % 2 == 1 {
            runtime.stop(&id, LONG_GRACE).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_killed_at_any_moment_leaves_no_process_unknown_and_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let _sweep = Sweep(folder.path());
    let spec = shell("exec sleep 600");
    let mut started = 0;
    for round in 0..ROUNDS {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "runtime::process::tests::killed::a_registry_that_starts_and_stops_until_it_is_killed";
        command.args(["--exact", name, "--ignored"]).env(FOLDER, folder.path());
        let registry =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let registry = Stranger(registry);
        let before = started;
        let has_begun = async || (!processes(folder.path()).is_empty()).then_some(());
        eventually("the registry starts something", has_begun).await;
        tokio::time::sleep(Duration::from_micros(round * 1_700 % 29_000)).await;
        drop(registry);

        // The next one finishes what was begun.
        let runtime = at(folder.path());
        for instance in runtime.list().await.unwrap() {
            runtime.start(&instance.id, &spec).await.unwrap();
        }
        let instances = runtime.list().await.unwrap();
        let run = instances.iter().filter(|it| matches!(it.phase, Phase::Running { .. })).count();
        assert_eq!(processes(folder.path()).len(), run, "round {round}: {instances:?}");
        started += run;
        assert!(started > before, "round {round}");
        for instance in instances {
            runtime.stop(&instance.id, LONG_GRACE).await.unwrap();
        }
        assert_eq!(processes(folder.path()), [0; 0], "round {round}");
    }
}
