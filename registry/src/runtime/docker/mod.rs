//! Containers on a Docker engine, or on Podman through its compatible socket.
//!
//! What must stay true:
//! - Containers are found by their labels, never by their names: a name proves nothing.
//! - Ports are published on 127.0.0.1 only, and chosen by the engine.
//! - The engine restarts nothing.
//!
//! A secret in the environment can be seen by whoever may use the engine's socket; that is as good as root anyway.

mod changes;
mod container;
mod fault;
mod owner;
mod pull;
mod running;
mod steps;
mod volumes;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::sync::watch;

use self::running::Running;
use super::id::{Installation, InstanceId, LABEL_INSTALLATION, VolumeId};
use super::image::{PullProgress, PullTerms};
use super::logs::{LogQuery, LogStream, lines};
use super::spec::{InstanceSpec, Launch};
use super::{Facts, Fault, FaultKind, Gpu, Instance, Phase, Runtime, gpus};

/// A call that the engine should answer at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The client counts until an answer begins, and a followed log begins with the first line.
const STREAM_TIMEOUT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Containers that are looked at side by side.
const INSPECTIONS_MAX: usize = 8;
/// Engine 19.03: the first that knows GPUs.
const API_MIN: (u32, u32) = (1, 40);

#[derive(Debug, Clone)]
pub struct DockerConfig {
    pub installation: Installation,
    /// `unix:///path`, `/path` or `tcp://127.0.0.1:port`. Absent: `DOCKER_HOST`, else Docker's usual socket.
    pub host: Option<String>,
    /// Below it lie the folders that containers may read.
    pub shared_folder: PathBuf,
}

pub struct DockerRuntime {
    installation: Installation,
    shared_folder: PathBuf,
    host: String,
    call_timeout: Duration,
    running: Arc<Running>,
}

