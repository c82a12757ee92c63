//! The three roles, each a future that ends when the process was told to stop.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway::{Gateway, Stop};
use proto_shared::egress::EgressPolicy;
use registry::{
    DeploymentConfig, DiscoveryConfig, FilesConfig, OpenError, Registry, RegistryConfig, WeakRegistry,
};
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::reload::Reload;
use super::signals::Signals;
use super::{ServeError, Start, banner, declared};
use crate::master_key::Origin;

const SOCKET_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The environment variable behind the secret `system/ngc-api-key`.
const NGC_API_KEY: &str = "NGC_API_KEY";
/// After a take-over: how long the old process may take to leave the database.
const REGISTRY_WAIT_MAX: Duration = Duration::from_secs(20);

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
    opened: WeakRegistry,
}

pub async fn up(start: Start, upgrade: Upgrade) -> Result<(), ServeError> {
    let signals = Signals::register().map_err(|source| ServeError::Io { what: "signals".into(), source })?;
    let combined = Combined::bind(&start, upgrade).await?;
    announce(&start, &combined.gateway);
    let (stop, stopped) = watch::channel(Stop::Run);
    let handle = combined.gateway.handle();
    let reload = Reload::new(&start, Some(handle.clone()), Some(combined.opened.clone()));
    let (ask, handed_over) = hand_over_on_request(&start, handle, stop.clone());
    tokio::spawn(signals.drive(stop, ask, move || reload.run()));
    combined.run(stopped, handed_over).await
}

pub async fn gateway(start: Start, upgrade: Upgrade) -> Result<(), ServeError> {
    let signals = Signals::register().map_err(|source| ServeError::Io { what: "signals".into(), source })?;
    make_data_dir(&start)?;
    let take_over = upgrade.socket(&start);
    let gateway = Gateway::bind(start.settings.gateway_config(), start.key.clone(), take_over).await?;
    announce(&start, &gateway);
    let (stop, stopped) = watch::channel(Stop::Run);
    let handle = gateway.handle();
    let reload = Reload::new(&start, Some(handle.clone()), None);
    let (ask, _) = hand_over_on_request(&start, handle, stop.clone());
    tokio::spawn(signals.drive(stop, ask, move || reload.run()));
    gateway.run(stopped).await;
    Ok(())
}

pub async fn registry(start: Start) -> Result<(), ServeError> {
    let signals = Signals::register().map_err(|source| ServeError::Io { what: "signals".into(), source })?;
    let address = start.settings.registry_listen;
    let registry = open(&start).await?;
    declared::apply(&registry, &start.settings.declared).await;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Io { what: format!("can't listen on {address}"), source })?;
    let bound = listener.local_addr().unwrap_or(address);
    banner::show(&banner::registry(&start.settings, bound, &start.origin), gateway::AccessLog::Off);
    let (stop, mut stopped) = watch::channel(Stop::Run);
    let nothing = || tracing::warn!("a registry has no listeners to hand over");
    let reload = Reload::new(&start, None, Some(registry.downgrade()));
    tokio::spawn(signals.drive(stop, nothing, move || reload.run()));
    let mut serving = Serving::new(&registry);
    serving.listen(move |stop| async move { registry.serve_tcp(listener, stop).await });
    let told = async { stopped.wait_for(|stop| *stop != Stop::Run).await.map(drop) };
    tokio::select! {
        _ = told => serving.end().await,
        ended = serving.failed() => Err(ended),
    }
}

impl Combined {
    /// Binds both. A take-over comes first: the old process leaves the database only after it.
    pub async fn bind(start: &Start, upgrade: Upgrade) -> Result<Self, ServeError> {
        let bind_gateway =
            || Gateway::bind(start.settings.gateway_config(), start.key.clone(), upgrade.socket(start));
        let taken_over = match upgrade {
            Upgrade::TakeOver => Some(bind_gateway().await?),
            Upgrade::Fresh => None,
        };
        let registry = open_within(start, upgrade).await?;
        declared::apply(&registry, &start.settings.declared).await;
        let mut serving = Serving::new(&registry);
        let socket = start.settings.registry_socket();
        let (path, opened) = (socket.clone(), registry.downgrade());
        serving.listen(move |stop| async move { registry.serve_unix(path, stop).await });
        tokio::select! {
            () = listening(&socket) => {}
            ended = serving.failed() => return Err(ended),
        }
        let gateway = match taken_over {
            Some(gateway) => gateway,
            None => bind_gateway().await?,
        };
        Ok(Self { gateway, registry: serving, opened })
    }

