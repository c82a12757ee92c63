//! The conformance suite over real processes, and what is particular to them.

mod killed;

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::super::conformance::{Bench, DEADLINE, LONG_GRACE, conforms, eventually, exit, find, id, spec};
use super::*;

struct Processes {
    runtime: ProcessRuntime,
    /// Removed at the end, with what is in it.
    folder: TempDir,
}

impl Processes {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { runtime: open(&folder, "test"), folder }
    }
}

fn open(folder: &TempDir, installation: &str) -> ProcessRuntime {
    ProcessRuntime::open(ProcessConfig {
        installation: Installation::new(installation),
        data_dir: folder.path().into(),
        shared_folder: folder.path().join("shared"),
    })
    .unwrap()
}

/// target/debug/deps/registry-1234 → target/debug/nim-sim
fn nim_sim() -> String {
    let exe = std::env::current_exe().unwrap();
    let path = exe.ancestors().nth(2).unwrap().join("nim-sim");
    assert!(path.is_file(), "{} is not built; run: cargo build -p nim-sim", path.display());
    path.to_str().unwrap().into()
}

#[async_trait]
impl Bench for Processes {
    fn runtime(&self) -> &dyn Runtime {
        &self.runtime
    }

    fn reopened(&self) -> Option<Box<dyn Runtime>> {
        Some(Box::new(open(&self.folder, "test")))
    }

    fn of_another_installation(&self) -> Option<Box<dyn Runtime>> {
        Some(Box::new(open(&self.folder, "other")))
    }

