//! One look: the database first, then what runs.

use std::collections::{BTreeMap, BTreeSet};

use proto_shared::HostUrl;

use super::Runtimes;
use super::launching::{self, Asked};
use super::memory::Memory;
use super::plan::is_alive;
use super::routing;
use super::seen::{RoutingProvider, Seen, Version, Wanted, host_url};
use super::slots;
use super::work::now;
use crate::Registry;
use crate::domain::Deployment;
use crate::domain::observed::SeenState;
use crate::error::Error;
use crate::gateways::{Drain, Gateways};
use crate::runtime::{DeploymentId, InstanceId};
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
            let routing = RoutingProvider {
                host_url: provider.spec.host_url.as_str().to_owned(),
                instances: provider.instances.iter().map(|url| url.as_str().to_owned()).collect(),
                status: provider.status,
                withheld: provider.withheld,
            };
            routed.insert(version.deployment.clone(), routing);
        }
    }
    let needs_gpus = versions.iter().any(waits_for_gpus);
    let is_used = |kind| versions.iter().any(|version| version.runtime == Some(kind));
    let listings = runtimes.list(is_used).await;
    let gpus = if needs_gpus { Some(runtimes.gpus().await) } else { None };
    let mut seen = Seen {
        now: now(),
        versions,
        providers: routed,
        runtimes: listings,
        gpus,
        known: memory.known(),
        volumes: memory.volumes(),
        drained: BTreeSet::new(),
        drain_timeout: registry.inner.config.deployments.drain_timeout,
    };
    // First, so that what changes from here on wakes the loop.
    memory.set_draining(seen.versions.iter().any(|version| is_draining(&seen, version)));
    seen.drained = drained(&registry.inner.gateways, &seen);
    Ok((seen, specs))
}

/// Of those on their way out, whom no gateway uses any more.
fn drained(gateways: &Gateways, seen: &Seen) -> BTreeSet<InstanceId> {
    let mut drained = BTreeSet::new();
    for version in &seen.versions {
        for record in &version.records {
            let (Some(ending), Some(at)) = (record.ending, routing::endpoint(seen, version, record)) else {
                continue;
            };
            let Ok(url) = HostUrl::parse(&host_url(at)) else { continue };
            if gateways.drained(&url, ending.generation) == Drain::Drained {
                drained.insert(version.instance(record));
            }
        }
    }
    drained
}

fn is_draining(seen: &Seen, version: &Version) -> bool {
    let waits = |record: &Record| record.ending.is_some_and(|ending| ending.at > seen.now);
    version.records.iter().any(waits)
}

fn version(stored: StoredVersion, records: &[Record], specs: &mut BTreeMap<i64, Asked>) -> Option<Version> {
    let StoredVersion { deployment, is_untouched, runtime, tries, config } = stored;
    let seq = deployment.seq;
    let asked = Asked::of(config);
    let wanted = asked.as_ref().map_err(Clone::clone);
    let wanted = wanted.map(|asked| launching::wanted(&asked.spec, deployment.replicas));
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
        tries,
        ready_replicas: deployment.ready_replicas,
        records: records.iter().filter(|record| record.key.deployment == seq).cloned().collect(),
    })
}

fn state(deployment: &Deployment) -> SeenState {
    let lifecycle = &deployment.lifecycle;
    SeenState { seq: deployment.seq, status: lifecycle.status(), since: lifecycle.since() }
}

/// The driver is asked only when somebody is to get a GPU.
fn waits_for_gpus(version: &Version) -> bool {
    let has = slots::holders(version).len();
    let wants_more =
        |wanted: &Wanted| wanted.gpus > 0 && has < usize::try_from(wanted.replicas).unwrap_or(usize::MAX);
    is_alive(version) && version.wanted.as_ref().is_ok_and(wants_more)
}

/// Names are checked where they come in; one that does not fit is of no deployment of ours.
fn id(deployment: &Deployment) -> Option<DeploymentId> {
    DeploymentId::new(deployment.workspace.as_str(), deployment.name.as_str()).ok()
}
