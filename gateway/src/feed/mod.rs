//! The feed: keeps the routing table as new as the registry's, and survives without it.
//!
//! Invariants:
//! - The request path never waits for the registry.
//! - What is applied is also written to disk (sealed as it came), and a gateway boots from it.
//! - The registry is told what is applied, what that left in use, and what is out of use.
//! - A snapshot that is older, foreign, of a newer format or damaged leaves the served table alone.

mod client;
mod persist;
mod report;
mod sight;
mod told;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto_shared::feed::{FeedMessage, GatewayId, RECONNECT_PAUSE_MAX_MS};
use proto_shared::snapshot::SNAPSHOT_FORMAT;
use proto_shared::tomorrow::{self, UnknownWord};
use proto_shared::{KeyRing, RouteSnapshot};
use tokio::sync::watch;

use self::report::Followed;
pub use self::sight::SightLimits;
use self::told::Told;
use crate::config::RegistryAddress;
use crate::metrics::Metrics;
use crate::random::{jittered, random};
use crate::route::{Published, RouteStore, RouteTable};
use crate::upstream::Endpoints;

/// Between attempts to reach the registry; doubles up to the larger, with jitter.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_millis(RECONNECT_PAUSE_MAX_MS);

/// So much is logged of a line that is of no known kind.
const LINE_SHOWN_BYTES: usize = 64;

pub struct Feed {
    id: GatewayId,
    routes: Arc<RouteStore>,
    endpoints: Arc<Endpoints>,
    master_key: Arc<KeyRing>,
    metrics: Arc<Metrics>,
    /// Held while a table is built and swapped. The snapshot that is served, if a key for it is missing.
    unopened: Mutex<Option<Arc<RouteSnapshot>>>,
    told: Mutex<Told>,
    store: Option<persist::Writer>,
    path: Option<PathBuf>,
}

impl Feed {
    pub fn new(
        routes: Arc<RouteStore>,
        endpoints: Arc<Endpoints>,
        master_key: Arc<KeyRing>,
        metrics: Arc<Metrics>,
        path: Option<PathBuf>,
    ) -> Self {
        let store = path.clone().map(persist::Writer::start);
        let id = GatewayId::new(u128::from(random()) << 64 | u128::from(random()));
        let (unopened, told) = (Mutex::default(), Mutex::default());
        Self { id, routes, endpoints, master_key, metrics, unopened, told, store, path }
    }

