//! One look: the database first, then what runs.

use std::collections::BTreeMap;

use super::Runtimes;
use super::launching::{self, Asked};
use super::memory::Memory;
use super::plan::is_alive;
use super::seen::{RoutingProvider, Seen, Version};
use super::work::now;
use crate::Registry;
use crate::domain::Deployment;
use crate::domain::observed::SeenState;
use crate::error::Error;
use crate::runtime::DeploymentId;
use crate::store::instances::{self, Record, StoredVersion};
use crate::store::providers;

/// Also gives what the config of each version says.
pub async fn look(
    registry: &Registry,
    runtimes: &Runtimes,
    memory: &Memory,
) -> Result<(Seen, BTreeMap<i64, Asked>), Error> {
    let (stored, records, found) = registry
        .inner
        .store
        .read(|connection| {
            let stored = instances::versions(connection)?;
            let mut found = Vec::new();
            for version in &stored {
                let id = version.deployment.model_provider_id.as_deref();
                if let Some((workspace, name)) = id.and_then(|id| id.split_once('/')) {
                    found.extend(
                        providers::find(connection, workspace, name)?.map(|it| (version.deployment.seq, it)),
                    );
                }
            }
            Ok((stored, instances::all(connection)?, found))
        })
        .await?;
    let mut specs = BTreeMap::new();
    let versions = stored.into_iter().filter_map(|stored| version(stored, &records, &mut specs));
    let versions: Vec<_> = versions.collect();
    let mut routed = BTreeMap::new();
    for (seq, provider) in found {
        if let Some(version) = versions.iter().find(|version| version.state.seq == seq) {
            let host_url = provider.spec.host_url.as_str().to_owned();
            let routing = RoutingProvider { host_url, status: provider.status, withheld: provider.withheld };
            routed.insert(version.deployment.clone(), routing);
        }
    }
    let needs_gpus = versions.iter().any(waits_for_gpus);
    let is_used = |kind| versions.iter().any(|version| version.runtime == Some(kind));
    let listings = runtimes.list(is_used).await;
    let gpus = if needs_gpus { Some(runtimes.gpus().await) } else { None };
    let seen = Seen {
        now: now(),
        versions,
        providers: routed,
        runtimes: listings,
        gpus,
        known: memory.known(),
        volumes: memory.volumes(),
    };
    Ok((seen, specs))
}

fn version(stored: StoredVersion, records: &[Record], specs: &mut BTreeMap<i64, Asked>) -> Option<Version> {
    let StoredVersion { deployment, is_untouched, runtime, config } = stored;
    let seq = deployment.seq;
    let asked = Asked::of(config);
    let wanted = asked.as_ref().map_err(Clone::clone).and_then(|asked| launching::wanted(&asked.spec));
    if let Ok(asked) = asked {
        specs.insert(seq, asked);
    }
    Some(Version {
        state: state(&deployment),
        message: deployment.lifecycle.message().to_owned(),
        deployment: id(&deployment)?,
        number: u32::try_from(deployment.version).ok()?,
        is_untouched,
        runtime,
        wanted,
        records: records.iter().filter(|record| record.key.deployment == seq).cloned().collect(),
    })
}

fn state(deployment: &Deployment) -> SeenState {
    let lifecycle = &deployment.lifecycle;
    SeenState { seq: deployment.seq, status: lifecycle.status(), since: lifecycle.since() }
}

/// The driver is asked only when somebody is to get a GPU.
fn waits_for_gpus(version: &Version) -> bool {
    let wants_some = version.wanted.as_ref().is_ok_and(|wanted| wanted.gpus > 0);
    let has_some = version.records.iter().any(|record| record.ending.is_none());
    wants_some && !has_some && is_alive(version)
}

/// Names are checked where they come in; one that does not fit is of no deployment of ours.
fn id(deployment: &Deployment) -> Option<DeploymentId> {
    DeploymentId::new(deployment.workspace.as_str(), deployment.name.as_str()).ok()
}
