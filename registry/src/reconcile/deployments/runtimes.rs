//! The runtimes of this registry, and what they say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;

use super::memory::Memory;
use super::pulls::Pulls;
use super::seen::Listing;
use crate::config::{RegistryConfig, RuntimeChoice};
use crate::reconcile::plan::NO_RUNTIME;
use crate::runtime::{
    DockerConfig, DockerRuntime, Fault, Gpu, Installation, Instance, ProcessConfig, ProcessRuntime, Runtime,
};
use crate::store::instances::RuntimeKind;

/// A runtime that does not answer within this can't be asked.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// The runtimes that deployments may run on. Clones share them.
#[derive(Clone, Default)]
pub struct Runtimes {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    known: BTreeMap<RuntimeKind, Offered>,
    summary: Mutex<RuntimesSummary>,
    pulls: Pulls,
}

struct Offered {
    runtime: Arc<dyn Runtime>,
    /// It was asked for by name: what it should run waits for it. Else it counts only while it answers.
    is_required: bool,
}

/// What an operator is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimesSummary {
    /// Of each runtime, why it can't be asked, if so.
    pub runtimes: BTreeMap<&'static str, Option<String>>,
    /// What runs and no record speaks of.
    pub strays: Vec<String>,
}

impl Runtimes {
    /// Those that the configuration names. Nobody is asked yet: an engine may come later.
    pub fn open(config: &RegistryConfig, installation: &str) -> Result<Self, Fault> {
        let deployments = &config.deployments;
        let (docker, process) = match deployments.runtime {
            RuntimeChoice::Auto => (true, true),
            RuntimeChoice::Docker | RuntimeChoice::Containers => (true, false),
            RuntimeChoice::Process => (false, true),
            RuntimeChoice::None => (false, false),
        };
        let installation = Installation::new(installation);
        let shared_folder = config.data_dir.join("files");
        let mut runtimes: Vec<(RuntimeKind, Arc<dyn Runtime>, bool)> = Vec::new();
        if docker {
            let config = DockerConfig {
                installation: installation.clone(),
                host: deployments.docker_host.clone(),
                shared_folder: shared_folder.clone(),
            };
            let is_required = deployments.runtime == RuntimeChoice::Docker;
            runtimes.push((RuntimeKind::Docker, Arc::new(DockerRuntime::new(config)), is_required));
        }
        if process {
            let data_dir = config.data_dir.join("processes");
            let config = ProcessConfig { installation, data_dir, shared_folder };
            runtimes.push((RuntimeKind::Process, Arc::new(ProcessRuntime::open(config)?), true));
        }
        Ok(Self::new(runtimes))
    }

    pub fn new(runtimes: impl IntoIterator<Item = (RuntimeKind, Arc<dyn Runtime>, bool)>) -> Self {
        let known: BTreeMap<_, _> = runtimes
            .into_iter()
            .map(|(kind, runtime, is_required)| (kind, Offered { runtime, is_required }))
            .collect();
        let runtimes = known.keys().map(|kind| (kind.as_str(), None)).collect();
        let summary = Mutex::new(RuntimesSummary { runtimes, strays: Vec::new() });
        Self { inner: Arc::new(Inner { known, summary, pulls: Pulls::default() }) }
    }

    pub fn is_empty(&self) -> bool {
        self.inner.known.is_empty()
    }

    pub fn get(&self, kind: RuntimeKind) -> Option<Arc<dyn Runtime>> {
        self.inner.known.get(&kind).map(|offered| Arc::clone(&offered.runtime))
    }

    pub fn changes(&self) -> Vec<BoxStream<'static, ()>> {
        self.inner.known.values().map(|offered| offered.runtime.changes()).collect()
    }

    pub fn summary(&self) -> RuntimesSummary {
        self.inner.summary.lock().clone()
    }

    /// What is pulled for deployments here.
    pub fn pulls(&self) -> &Pulls {
        &self.inner.pulls
    }

    pub fn set_strays(&self, strays: Vec<String>) {
        self.inner.summary.lock().strays = strays;
    }

    /// What each says. `is_used`: whether something was given to it already.
    pub async fn list(&self, is_used: impl Fn(RuntimeKind) -> bool) -> BTreeMap<RuntimeKind, Listing> {
        let mut listings = BTreeMap::new();
        for kind in RuntimeKind::ALL {
            let listing = match self.inner.known.get(&kind) {
                None if is_used(kind) => {
                    Listing::Away(format!("This registry runs no {} any more (setting runtime)", kind.what()))
                }
                None => Listing::Absent(absent(kind, None)),
                Some(offered) => match ask(offered).await {
                    Ok(instances) => {
                        if self.note(kind, None) {
                            tracing::info!(runtime = kind.as_str(), "a runtime answers again");
                        }
                        Listing::Here(
                            instances.into_iter().map(|instance| (instance.id.clone(), instance)).collect(),
                        )
                    }
                    Err(fault) => {
                        let is_missed = offered.is_required || is_used(kind);
                        if self.note(kind, Some(fault.message.clone())) && is_missed {
                            tracing::warn!(runtime = kind.as_str(), %fault, "a runtime can't be asked");
                        }
                        if is_missed {
                            Listing::Away(format!("{} can't be asked: {}", kind.as_str(), fault.message))
                        } else {
                            Listing::Absent(absent(kind, Some(&fault)))
                        }
                    }
                },
            };
            listings.insert(kind, listing);
        }
        listings
    }

    /// Says whether that is news.
    fn note(&self, kind: RuntimeKind, fault: Option<String>) -> bool {
        let mut summary = self.inner.summary.lock();
        let before = summary.runtimes.insert(kind.as_str(), fault.clone()).flatten();
        before != fault
    }

    /// Of this host; none when nobody can tell.
    pub async fn gpus(&self) -> Vec<Gpu> {
        for offered in self.inner.known.values() {
            match offered.runtime.gpus().await {
                Ok(gpus) if !gpus.is_empty() => return gpus,
                Ok(_) => {}
                Err(fault) => tracing::warn!(fault = %fault, "the GPUs of this host can't be told"),
            }
        }
        Vec::new()
    }
}

async fn ask(offered: &Offered) -> Result<Vec<Instance>, Fault> {
    let fault = |_| Fault::new(crate::runtime::FaultKind::Unavailable, "it gave no answer in time");
    tokio::time::timeout(LIST_TIMEOUT, offered.runtime.list()).await.map_err(fault)?
}

fn absent(kind: RuntimeKind, fault: Option<&Fault>) -> String {
    match (kind, fault) {
        (RuntimeKind::Docker, None) => NO_RUNTIME.into(),
        (RuntimeKind::Docker, Some(fault)) => format!(
            "no container runtime answers here: {fault}. Without one: have a command run in the place of an image \
             (command in the config), or start the model server yourself and register it (nimgate provider create NAME \
             --url http://HOST:PORT). What can run: nimgate status"
        ),
        (RuntimeKind::Process, _) => {
            "nothing here runs commands: name an image, or have commands run as the user who runs the registry \
             (runtime = \"process\"; with runtime = \"auto\" only while all listeners are on loopback)"
                .into()
        }
    }
}

/// Each change of a runtime is a reason to look.
pub async fn wake_on(mut changes: BoxStream<'static, ()>, memory: Memory) {
    while changes.next().await.is_some() {
        memory.wake();
    }
}
