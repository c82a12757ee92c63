//! What stays of a provider's address when tables change: where it is, connections and counters.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use proto_shared::egress::EgressPolicy;
use proto_shared::feed::GatewayReport;
use proto_shared::snapshot::{Origin, UpstreamTimeouts};
use proto_shared::{HostUrl, ProviderRoute, RouteSnapshot};
use tokio::sync::watch;

use super::departed::Departed;
use super::dns::{Addresses, Names};
use super::load::Load;
use super::pool::Pool;
use super::quota::Quotas;
use crate::limit::RetryBudget;
use crate::metrics::{Metrics, ProviderMetrics};

/// Look-ups under way at once.
const LOOKUPS_MAX: usize = 32;
/// How often idle connections are looked over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One address of a provider.
pub struct Endpoint {
    /// `workspace/provider`: for messages and logs.
    pub label: Box<str>,
    pub url: HostUrl,
    /// Both, for what is noted of requests.
    pub spot: Arc<Spot>,
    /// Who says that it is there.
    pub origin: Origin,
    pub timeouts: Timeouts,
    pub addresses: Addresses,
    pub pool: Pool,
    /// Of this address; stays when its time limits change.
    pub load: Arc<Load>,
    /// Of the provider: the same at all its addresses.
    pub metrics: Arc<ProviderMetrics>,
    raw_timeouts: UpstreamTimeouts,
}

/// Names an address, and keeps nothing else of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Spot {
    /// `workspace/provider`.
    pub provider: Box<str>,
    pub url: Box<str>,
}

/// Time limits of one upstream.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub idle: Duration,
    pub total: Duration,
    pub pool_idle: Duration,
}

impl From<UpstreamTimeouts> for Timeouts {
    fn from(raw: UpstreamTimeouts) -> Self {
        // Zero would mean "never works": the least useful limit is one millisecond.
        let ms = |ms: u64| Duration::from_millis(ms.max(1));
        Self {
            connect: ms(raw.connect_timeout_ms),
            first_byte: ms(raw.first_byte_timeout_ms),
            idle: ms(raw.idle_timeout_ms),
            total: ms(raw.total_timeout_ms),
            pool_idle: ms(raw.pool_idle_timeout_ms),
        }
    }
}

impl Endpoint {
    pub fn is_tls(&self) -> bool {
        self.url.is_https()
    }
}

/// Workspace, provider, address.
pub(super) type Key = (Box<str>, Box<str>, HostUrl);

/// All endpoints. Looked up when a table is built, never by a request.
pub struct Endpoints {
    pub quotas: Quotas,
    /// Of all requests together.
    pub retries: RetryBudget,
    map: DashMap<Key, Arc<Endpoint>>,
    departed: Mutex<Departed>,
    /// Sees each table that is served, when what it left behind is known.
    served: watch::Sender<()>,
    metrics: Arc<Metrics>,
    policy: Arc<EgressPolicy>,
    names: Names,
    idle_per_endpoint_max: usize,
}

impl Endpoints {
    pub fn new(
        metrics: Arc<Metrics>,
        policy: Arc<EgressPolicy>,
        names: Names,
        idle_per_endpoint_max: usize,
    ) -> Self {
        Self {
            quotas: Quotas::default(),
            retries: RetryBudget::default(),
            map: DashMap::new(),
            departed: Mutex::default(),
            served: watch::Sender::new(()),
            metrics,
            policy,
            names,
            idle_per_endpoint_max,
        }
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        Self::new(metrics, Arc::new(EgressPolicy::local()), Names::System, 4)
    }

    /// The endpoint of one of the route's addresses: the one there is if it still fits, else a new one with
    /// empty pool.
    pub fn endpoint_for(&self, route: &ProviderRoute, url: &HostUrl) -> Arc<Endpoint> {
        let key: Key = (route.workspace.as_str().into(), route.name.as_str().into(), url.clone());
        let existing = self.map.get(&key).map(|entry| Arc::clone(&entry));
        let existing = existing.or_else(|| self.returned(&key));
        if let Some(existing) = &existing
            && (existing.raw_timeouts, existing.origin) == (route.timeouts, route.origin)
        {
            return Arc::clone(existing);
        }
        let timeouts = Timeouts::from(route.timeouts);
        let label: Box<str> = format!("{}/{}", key.0, key.1).into();
        let endpoint = Arc::new(Endpoint {
            spot: Arc::new(Spot { provider: label.clone(), url: url.as_str().into() }),
            label,
            url: url.clone(),
            origin: route.origin,
            timeouts,
            addresses: Addresses::of(url),
            pool: Pool::new(self.idle_per_endpoint_max, timeouts.pool_idle),
            load: existing.map(|old| Arc::clone(&old.load)).unwrap_or_default(),
            metrics: self.metrics_of(route),
            raw_timeouts: route.timeouts,
        });
        self.look_up_soon(&endpoint);
        self.map.insert(key, Arc::clone(&endpoint));
        endpoint
    }

