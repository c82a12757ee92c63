//! A registry on port 0, and a client that speaks HTTP to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use proto_shared::caller::{CALLER_HEADER, Caller};
use proto_shared::egress::EgressPolicy;
use proto_shared::feed::{FeedMessage, GENERATION_HEADER};
use proto_shared::{KeyRing, RouteSnapshot};
use registry::{
    DeploymentConfig, DiscoveryConfig, FilesConfig, Published, Registry, RegistryConfig, SecretAccess,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longest wait for anything that is to happen.
pub const DEADLINE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub const PROVIDERS: &str = "/apis/models/v2/workspaces/default/providers";
pub const SECRETS: &str = "/apis/secrets/v2/workspaces/default/secrets";
pub const MODELS: &str = "/apis/models/v2/workspaces/default/models";
pub const WORKSPACES: &str = "/apis/entities/v2/workspaces";
pub const FILESETS: &str = "/apis/files/v2/workspaces/default/filesets";
pub const PROMPTS: &str = "/apis/models/v2/workspaces/default/prompts";

pub const CONFIGS: &str = "/apis/models/v2/workspaces/default/deployment-configs";
pub const DEPLOYMENTS: &str = "/apis/models/v2/workspaces/default/deployments";

pub struct Harness {
    pub registry: Registry,
    pub address: SocketAddr,
    pub dir: Arc<TempDir>,
    pub key: Arc<KeyRing>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

pub fn config(dir: &Path, key: &Arc<KeyRing>) -> RegistryConfig {
    RegistryConfig {
        data_dir: dir.join("data"),
        master_key: Arc::clone(key),
        egress: EgressPolicy::local(),
        secret_access: SecretAccess::Loopback,
        ngc_api_key: None,
        discovery: DiscoveryConfig {
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(2),
            ..DiscoveryConfig::default()
        },
        deployments: DeploymentConfig::default(),
        files: FilesConfig::default(),
    }
}

impl Harness {
    pub async fn start() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let key = Arc::new(KeyRing::generate().unwrap());
        Self::with(config(dir.path(), &key), dir).await
    }

    pub async fn with(config: RegistryConfig, dir: Arc<TempDir>) -> Self {
        let mut harness = Self::without_reconciler(config, dir).await;
        let reconciler = harness.registry.run_reconcile(harness.stop.subscribe());
        harness.tasks.push(tokio::spawn(reconciler));
        harness
    }

    /// Takes orders, and does not follow them.
    pub async fn without_reconciler(config: RegistryConfig, dir: Arc<TempDir>) -> Self {
        let key = Arc::clone(&config.master_key);
        let registry = Registry::open(config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let serving = registry.clone();
        let serve_stop = stopping.clone();
        let tasks = vec![
            tokio::spawn(async move { serving.serve_tcp(listener, serve_stop).await.unwrap() }),
            tokio::spawn(registry.run_discovery(stopping)),
        ];
        Self { registry, address, dir, key, stop, tasks }
    }

    /// Stops, lets go of the data folder, and gives back what the next start needs.
    pub async fn stop(self) -> (Arc<TempDir>, Arc<KeyRing>) {
        self.stop.send(true).unwrap();
        for task in self.tasks {
            tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
        }
        (self.dir, self.key)
    }

    pub async fn restart(self) -> Self {
        let (dir, key) = self.stop().await;
        let config = config(dir.path(), &key);
        Self::with(config, dir).await
    }

    pub fn snapshot(&self) -> Arc<RouteSnapshot> {
        snapshot_of(&self.registry.snapshots().borrow())
    }

    /// The first snapshot that `holds`.
    pub async fn snapshot_where(&self, holds: impl Fn(&RouteSnapshot) -> bool) -> Arc<RouteSnapshot> {
        let mut watch = self.registry.snapshots();
        let found = tokio::time::timeout(DEADLINE, watch.wait_for(|p| holds(&snapshot_of(p)))).await;
        snapshot_of(&found.expect("no such snapshot in time").unwrap())
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string());
        self.raw(method, path, "application/json", body.unwrap_or_default().as_bytes()).await
    }

    pub async fn raw(&self, method: Method, path: &str, kind: &str, body: &[u8]) -> Answer {
        self.send(method, path, &[("content-type", kind)], body).await
    }

    /// As a gateway asks for one of its callers.
    pub async fn get_for(&self, caller: Caller, path: &str) -> Answer {
        self.send(Method::GET, path, &[(CALLER_HEADER, caller.as_str())], b"").await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut sender = connect(self.address).await;
        let mut request = Request::builder().method(method).uri(path).header("host", "registry");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        Answer::read(sender.send_request(request).await.unwrap()).await
    }

    /// A call without a body, for an answer that need not be text.
    pub async fn bytes(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, path, headers, b"").await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Asks for a provider until it `holds`.
    pub async fn provider_where(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let path = format!("{PROVIDERS}/{name}");
        self.answer_where(&path, |answer| answer.status == StatusCode::OK && holds(&answer.body)).await.body
    }

    /// Asks again and again until the answer `holds`.
    pub async fn answer_where(&self, path: &str, holds: impl Fn(&Answer) -> bool) -> Answer {
        let start = Instant::now();
        loop {
            let answer = self.get(path).await;
            if holds(&answer) {
                return answer;
            }
            assert!(start.elapsed() < DEADLINE, "in time, the answer was only {}", answer.text);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Writes into the database past the API: what other versions, or parts that are not there, would write.
    pub fn sql<const N: usize>(&self, sql: &str, values: [String; N]) {
        let connection = rusqlite::Connection::open(self.dir.path().join("data/nimgate.sqlite")).unwrap();
        connection.busy_timeout(DEADLINE).unwrap();
        connection.execute(sql, rusqlite::params_from_iter(values)).unwrap();
    }

    /// A fileset with a file in it.
    pub async fn add_files(&self, name: &str) {
        self.post(FILESETS, json!({ "name": name })).await.expect(200);
        let path = format!("{FILESETS}/{name}/-/config.json");
        self.raw(Method::PUT, &path, "application/octet-stream", b"{}").await.expect(200);
    }

    /// Every byte of every file in the data folder.
    pub fn files(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(self.dir.path().join("data")).unwrap() {
            bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        bytes
    }
}

/// The names on a page, in its order.
pub fn names_in(page: &Value) -> String {
    let rows = page["data"].as_array().expect("a page");
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

pub async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// What a gateway reads from the feed.
fn snapshot_of(published: &Published) -> Arc<RouteSnapshot> {
    match serde_json::from_slice(&published.line).unwrap() {
        FeedMessage::Snapshot(snapshot) => snapshot,
        FeedMessage::Heartbeat { .. } => panic!("a heartbeat was published"),
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
    /// What of the bytes is text.
    pub text: String,
    /// Null when there is none.
    pub body: Value,
}

impl Answer {
    async fn read(response: http::Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Self { status: head.status, headers: head.headers, bytes, text, body }
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    pub fn generation(&self) -> Option<u64> {
        self.headers.get(GENERATION_HEADER)?.to_str().ok()?.parse().ok()
    }

    /// The message of the error, which must be in both forms.
    #[track_caller]
    pub fn message(&self) -> &str {
        let message = self.body["error"]["message"].as_str().expect("error.message");
        assert_eq!(self.body["detail"], message);
        message
    }
}