    /// Serves. Once the listeners are handed over the registry goes first: the next process wants
    /// the database, and streams need only the gateway.
    pub async fn run(
        self,
        stopped: watch::Receiver<Stop>,
        mut handed_over: watch::Receiver<bool>,
    ) -> Result<(), ServeError> {
        let Self { gateway, mut registry, .. } = self;
        let mut serving = std::pin::pin!(gateway.run(stopped));
        tokio::select! {
            () = &mut serving => return registry.end().await,
            ended = registry.failed() => return Err(ended),
            () = over(&mut handed_over) => {}
        }
        let left = registry.end().await;
        serving.await;
        left
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
        let discovery = registry.run_discovery(stopped.clone());
        let reconciler = registry.run_reconcile(stopped);
        tasks.spawn(async move {
            discovery.await;
            Ok(())
        });
        tasks.spawn(async move {
            reconciler.await;
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

pub async fn open(start: &Start) -> Result<Registry, ServeError> {
    let settings = &start.settings;
    let config = RegistryConfig {
        data_dir: settings.data_dir.clone(),
        master_key: start.key.clone(),
        secret_access: settings.secret_access,
        ngc_api_key: std::env::var(NGC_API_KEY).ok().filter(|key| !key.is_empty()).map(Into::into),
        egress: EgressPolicy { own: settings.own_addresses(), ..settings.egress.clone() },
        discovery: DiscoveryConfig {
            upstream_ca: settings.upstream_ca.clone(),
            ..DiscoveryConfig::default()
        },
        files: FilesConfig { file_bytes_max: settings.file_bytes_max, ..FilesConfig::default() },
        deployments: DeploymentConfig {
            tool_call_plugins: settings.tool_call_plugins,
            runtime: settings.runtime,
            docker_host: settings.docker_host.clone(),
            registries: settings.registries.clone(),
            ..settings.deployments.clone()
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

/// What SIGQUIT does: the listeners go to the process started with `--upgrade`, both accept for a
/// moment, and this one drains. Gives the reaction, and whether it has happened.
fn hand_over_on_request(
    start: &Start,
    gateway: gateway::Handle,
    stop: watch::Sender<Stop>,
) -> (impl Fn() + Send + 'static, watch::Receiver<bool>) {
    let asked = std::sync::Arc::new(tokio::sync::Notify::new());
    let (handed_over, seen) = watch::channel(false);
    let (path, waiting) = (start.settings.upgrade_socket(), asked.clone());
    tokio::spawn(async move {
        loop {
            waiting.notified().await;
            match gateway.hand_over(&path).await {
                Ok(()) => break,
                Err(why) => tracing::error!(
                    path = %path.display(), %why,
                    "no process took the listeners; start one with --upgrade first, then send SIGQUIT"
                ),
            }
        }
        tracing::info!("the next process has the listeners; draining");
        handed_over.send_replace(true);
        sleep(gateway::HAND_OVER_OVERLAP).await;
        stop.send_replace(Stop::HandedOver);
    });
    (move || asked.notify_one(), seen)
}

/// Resolves when the listeners are handed over; never where nobody can ask for it.
async fn over(handed_over: &mut watch::Receiver<bool>) {
    if handed_over.wait_for(|over| *over).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Opens the registry; after a take-over, as soon as the old process has left it.
async fn open_within(start: &Start, upgrade: Upgrade) -> Result<Registry, ServeError> {
    let give_up = tokio::time::Instant::now() + REGISTRY_WAIT_MAX;
    loop {
        match open(start).await {
            Err(ServeError::Registry(OpenError::InUse { .. }))
                if upgrade == Upgrade::TakeOver && tokio::time::Instant::now() < give_up => {}
            opened => return opened,
        }
    }
}