    /// The counters of a provider: the same at all its addresses.
    pub fn metrics_of(&self, route: &ProviderRoute) -> Arc<ProviderMetrics> {
        self.metrics.provider(route.workspace.as_str(), route.name.as_str())
    }

    /// One that had left while it was in use, and is named again.
    fn returned(&self, key: &Key) -> Option<Arc<Endpoint>> {
        let endpoint = self.departed.lock().get(key)?;
        endpoint.load.open();
        self.map.insert(key.clone(), Arc::clone(&endpoint));
        Some(endpoint)
    }

    /// The table of `snapshot` is served: what it no longer names is closed, and forgotten when it is unused.
    pub fn retain(&self, snapshot: &RouteSnapshot) {
        self.quotas.retain(snapshot);
        let mut named: HashSet<(&str, &str, &HostUrl)> = HashSet::new();
        for p in &snapshot.providers {
            named.extend(p.addresses().iter().map(|url| (p.workspace.as_str(), p.name.as_str(), url)));
        }
        let named = |(workspace, provider, url): &Key| named.contains(&(&**workspace, &**provider, url));
        let mut departed = self.departed.lock();
        self.map.retain(|key, endpoint| {
            let stays = named(key);
            if !stays {
                endpoint.load.close();
                departed.add(key.clone(), Arc::clone(endpoint));
            }
            stays
        });
        departed.served(snapshot.generation, named);
        drop(departed);
        self.served.send_replace(());
    }

    /// Those of the table that is served.
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        self.map.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    /// What is served, and which addresses that have left are still in use.
    pub fn report(&self) -> GatewayReport {
        self.departed.lock().report()
    }

    /// Provider and address of what gets no requests now while there are others, with the reason.
    pub fn out_of_use(&self, now_ms: u64) -> Vec<((Box<str>, HostUrl), String)> {
        let out = self.map.iter().filter_map(|endpoint| {
            let why = endpoint.load.out_because(now_ms)?;
            Some(((endpoint.label.clone(), endpoint.url.clone()), why))
        });
        out.collect()
    }

    /// Sees every table that is served, after what it left in use is known.
    pub fn served(&self) -> watch::Receiver<()> {
        self.served.subscribe()
    }

    fn look_up_soon(&self, endpoint: &Arc<Endpoint>) {
        if !endpoint.addresses.needs_lookup() {
            return;
        }
        let (endpoint, policy, names) = (Arc::clone(endpoint), Arc::clone(&self.policy), self.names.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let look_up =
                async move { endpoint.addresses.refresh(&names, &policy.of(endpoint.origin)).await };
            runtime.spawn(look_up);
        }
    }

    /// Refreshes names and closes idle connections for as long as the process runs.
    pub async fn keep_fresh(&self, lookup_interval: Duration) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut refreshed = tokio::time::Instant::now();
        loop {
            sweep.tick().await;
            let endpoints = self.all();
            for endpoint in &endpoints {
                endpoint.pool.sweep();
            }
            if refreshed.elapsed() >= lookup_interval {
                refreshed = tokio::time::Instant::now();
                self.refresh_all(&endpoints).await;
            }
        }
    }

    async fn refresh_all(&self, endpoints: &[Arc<Endpoint>]) {
        use futures_util::StreamExt;
        let named = endpoints.iter().filter(|endpoint| endpoint.addresses.needs_lookup());
        futures_util::stream::iter(named)
            .for_each_concurrent(LOOKUPS_MAX, |endpoint| async move {
                endpoint.addresses.refresh(&self.names, &self.policy.of(endpoint.origin)).await;
            })
            .await;
    }
}
