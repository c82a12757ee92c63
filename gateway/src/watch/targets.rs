//! Whom to look at: of a table's addresses those of servers of our own. Where there is no choice nothing that is found
//! changes where a request goes; its owner is told then, and a server that is back is known to be.
//!
//! Absent on purpose: hosted providers. A look costs them requests of their user's quota.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use proto_shared::snapshot::Watch;

use crate::resume::Resume;
use crate::route::{Provider, Replica, RouteTable};
use crate::upstream::Endpoint;

/// One address that is looked at.
pub struct Target {
    pub endpoint: Arc<Endpoint>,
    /// As on every request: the key may be wanted for metrics too.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub watch: Watch,
    /// Whether requests may go elsewhere, so that it matters how much it has to do.
    pub has_others: bool,
    /// Whether it matters what it can do: a model of it goes on where that is known.
    pub is_to_learn: bool,
}

/// Provider and address: outlives tables and time limits.
pub type Key = (Box<str>, Box<str>);

impl Target {
    fn new(provider: &Provider, watch: &Watch, replica: &Replica) -> Self {
        Self {
            endpoint: Arc::clone(&replica.endpoint),
            headers: provider.fixed_headers.clone(),
            watch: watch.clone(),
            has_others: false,
            is_to_learn: false,
        }
    }

    /// Whether looking at one is looking at the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoint, &other.endpoint)
            && self.watch == other.watch
            && self.headers == other.headers
            && self.has_others == other.has_others
            && self.is_to_learn == other.is_to_learn
    }
}

/// At most `max` of them, which are always the same; those first among which there is a choice.
pub fn of(table: &RouteTable, max: usize) -> BTreeMap<Key, Target> {
    let mut targets = BTreeMap::new();
    if max == 0 {
        return targets;
    }
    for workspace in table.workspaces() {
        let providers = workspace.providers.iter().filter_map(|(_, provider)| provider.as_ref().ok());
        for provider in providers {
            let has_others = provider.replicas.len() > 1;
            each_address(&mut targets, provider, |target| target.has_others |= has_others);
        }
        for model in &workspace.models {
            let addresses: usize = model.candidates.iter().map(|by| by.provider.replicas.len()).sum();
            let is_to_learn = model.resume == Resume::WhereKnown;
            for by in model.candidates.iter().filter(|_| addresses > 1) {
                each_address(&mut targets, &by.provider, |target| {
                    target.has_others = true;
                    target.is_to_learn |= is_to_learn;
                });
            }
        }
    }
    bound(&mut targets, max);
    targets
}

fn bound(targets: &mut BTreeMap<Key, Target>, max: usize) {
    let Some(too_many @ 1..) = targets.len().checked_sub(max) else { return };
    tracing::warn!("{too_many} addresses are not probed: only {max} are");
    let lone = targets.iter().filter(|(_, target)| !target.has_others).map(|(key, _)| key.clone());
    let left_out: BTreeSet<Key> = lone.rev().take(too_many).collect();
    targets.retain(|key, _| !left_out.contains(key));
    if let Some(key) = targets.keys().nth(max).cloned() {
        targets.split_off(&key);
    }
}

fn each_address(targets: &mut BTreeMap<Key, Target>, provider: &Provider, see: impl Fn(&mut Target)) {
    let Some(watch) = &provider.watch else { return };
    for replica in &provider.replicas {
        let key = (provider.label.clone(), replica.url().as_str().into());
        see(targets.entry(key).or_insert_with(|| Target::new(provider, watch, replica)));
    }
}

#[cfg(test)]
mod tests {
    use proto_shared::{KeyRing, RouteSnapshot};
    use serde_json::json;

    use super::*;
    use crate::upstream::Endpoints;

    /// Providers with their addresses, whether they are watched, and the model that all of them serve.
    fn found(providers: &[(&str, &[&str], bool)], max: usize) -> Vec<String> {
        let routes = providers.iter().map(|(name, urls, watched)| {
            let mut route =
                json!({ "workspace": "default", "name": name, "host_url": urls[0], "replicas": urls });
            if *watched {
                route["watch"] = json!({ "metrics_path": "/metrics" });
            }
            route
        });
        let candidates = providers
            .iter()
            .map(|(name, ..)| json!({ "workspace": "default", "provider": name, "served_name": "m" }));
        let snapshot: RouteSnapshot = serde_json::from_value(json!({
            "format": 1, "installation": "i", "generation": 1, "workspaces": ["default"],
            "providers": routes.collect::<Vec<_>>(),
            "models": [{
                "workspace": "default", "name": "m1", "created": 0, "candidates": candidates.collect::<Vec<_>>(),
            }],
        }))
        .unwrap();
        let table =
            RouteTable::build(&snapshot, &Endpoints::for_tests(), &KeyRing::generate().unwrap().keys());
        let shown = |((_, url), target): (Key, Target)| {
            let port = url.rsplit_once(':').unwrap().1;
            if target.has_others { port.to_owned() } else { format!("{port} alone") }
        };
        of(&table, max).into_iter().map(shown).collect()
    }

    const A: &str = "http://127.0.0.1:1";
    const B: &str = "http://127.0.0.1:2";
    const C: &str = "http://127.0.0.1:3";

    #[test]
    fn addresses_are_looked_at_and_there_may_be_a_choice_among_them() {
        assert_eq!(found(&[("p1", &[A, B], true)], 9), ["1", "2"]);
        assert_eq!(found(&[("p1", &[A], true), ("p2", &[B], true)], 9), ["1", "2"]);
        assert_eq!(found(&[("p1", &[A], true)], 9), ["1 alone"]);
    }

    #[test]
    fn hosted_providers_are_left_alone_and_count_as_a_choice() {
        assert_eq!(found(&[("p1", &[A], true), ("hosted", &[B, C], false)], 9), ["1"]);
        assert!(found(&[("p1", &[A], false), ("hosted", &[B, C], false)], 9).is_empty());
    }

    #[test]
    fn no_more_are_looked_at_than_the_limit_and_always_the_same() {
        assert!(found(&[("p1", &[A, B, C], true)], 0).is_empty());
        for _ in 0..9 {
            assert_eq!(found(&[("p1", &[A, B, C], true)], 2), ["1", "2"]);
        }
    }
}
