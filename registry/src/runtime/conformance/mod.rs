//! What every runtime must do, as one suite that runs against each of them.
//!
//! Every specification has an installation of its own, and everything it made is removed at its end, however it ends.

pub mod specifications;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use super::spec::{InstanceSpec, Launch};
use super::{DeploymentId, Instance, InstanceId, Phase, Runtime};

/// The longest wait for anything that is to happen.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Long enough that a stop which lasts so long would be noticed.
pub const LONG_GRACE: Duration = Duration::from_secs(120);

/// A runtime on its test bench.
#[async_trait]
pub trait Bench: Send + Sync {
    fn runtime(&self) -> &dyn Runtime;
    /// The same, as a registry sees it that was started anew. Nothing for a runtime that lives in this process.
    fn reopened(&self) -> Option<Box<dyn Runtime>>;
    /// The same place, used by another installation.
    fn of_another_installation(&self) -> Option<Box<dyn Runtime>>;
    /// A simulated NIM with these arguments.
    fn launch(&self, args: &[&str]) -> Launch;
    /// Something that isn't there.
    fn absent(&self) -> Launch;
    /// Leaves a start half done, as when the registry is killed in it.
    async fn cut_off_start(&self, id: &InstanceId, spec: &InstanceSpec);
    /// Whether instances are real programs, with an environment and files.
    fn runs_programs(&self) -> bool;
}

/// Runs one specification, and leaves nothing behind.
pub async fn run<B: Bench>(bench: Option<B>, specification: impl AsyncFnOnce(&B)) {
    let Some(bench) = bench else { return };
    let outcome = AssertUnwindSafe(specification(&bench)).catch_unwind().await;
    clean_up(bench.runtime()).await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn clean_up(runtime: &dyn Runtime) {
    for instance in runtime.list().await.unwrap_or_default() {
        runtime.stop(&instance.id, Duration::ZERO).await.unwrap();
    }
    for volume in runtime.volumes().await.unwrap_or_default() {
        runtime.remove_volume(&volume).await.unwrap();
    }
}

/// One test per specification.
macro_rules! conforms {
    ($bench:expr) => {
        $crate::runtime::conformance::conforms!($bench;
            a_started_instance_runs_and_answers
            starting_twice_makes_one_instance
            the_same_id_with_another_spec_is_refused
            what_ended_is_not_started_again
            a_start_that_was_cut_off_is_finished
            a_start_that_is_refused_leaves_nothing
            what_stops_at_sigterm_is_not_killed_and_nothing_is_left
            what_ignores_sigterm_is_killed_after_the_grace
            stopping_what_is_not_there_is_done
            two_replicas_have_addresses_of_their_own
            logs_give_the_last_lines
            a_followed_log_ends_with_its_instance
            a_followed_log_goes_on_with_what_comes
            of_a_line_without_an_end_little_is_held
            what_was_printed_long_ago_is_left_out
            changes_wake_at_once_and_after_every_change
            volumes_stay_until_they_are_removed
            another_installation_sees_and_touches_nothing
            a_registry_started_anew_goes_on_with_what_runs
            the_environment_reaches_the_instance_and_nothing_else_does
            a_volume_outlives_its_instances
        );
    };
    ($bench:expr; $($specification:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $specification() {
            use $crate::runtime::conformance::{run, specifications};
            run($bench, async |bench| specifications::$specification(bench).await).await;
        }
    )*};
}
pub(super) use conforms;

pub fn id(deployment: &str, replica: u32) -> InstanceId {
    let deployment = DeploymentId::new("team", deployment).unwrap();
    InstanceId { deployment, version: 1, replica, incarnation: 0 }
}

pub fn spec(launch: Launch) -> InstanceSpec {
    InstanceSpec {
        launch,
        env: BTreeMap::new(),
        port: 8000,
        gpus: vec![],
        shm_bytes: None,
        memory_bytes: None,
        user: None,
        mounts: vec![],
    }
}

/// Polls until `probe` gives something.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub async fn find(runtime: &dyn Runtime, id: &InstanceId) -> Option<Instance> {
    runtime.list().await.unwrap().into_iter().find(|instance| instance.id == *id)
}

/// The code with which an instance ended, when it has.
pub async fn exit(runtime: &dyn Runtime, id: &InstanceId) -> (Option<i32>, bool) {
    eventually("the end of an instance", async || match find(runtime, id).await?.phase {
        Phase::Exited { code, oom_killed, .. } => Some((code, oom_killed)),
        _ => None,
    })
    .await
}
