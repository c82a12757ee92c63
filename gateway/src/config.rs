//! The gateway's checked configuration. Files, flags and environment are read by the command; a
//! value of these types is valid.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use proto_shared::egress::EgressPolicy;

use crate::cors::AllowedOrigins;
use crate::upstream::Names;
use crate::watch::WatchLimits;

#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Public listeners. Port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// Metrics, route dump, explain. Loopback by default.
    pub admin_listen: SocketAddr,
    /// Certificate and key of the public listeners; absent: plaintext, HTTP/1.1 and h2c.
    pub tls: Option<TlsFiles>,
    /// Where control paths and the feed come from.
    pub registry: RegistryAddress,
    /// Where the last applied snapshot is kept, to boot from when the registry is away.
    pub snapshot_path: Option<PathBuf>,
    pub egress: EgressPolicy,
    pub limits: Limits,
    pub access_log: AccessLog,
    /// Web pages that may call from a browser.
    pub cors: AllowedOrigins,
    /// Further trusted roots for upstream TLS (PEM), beside the system's.
    pub upstream_ca: Option<PathBuf>,
    /// Who is asked for the addresses of upstreams' names.
    pub names: Names,
}

#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryAddress {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Where access log lines go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    #[default]
    Off,
    Stdout,
    Stderr,
}

/// Every limit of the data path, with its default.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Request line and headers. Beyond: 431.
    pub head_bytes_max: usize,
    /// Request target. Beyond: 414.
    pub target_bytes_max: usize,
    /// Header lines of a request. Beyond: 431.
    pub header_lines_max: usize,
    /// The whole head must arrive within this, from accept or from its first byte. Beyond: 408.
    pub head_timeout: Duration,
    /// Buffered JSON bodies. Beyond: 413.
    pub body_bytes_max: usize,
    /// All buffered bodies together. Beyond: 503.
    pub buffered_bytes_max: usize,
    /// A body slower than this, after `body_rate_grace`, is given up with 408.
    pub body_rate_bytes_per_s: u64,
    pub body_rate_grace: Duration,
    /// A buffered body must be complete within this. Beyond: 408.
    pub body_timeout: Duration,
    /// A client that takes no byte of an answer for this long is dropped.
    pub write_stall_timeout: Duration,
    /// A translated stream says that it goes on when nothing was said for this long.
    pub stream_keep_alive: Duration,
    /// An idle keep-alive connection is closed after this.
    pub keep_alive_timeout: Duration,
    /// Requests per HTTP/1 connection; then it is closed.
    pub requests_per_connection_max: u32,
    /// Open connections. Beyond: closed at once.
    pub connections_max: usize,
    /// Streams per HTTP/2 connection.
    pub h2_streams_max: u32,
    /// Upstream answer heads. Beyond: 502.
    pub upstream_head_bytes_max: usize,
    /// Answers up to this size have their `model` rewritten in one piece, with a length.
    pub reply_buffer_bytes_max: usize,
    /// Tries at upstreams for one request.
    pub attempts_max: usize,
    /// Requests that wait for a place at one provider. Beyond: 429.
    pub waiting_per_provider_max: u32,
    /// Requests that wait because of one model's limit, or for room at its servers. Beyond: 429, or 503.
    pub waiting_per_model_max: u32,
    /// How long they wait. Beyond: the same.
    pub waiting_timeout: Duration,
    /// Idle upstream connections kept per endpoint.
    pub pool_idle_per_endpoint_max: usize,
    /// Requests that can be asked about by their ids after they ended: so many that went straight, and so many others.
    pub recent_requests_max: usize,
    /// How long an answer is read on whose client has left, where its provider says so.
    pub left_behind_timeout: Duration,
    /// And how much of it.
    pub left_behind_bytes_max: usize,
    /// Such answers at once. Beyond: the provider is told to stop.
    pub left_behind_max: usize,
    /// How often the names of upstreams are looked up again.
    pub lookup_interval: Duration,
    /// How long a mutating control call waits until its change is applied here.
    pub apply_wait_max: Duration,
    /// After SIGTERM: how long connections are still taken while readiness says no, for balancers that look at it.
    pub drain_delay: Duration,
    /// After that: how long streams may go on.
    pub drain_timeout: Duration,
    /// Probes of back ends, and their own reports of their load.
    pub watch: WatchLimits,
}

impl Limits {
    /// How long so many bytes of a body may take at the least rate.
    pub fn time_for_body(&self, bytes: u64) -> Duration {
        Duration::from_millis(bytes.saturating_mul(1000) / self.body_rate_bytes_per_s.max(1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 * 1024,
            target_bytes_max: 8 * 1024,
            header_lines_max: 100,
            head_timeout: Duration::from_secs(10),
            body_bytes_max: 32 * 1024 * 1024,
            buffered_bytes_max: 1024 * 1024 * 1024,
            body_rate_bytes_per_s: 1024,
            body_rate_grace: Duration::from_secs(10),
            body_timeout: Duration::from_secs(120),
            write_stall_timeout: Duration::from_secs(30),
            stream_keep_alive: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(60),
            requests_per_connection_max: 10_000,
            connections_max: 10_000,
            h2_streams_max: 100,
            upstream_head_bytes_max: 64 * 1024,
            reply_buffer_bytes_max: 256 * 1024,
            attempts_max: 3,
            waiting_per_provider_max: 1_000,
            waiting_per_model_max: 1_000,
            waiting_timeout: Duration::from_secs(60),
            pool_idle_per_endpoint_max: 256,
            recent_requests_max: 1_000,
            left_behind_timeout: Duration::from_secs(60),
            left_behind_bytes_max: 1024 * 1024,
            left_behind_max: 200,
            lookup_interval: Duration::from_secs(30),
            apply_wait_max: Duration::from_secs(2),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            watch: WatchLimits::default(),
        }
    }
}
