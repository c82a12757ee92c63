//! Deployments: what is asked for, recorded and running, brought together.
//!
//! One loop looks, plans and applies; what takes its time runs beside it, and what it brings is seen in the
//! next look. What is in `plan` and below is pure.
//!
//! Invariant: the loop alone writes records of instances, so nothing changes between its look and its steps
//! but what owners ask for, and each step looks for that again.

mod apply;
mod ending;
mod gpus;
pub mod launching;
pub mod logs;
mod look;
mod memory;
mod plan;
mod probes;
mod pulls;
pub mod routing;
mod runtimes;
pub mod seen;
mod slots;
mod standing;
mod tend;
mod work;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::memory::Memory;
use self::plan::Step;
use self::probes::{Patience, Prober, Target};
pub use self::runtimes::Runtimes;
use self::seen::{Seen, Version};
use crate::Registry;
use crate::error::Error;
use crate::reconcile::adapters;
use crate::runtime::InstanceId;
use crate::store::instances::{Mark, Record, RecordKey};

/// Looks after the deployments of one registry.
pub struct Daemon {
    registry: Registry,
    runtimes: Runtimes,
    memory: Memory,
    prober: Prober,
    tasks: JoinSet<()>,
    strays: BTreeSet<InstanceId>,
    adapters: watch::Sender<adapters::Told>,
}

impl Daemon {
    /// Needs a Tokio runtime.
    pub fn new(registry: Registry, runtimes: Runtimes) -> Self {
        let memory = Memory::default();
        let mut tasks = JoinSet::new();
        for stream in runtimes.changes() {
            tasks.spawn(runtimes::wake_on(stream, memory.clone()));
        }
        tasks.spawn(wake_on_drains(registry.inner.gateways.changes(), memory.clone()));
        let config = &registry.inner.config.deployments;
        let prober = Prober::new(Patience {
            timeout: config.probe_timeout,
            interval: probes::READY_INTERVAL,
            silent_max: config.probe_failures,
        });
        let adapters = watch::Sender::default();
        tasks.spawn(adapters::keep(registry.clone(), adapters.subscribe()));
        Self { registry, runtimes, memory, prober, tasks, strays: BTreeSet::new(), adapters }
    }

    /// Returns when something happened that a look may have missed.
    pub fn changed(&self) -> impl Future<Output = ()> + use<> {
        let memory = self.memory.clone();
        async move { memory.changed().await }
    }

    /// Whether something was given to a runtime, this one or one of before.
    pub async fn has_work(&self) -> Result<bool, Error> {
        self.registry.inner.store.read(crate::store::instances::is_any_accepted).await
    }

