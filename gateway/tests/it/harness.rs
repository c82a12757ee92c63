//! A gateway in this process with everything around it.

pub mod failing;
pub mod fake_registry;
pub mod full_queue;
pub mod h2_client;
pub mod h2_upstream;
pub mod paced;
pub mod raw;
pub mod routes;
pub mod scripted;
pub mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway::cors::AllowedOrigins;
use gateway::engine::app::App;
use gateway::{AccessLog, Gateway, GatewayConfig, Limits, RegistryAddress, StartError, Stop};
use proto_shared::egress::EgressPolicy;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use fake_registry::FakeRegistry;
pub use raw::{Ask, RawClient, Reply};
pub use routes::{Routes, master_key};

/// Longest wait for anything that is to happen.
pub const DEADLINE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The paths up to the tail, for one model and one provider of the default workspace.
pub const OPENAI: &str = "/v2/workspaces/default/inference/gateway/openai/-/";
pub const MODEL: &str = "/v2/workspaces/default/inference/gateway/model/m1/-/";
pub const PROVIDER: &str = "/v2/workspaces/default/inference/gateway/provider/p1/-/";
pub const CHAT: &str = "v1/chat/completions";

/// A chat request for model `m1`.
pub const CHAT_BODY: &str = r#"{"model":"m1","messages":[{"role":"user","content":"hello"}]}"#;
pub const STREAM_BODY: &str =
    r#"{"model":"m1","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

/// A running gateway and the fake registry that feeds it.
pub struct World {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub app: Arc<App>,
    pub registry: FakeRegistry,
    pub folder: TempDir,
    pub stop: watch::Sender<Stop>,
    running: JoinHandle<()>,
}

/// The configuration of all worlds, before a test changes it.
pub fn config(folder: &Path) -> GatewayConfig {
    let free_port = "127.0.0.1:0".parse().unwrap();
    GatewayConfig {
        listen: vec![free_port],
        admin_listen: free_port,
        tls: None,
        registry: RegistryAddress::Unix(folder.join("registry.sock")),
        snapshot_path: None,
        egress: EgressPolicy::local(),
        limits: Limits::default(),
        access_log: AccessLog::Off,
        cors: AllowedOrigins::default(),
        upstream_ca: None,
        names: gateway::Names::System,
    }
}

impl World {
    /// A gateway that serves `routes`.
    pub async fn start(routes: Routes) -> Self {
        Self::start_with(routes, |_| {}).await
    }

    /// The same with other limits.
    pub async fn limited(routes: Routes, change: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(routes, |config| change(&mut config.limits)).await
    }

    pub async fn start_with(routes: Routes, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let world = Self::without_routes(change).await;
        world.publish(routes).await;
        world
    }

    /// A gateway whose registry has not said anything yet.
    pub async fn without_routes(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), change).await.unwrap()
    }

    /// A gateway whose files are in `folder`.
    pub async fn in_folder(
        folder: TempDir,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Result<Self, StartError> {
        let registry = FakeRegistry::start(&folder.path().join("registry.sock"));
        let mut config = config(folder.path());
        change(&mut config);
        let gateway = Gateway::bind(config, master_key(), None).await?;
        let (address, admin, app) = (gateway.addresses()[0], gateway.admin_address(), gateway.app());
        let (stop, stopping) = watch::channel(Stop::Run);
        let running = tokio::spawn(gateway.run(stopping));
        Ok(Self { address, admin, app, registry, folder, stop, running })
    }

    /// Pushes `routes` and waits until they are served.
    pub async fn publish(&self, routes: Routes) {
        let generation = self.app.routes.generation() + 1;
        self.registry.push(&routes.snapshot(generation));
        assert!(self.app.routes.wait_for(generation, DEADLINE).await, "the routes are not served");
    }

    pub async fn connect(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, ask: Ask) -> Reply {
        let mut client = self.connect().await;
        client.ask(&ask).await
    }

    pub async fn get(&self, target: &str) -> Reply {
        self.ask(Ask::get(target)).await
    }

    pub async fn post(&self, target: &str, body: impl AsRef<[u8]>) -> Reply {
        self.ask(Ask::post(target, body)).await
    }

    /// One value of the metrics: the line that starts with `series`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.app.metrics.render();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until nothing is in flight: whatever ended, nothing leaked.
    pub async fn settled(&self) {
        eventually("the gauges are back at zero", || {
            let gauges = ["nimgate_requests_in_flight ", "nimgate_provider_in_flight{"];
            gauges.iter().all(|gauge| self.metric(gauge).unwrap_or(0.0) == 0.0)
        })
        .await;
    }

    /// Ends the gateway and gives its folder back.
    pub async fn end(mut self) -> TempDir {
        let _ = self.stop.send(Stop::Now);
        tokio::time::timeout(DEADLINE, &mut self.running).await.unwrap().unwrap();
        self.folder
    }
}

/// Polls until `holds`.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Fails the test when `work` takes longer than the deadline.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}