impl DockerRuntime {
    /// Asks nobody yet: the engine may come later.
    pub fn new(config: DockerConfig) -> Self {
        let DockerConfig { installation, host, shared_folder } = config;
        let host = host
            .or_else(|| std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()))
            .unwrap_or_else(|| "unix:///var/run/docker.sock".into());
        let host = if host.starts_with('/') { format!("unix://{host}") } else { host };
        Self { installation, shared_folder, host, call_timeout: CALL_TIMEOUT, running: Arc::default() }
    }

    fn client(&self) -> Result<Docker, Fault> {
        if let Some(fault) = fault::of_host(&self.host) {
            return Err(fault);
        }
        let client = Docker::connect_with_host(&self.host).map_err(|error| self.fault(error))?;
        Ok(client.with_timeout(self.call_timeout))
    }

    fn fault(&self, error: bollard::errors::Error) -> Fault {
        fault::of_call(&self.host, &error)
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn check(&self, needs_gpus: bool) -> Result<Facts, Fault> {
        let client = self.client()?;
        let version = client.version().await.map_err(|error| self.fault(error))?;
        let api = version.api_version.unwrap_or_default();
        if fault::api(&api).is_none_or(|api| api < API_MIN) {
            return Err(fault::api_too_old(&self.host, &api, API_MIN));
        }
        let info = client.info().await.map_err(|error| self.fault(error))?;
        if needs_gpus && !container::has_gpu_support(&info) {
            return Err(fault::no_gpus());
        }
        let product = version.platform.map(|platform| platform.name).filter(|name| !name.is_empty());
        let product = product.unwrap_or_else(|| "Docker Engine".into());
        Ok(Facts {
            version: format!("{product} {} (API {api})", version.version.unwrap_or_default()),
            disk_free_bytes: info.docker_root_dir.as_deref().and_then(super::process::disk_free_bytes),
        })
    }

    async fn gpus(&self) -> Result<Vec<Gpu>, Fault> {
        gpus::gpus().await
    }

    async fn prepare(
        &self,
        launch: &Launch,
        terms: PullTerms<'_>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<Option<String>, Fault> {
        let Launch::Image { reference, .. } = launch else { return Err(fault::not_an_image()) };
        let client = self.client()?;
        if let Some(digest) = self.image_digest(&client, reference).await? {
            return Ok(Some(digest));
        }
        self.check_space(&client, reference, terms.disk_free_bytes_min).await?;
        self.pull(&client, reference, terms.credentials, progress).await?;
        match self.image_digest(&client, reference).await? {
            Some(digest) => Ok(Some(digest)),
            None => Err(fault::image_not_pulled(reference)),
        }
    }

    async fn start(&self, id: &InstanceId, spec: &InstanceSpec) -> Result<(), Fault> {
        spec.check()?;
        let client = self.client()?;
        let container = match self.find(&client, id).await? {
            Some(found) => {
                let instance = container::instance(&found, &self.installation);
                if instance.as_ref().is_some_and(|instance| instance.spec_digest != spec.digest()) {
                    return Err(Fault::new(FaultKind::SpecConflict, fault::spec_conflict(id)));
                }
                if instance.is_some_and(|instance| instance.phase != Phase::Created) {
                    return Ok(());
                }
                found.id.unwrap_or_default()
            }
            None => self.create(&client, id, spec).await?,
        };
        self.give_volumes(&client, &container, spec).await;
        self.run(&client, &container).await
    }

    async fn list(&self) -> Result<Vec<Instance>, Fault> {
        let client = self.client()?;
        let ours = HashMap::from([(LABEL_INSTALLATION.to_owned(), self.installation.as_str().to_owned())]);
        let (known, epoch) = self.running.known();
        let summaries = self.owned(&client, &ours).await?;

        let looks = stream::iter(summaries).map(|summary| {
            let (client, known) = (&client, &known);
            async move {
                match container::running_key(&summary).and_then(|key| known.get(&key)) {
                    Some(instance) => Ok(Some((summary.id.unwrap_or_default(), instance.clone()))),
                    None => self.look(client, summary.id.unwrap_or_default()).await,
                }
            }
        });
        let looked: Vec<_> = looks.buffer_unordered(INSPECTIONS_MAX).try_collect().await?;
        let looked: Vec<_> = looked.into_iter().flatten().collect();
        let running = looked.iter().filter_map(|(id, instance)| match instance.phase {
            Phase::Running { endpoint: Some(endpoint), .. } => {
                Some(((id.clone(), endpoint.port()), instance.clone()))
            }
            _ => None,
        });
        self.running.remember(running.collect(), epoch);
        let mut instances: Vec<_> = looked.into_iter().map(|(_, instance)| instance).collect();
        instances.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(instances)
    }

    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), Fault> {
        let client = self.client()?;
        for container in self.owned(&client, &id.labels(&self.installation)).await? {
            self.stop_container(&client, &container.id.unwrap_or_default(), grace).await?;
        }
        Ok(())
    }

    async fn logs(&self, id: &InstanceId, query: LogQuery) -> Result<LogStream, Fault> {
        let client = self.client()?;
        let Some(container) = self.find(&client, id).await? else { return Err(fault::no_instance(id)) };
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .follow(query.follow)
            .since(query.since.map_or(0, |since| i32::try_from(since.seconds()).unwrap_or(i32::MAX)))
            .tail(&query.tail().to_string())
            .build();
        let host = self.host.clone();
        let pieces = client
            .with_timeout(STREAM_TIMEOUT)
            .logs(&container.id.unwrap_or_default(), Some(options))
            .map(move |piece| {
                piece.map(|piece| piece.into_bytes()).map_err(|error| fault::of_call(&host, &error))
            });
        Ok(lines(pieces))
    }

    async fn ensure_volume(&self, volume: &VolumeId) -> Result<(), Fault> {
        self.make_volume(&self.client()?, volume).await
    }

    async fn volumes(&self) -> Result<Vec<VolumeId>, Fault> {
        self.list_volumes().await
    }

    async fn remove_volume(&self, volume: &VolumeId) -> Result<(), Fault> {
        self.delete_volume(volume).await
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        changes::changes(self.host.clone(), self.installation.clone(), Arc::clone(&self.running))
    }
}