    fn launch(&self, args: &[&str]) -> Launch {
        let args = ["--listen", "127.0.0.1:{port}"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        Launch::Command { program: nim_sim(), args, working_dir: None }
    }

    fn absent(&self) -> Launch {
        Launch::Command { program: "no-such-program".into(), args: vec![], working_dir: None }
    }

    async fn cut_off_start(&self, id: &InstanceId, spec: &InstanceSpec) {
        self.runtime.inner.begin(id, spec, &self.runtime.inner.folder(id)).unwrap();
    }

    fn runs_programs(&self) -> bool {
        true
    }
}

conforms!(Some(Processes::new()));

fn shell(script: &str) -> InstanceSpec {
    spec(Launch::Command { program: "sh".into(), args: vec!["-c".into(), script.into()], working_dir: None })
}

fn read(bench: &Processes, id: &InstanceId) -> Record {
    record::read(&bench.runtime.inner.folder(id)).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn how_an_adopted_process_ended_is_not_known() {
    super::super::conformance::run(Some(Processes::new()), async |bench: &Processes| {
        let id = id("llama", 0);
        bench.runtime.start(&id, &shell("exec sleep 600")).await.unwrap();
        let State::Running { identity, .. } = read(bench, &id).state else { panic!("it does not run") };
        // As after the death of the registry that started it: the child is there, and nobody waits for it.
        let other = tempfile::tempdir().unwrap();
        let instances = other.path().join("instances");
        std::fs::create_dir_all(instances.join("x")).unwrap();
        std::fs::copy(
            bench.runtime.inner.folder(&id).join("instance.json"),
            instances.join("x").join("instance.json"),
        )
        .unwrap();
        let adopting = open(&other, "test");
        assert!(matches!(find(&adopting, &id).await.unwrap().phase, Phase::Running { .. }));
        let mut changes = adopting.changes();
        changes.next().await;
        kill(identity.pid);
        tokio::time::timeout(DEADLINE, changes.next()).await.expect("its end wakes");
        assert_eq!(exit(&adopting, &id).await, (None, false));
        assert_eq!(exit(&bench.runtime, &id).await, (Some(128 + 9), false));
    })
    .await;
}

/// A process that nobody told the runtime of; ends with the test.
struct Stranger(Child);

impl Stranger {
    fn new(token: &str) -> Self {
        let mut command = Command::new("sleep");
        command.arg("600").env(environment::TOKEN, token).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_made_and_not_recorded_is_found_again() {
    super::super::conformance::run(Some(Processes::new()), async |bench: &Processes| {
        let (id, spec) = (id("llama", 0), shell("exec sleep 600"));
        let folder = bench.runtime.inner.folder(&id);
        let record = bench.runtime.inner.begin(&id, &spec, &folder).unwrap();
        let mut made = Stranger::new(&record.token);
        bench.runtime.start(&id, &spec).await.unwrap();
        let State::Running { identity, .. } = read(bench, &id).state else { panic!("it does not run") };
        assert_eq!(u32::try_from(identity.pid).unwrap(), made.0.id());
        bench.runtime.stop(&id, LONG_GRACE).await.unwrap();
        assert!(!made.0.wait().unwrap().success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_got_the_number_of_ours_is_left_alone() {
    super::super::conformance::run(Some(Processes::new()), async |bench: &Processes| {
        let id = id("llama", 0);
        let mut bystander = Stranger::new("another");
        bench.runtime.start(&id, &shell("exit 0")).await.unwrap();
        exit(&bench.runtime, &id).await;
        let mut record = serde_json::to_value(read(bench, &id)).unwrap();
        record["state"] = serde_json::json!({
            "state": "running", "pid": bystander.0.id(), "start_ticks": 1, "boot": "x", "since": 0
        });
        let record: Record = serde_json::from_value(record).unwrap();
        record::write(&bench.runtime.inner.folder(&id), &record).unwrap();

        assert_eq!(exit(&bench.runtime, &id).await, (None, false));
        bench.runtime.stop(&id, std::time::Duration::ZERO).await.unwrap();
        assert_eq!(bystander.0.try_wait().unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_started_ends_with_it() {
    super::super::conformance::run(Some(Processes::new()), async |bench: &Processes| {
        let id = id("llama", 0);
        // One in its group, one that left it and takes no notice of SIGTERM.
        let script = "sleep 600 & setsid sh -c 'trap \"\" TERM; sleep 600' & wait";
        bench.runtime.start(&id, &shell(script)).await.unwrap();
        let token = read(bench, &id).token;
        eventually("all processes", async || (identity::with_token(&token).len() >= 4).then_some(())).await;
        bench.runtime.stop(&id, std::time::Duration::from_millis(300)).await.unwrap();
        assert_eq!(identity::with_token(&token), [0; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_told_its_port_and_sees_no_gpu_that_is_not_its_own() {
    super::super::conformance::run(Some(Processes::new()), async |bench: &Processes| {
        let id = id("llama", 0);
        let mut spec = shell("test \"$PORT\" = {port} && test -z \"$CUDA_VISIBLE_DEVICES\"");
        bench.runtime.start(&id, &spec).await.unwrap();
        assert_eq!(exit(&bench.runtime, &id).await, (Some(0), false));
        spec = shell("test \"$CUDA_VISIBLE_DEVICES\" = 1,3");
        spec.gpus = vec!["1".into(), "3".into()];
        let id = InstanceId { incarnation: 1, ..id };
        bench.runtime.start(&id, &spec).await.unwrap();
        assert_eq!(exit(&bench.runtime, &id).await, (Some(0), false));
        assert_eq!(find(&bench.runtime, &id).await.unwrap().gpus, ["1", "3"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_not_taken_for_absent() {
    super::super::conformance::run(Some(Processes::new()), async |bench: &Processes| {
        let id = id("llama", 0);
        bench.runtime.start(&id, &shell("exit 0")).await.unwrap();
        exit(&bench.runtime, &id).await;
        let path = bench.runtime.inner.folder(&id).join("instance.json");
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, "{").unwrap();
        let fault = bench.runtime.list().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert!(fault.message.contains("instance.json"), "{fault}");
        std::fs::write(&path, text).unwrap();
    })
    .await;
}
