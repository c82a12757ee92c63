//! Where the routes of a deployment lead. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use proto_shared::snapshot::Watch;

use super::plan::{Step, is_alive};
use super::seen::{Listing, Probe, Seen, Version, Wanted, host_url};
use super::slots;
use crate::runtime::Phase;
use crate::store::instances::{Record, RecordKey};

/// Where routes lead now, and what is to be changed about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// The version that serves.
    pub leads_to: Option<u32>,
    /// The instances behind the present route can't be seen.
    pub is_unsure: bool,
    pub step: Option<Step>,
}

/// What routes are to lead to: ready instances of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led {
    /// One of `instances`.
    pub host_url: String,
    pub instances: Vec<String>,
    /// Where those say how they are.
    pub watch: Watch,
    /// What they said that they serve.
    pub models: Option<Vec<String>>,
}

/// The newest version serves whose instances are all ready; while none is, the one that serves goes on. Routes never
/// lead to two versions at once: they may call their models differently.
pub fn decide(seen: &Seen, versions: &[Version], surplus: &BTreeSet<RecordKey>) -> Routing {
    let alive: Vec<_> = versions.iter().rev().filter(|version| is_alive(version)).collect();
    let Some(newest) = alive.first() else { return Routing::default() };
    let provider = seen.providers.get(&newest.deployment);
    let leads_to = versions.iter().find(|version| serves(seen, version)).map(|version| version.number);
    let is_unsure = versions.iter().any(|version| is_away(seen, version));
    let ready: Vec<_> = alive.iter().map(|version| ready_instances(seen, version, surplus)).collect();
    let is_chosen = |at: usize, version: &Version| {
        let (own, older) = (ready.get(at), ready.get(at + 1..).unwrap_or_default());
        let is_settled = || slots::holders(version).len() == own.map_or(0, Vec::len) + gone(version, surplus);
        own.is_some_and(|own| !own.is_empty())
            && (leads_to == Some(version.number) || is_settled() || older.iter().all(Vec::is_empty))
    };
    let chosen = (0..).zip(&alive).find(|(at, version)| is_chosen(*at, version));
    let best = chosen.and_then(|(at, version)| led(seen, version, ready.get(at)?));
    let change = match (best, provider) {
        (Some(led), Some(provider)) => {
            // Whoever asks one address for all of them goes on asking the same.
            let kept = led.instances.iter().find(|url| **url == provider.host_url).cloned();
            let is_there = !provider.withheld && provider.instances == led.instances && kept.is_some();
            (!is_there).then(|| Some(Led { host_url: kept.unwrap_or(led.host_url), ..led }))
        }
        (Some(led), None) => Some(Some(led)),
        (None, Some(provider)) if !provider.withheld && !is_unsure => Some(None),
        (None, _) => None,
    };
    let (version, deployment) = (newest.state, newest.deployment.clone());
    let step = change.map(|to| Step::Route { version, deployment, to });
    Routing { leads_to, is_unsure, step }
}

/// Those of its holders that are on their way out.
fn gone(version: &Version, surplus: &BTreeSet<RecordKey>) -> usize {
    slots::holders(version).iter().filter(|record| surplus.contains(&record.key)).count()
}

fn led(seen: &Seen, version: &Version, ready: &[(&Record, SocketAddr)]) -> Option<Led> {
    let instances: Vec<_> = ready.iter().map(|(_, endpoint)| host_url(*endpoint)).collect();
    let said = |(record, _): &(&Record, SocketAddr)| {
        seen.known.get(&version.instance(record)).and_then(|known| known.models.clone())
    };
    Some(Led {
        host_url: instances.first()?.clone(),
        models: ready.iter().find_map(said),
        instances,
        watch: version.wanted.as_ref().map(Wanted::watch).unwrap_or_default(),
    })
}

fn is_away(seen: &Seen, version: &Version) -> bool {
    let launched = version.records.iter().any(|record| record.launched.is_some());
    let listing = version.runtime.and_then(|runtime| seen.runtimes.get(&runtime));
    launched && !matches!(listing, Some(Listing::Here(_)))
}

/// Whether a route leads to an instance of this version.
fn serves(seen: &Seen, version: &Version) -> bool {
    version.records.iter().any(|record| is_routed(seen, version, record))
}

pub fn is_routed(seen: &Seen, version: &Version, record: &Record) -> bool {
    let Some(provider) = seen.providers.get(&version.deployment) else { return false };
    endpoint(seen, version, record).is_some_and(|endpoint| provider.leads_to(endpoint))
}

pub fn endpoint(seen: &Seen, version: &Version, record: &Record) -> Option<SocketAddr> {
    match seen.instance(version.runtime?, &version.instance(record))?.phase {
        Phase::Running { endpoint, .. } => endpoint,
        Phase::Created | Phase::Exited { .. } => None,
    }
}

/// Where an instance takes requests. A route that stands is believed until a probe says otherwise: so after a restart.
pub fn ready_at(seen: &Seen, version: &Version, record: &Record) -> Option<SocketAddr> {
    let endpoint = endpoint(seen, version, record).filter(|_| record.is_current())?;
    let probe = seen.known.get(&version.instance(record)).and_then(|known| known.probe.as_ref());
    let is_ready = match probe {
        Some(probe) => *probe == Probe::Ready,
        None => record.ready.is_some() && is_routed(seen, version, record),
    };
    is_ready.then_some(endpoint)
}

fn ready_instances<'v>(
    seen: &Seen,
    version: &'v Version,
    surplus: &BTreeSet<RecordKey>,
) -> Vec<(&'v Record, SocketAddr)> {
    slots::holders(version)
        .into_iter()
        .filter(|record| !surplus.contains(&record.key))
        .filter_map(|record| Some((record, ready_at(seen, version, record)?)))
        .collect()
}
