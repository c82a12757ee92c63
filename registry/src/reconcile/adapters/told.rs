//! What the daemon of deployments tells about servers that are shown adapters. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::domain::deployment_config::Engine;
use crate::domain::launch;
use crate::files::ADAPTERS;
use crate::reconcile::deployments::launching::Asked;
use crate::reconcile::deployments::routing;
use crate::reconcile::deployments::seen::{Probe, Seen, Version};
use crate::runtime::DeploymentId;
use crate::store::instances::RuntimeKind;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub targets: Vec<Target>,
    /// Into which a server may look, or will. Absent: nobody looked yet.
    pub places: Option<BTreeSet<String>>,
}

impl Told {
    pub fn is_known(&self) -> bool {
        self.places.is_some()
    }
}

/// The servers of one version of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub place: String,
    pub deployment: DeploymentId,
    /// `workspace/name` of the model entity that it serves.
    pub model: Option<String>,
    pub engine: Engine,
    /// The place as its servers see it.
    pub folder: String,
    /// How often its servers look for adapters by themselves.
    pub refresh: Duration,
    /// Those that are ready.
    pub servers: Vec<SocketAddr>,
}

impl Target {
    /// After this a server knows nothing any more of an adapter that was taken away.
    pub fn rest(&self) -> Duration {
        match self.engine {
            Engine::Nim | Engine::Generic => self.refresh.saturating_mul(2),
            // It is told, and told again until its list says that it heard.
            Engine::Vllm => Duration::from_secs(2),
        }
    }
}

/// The folder of a version's servers.
pub fn place(deployment: &DeploymentId, version: u32) -> String {
    format!("{}--{}--{version}", deployment.workspace(), deployment.deployment())
}

/// `files`: the folder of all files.
pub fn told(seen: &Seen, asked: &BTreeMap<i64, Asked>, files: &Path) -> Told {
    let of = |version: &Version| asked.get(&version.state.seq).filter(|asked| asked.spec.lora).cloned();
    let shown: Vec<_> = seen.versions.iter().filter_map(|version| Some((version, of(version)?))).collect();
    let targets = shown.iter().filter(|(version, _)| !version.records.is_empty());
    let strays = seen.strays();
    let strays = strays.iter().map(|id| place(&id.deployment, id.version));
    let known = shown.iter().map(|(version, _)| place(&version.deployment, version.number));
    Told {
        targets: targets.map(|(version, asked)| target(seen, version, asked, files)).collect(),
        places: Some(known.chain(strays).collect()),
    }
}

fn target(seen: &Seen, version: &Version, asked: &Asked, files: &Path) -> Target {
    let is_ready = |record: &_| {
        let known = seen.known.get(&version.instance(record));
        known.and_then(|known| known.probe.as_ref()) == Some(&Probe::Ready)
    };
    let current = version.records.iter().filter(|record| record.is_current() && is_ready(record));
    let place = place(&version.deployment, version.number);
    Target {
        deployment: version.deployment.clone(),
        model: asked.model.clone(),
        engine: asked.spec.engine,
        folder: match version.runtime {
            Some(RuntimeKind::Process) => files.join(ADAPTERS).join(&place).to_string_lossy().into_owned(),
            Some(RuntimeKind::Docker) | None => launch::LORAS.to_owned(),
        },
        refresh: launch::lora_refresh(&asked.spec),
        servers: current.filter_map(|record| routing::endpoint(seen, version, record)).collect(),
        place,
    }
}
