//! Wires a gateway together and runs it: listeners, feed, admin, drain and hand-over.
//!
//! Listeners are bound here and handed to the framework as if inherited: a busy port is an error
//! message instead of a panic, and port 0 gives an address one can print.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use proto_shared::KeyRing;
use tokio::sync::watch;

use crate::Stop;
use crate::access_log::AccessLog;
use crate::admin;
use crate::config::{GatewayConfig, TlsFiles};
use crate::engine::app::App;
use crate::engine::connection::Listener;
use crate::engine::control_upstream;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::route::RouteStore;
use crate::tls::{self, Certificate, TlsError};
use crate::upstream::roots::{Roots, RootsError};
use crate::upstream::series::Series;
use crate::upstream::{Connector, Endpoints};

/// Read buffer below TLS: smaller than a record costs system calls.
const TLS_READ_BUFFER_BYTES: usize = 16 * 1024;
/// Accept queue of a listener.
const BACKLOG: i32 = 4096;
/// After a hand-over: how long both processes accept, so that no connection is refused.
pub const HAND_OVER_OVERLAP: Duration = Duration::from_secs(1);
/// How often a draining gateway looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// How long a process started with `--upgrade` waits for the listeners.
const TAKE_OVER_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long it then waits until the old process has left the admin address.
const ADMIN_WAIT_MAX: Duration = Duration::from_secs(10);
const ADMIN_POLL: Duration = Duration::from_millis(50);

/// A gateway whose listeners are bound and that has not begun to accept.
pub struct Gateway {
    config: GatewayConfig,
    app: Arc<App>,
    feed: Arc<Feed>,
    fds: ListenFds,
    addresses: Vec<SocketAddr>,
    admin: TcpListener,
    admin_address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    stop: watch::Sender<Stop>,
    /// True once the listeners belong to the next process: its admin listener wants our address.
    handed_over: watch::Sender<bool>,
}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("can't listen on {address}: {source}{}", hint(.source))]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error("TLS to upstreams: {0}")]
    Roots(#[from] RootsError),
    #[error("can't take over the listeners of the running process through {path}: {why}")]
    TakeOver { path: String, why: String },
    #[error("metrics can't be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            ". Another program listens there: stop it, or choose another address"
        }
        std::io::ErrorKind::PermissionDenied => ". Ports below 1024 need a privilege: choose a higher one",
        std::io::ErrorKind::AddrNotAvailable => ". This machine has no such address",
        _ => "",
    }
}

impl Gateway {
    /// Binds the listeners, or takes them over from the process that hands them through
    /// `take_over_from`. Serves the saved snapshot from the start, if there is one.
    pub async fn bind(
        config: GatewayConfig,
        master_key: Arc<KeyRing>,
        take_over_from: Option<PathBuf>,
    ) -> Result<Self, StartError> {
        let certificate = match &config.tls {
            Some(files) => Some(Arc::new(Certificate::load(files)?)),
            None => None,
        };
        let taking_over = take_over_from.is_some();
        let mut fds = match take_over_from {
            Some(path) => inherit(path).await?,
            None => Fds::new(),
        };
        let mut addresses = Vec::new();
        for &address in &config.listen {
            if fds.get(&address.to_string()).is_some() {
                addresses.push(address);
                continue;
            }
            let (listener, bound) = bind(address)?;
            fds.add(bound.to_string(), listener.into_raw_fd());
            addresses.push(bound);
        }
        let (admin, admin_address) = bind_admin(config.admin_listen, taking_over).await?;
        let metrics = Arc::new(Metrics::new()?);
        let mut policy = config.egress.clone();
        policy.own = addresses.iter().copied().chain([admin_address]).collect();
        let policy = Arc::new(policy);
        let idle_max = config.limits.pool_idle_per_endpoint_max;
        let endpoints = Arc::new(Endpoints::new(
            Arc::clone(&metrics),
            Arc::clone(&policy),
            config.names.clone(),
            idle_max,
        ));
        metrics.show(Series::of(Arc::downgrade(&endpoints))?)?;
        let routes = Arc::new(RouteStore::default());
        let feed = Arc::new(Feed::new(
            Arc::clone(&routes),
            Arc::clone(&endpoints),
            master_key,
            Arc::clone(&metrics),
            config.snapshot_path.clone(),
        ));
        feed.boot();
        let (stop, stopping) = watch::channel(Stop::Run);
        let app = Arc::new(App::new(
            config.limits.clone(),
            config.cors.clone(),
            routes,
            endpoints,
            Connector::new(policy, config.names.clone(), &Roots::load(config.upstream_ca.as_deref())?),
            control_upstream(config.registry.clone(), addresses.clone()),
            Arc::clone(&metrics),
            AccessLog::new(config.access_log, metrics.access_log_dropped.clone()),
            stopping,
        ));
        let fds = Arc::new(parking_lot::Mutex::new(fds));
        let handed_over = watch::Sender::new(false);
        Ok(Self { config, app, feed, fds, addresses, admin, admin_address, certificate, stop, handed_over })
    }

