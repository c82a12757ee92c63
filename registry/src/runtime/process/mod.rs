//! Processes of this host: a command with a port, a folder and a log of its own.
//!
//! What must stay true:
//! - A process is ours when its number, its start time and the boot agree with its record: a number that was used
//!   again is never signalled.
//! - The intent is recorded before a process is made, with a token that the process carries in its environment. A
//!   registry that was killed in between finds it again by that.
//! - Processes outlive the registry, and are adopted by the next one. How an adopted one ended is not known: only
//!   parents are told.
//! - Of the registry's environment only [`environment::INHERITED`] is passed on.
//!
//! Logs go straight to a file, as a pipe would break when the registry ends. So the file is cut by copying its end
//! and emptying it: lines printed in that very moment are lost, and while no registry runs nothing is cut.
//!
//! Absent on purpose: limits of memory and shared memory. Those are for containers.

mod environment;
mod identity;
mod log;
mod record;
mod spawn;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{Mutex, watch};

use self::record::{Ended, Record, State};
use super::id::{Installation, InstanceId, VolumeId};
use super::image::{PullProgress, PullTerms};
use super::logs::{LogQuery, LogStream};
use super::spec::{InstanceSpec, Launch};
use super::{Facts, Fault, FaultKind, Gpu, Instance, Phase, Runtime, gpus};
use crate::domain::timestamp::Timestamp;

pub use environment::shared_path;

/// Between two looks at the sizes of logs.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks at a process that somebody else started.
const ADOPTED_POLL_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct ProcessConfig {
    pub installation: Installation,
    /// Holds `instances/` and `volumes/`.
    pub data_dir: PathBuf,
    /// Below it lie the folders that processes may be pointed at.
    pub shared_folder: PathBuf,
}

#[derive(Clone)]
pub struct ProcessRuntime {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    config: ProcessConfig,
    /// Held while an instance is made or removed.
    changing: Mutex<()>,
    /// Tokens of our own children. The end of one is told in full, or not yet.
    children: parking_lot::Mutex<HashSet<String>>,
    /// Counts what happened.
    changed: watch::Sender<u64>,
}

impl ProcessRuntime {
    /// Adopts what runs. Needs a Tokio runtime.
    pub fn open(config: ProcessConfig) -> Result<Self, Fault> {
        for folder in ["instances", "volumes"] {
            let folder = config.data_dir.join(folder);
            std::fs::create_dir_all(&folder).map_err(|error| record::fault(&folder, &error))?;
        }
        let changed = watch::Sender::new(0);
        let inner = Inner { config, changing: Mutex::default(), children: Default::default(), changed };
        let inner = Arc::new(inner);
        for (folder, record) in inner.records()? {
            if let State::Running { identity, .. } = &record.state {
                tokio::spawn(adopted(Arc::downgrade(&inner), folder, identity.clone()));
            }
        }
        tokio::spawn(trim_logs(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }
}

impl Inner {
    fn instances(&self) -> PathBuf {
        self.config.data_dir.join("instances")
    }

    fn folder(&self, id: &InstanceId) -> PathBuf {
        self.instances().join(id.name(&self.config.installation))
    }

    fn volume(&self, volume: &VolumeId) -> PathBuf {
        self.config.data_dir.join("volumes").join(volume.name(&self.config.installation))
    }

    /// What is recorded of this installation's instances, with their folders.
    fn records(&self) -> Result<Vec<(PathBuf, Record)>, Fault> {
        let folder = self.instances();
        let entries = std::fs::read_dir(&folder).map_err(|error| record::fault(&folder, &error))?;
        let mut records = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| record::fault(&folder, &error))?.path();
            // A folder without a record: a start that was cut off before it did anything.
            let Some(record) = record::read(&path)? else { continue };
            if record.instance(&self.config.installation).is_some() {
                records.push((path, record));
            }
        }
        Ok(records)
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Writes down how a process ended, unless it was removed meanwhile.
    async fn ended(&self, folder: &Path, identity: &identity::Identity, end: Ended) {
        let changing = self.changing.lock().await;
        if let Ok(Some(mut record)) = record::read(folder)
            && matches!(&record.state, State::Running { identity: recorded, .. } if recorded == identity)
        {
            record.state = State::Exited(end);
            if let Err(fault) = record::write(folder, &record) {
                tracing::warn!(%fault, "the end of a process is not recorded");
            }
        }
        drop(changing);
        self.wake();
    }
}

/// Waits for the end of a process that somebody else started.
async fn adopted(inner: Weak<Inner>, folder: PathBuf, identity: identity::Identity) {
    identity.gone(ADOPTED_POLL_INTERVAL).await;
    let Some(inner) = inner.upgrade() else { return };
    inner.ended(&folder, &identity, Ended { code: None, at: Some(record::now()) }).await;
}

async fn trim_logs(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOG_CHECK_INTERVAL).await;
        let Some(inner) = inner.upgrade() else { return };
        let folder = inner.instances();
        let trimming = tokio::task::spawn_blocking(move || log::trim_all(&folder));
        if let Ok(Err(error)) = trimming.await {
            tracing::warn!(%error, "logs of processes are not cut");
        }
    }
}

