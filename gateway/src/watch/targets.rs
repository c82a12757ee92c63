//! Whom to look at: of a table's addresses those of servers of our own among which there is a choice. Where
//! there is none, nothing that is found would change where a request goes.
//!
//! Absent on purpose: hosted providers. A look costs them requests of their user's quota.

use std::collections::BTreeMap;
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
    /// Whether it matters what it can do: a model of it goes on where that is known.
    pub is_to_learn: bool,
}

/// Provider and address: outlives tables and time limits.
pub type Key = (Box<str>, Box<str>);

impl Target {
    fn new(provider: &Provider, watch: &Watch, replica: &Replica, is_to_learn: bool) -> Self {
        Self {
            endpoint: Arc::clone(&replica.endpoint),
            headers: provider.fixed_headers.clone(),
            watch: watch.clone(),
            is_to_learn,
        }
    }

    /// Whether looking at one is looking at the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoint, &other.endpoint)
            && self.watch == other.watch
            && self.headers == other.headers
            && self.is_to_learn == other.is_to_learn
    }
}

/// At most `max` of them, which are always the same.
pub fn of(table: &RouteTable, max: usize) -> BTreeMap<Key, Target> {
    let mut targets = BTreeMap::new();
    if max == 0 {
        return targets;
    }
    for workspace in table.workspaces() {
        let alone = workspace.providers.iter().filter_map(|(_, provider)| provider.as_ref().ok());
        for provider in alone.filter(|provider| provider.replicas.len() > 1) {
            add(&mut targets, provider, false);
        }
        for model in &workspace.models {
            let addresses: usize = model.candidates.iter().map(|by| by.provider.replicas.len()).sum();
            if addresses > 1 {
                let is_to_learn = model.resume == Resume::WhereKnown;
                model.candidates.iter().for_each(|by| add(&mut targets, &by.provider, is_to_learn));
            }
        }
    }
    if targets.len() > max {
        tracing::warn!("{} addresses are not probed: only {max} are", targets.len() - max);
        if let Some(key) = targets.keys().nth(max).cloned() {
            targets.split_off(&key);
        }
    }
    targets
}

fn add(targets: &mut BTreeMap<Key, Target>, provider: &Provider, is_to_learn: bool) {
    let Some(watch) = &provider.watch else { return };
    for replica in &provider.replicas {
        let key = (provider.label.clone(), replica.url().as_str().into());
        let target = targets.entry(key).or_insert_with(|| Target::new(provider, watch, replica, false));
        target.is_to_learn |= is_to_learn;
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
        of(&table, max).into_keys().map(|(_, url)| url.rsplit_once(':').unwrap().1.to_owned()).collect()
    }

    const A: &str = "http://127.0.0.1:1";
    const B: &str = "http://127.0.0.1:2";
    const C: &str = "http://127.0.0.1:3";

    #[test]
    fn addresses_among_which_there_is_a_choice_are_looked_at() {
        assert_eq!(found(&[("p1", &[A, B], true)], 9), ["1", "2"]);
        assert_eq!(found(&[("p1", &[A], true), ("p2", &[B], true)], 9), ["1", "2"]);
        assert!(found(&[("p1", &[A], true)], 9).is_empty());
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