    /// The addresses of the public listeners.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.app)
    }

    /// What outlives [`Gateway::run`]'s taking of `self`: hand-over, certificate reload, new keys.
    pub fn handle(&self) -> Handle {
        Handle {
            fds: Arc::clone(&self.fds),
            certificate: self.certificate.clone(),
            tls: self.config.tls.clone(),
            handed_over: self.handed_over.clone(),
            feed: Arc::downgrade(&self.feed),
        }
    }

    /// Serves until told to stop; returns when nothing is in flight any more, or when the drain limit
    /// is over.
    pub async fn run(self, mut stop: watch::Receiver<Stop>) {
        let (shutdown, shutting_down) = watch::channel(false);
        let mut tasks = tokio::task::JoinSet::new();
        let mut service = Service::new("gateway".to_owned(), Listener(Arc::clone(&self.app)));
        for address in &self.addresses {
            service.add_listener(self.listener(address));
        }
        let fds = Arc::clone(&self.fds);
        tasks.spawn(async move { service.start_service(Some(fds), shutting_down, 1).await });
        let (feed, registry) = (Arc::clone(&self.feed), self.config.registry.clone());
        let sight = self.config.limits.watch.sight.clone();
        tasks.spawn(async move { feed.follow(&registry, sight).await });
        let (endpoints, lookups) = (Arc::clone(&self.app.endpoints), self.config.limits.lookup_interval);
        tasks.spawn(async move { endpoints.keep_fresh(lookups).await });
        tasks.spawn(crate::watch::run(Arc::clone(&self.app)));
        tasks.spawn(crate::descriptors::watch(self.app.metrics.without_descriptors.clone()));
        if let Ok(listener) =
            self.admin.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(self.admin))
        {
            let router = admin::router(Arc::clone(&self.app));
            let mut handed_over = self.handed_over.subscribe();
            let leave = async move {
                let _ = handed_over.wait_for(|over| *over).await;
            };
            tasks.spawn(async move {
                let _ = axum::serve(listener, router).with_graceful_shutdown(leave).await;
            });
        }
        let asked = stop.wait_for(|stop| *stop != Stop::Run).await.map_or(Stop::Now, |stop| *stop);
        let _ = self.stop.send(asked);
        if asked == Stop::Drain {
            let _ = tokio::time::timeout(
                self.config.limits.drain_delay,
                stop.wait_for(|stop| *stop == Stop::Now),
            )
            .await;
        }
        let _ = shutdown.send(true);
        if asked != Stop::Now {
            let limit = self.config.limits.drain_timeout;
            tokio::select! {
                () = drained(&self.app) => {}
                () = tokio::time::sleep(limit) => tracing::warn!("requests still in flight after the drain limit"),
                _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
            }
        }
        let _ = self.stop.send(Stop::Now);
    }

    fn listener(&self, address: &SocketAddr) -> ListenerConfig {
        let listener = ListenerConfig::tcp(address.to_string());
        match self.certificate.clone().map(tls::settings) {
            Some(Ok(settings)) => {
                let buffer = L4BufferSettings::default().read(TLS_READ_BUFFER_BYTES);
                listener.tls(settings).l4_buffer(buffer)
            }
            // The engine buffers itself: none below it.
            _ => listener.l4_buffer(L4BufferSettings::unbuffered()),
        }
    }
}

