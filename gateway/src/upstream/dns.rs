//! Addresses of endpoints that are named, not numbered: resolved in the background, judged one by
//! one, kept when a later look-up fails or turns bad.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use proto_shared::HostUrl;
use proto_shared::egress::{EgressPolicy, EgressRefusal};
use proto_shared::host_url::Host;
use tokio::sync::watch;

/// How often names are looked up again.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// One look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses kept of one name.
const ADDRESSES_MAX: usize = 16;

pub struct Addresses {
    name: Option<(Box<str>, u16)>,
    known: ArcSwapOption<Vec<SocketAddr>>,
    outcome: watch::Sender<Outcome>,
}

/// The last look-up's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Pending,
    Found,
    Failed,
    Refused(EgressRefusal),
}

impl Addresses {
    pub fn of(url: &HostUrl) -> Self {
        let (name, known, outcome) = match url.host() {
            Host::Ip(ip) => (None, Some(Arc::new(vec![SocketAddr::new(*ip, url.port())])), Outcome::Found),
            Host::Name(name) => (Some((name.clone(), url.port())), None, Outcome::Pending),
        };
        Self { name, known: ArcSwapOption::new(known), outcome: watch::Sender::new(outcome) }
    }

    /// The addresses; waits for the first look-up only, at most `limit`.
    pub async fn get(&self, limit: Duration) -> Result<Arc<Vec<SocketAddr>>, Outcome> {
        if let Some(known) = self.known.load_full() {
            return Ok(known);
        }
        let mut outcome = self.outcome.subscribe();
        let waited = tokio::time::timeout(limit, outcome.wait_for(|o| *o != Outcome::Pending)).await;
        let outcome = match waited {
            Ok(Ok(outcome)) => outcome.clone(),
            _ => Outcome::Pending,
        };
        self.known.load_full().ok_or(outcome)
    }

    /// Looks the name up and keeps what the policy allows. A failure keeps the old addresses.
    pub async fn refresh(&self, policy: &EgressPolicy) {
        let Some((name, port)) = &self.name else { return };
        let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((&**name, *port))).await;
        let found: Vec<SocketAddr> = match lookup {
            Ok(Ok(found)) => found.take(ADDRESSES_MAX).collect(),
            _ => Vec::new(),
        };
        if found.is_empty() {
            self.settle(Outcome::Failed);
            return;
        }
        // One bad address makes the whole answer suspect: a rebinding name mixes them.
        for address in &found {
            if let Err(refusal) = policy.check_address(address.ip(), address.port(), Some(name)) {
                tracing::warn!(%name, %refusal, "addresses refused");
                self.settle(Outcome::Refused(refusal));
                return;
            }
        }
        self.known.store(Some(Arc::new(found)));
        self.settle(Outcome::Found);
    }

    fn settle(&self, outcome: Outcome) {
        self.outcome.send_if_modified(|now| {
            let changed = *now != outcome;
            *now = outcome.clone();
            changed
        });
    }

    pub fn needs_lookup(&self) -> bool {
        self.name.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(url: &str) -> Addresses {
        Addresses::of(&HostUrl::parse(url).unwrap())
    }

    #[tokio::test]
    async fn a_numbered_host_needs_no_look_up() {
        let known = addresses("http://127.0.0.1:8000/v1").get(Duration::ZERO).await.unwrap();
        assert_eq!(*known, ["127.0.0.1:8000".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_is_judged_by_its_addresses() {
        let addresses = addresses("http://localhost:8000");
        addresses.refresh(&EgressPolicy::default()).await;
        assert!(matches!(addresses.get(Duration::ZERO).await, Err(Outcome::Refused(_))));
        addresses.refresh(&EgressPolicy::local()).await;
        assert!(!addresses.get(Duration::ZERO).await.unwrap().is_empty());
        // A refresh that turns bad keeps what was good.
        addresses.refresh(&EgressPolicy::default()).await;
        assert!(addresses.get(Duration::ZERO).await.is_ok());
    }
}