    /// Serves what was last applied, before the registry is heard. True: there was something.
    pub fn boot(&self) -> bool {
        let Some(path) = &self.path else { return false };
        match persist::load(path) {
            Ok(Some((snapshot, unknown))) => self.apply_understood(&snapshot, &unknown),
            Ok(None) => false,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the saved snapshot can't be used");
                false
            }
        }
    }

    /// Follows the registry for as long as the process runs. Reading never waits for applying: of
    /// snapshots that pile up, only the newest is parsed.
    pub async fn follow(self: &Arc<Self>, registry: &RegistryAddress, sight: SightLimits) {
        let (newest, followed) = (watch::Sender::new(Bytes::new()), watch::Sender::new(None));
        tokio::select! {
            () = self.read(registry, &newest, &followed) => {}
            () = report::run(registry, self.id, &self.endpoints, followed.subscribe(), sight) => {}
            () = Arc::clone(self).apply_newest(newest.subscribe()) => {}
        }
    }

    async fn read(
        &self,
        registry: &RegistryAddress,
        newest: &watch::Sender<Bytes>,
        followed: &watch::Sender<Followed>,
    ) {
        let mut pause = RECONNECT_MIN;
        for connection in 0.. {
            let heard = client::follow(registry, self.id, |line| {
                self.metrics.feed_connected.set(1);
                followed.send_if_modified(|now| now.replace(connection) != Some(connection));
                if is_heartbeat(&line) {
                    self.metrics.heard(self.routes.generation());
                } else if is_snapshot(&line) {
                    newest.send_replace(line);
                } else {
                    self.ignored(&line);
                }
            })
            .await;
            self.metrics.feed_connected.set(0);
            followed.send_replace(None);
            pause = if heard.lines > 0 { RECONNECT_MIN } else { (pause * 2).min(RECONNECT_MAX) };
            tracing::debug!(error = %heard.error, "the feed ended");
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    /// Parsing and building take a while at thousands of routes: they have a thread that serves nobody.
    async fn apply_newest(self: Arc<Self>, mut newest: watch::Receiver<Bytes>) {
        while newest.changed().await.is_ok() {
            let (feed, line) = (Arc::clone(&self), newest.borrow_and_update().clone());
            let applying = tokio::task::spawn_blocking(move || feed.apply_line(line));
            if let Err(error) = applying.await {
                tracing::error!(%error, "a snapshot was not applied");
            }
        }
    }

    /// In the place of the newest snapshot it would hide that one.
    fn ignored(&self, line: &[u8]) {
        let begin = String::from_utf8_lossy(line.get(..LINE_SHOWN_BYTES).unwrap_or(line));
        tracing::debug!(%begin, "the registry sent what is no snapshot: it is ignored");
    }

    fn apply_line(&self, line: Bytes) {
        match tomorrow::read(&line) {
            Ok((FeedMessage::Snapshot(snapshot), unknown)) => {
                if self.apply_understood(&snapshot, &unknown)
                    && let Some(store) = &self.store
                {
                    store.save(line);
                }
            }
            Ok((FeedMessage::Heartbeat { .. }, _)) => {}
            Err(error) => {
                tracing::error!(%error, "the registry sent what is no snapshot");
                self.metrics.snapshots_refused.inc();
            }
        }
    }

    /// Builds the served table again if keys for it were missing: they may be there now. Blocking.
    pub fn keys_changed(&self) {
        let mut unopened = self.unopened.lock();
        let Some(snapshot) = unopened.take() else { return };
        let table = RouteTable::build(&snapshot, &self.endpoints, &self.master_key.keys());
        if table.lacks_keys() {
            *unopened = Some(snapshot);
        }
        self.routes.publish_again(table);
    }

    /// The same, and what of it was not understood is counted, and told once.
    fn apply_understood(&self, snapshot: &Arc<RouteSnapshot>, unknown: &[UnknownWord]) -> bool {
        let is_served = self.apply(snapshot);
        if is_served {
            self.metrics.unknown_words.set(unknown.len() as i64);
            self.told.lock().tell(unknown);
        }
        is_served
    }

    /// Builds and swaps. True: it is served now.
    fn apply(&self, snapshot: &Arc<RouteSnapshot>) -> bool {
        if snapshot.format > SNAPSHOT_FORMAT {
            tracing::error!(
                format = snapshot.format,
                "the registry is newer than this gateway: its routes are not applied"
            );
            self.metrics.snapshots_refused.inc();
            return false;
        }
        let ours = *self.routes.load().installation == *snapshot.installation;
        if ours && snapshot.generation <= self.routes.generation() {
            // Sent again after a reconnect.
            self.metrics.heard(self.routes.generation());
            return false;
        }
        let mut unopened = self.unopened.lock();
        let table = RouteTable::build(snapshot, &self.endpoints, &self.master_key.keys());
        let lacks_keys = table.lacks_keys();
        match self.routes.publish(table, || self.endpoints.retain(snapshot)) {
            Published::Applied => {
                *unopened = lacks_keys.then(|| Arc::clone(snapshot));
                self.metrics.snapshots_applied.inc();
                self.metrics.heard(snapshot.generation);
                true
            }
            Published::Stale { .. } => false,
            Published::Foreign { current } => {
                tracing::error!(
                    served = %current, offered = %snapshot.installation,
                    "the registry's database is another one: its routes are not applied. \
                     Delete this gateway's snapshot file and restart it to switch over"
                );
                self.metrics.snapshots_refused.inc();
                false
            }
        }
    }
}

/// The same for whatever else a newer registry may send.
fn is_snapshot(line: &[u8]) -> bool {
    line.starts_with(b"{\"snapshot\"")
}

/// Told without parsing: heartbeats are short, and snapshots may be megabytes.
fn is_heartbeat(line: &[u8]) -> bool {
    line.starts_with(b"{\"heartbeat\"")
}
