//! What all connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use super::control::ControlUpstream;
use crate::Stop;
use crate::access_log::AccessLog;
use crate::config::Limits;
use crate::cors::AllowedOrigins;
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::route::RouteStore;
use crate::upstream::{Connector, Endpoints};

pub struct App {
    pub limits: Limits,
    pub cors: AllowedOrigins,
    pub routes: Arc<RouteStore>,
    pub endpoints: Arc<Endpoints>,
    pub connector: Connector,
    pub control: ControlUpstream,
    pub metrics: Arc<Metrics>,
    pub access_log: AccessLog,
    pub recent: Recent,
    pub stop: watch::Receiver<Stop>,
    pub(super) buffered_bytes: AtomicUsize,
    pub(super) connections: AtomicUsize,
    /// Answers that are read on without a client.
    pub(super) left_behind: AtomicUsize,
}

impl App {
    #[expect(
        clippy::too_many_arguments,
        reason = "one place wires the parts; a builder would only repeat their names"
    )]
    pub fn new(
        limits: Limits,
        cors: AllowedOrigins,
        routes: Arc<RouteStore>,
        endpoints: Arc<Endpoints>,
        connector: Connector,
        control: ControlUpstream,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        stop: watch::Receiver<Stop>,
    ) -> Self {
        Self {
            recent: Recent::new(limits.recent_requests_max),
            limits,
            cors,
            routes,
            endpoints,
            connector,
            control,
            metrics,
            access_log,
            stop,
            buffered_bytes: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            left_behind: AtomicUsize::new(0),
        }
    }

    pub fn draining(&self) -> bool {
        *self.stop.borrow() != Stop::Run
    }

    /// Whether nobody serves at these addresses soon. Not so when another process has the listeners.
    pub fn is_leaving(&self) -> bool {
        matches!(*self.stop.borrow(), Stop::Drain | Stop::Now)
    }

    pub fn open_connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether nothing is in flight any more. Over HTTP/2 an answer may outlive its connection.
    pub fn is_idle(&self) -> bool {
        self.open_connections() == 0 && self.left_behind.load(Ordering::Relaxed) == 0
    }

    /// Bytes of request bodies that are held now.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered_bytes.load(Ordering::Relaxed)
    }

    /// Room for a buffered body, until the guard is dropped. None: it would not fit in what is left.
    /// Room is taken by bytes that came, not by those announced: announcing costs a client nothing.
    pub(super) fn room_for_body(self: &Arc<Self>, announced_bytes: usize) -> Option<BodyRoom> {
        let fits = self.buffered_bytes().saturating_add(announced_bytes) <= self.limits.buffered_bytes_max;
        fits.then(|| BodyRoom { app: Arc::clone(self), bytes: 0 })
    }

    /// A place for a connection, until the guard is dropped.
    pub(super) fn enter_connection(self: &Arc<Self>) -> Option<ConnectionPlace> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections.inc();
        let place = ConnectionPlace(Arc::clone(self));
        (before < self.limits.connections_max).then_some(place)
    }
}

pub struct BodyRoom {
    app: Arc<App>,
    bytes: usize,
}

impl BodyRoom {
    /// Takes room for `total` bytes in all. False: there is none.
    pub(super) fn grow_to(&mut self, total: usize) -> bool {
        let more = total.saturating_sub(self.bytes);
        let before = self.app.buffered_bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        before.saturating_add(more) <= self.app.limits.buffered_bytes_max
    }
}

impl Drop for BodyRoom {
    fn drop(&mut self) {
        self.app.buffered_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pub struct ConnectionPlace(Arc<App>);

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections.dec();
    }
}
