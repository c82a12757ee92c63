//! A fake runtime, for tests: instances are simulated NIMs inside this process, and go wrong as told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use nim_sim::{Sim, SimOptions};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::id::{InstanceId, VolumeId};
use super::image::{PullProgress, PullTerms};
use super::logs::{LogQuery, LogStream};
use super::spec::{InstanceSpec, Launch, MountSource};
use super::{Facts, Fault, FaultKind, Gpu, Instance, Phase, Runtime};
use crate::domain::timestamp::Timestamp;

/// How instances that are started from now on behave.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub ready_after_ms: u64,
    /// What it serves, when that is another model than usual.
    pub model: Option<String>,
    /// Ends at once with this code.
    pub exit_code: Option<i32>,
    /// Takes no notice of SIGTERM: a stop lasts as long as its grace.
    pub ignores_stop: bool,
    /// A pull never ends.
    pub hangs_in_pull: bool,
    pub refuses_pull: Option<Fault>,
    pub refuses_start: Option<Fault>,
    /// A start is cut off between making and starting.
    pub cut_off_start: bool,
    /// Printed at the start.
    pub logs: Vec<String>,
}

/// What was asked, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Prepare(String),
    Start(InstanceId),
    Stop(InstanceId),
    RemoveVolume(VolumeId),
}

pub struct FakeRuntime {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    script: Script,
    unavailable: bool,
    gpus: Vec<Gpu>,
    instances: BTreeMap<InstanceId, Faked>,
    volumes: BTreeSet<VolumeId>,
    calls: Vec<Call>,
}

struct Faked {
    instance: Instance,
    volumes: Vec<VolumeId>,
    logs: Vec<String>,
    ignores_stop: bool,
    sim: Option<Sim>,
    /// Goes with the end of it.
    runs: Option<watch::Sender<()>>,
}

impl FakeRuntime {
    pub fn new() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(0) }
    }

    pub fn script(&self, script: Script) {
        self.state.lock().script = script;
    }

    pub fn set_unavailable(&self, unavailable: bool) {
        self.state.lock().unavailable = unavailable;
        self.wake();
    }

    pub fn set_gpus(&self, gpus: Vec<Gpu>) {
        self.state.lock().gpus = gpus;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// An instance ends by itself.
    pub async fn exit(&self, id: &InstanceId, code: i32, oom_killed: bool) {
        let sim = {
            let mut state = self.state.lock();
            let Some(faked) = state.instances.get_mut(id) else { return };
            faked.instance.phase = Phase::Exited { code: Some(code), oom_killed, at: Some(Timestamp(1)) };
            faked.runs = None;
            faked.sim.take()
        };
        if let Some(sim) = sim {
            sim.shutdown().await;
        }
        self.wake();
    }

    /// Whether somebody follows what all that run print.
    pub fn are_followed(&self) -> bool {
        let state = self.state.lock();
        let mut runs = state.instances.values().filter_map(|faked| faked.runs.as_ref());
        runs.all(|runs| runs.receiver_count() > 0)
    }

    /// Somebody removes an instance behind our back.
    pub fn lose(&self, id: &InstanceId) {
        self.state.lock().instances.remove(id);
        self.wake();
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn ask(&self) -> Result<parking_lot::MutexGuard<'_, State>, Fault> {
        let state = self.state.lock();
        if state.unavailable {
            return Err(Fault::new(FaultKind::Unavailable, "the fake runtime plays dead"));
        }
        Ok(state)
    }
}