    /// One look and what follows from it; says when the next look is due, at once while something changes.
    pub async fn pass(&mut self) -> Result<Option<Duration>, Error> {
        while self.tasks.try_join_next().is_some() {}
        let (seen, specs) = look::look(&self.registry, &self.runtimes, &self.memory).await?;
        self.hold_strays(&seen);
        let ids = instances(&seen);
        let deployments = seen.versions.iter().map(|version| version.deployment.clone()).collect();
        self.memory.retain(&ids.values().cloned().collect(), &deployments);
        adapters::tell(&self.registry, &self.adapters, &seen, &specs);
        self.prober.sync(&targets(&seen), &self.memory, &self.runtimes);
        let plan = plan::plan(&seen);
        let mut wait = plan.look_again_in;
        for step in plan.steps {
            match self.apply(step.clone(), &specs, &ids).await {
                Ok(true) => wait = Some(Duration::ZERO),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, ?step, "a step of a deployment failed; trying again");
                    wait = Some(wait.unwrap_or(super::RETRY_AFTER).min(super::RETRY_AFTER));
                }
            }
        }
        Ok(wait)
    }

    /// Says whether there is more to see at once.
    async fn apply(
        &mut self,
        step: Step,
        specs: &BTreeMap<i64, launching::Asked>,
        ids: &BTreeMap<RecordKey, InstanceId>,
    ) -> Result<bool, Error> {
        let (registry, memory) = (self.registry.clone(), self.memory.clone());
        match step {
            Step::Launch { seen, id, gpus, runtime } => {
                let (Some(spec), Some(runtime)) = (specs.get(&seen.seq), self.runtimes.get(runtime)) else {
                    return Ok(false);
                };
                let work = work::launch(registry, runtime, memory, id.clone(), spec.clone(), gpus);
                self.begin(&id, work);
                Ok(true)
            }
            Step::Stop { id, runtime } => {
                let Some(runtime) = self.runtimes.get(runtime) else { return Ok(false) };
                let grace = registry.inner.config.deployments.stop_grace;
                self.begin(&id, work::stop(runtime, memory, id.clone(), grace));
                Ok(false)
            }
            Step::ReadLastWords { id, runtime } => {
                let Some(runtime) = self.runtimes.get(runtime) else { return Ok(false) };
                let seq = ids.iter().find(|(_, of)| **of == id).map(|(key, _)| key.deployment);
                let asked = seq.and_then(|seq| specs.get(&seq)).cloned();
                self.begin(&id, work::read_last_words(registry, runtime, memory, id.clone(), asked));
                Ok(false)
            }
            Step::RemoveVolumes { deployment, runtime } => {
                let Some(runtime) = self.runtimes.get(runtime) else { return Ok(false) };
                memory.volumes_work(&deployment, seen::Work::UnderWay(None));
                self.tasks.spawn(work::remove_volumes(runtime, memory, deployment));
                Ok(false)
            }
            step => {
                let cut = cut_off_by(&step).and_then(|key| ids.get(&key));
                let written =
                    self.registry.inner.store.write(move |write| apply::write_step(write, &step)).await?;
                if let (true, Some(id)) = (written.value, cut) {
                    self.memory.cut_off(id);
                }
                Ok(written.value)
            }
        }
    }

    fn begin(&mut self, id: &InstanceId, work: impl Future<Output = ()> + Send + 'static) {
        let tasks = &mut self.tasks;
        self.memory.begin(id, || tasks.spawn(work));
    }

    /// What runs and is of another database, or of an older state of this one: it is left to a person.
    fn hold_strays(&mut self, seen: &Seen) {
        let strays = seen.strays();
        for id in strays.difference(&self.strays) {
            tracing::error!(
                instance = %id,
                "this runs, and the database knows nothing of it: it is left as it is. Was an older database \
                 restored? Remove the container by hand, or restore the database that started it"
            );
        }
        if strays != self.strays {
            self.runtimes.set_strays(strays.iter().map(ToString::to_string).collect());
            self.strays = strays;
        }
    }
}

async fn wake_on_drains(mut changes: watch::Receiver<()>, memory: Memory) {
    while changes.changed().await.is_ok() {
        memory.wake_if_draining();
    }
}

fn instances(seen: &Seen) -> BTreeMap<RecordKey, InstanceId> {
    let of = |version: &Version| {
        let id = |record: &Record| (record.key, version.instance(record));
        version.records.iter().map(id).collect::<Vec<_>>()
    };
    seen.versions.iter().flat_map(of).collect()
}

/// What runs and is meant to.
fn targets(seen: &Seen) -> BTreeMap<InstanceId, Target> {
    let mut targets = BTreeMap::new();
    for version in &seen.versions {
        let (Ok(wanted), Some(runtime)) = (&version.wanted, version.runtime) else { continue };
        for record in version.records.iter().filter(|record| record.is_current()) {
            if let Some(endpoint) = routing::endpoint(seen, version, record) {
                let path = wanted.health_path.clone();
                targets.insert(version.instance(record), Target { endpoint, path, runtime });
            }
        }
    }
    targets
}

/// Whose work is over once the step is written.
fn cut_off_by(step: &Step) -> Option<RecordKey> {
    match step {
        Step::Retry { record, .. } | Step::GiveUp { record, .. } => Some(*record),
        Step::Replace { old, .. } => Some(*old),
        Step::Mark(record, Mark::Ending(_)) => Some(*record),
        _ => None,
    }
}
