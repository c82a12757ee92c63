//! The three roles, each a future that ends when the process was told to stop.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway::{Gateway, Stop};
use registry::{DiscoveryConfig, OpenError, Registry, RegistryConfig};
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::signals::Signals;
use super::{ServeError, Start, banner};
use crate::master_key::Origin;

const SOCKET_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Whether the listeners come from a running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    Fresh,
    TakeOver,
}

impl Upgrade {
    pub fn from_flag(upgrade: bool) -> Self {
        if upgrade { Self::TakeOver } else { Self::Fresh }
    }

    fn socket(self, start: &Start) -> Option<PathBuf> {
        (self == Self::TakeOver).then(|| start.settings.upgrade_socket())
    }
}

/// Gateway and registry of one process, listening and ready to run.
pub struct Combined {
    pub gateway: Gateway,
    registry: Serving,
}

pub async fn up(start: Start, upgrade: Upgrade) -> Result<(), ServeError> {
    let signals = Signals::register().map_err(|source| ServeError::Io { what: "signals".into(), source })?;
    let combined = Combined::bind(&start, upgrade).await?;
    announce(&start, &combined.gateway);
    let (stop, stopped) = watch::channel(Stop::Run);
    tokio::spawn(signals.drive(stop, hand_over));
    combined.run(stopped).await
}

pub async fn gateway(start: Start, upgrade: Upgrade) -> Result<(), ServeError> {
    let signals = Signals::register().map_err(|source| ServeError::Io { what: "signals".into(), source })?;
    make_data_dir(&start)?;
    let take_over = upgrade.socket(&start);
    let gateway = Gateway::bind(start.settings.gateway_config(), start.key.clone(), take_over).await?;
    announce(&start, &gateway);
    let (stop, stopped) = watch::channel(Stop::Run);
    tokio::spawn(signals.drive(stop, hand_over));
    gateway.run(stopped).await;
    Ok(())
}

pub async fn registry(start: Start) -> Result<(), ServeError> {
    let signals = Signals::register().map_err(|source| ServeError::Io { what: "signals".into(), source })?;
    let address = start.settings.registry_listen;
    let registry = open(&start).await?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Io { what: format!("can't listen on {address}"), source })?;
    let bound = listener.local_addr().unwrap_or(address);
    banner::show(&banner::registry(&start.settings, bound, &start.origin), gateway::AccessLog::Off);
    let (stop, mut stopped) = watch::channel(Stop::Run);
    tokio::spawn(signals.drive(stop, hand_over));
    let mut serving = Serving::new(&registry);
    serving.listen(move |stop| async move { registry.serve_tcp(listener, stop).await });
    let told = async { stopped.wait_for(|stop| *stop != Stop::Run).await.map(drop) };
    tokio::select! {
        _ = told => serving.end().await,
        ended = serving.failed() => Err(ended),
    }
}

impl Combined {
    pub async fn bind(start: &Start, upgrade: Upgrade) -> Result<Self, ServeError> {
        let registry = open(start).await?;
        let mut serving = Serving::new(&registry);
        let socket = start.settings.registry_socket();
        let path = socket.clone();
        serving.listen(move |stop| async move { registry.serve_unix(path, stop).await });
        tokio::select! {
            () = listening(&socket) => {}
            ended = serving.failed() => return Err(ended),
        }
        let take_over = upgrade.socket(start);
        let gateway = Gateway::bind(start.settings.gateway_config(), start.key.clone(), take_over).await?;
        Ok(Self { gateway, registry: serving })
    }

    pub async fn run(self, stopped: watch::Receiver<Stop>) -> Result<(), ServeError> {
        let Self { gateway, mut registry } = self;
        tokio::select! {
            () = gateway.run(stopped) => registry.end().await,
            ended = registry.failed() => Err(ended),
        }
    }
}

/// The registry's tasks, and how they are told to end.
struct Serving {
    stop: watch::Sender<bool>,
    tasks: JoinSet<io::Result<()>>,
}

impl Serving {
    fn new(registry: &Registry) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let discovery = registry.run_discovery(stopped);
        tasks.spawn(async move {
            discovery.await;
            Ok(())
        });
        Self { stop, tasks }
    }

    // A thread of its own: the accept loops are not `Send`. The connections are tasks of the runtime.
    fn listen<F: Future<Output = io::Result<()>>>(
        &mut self,
        serve: impl FnOnce(watch::Receiver<bool>) -> F + Send + 'static,
    ) {
        let (runtime, stop) = (Handle::current(), self.stop.subscribe());
        self.tasks.spawn_blocking(move || runtime.block_on(serve(stop)));
    }

    /// Why one of the tasks ended although nobody asked for it.
    async fn failed(&mut self) -> ServeError {
        let why = match self.tasks.join_next().await {
            Some(Ok(Err(e))) => e,
            Some(Err(e)) => io::Error::other(e),
            Some(Ok(Ok(()))) | None => io::Error::other("it ended by itself"),
        };
        ServeError::RegistryEnded(why)
    }

    async fn end(mut self) -> Result<(), ServeError> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(ServeError::RegistryEnded)?;
        }
        Ok(())
    }
}

/// Returns when somebody answers on the socket; the caller watches the one who should.
async fn listening(socket: &Path) {
    while UnixStream::connect(socket).await.is_err() {
        sleep(SOCKET_POLL_INTERVAL).await;
    }
}

async fn open(start: &Start) -> Result<Registry, ServeError> {
    let settings = &start.settings;
    let config = RegistryConfig {
        data_dir: settings.data_dir.clone(),
        master_key: start.key.clone(),
        egress: settings.egress.clone(),
        discovery: DiscoveryConfig {
            upstream_ca: settings.upstream_ca.clone(),
            ..DiscoveryConfig::default()
        },
    };
    Registry::open(config).await.map_err(|e| {
        // A key made a moment ago opens nothing, and would stand in the way of the one to be restored.
        if let (OpenError::WrongKey { .. }, Origin::Made(path)) = (&e, &start.origin) {
            let _ = std::fs::remove_file(path);
        }
        e.into()
    })
}

fn make_data_dir(start: &Start) -> Result<(), ServeError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = &start.settings.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| ServeError::Io { what: format!("can't make {}", path.display()), source })
}

fn announce(start: &Start, gateway: &Gateway) {
    let text = banner::gateway(&start.settings, &gateway.addresses(), gateway.admin_address(), &start.origin);
    banner::show(&text, start.settings.access_log);
}

/// SIGQUIT: the place where the listeners will go to the process started with `--upgrade`.
fn hand_over() {
    tracing::warn!("handing the listeners over is not there yet; the signal has no effect");
}
