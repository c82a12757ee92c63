//! Addresses that have left the table while requests were on them.
//!
//! What must stay true: an address is in here from the moment its table is gone until the last request on
//! it has ended, or until a later table names it again. So whoever stops what runs there can ask.

use std::collections::HashMap;
use std::sync::Arc;

use proto_shared::feed::{BusyAddress, GatewayReport};

use super::endpoint::{Endpoint, Key};

#[derive(Default)]
pub struct Departed {
    /// Of the table that is served.
    generation: u64,
    busy: HashMap<Key, Arc<Endpoint>>,
}

impl Departed {
    pub fn add(&mut self, key: Key, endpoint: Arc<Endpoint>) {
        self.busy.insert(key, endpoint);
    }

    /// For a table that names the address again: its connections and counts go on.
    pub fn get(&self, key: &Key) -> Option<Arc<Endpoint>> {
        self.busy.get(key).cloned()
    }

    /// A table is served from now on; those that it names are not departed.
    pub fn served(&mut self, generation: u64, named: impl Fn(&Key) -> bool) {
        self.generation = generation;
        self.busy.retain(|key, _| !named(key));
        self.forget_unused();
    }

    /// What is still in use now, in a fixed order. Several providers may have been at one address.
    pub fn report(&mut self) -> GatewayReport {
        self.forget_unused();
        let mut busy: Vec<BusyAddress> = Vec::with_capacity(self.busy.len());
        for endpoint in self.busy.values() {
            let in_flight = endpoint.load.in_flight() as u64;
            match busy.iter_mut().find(|busy| busy.url == endpoint.url) {
                Some(busy) => busy.in_flight += in_flight,
                None => busy.push(BusyAddress { url: endpoint.url.clone(), in_flight }),
            }
        }
        busy.sort_by(|a, b| a.url.as_str().cmp(b.url.as_str()));
        GatewayReport { generation: self.generation, busy, out: None }
    }

    /// A request that ended meanwhile was the last one: nobody begins at a closed address.
    fn forget_unused(&mut self) {
        self.busy.retain(|_, endpoint| endpoint.load.in_flight() > 0);
    }
}

#[cfg(test)]
mod tests {
    use proto_shared::{ProviderRoute, RouteSnapshot};
    use serde_json::json;

    use crate::upstream::Endpoints;

    const A: &str = "http://127.0.0.1:1";
    const B: &str = "http://127.0.0.1:2";

    fn snapshot(generation: u64, providers: &[(&str, &[&str])]) -> RouteSnapshot {
        let providers = providers.iter().map(|(name, replicas)| {
            json!({ "workspace": "default", "name": name, "host_url": replicas[0], "replicas": replicas })
        });
        let providers: Vec<ProviderRoute> = providers.map(|p| serde_json::from_value(p).unwrap()).collect();
        let (workspaces, models) = (vec![], vec![]);
        RouteSnapshot {
            format: 1,
            installation: "i".into(),
            generation,
            workspaces,
            local_only: vec![],
            providers,
            models,
        }
    }

    /// What serving a table does to the endpoints; gives those of its first provider.
    fn serve(endpoints: &Endpoints, snapshot: &RouteSnapshot) -> Vec<std::sync::Arc<super::Endpoint>> {
        let build =
            |p: &ProviderRoute| p.addresses().iter().map(|url| endpoints.endpoint_for(p, url)).collect();
        let built: Vec<Vec<_>> = snapshot.providers.iter().map(build).collect();
        endpoints.retain(snapshot);
        built.into_iter().next().unwrap_or_default()
    }

    fn busy(endpoints: &Endpoints) -> Vec<(String, u64)> {
        endpoints.report().busy.into_iter().map(|busy| (busy.url.to_string(), busy.in_flight)).collect()
    }

    #[tokio::test]
    async fn an_address_is_listed_from_when_it_leaves_until_its_last_request_has_ended() {
        let endpoints = Endpoints::for_tests();
        let at = serve(&endpoints, &snapshot(1, &[("p1", &[A, B])]));
        let (first, second) = (at[0].load.enter().unwrap(), at[0].load.enter().unwrap());
        assert_eq!((endpoints.report().generation, busy(&endpoints)), (1, vec![]));
        serve(&endpoints, &snapshot(2, &[]));
        assert_eq!((endpoints.report().generation, busy(&endpoints)), (2, vec![(A.into(), 2)]));
        assert!(at[0].load.enter().is_none() && at[1].load.enter().is_none());
        drop(first);
        assert_eq!(busy(&endpoints), [(A.into(), 1)]);
        drop(second);
        assert_eq!(busy(&endpoints), []);
    }

    #[tokio::test]
    async fn providers_that_were_at_one_address_are_counted_together() {
        let endpoints = Endpoints::for_tests();
        let one = serve(&endpoints, &snapshot(1, &[("p1", &[A])]));
        let other = serve(&endpoints, &snapshot(2, &[("p2", &[A]), ("p1", &[A])]));
        let _visits = (one[0].load.enter().unwrap(), other[0].load.enter().unwrap());
        serve(&endpoints, &snapshot(3, &[]));
        assert_eq!(busy(&endpoints), [(A.into(), 2)]);
    }

    #[tokio::test]
    async fn time_limits_that_change_lose_no_request() {
        let endpoints = Endpoints::for_tests();
        let mut changed = snapshot(2, &[("p1", &[A])]);
        changed.providers[0].timeouts.connect_timeout_ms += 1;
        let before = serve(&endpoints, &snapshot(1, &[("p1", &[A])]));
        let _visit = before[0].load.enter().unwrap();
        let after = serve(&endpoints, &changed);
        assert!(!std::sync::Arc::ptr_eq(&before[0], &after[0]));
        assert_eq!((after[0].load.in_flight(), busy(&endpoints)), (1, vec![]));
        serve(&endpoints, &snapshot(3, &[]));
        assert_eq!(busy(&endpoints), [(A.into(), 1)]);
    }

    #[tokio::test]
    async fn an_address_that_returns_is_the_same_and_open() {
        let endpoints = Endpoints::for_tests();
        let before = serve(&endpoints, &snapshot(1, &[("p1", &[A])]));
        let _visit = before[0].load.enter().unwrap();
        serve(&endpoints, &snapshot(2, &[]));
        let after = serve(&endpoints, &snapshot(3, &[("p1", &[A])]));
        assert!(std::sync::Arc::ptr_eq(&before[0], &after[0]));
        assert_eq!((after[0].load.in_flight(), busy(&endpoints)), (1, vec![]));
        assert!(after[0].load.enter().is_some());
    }
}
