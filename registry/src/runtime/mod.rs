//! Runtimes: where instances run. A container on a Docker or Podman engine, or a process on this host.
//!
//! A runtime knows instances and volumes, and nothing of models, engines, routes or the database.
//!
//! What must stay true:
//! - A runtime shows and touches only what carries its own installation. What is foreign stays as it is, also
//!   under one of our names: then a start is refused with [`FaultKind::NameTaken`].
//! - Every call may be cut off anywhere and be made again: `start` and `stop` finish what was begun.
//! - An instance runs once. What exited stays as it is until it is stopped; another try is another incarnation.
//! - A runtime that can't be asked is [`FaultKind::Unavailable`]. An empty list means: nothing runs.
//! - Values of secrets go into the environment of the instance and nowhere else.
//!
//! Absent on purpose: restarts, deadlines and readiness (whoever plans decides those), and everything that would
//! open the host: privileges, the host's network, folders that are not ours, the engine's socket.

mod digest;
pub mod docker;
#[cfg(test)]
pub(crate) mod fake;
mod fault;
mod gpus;
mod id;
mod image;
mod logs;
mod process;
mod spec;

#[cfg(test)]
mod conformance;

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::sync::watch;

pub use docker::{DockerConfig, DockerRuntime};
pub use fault::{Fault, FaultKind};
pub use gpus::Gpu;
pub use id::{DeploymentId, Installation, InstanceId, VolumeId};
pub use image::{ImageReference, PullProgress, PullTerms, RegistryCredentials};
pub use logs::{LogQuery, LogStream, TAIL_LINES_MAX};
pub use process::{ProcessConfig, ProcessRuntime};
pub use spec::{EnvValue, InstanceSpec, Launch, Mount, MountSource, User};

use crate::domain::timestamp::Timestamp;

/// Where instances run.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// `docker`, `process`, or that it is a fake.
    fn name(&self) -> &'static str;

    /// Whether instances can run here at all, and with GPUs when `needs_gpus`.
    async fn check(&self, needs_gpus: bool) -> Result<Facts, Fault>;

    /// The GPUs of this host; none when that can't be told.
    async fn gpus(&self) -> Result<Vec<Gpu>, Fault>;

    /// Brings what is to be launched onto this host. Gives the image's digest, where there is an image.
    async fn prepare(
        &self,
        launch: &Launch,
        terms: PullTerms<'_>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Option<String>, Fault>;

    /// Makes the instance run, unless it already does or did. A start that is refused leaves nothing behind.
    async fn start(&self, id: &InstanceId, spec: &InstanceSpec) -> Result<(), Fault>;

    /// All instances of this installation, in the order of their ids.
    async fn list(&self) -> Result<Vec<Instance>, Fault>;

    /// SIGTERM, SIGKILL after `grace`, then nothing is left of it. An instance that isn't there is stopped.
    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), Fault>;

    /// What the instance printed, until it ends when followed.
    async fn logs(&self, id: &InstanceId, query: LogQuery) -> Result<LogStream, Fault>;

    /// Makes the volume, unless it is there.
    async fn ensure_volume(&self, volume: &VolumeId) -> Result<(), Fault>;

    /// All volumes of this installation, in the order of their ids.
    async fn volumes(&self) -> Result<Vec<VolumeId>, Fault>;

    /// A volume that isn't there is removed. One in use is refused.
    async fn remove_volume(&self, volume: &VolumeId) -> Result<(), Fault>;

    /// Wakes at once, and each time that something may have changed. It says no more than that: the list is the
    /// truth. Ends never, and is no error while the runtime is away.
    fn changes(&self) -> BoxStream<'static, ()>;
}

/// What is known of a runtime that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Product and version, to be shown.
    pub version: String,
    /// Free space where images and volumes go, where it can be told.
    pub disk_free_bytes: Option<u64>,
}

/// An instance as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: InstanceId,
    pub phase: Phase,
    /// [`InstanceSpec::digest`] of what it was started with.
    pub spec_digest: String,
    pub image_digest: Option<String>,
    pub gpus: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Made, and not started: a start was cut off, and [`Runtime::start`] finishes it.
    Created,
    Running {
        /// Absent while the engine publishes no port, as when somebody took its network away.
        endpoint: Option<std::net::SocketAddr>,
        since: Timestamp,
    },
    Exited {
        /// 128 and the signal's number after a signal. Absent when nobody saw the end: a process that was
        /// adopted, or ended while the registry was down.
        code: Option<i32>,
        oom_killed: bool,
        at: Option<Timestamp>,
    },
}