/// What the command line of a simulated NIM says, as far as it is about its end and its output.
fn behaviour(launch: &Launch, script: &Script) -> (Option<i32>, bool, Vec<String>) {
    let (Launch::Image { args, .. } | Launch::Command { args, .. }) = launch;
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse().ok()
    };
    let ignores = args.iter().any(|arg| arg == "--ignore-sigterm") || script.ignores_stop;
    let lines = (0..value("--print-lines").unwrap_or_default()).map(|number| format!("line {number}"));
    let lines = script.logs.iter().cloned().chain(lines);
    (value("--exit-code").or(script.exit_code), ignores, lines.collect())
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake, runs nothing"
    }

    async fn check(&self, needs_gpus: bool) -> Result<Facts, Fault> {
        if needs_gpus && self.ask()?.gpus.is_empty() {
            return Err(Fault::new(FaultKind::GpuUnsupported, "the fake runtime was given no GPU"));
        }
        self.ask().map(|_| Facts { version: "fake".into(), disk_free_bytes: None })
    }

    async fn gpus(&self) -> Result<Vec<Gpu>, Fault> {
        Ok(self.ask()?.gpus.clone())
    }

    async fn prepare(
        &self,
        launch: &Launch,
        _: PullTerms<'_>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Option<String>, Fault> {
        let script = {
            let mut state = self.ask()?;
            let what = match launch {
                Launch::Image { reference, .. } => reference.to_string(),
                Launch::Command { program, .. } => program.clone(),
            };
            state.calls.push(Call::Prepare(what));
            state.script.clone()
        };
        progress.send_replace(PullProgress {
            bytes_done: 1,
            bytes_total: 2,
            layers_done: 0,
            layers_total: 1,
        });
        if script.hangs_in_pull {
            return std::future::pending().await;
        }
        script.refuses_pull.map_or(Ok(Some("sha256:fake".into())), Err)
    }

    async fn start(&self, id: &InstanceId, spec: &InstanceSpec) -> Result<(), Fault> {
        spec.check()?;
        let script = {
            let mut state = self.ask()?;
            state.calls.push(Call::Start(id.clone()));
            match state.instances.get(id) {
                Some(faked) if faked.instance.spec_digest != spec.digest() => {
                    return Err(Fault::new(
                        FaultKind::SpecConflict,
                        format!("{id} is there with another spec"),
                    ));
                }
                Some(faked) if faked.instance.phase != Phase::Created => return Ok(()),
                _ => state.script.clone(),
            }
        };
        if let Some(fault) = script.refuses_start {
            return Err(fault);
        }
        let (exit_code, ignores_stop, logs) = behaviour(&spec.launch, &script);
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (ready_after_ms, now) = (script.ready_after_ms, Timestamp(1));
        let (phase, sim) = match exit_code {
            _ if script.cut_off_start => (Phase::Created, None),
            Some(code) => (Phase::Exited { code: Some(code), oom_killed: false, at: Some(now) }, None),
            None => {
                let usual = SimOptions::default();
                let models = script.model.map_or(usual.models, |model| vec![model]);
                let sim =
                    Sim::start(SimOptions { listen, ready_after_ms, models, ..SimOptions::default() }).await;
                let sim = sim.map_err(|error| Fault::new(FaultKind::Engine, error.to_string()))?;
                (Phase::Running { endpoint: Some(sim.addr()), since: now }, Some(sim))
            }
        };
        let (spec_digest, gpus) = (spec.digest(), spec.gpus.clone());
        let image_digest = Some("sha256:fake".into());
        let instance = Instance { id: id.clone(), phase, spec_digest, image_digest, gpus };
        let volumes: Vec<_> = spec
            .mounts
            .iter()
            .filter_map(|mount| match mount.source() {
                MountSource::Volume(volume) => Some(volume.clone()),
                MountSource::Folder(_) => None,
            })
            .collect();
        {
            let mut state = self.state.lock();
            state.volumes.extend(volumes.iter().cloned());
            let runs = sim.is_some().then(|| watch::Sender::new(()));
            state.instances.insert(id.clone(), Faked { instance, volumes, logs, ignores_stop, sim, runs });
        }
        self.wake();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Instance>, Fault> {
        Ok(self.ask()?.instances.values().map(|faked| faked.instance.clone()).collect())
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), Fault> {
        let ignores = {
            let mut state = self.ask()?;
            state.calls.push(Call::Stop(id.clone()));
            state.instances.get(id).is_some_and(|faked| faked.ignores_stop && faked.sim.is_some())
        };
        if ignores {
            tokio::time::sleep(grace).await;
        }
        let stopped = self.state.lock().instances.remove(id);
        if let Some(sim) = stopped.and_then(|faked| faked.sim) {
            sim.shutdown().await;
        }
        self.wake();
        Ok(())
    }

    async fn logs(&self, id: &InstanceId, query: LogQuery) -> Result<LogStream, Fault> {
        let (lines, runs) = {
            let state = self.ask()?;
            let Some(faked) = state.instances.get(id) else {
                return Err(Fault::new(FaultKind::InstanceNotFound, format!("{id} is not there")));
            };
            (faked.logs.clone(), faked.runs.as_ref().map(watch::Sender::subscribe))
        };
        let tail = usize::try_from(query.tail()).unwrap_or(usize::MAX);
        let past =
            stream::iter(lines.into_iter().rev().take(tail).collect::<Vec<_>>().into_iter().rev().map(Ok));
        let Some(mut runs) = runs.filter(|_| query.follow) else { return Ok(past.boxed()) };
        // No more comes, until it ends.
        let rest = stream::once(async move { runs.changed().await }).filter_map(|_| std::future::ready(None));
        Ok(past.chain(rest).boxed())
    }

    async fn ensure_volume(&self, volume: &VolumeId) -> Result<(), Fault> {
        self.ask()?.volumes.insert(volume.clone());
        Ok(())
    }

    async fn volumes(&self) -> Result<Vec<VolumeId>, Fault> {
        Ok(self.ask()?.volumes.iter().cloned().collect())
    }

    async fn remove_volume(&self, volume: &VolumeId) -> Result<(), Fault> {
        let mut state = self.ask()?;
        state.calls.push(Call::RemoveVolume(volume.clone()));
        if state.instances.values().any(|faked| faked.volumes.contains(volume)) {
            return Err(Fault::new(FaultKind::VolumeInUse, format!("the volume {volume} is in use")));
        }
        state.volumes.remove(volume);
        Ok(())
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        let mut changed = self.changed.subscribe();
        changed.mark_changed();
        stream::unfold(changed, async |mut changed| changed.changed().await.ok().map(|()| ((), changed)))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Bench, conforms, id, spec};
    use super::*;

    #[async_trait]
    impl Bench for FakeRuntime {
        fn runtime(&self) -> &dyn Runtime {
            self
        }

        fn reopened(&self) -> Option<Box<dyn Runtime>> {
            None
        }

        fn of_another_installation(&self) -> Option<Box<dyn Runtime>> {
            None
        }

        fn launch(&self, args: &[&str]) -> Launch {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            Launch::Command { program: "nim-sim".into(), args, working_dir: None }
        }

        fn absent(&self) -> Launch {
            self.launch(&[])
        }

        async fn cut_off_start(&self, id: &InstanceId, spec: &InstanceSpec) {
            self.script(Script { cut_off_start: true, ..Script::default() });
            self.start(id, spec).await.unwrap();
            self.script(Script::default());
        }

        fn runs_programs(&self) -> bool {
            false
        }
    }

    conforms!(Some(FakeRuntime::new()));

    #[tokio::test]
    async fn it_goes_wrong_as_told() {
        let (runtime, id) = (FakeRuntime::new(), id("llama", 0));
        let spec = spec(runtime.launch(&[]));
        let refusal = Fault::new(FaultKind::ImageAuth, "no");
        runtime.script(Script { refuses_start: Some(refusal.clone()), ..Script::default() });
        assert_eq!(runtime.start(&id, &spec).await, Err(refusal.clone()));
        runtime.script(Script { refuses_pull: Some(refusal.clone()), ..Script::default() });
        let (progress, seen) = watch::channel(PullProgress::default());
        assert_eq!(runtime.prepare(&spec.launch, PullTerms::default(), &progress).await, Err(refusal));
        assert_eq!(seen.borrow().bytes_total, 2);

        runtime.script(Script::default());
        runtime.start(&id, &spec).await.unwrap();
        runtime.exit(&id, 137, true).await;
        let ended = Phase::Exited { code: Some(137), oom_killed: true, at: Some(Timestamp(1)) };
        assert_eq!(runtime.list().await.unwrap()[0].phase, ended);
        runtime.lose(&id);
        assert_eq!(runtime.list().await.unwrap(), []);

        assert_eq!(runtime.check(true).await.unwrap_err().kind, FaultKind::GpuUnsupported);
        runtime.set_gpus(vec![Gpu {
            index: 0,
            uuid: "GPU-0".into(),
            name: "fake".into(),
            memory_total_mib: 1,
            memory_used_mib: 0,
        }]);
        runtime.check(true).await.unwrap();

        runtime.set_unavailable(true);
        assert_eq!(runtime.list().await.unwrap_err().kind, FaultKind::Unavailable);
        let start = Call::Start(id);
        assert_eq!(runtime.calls(), [start.clone(), Call::Prepare("nim-sim".into()), start]);
    }
}