/// Free bytes of the file system that holds `path`.
pub fn disk_free_bytes(path: impl AsRef<Path>) -> Option<u64> {
    let stat = rustix::fs::statvfs(path.as_ref()).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn check(&self, needs_gpus: bool) -> Result<Facts, Fault> {
        if needs_gpus && gpus::gpus().await?.is_empty() {
            let message =
                "this host has no GPU that nvidia-smi knows: install the NVIDIA driver, or ask for no GPU";
            return Err(Fault::new(FaultKind::GpuUnsupported, message));
        }
        self.inner.records()?;
        Ok(Facts {
            version: "processes of this host".into(),
            disk_free_bytes: disk_free_bytes(&self.inner.config.data_dir),
        })
    }

    async fn gpus(&self) -> Result<Vec<Gpu>, Fault> {
        gpus::gpus().await
    }

    async fn prepare(
        &self,
        launch: &Launch,
        _: PullTerms<'_>,
        _: &watch::Sender<PullProgress>,
    ) -> Result<Option<String>, Fault> {
        spawn::resolve(launch).map(|_| None)
    }

    async fn start(&self, id: &InstanceId, spec: &InstanceSpec) -> Result<(), Fault> {
        spec.check()?;
        // A caller that goes away must not leave a process half recorded.
        let (runtime, id, spec) = (self.clone(), id.clone(), spec.clone());
        let starting = tokio::spawn(async move { runtime.inner.start(&id, &spec).await });
        starting.await.unwrap_or_else(|error| Err(Fault::new(FaultKind::Engine, error.to_string())))
    }

    async fn list(&self) -> Result<Vec<Instance>, Fault> {
        let installation = &self.inner.config.installation;
        // Asked before the records are read: what ends in between counts as running a moment longer.
        let children = self.inner.children.lock().clone();
        let is_child = |record: &Record| children.contains(&record.token);
        let mut instances: Vec<_> = self
            .inner
            .records()?
            .into_iter()
            .filter_map(|(_, record)| {
                let phase = match &record.state {
                    State::Starting => Phase::Created,
                    State::Running { identity, since } if is_child(&record) || identity.is_alive() => {
                        let endpoint = Some(([127, 0, 0, 1], record.port).into());
                        Phase::Running { endpoint, since: Timestamp(*since) }
                    }
                    State::Running { .. } => Phase::Exited { code: None, oom_killed: false, at: None },
                    State::Exited(end) => {
                        Phase::Exited { code: end.code, oom_killed: false, at: end.at.map(Timestamp) }
                    }
                };
                let (spec_digest, gpus) = (record.spec_digest.clone(), record.gpus.clone());
                let id = record.instance(installation)?;
                Some(Instance { id, phase, spec_digest, image_digest: None, gpus })
            })
            .collect();
        instances.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(instances)
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), Fault> {
        self.inner.stop(id, grace).await
    }

    async fn logs(&self, id: &InstanceId, query: LogQuery) -> Result<LogStream, Fault> {
        let folder = self.inner.folder(id);
        if record::read(&folder)?.is_none() {
            return Err(Fault::new(FaultKind::InstanceNotFound, format!("{id} is not there")));
        }
        log::stream(folder, query)
    }

    async fn ensure_volume(&self, volume: &VolumeId) -> Result<(), Fault> {
        self.inner.make_volume(volume)
    }

    async fn volumes(&self) -> Result<Vec<VolumeId>, Fault> {
        let folder = self.inner.config.data_dir.join("volumes");
        let entries = std::fs::read_dir(&folder).map_err(|error| record::fault(&folder, &error))?;
        let mut volumes = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| record::fault(&folder, &error))?.path();
            let Some(labels) = record::read_labels(&path)? else { continue };
            volumes.extend(VolumeId::from_labels(&labels, &self.inner.config.installation));
        }
        volumes.sort();
        Ok(volumes)
    }

    async fn remove_volume(&self, volume: &VolumeId) -> Result<(), Fault> {
        let _changing = self.inner.changing.lock().await;
        let path = self.inner.volume(volume);
        for (_, record) in self.inner.records()? {
            let uses = record.volumes.iter().any(|name| path.ends_with(name));
            if uses && matches!(&record.state, State::Running { identity, .. } if identity.is_alive()) {
                let message = format!("the volume {volume} is in use: stop what uses it first");
                return Err(Fault::new(FaultKind::VolumeInUse, message));
            }
        }
        record::remove_folder(path).await
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        let mut changed = self.inner.changed.subscribe();
        changed.mark_changed();
        let waking = stream::unfold(changed, async |mut changed| match changed.changed().await {
            Ok(()) => Some(((), changed)),
            // The runtime was dropped: nothing changes any more.
            Err(_) => std::future::pending().await,
        });
        waking.boxed()
    }
}

impl Inner {
    fn make_volume(&self, volume: &VolumeId) -> Result<(), Fault> {
        let path = self.volume(volume);
        let data = path.join(record::VOLUME_DATA);
        std::fs::create_dir_all(&data).map_err(|error| record::fault(&data, &error))?;
        let labels: HashMap<_, _> = volume.labels(&self.config.installation);
        record::write_labels(&path, labels)
    }
}