/// Runs beside a serving gateway.
#[derive(Clone)]
pub struct Handle {
    fds: ListenFds,
    certificate: Option<Arc<Certificate>>,
    tls: Option<TlsFiles>,
    handed_over: watch::Sender<bool>,
    /// Weak: a handle must not put off the last save.
    feed: Weak<Feed>,
}

impl Handle {
    /// Sends the listening sockets to a process started with `--upgrade`, which waits on `path`.
    /// From then on both accept; drain this one after [`HAND_OVER_OVERLAP`].
    pub async fn hand_over(&self, path: &Path) -> Result<(), String> {
        let (fds, path) = (Arc::clone(&self.fds), path.to_owned());
        let sending = tokio::task::spawn_blocking(move || {
            fds.lock()
                .send_to_sock(path.to_string_lossy().as_ref())
                .map(drop)
                .map_err(|error| error.to_string())
        });
        sending.await.map_err(|error| error.to_string())??;
        self.handed_over.send_replace(true);
        Ok(())
    }

    /// Uses the master keys that were put into the ring: routes whose key did not open before get
    /// another chance.
    pub fn keys_changed(&self) {
        let Some(feed) = self.feed.upgrade() else { return };
        tokio::task::spawn_blocking(move || feed.keys_changed());
    }

    /// Reads the certificate files again. A bad pair leaves the old one.
    pub fn reload_certificate(&self) -> Result<(), TlsError> {
        match (&self.certificate, &self.tls) {
            (Some(certificate), Some(files)) => certificate.reload(files),
            _ => Ok(()),
        }
    }
}

async fn drained(app: &App) {
    while !app.is_idle() {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

/// Waits for the running process to send its listeners. The framework waits in rounds of seconds.
async fn inherit(path: PathBuf) -> Result<Fds, StartError> {
    let shown = path.display().to_string();
    let failed = |why: String| StartError::TakeOver { path: shown.clone(), why };
    let give_up = std::time::Instant::now() + TAKE_OVER_WAIT_MAX;
    loop {
        let path = path.clone();
        let receiving = tokio::task::spawn_blocking(move || {
            let mut fds = Fds::new();
            fds.get_from_sock(path.to_string_lossy().as_ref())
                .map(|()| fds)
                .map_err(|error| error.to_string())
        });
        match receiving.await.map_err(|error| failed(error.to_string()))? {
            Ok(fds) => return Ok(fds),
            Err(why) if std::time::Instant::now() >= give_up => return Err(failed(why)),
            Err(_) => tracing::info!(path = %shown, "waiting for the running process: send it SIGQUIT"),
        }
    }
}

/// Binds the admin address; after a take-over, as soon as the old process has left it.
async fn bind_admin(address: SocketAddr, taking_over: bool) -> Result<(TcpListener, SocketAddr), StartError> {
    let give_up = std::time::Instant::now() + ADMIN_WAIT_MAX;
    loop {
        match bind(address) {
            Err(StartError::Bind { source, .. })
                if taking_over
                    && source.kind() == std::io::ErrorKind::AddrInUse
                    && std::time::Instant::now() < give_up =>
            {
                tokio::time::sleep(ADMIN_POLL).await;
            }
            bound => return bound,
        }
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { address, source };
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
    let socket = socket.map_err(failed)?;
    socket.set_reuse_address(true).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
