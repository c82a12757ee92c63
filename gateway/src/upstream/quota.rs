//! What a provider or a model may be asked for: its places, its rate, and the line in front of servers that have too
//! much to do. They outlive tables.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;
use proto_shared::{ModelRoute, ProviderRoute, RouteSnapshot};

use super::line::Line;
use super::places::Places;
use crate::limit::Rate;

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Provider,
    Model,
}

type Key = (Kind, Box<str>, Box<str>);

pub struct Quota {
    pub places: Places,
    pub rate: Rate,
    pub line: Line,
}

impl Quota {
    fn new(places: u32) -> Self {
        Self { places: Places::new(places), rate: Rate::default(), line: Line::default() }
    }

    fn set(&self, places: u32, per_minute: Option<u32>) {
        self.places.set_limit(places);
        self.rate.set_limit(per_minute);
    }
}

/// Looked up when a table is built, never by a request.
#[derive(Default)]
pub struct Quotas(DashMap<Key, Arc<Quota>>);

impl Quotas {
    /// That of `route`'s provider, now with its limits.
    pub fn of_provider(&self, route: &ProviderRoute) -> Arc<Quota> {
        let (places, per_minute) = (route.backend.num_concurrent_requests, route.backend.requests_per_minute);
        self.of(Kind::Provider, route.workspace.as_str(), route.name.as_str(), places, per_minute)
    }

    /// That of a model, now with its limits.
    pub fn of_model(&self, route: &ModelRoute) -> Arc<Quota> {
        let places = route.limits.concurrency.unwrap_or(u32::MAX);
        let per_minute = route.limits.requests_per_minute;
        self.of(Kind::Model, route.workspace.as_str(), route.name.as_str(), places, per_minute)
    }

    fn of(
        &self,
        kind: Kind,
        workspace: &str,
        name: &str,
        places: u32,
        per_minute: Option<u32>,
    ) -> Arc<Quota> {
        let key = (kind, workspace.into(), name.into());
        let quota = Arc::clone(&self.0.entry(key).or_insert_with(|| Arc::new(Quota::new(places))));
        quota.set(places, per_minute);
        quota
    }

    /// Forgets what `snapshot` no longer names.
    pub fn retain(&self, snapshot: &RouteSnapshot) {
        let providers =
            snapshot.providers.iter().map(|p| (Kind::Provider, p.workspace.as_str(), p.name.as_str()));
        let models = snapshot.models.iter().map(|m| (Kind::Model, m.workspace.as_str(), m.name.as_str()));
        let named: HashSet<(Kind, &str, &str)> = providers.chain(models).collect();
        self.0.retain(|(kind, workspace, name), _| named.contains(&(*kind, &**workspace, &**name)));
    }
}
