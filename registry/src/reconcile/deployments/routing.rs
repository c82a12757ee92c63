//! Where the routes of a deployment lead. Pure.

use super::plan::{Step, is_alive};
use super::seen::{Listing, Probe, Seen, Version, host_url};
use crate::runtime::Phase;
use crate::store::instances::Record;

/// Where routes lead now, and what is to be changed about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// The version that serves.
    pub leads_to: Option<u32>,
    /// The instances behind the present route can't be seen.
    pub is_unsure: bool,
    pub step: Option<Step>,
}

/// The newest version that has a ready instance serves.
pub fn decide(seen: &Seen, versions: &[Version]) -> Routing {
    let Some(newest) = versions.iter().rev().find(|version| is_alive(version)) else {
        return Routing::default();
    };
    let provider = seen.providers.get(&newest.deployment);
    let leads_to = versions.iter().find(|version| serves(seen, version)).map(|version| version.number);
    let is_unsure = versions.iter().any(|version| is_away(seen, version));
    let candidates = versions.iter().rev().filter(|version| is_alive(version));
    let best = candidates.flat_map(|version| ready_endpoints(seen, version)).next();
    let change = match (best, provider) {
        (Some(url), Some(provider)) => (provider.withheld || provider.host_url != url).then_some(Some(url)),
        (Some(url), None) => Some(Some(url)),
        (None, Some(provider)) if !provider.withheld && !is_unsure => Some(None),
        (None, _) => None,
    };
    let step = change.map(|host_url| Step::Route {
        version: newest.state,
        deployment: newest.deployment.clone(),
        host_url,
    });
    Routing { leads_to, is_unsure, step }
}

fn is_away(seen: &Seen, version: &Version) -> bool {
    let launched = version.records.iter().any(|record| record.launched.is_some());
    let listing = version.runtime.map(|runtime| seen.listing(runtime));
    launched && !matches!(listing, Some(Listing::Here(_)))
}

/// Whether the route leads to an instance of this version.
fn serves(seen: &Seen, version: &Version) -> bool {
    version.records.iter().any(|record| is_routed(seen, version, record))
}

pub fn is_routed(seen: &Seen, version: &Version, record: &Record) -> bool {
    let Some(provider) = seen.providers.get(&version.deployment) else { return false };
    endpoint(seen, version, record).is_some_and(|endpoint| provider.leads_to(endpoint))
}

pub fn endpoint(seen: &Seen, version: &Version, record: &Record) -> Option<std::net::SocketAddr> {
    let listing = seen.listing(version.runtime?);
    match listing.find(&version.instance(record))?.phase {
        Phase::Running { endpoint, .. } => endpoint,
        Phase::Created | Phase::Exited { .. } => None,
    }
}

/// A route that stands is believed until a probe says otherwise: so after a restart.
fn ready_endpoints<'s>(seen: &'s Seen, version: &'s Version) -> impl Iterator<Item = String> + 's {
    version.records.iter().filter(|record| record.is_current()).filter_map(move |record| {
        let endpoint = endpoint(seen, version, record)?;
        let probe = seen.known.get(&version.instance(record)).and_then(|known| known.probe.as_ref());
        let is_ready = match probe {
            Some(probe) => *probe == Probe::Ready,
            None => record.ready.is_some() && is_routed(seen, version, record),
        };
        is_ready.then(|| host_url(endpoint))
    })
}
