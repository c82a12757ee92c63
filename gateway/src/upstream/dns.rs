//! Addresses of endpoints that are named, not numbered: resolved in the background, judged one by
//! one, kept when a later look-up fails or turns bad.
//!
//! A name that leads nowhere is looked up again by whoever fails for it, once a second: its servers may have moved.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use proto_shared::HostUrl;
use proto_shared::egress::{EgressPolicy, EgressRefusal};
use proto_shared::host_url::Host;
use tokio::sync::watch;

use crate::uptime::now_ms;

/// One look-up.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// One that a request waits for.
const LOOKUP_AGAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two of these.
const LOOKUP_AGAIN_PAUSE_MS: u64 = 1_000;
/// Addresses kept of one name.
const ADDRESSES_MAX: usize = 16;

/// From a name to where it leads now.
pub type Lookup = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// Who knows the addresses of names.
#[derive(Clone, Default)]
pub enum Names {
    #[default]
    System,
    Given(Arc<Lookup>),
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Given(_) => "Given",
        })
    }
}

impl Names {
    async fn addresses(&self, name: &str, port: u16) -> Vec<SocketAddr> {
        match self {
            Self::System => {
                let lookup =
                    tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, port))).await;
                lookup.ok().and_then(Result::ok).into_iter().flatten().take(ADDRESSES_MAX).collect()
            }
            Self::Given(known) => known(name).into_iter().map(|ip| SocketAddr::new(ip, port)).collect(),
        }
    }
}

pub struct Addresses {
    name: Option<(Box<str>, u16)>,
    /// When somebody last looked it up for want of an address that works.
    again_ms: AtomicU64,
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
        let (known, outcome) = (ArcSwapOption::new(known), watch::Sender::new(outcome));
        Self { name, again_ms: AtomicU64::new(0), known, outcome }
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

    /// Whether a connection to `address` still leads where the name does.
    pub fn lists(&self, address: SocketAddr) -> bool {
        self.known.load().as_ref().is_some_and(|known| known.contains(&address))
    }

    /// Where the name leads now beside the addresses that were tried; empty: nowhere else, or somebody looked just now.
    pub async fn moved(&self, names: &Names, policy: &EgressPolicy, tried: &[SocketAddr]) -> Vec<SocketAddr> {
        let (now_ms, last_ms) = (now_ms().max(1), self.again_ms.load(Ordering::Relaxed));
        let is_due = last_ms == 0 || now_ms >= last_ms.saturating_add(LOOKUP_AGAIN_PAUSE_MS);
        let swap = || self.again_ms.compare_exchange(last_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if self.needs_lookup() && is_due && swap().is_ok() {
            let _ = tokio::time::timeout(LOOKUP_AGAIN_TIMEOUT, self.refresh(names, policy)).await;
        }
        let known = self.known.load();
        known.iter().flat_map(|known| known.iter()).filter(|now| !tried.contains(now)).copied().collect()
    }

    /// Looks the name up and keeps what the policy allows. A failure keeps the old addresses.
    pub async fn refresh(&self, names: &Names, policy: &EgressPolicy) {
        let Some((name, port)) = &self.name else { return };
        let found = names.addresses(name, *port).await;
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
        addresses.refresh(&Names::System, &EgressPolicy::default()).await;
        assert!(matches!(addresses.get(Duration::ZERO).await, Err(Outcome::Refused(_))));
        addresses.refresh(&Names::System, &EgressPolicy::local()).await;
        assert!(!addresses.get(Duration::ZERO).await.unwrap().is_empty());
        // A refresh that turns bad keeps what was good.
        addresses.refresh(&Names::System, &EgressPolicy::default()).await;
        assert!(addresses.get(Duration::ZERO).await.is_ok());
    }

    fn given(addresses: &Arc<parking_lot::Mutex<Vec<IpAddr>>>) -> Names {
        let addresses = Arc::clone(addresses);
        Names::Given(Arc::new(move |_| addresses.lock().clone()))
    }

    #[tokio::test]
    async fn who_fails_looks_again_once_a_second_and_a_failed_look_up_keeps_what_was() {
        let (here, there) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let at = |ip| SocketAddr::new(ip, 8000);
        let book = Arc::new(parking_lot::Mutex::new(vec![here]));
        let (names, policy, addresses) =
            (given(&book), EgressPolicy::local(), addresses("http://moves.test:8000"));
        addresses.refresh(&names, &policy).await;
        assert!(addresses.moved(&names, &policy, &[at(here)]).await.is_empty(), "it is where it was");
        *book.lock() = vec![there];
        assert!(addresses.moved(&names, &policy, &[at(here)]).await.is_empty(), "somebody looked just now");
        addresses.again_ms.store(0, Ordering::Relaxed);
        assert_eq!(addresses.moved(&names, &policy, &[at(here)]).await, [at(there)]);
        assert!(addresses.lists(at(there)) && !addresses.lists(at(here)));
        assert_eq!(addresses.moved(&names, &policy, &[at(here)]).await, [at(there)], "what another found");
        book.lock().clear();
        addresses.refresh(&names, &policy).await;
        assert_eq!(*addresses.get(Duration::ZERO).await.unwrap(), [at(there)]);
    }
}
