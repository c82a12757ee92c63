//! Connections to upstreams: reused when one is idle, made otherwise.
//!
//! Plain connections are made on tokio's sockets without read buffers; TLS (with HTTP/2 by ALPN) by
//! the framework's connectors, which also pool HTTP/2 connections.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::v2;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v2::client::Http2Session;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::tls::ALPN;
use pingora::protocols::{GetSocketDigest as _, SocketDigest, Stream};
use pingora::upstreams::peer::HttpPeer;
use proto_shared::egress::{EgressPolicy, EgressRefusal};
use proto_shared::host_url::Host;
use proto_shared::snapshot::Origin;
use tokio::net::{TcpStream, UnixStream};

use super::dns::{Names, Outcome};
use super::endpoint::Endpoint;
use super::roots::Roots;
use crate::descriptors::is_exhausted;

/// Streams on one HTTP/2 connection to an upstream.
const H2_STREAMS_PER_CONNECTION: usize = 100;
/// Receive windows of upstream HTTP/2: bound what a slow client makes us hold.
const H2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Idle HTTP/2 connections kept in all.
const H2_IDLE_MAX: usize = 1024;

/// A connection an attempt may use.
pub enum Connection {
    H1 { stream: Stream, reused: bool },
    H2 { session: Box<Http2Session>, peer: Box<HttpPeer>, reused: bool },
}

impl Connection {
    pub fn is_reused(&self) -> bool {
        let (Self::H1 { reused, .. } | Self::H2 { reused, .. }) = self;
        *reused
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("no address")]
    Dns,
    #[error("{0}")]
    Forbidden(String),
    #[error("connection refused")]
    Refused,
    #[error("connecting timed out")]
    Timeout,
    #[error("the TLS handshake failed")]
    Tls,
    #[error("can't be reached")]
    Unreachable,
    /// Ours, and no fault of whoever was to be reached.
    #[error("this gateway has no file descriptor left")]
    NoDescriptor,
}

impl ConnectError {
    /// For metrics and messages.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Dns => "no address (DNS)",
            Self::Forbidden(_) => "address not allowed",
            Self::Refused => "connection refused",
            Self::Timeout => "connecting timed out",
            Self::Tls => "the TLS handshake failed",
            Self::Unreachable => "can't be reached",
            Self::NoDescriptor => "this gateway has no file descriptor left",
        }
    }
}

pub struct Connector {
    h2: v2::Connector,
    names: Names,
    /// By who says where an endpoint is.
    policy: Arc<EgressPolicy>,
    policy_of_deployments: EgressPolicy,
}

impl Connector {
    pub fn new(policy: Arc<EgressPolicy>, names: Names, roots: &Roots) -> Self {
        let mut options = ConnectorOptions::new(H2_IDLE_MAX);
        options.ca_file = Some(roots.path());
        let policy_of_deployments = policy.of(Origin::Deployment).into_owned();
        Self { h2: v2::Connector::new(Some(options)), names, policy, policy_of_deployments }
    }

    fn policy(&self, endpoint: &Endpoint) -> &EgressPolicy {
        match endpoint.origin {
            Origin::Owner => &self.policy,
            Origin::Deployment => &self.policy_of_deployments,
        }
    }

    /// An idle connection of the endpoint, if there is one.
    pub async fn reuse(&self, endpoint: &Endpoint) -> Option<Connection> {
        if endpoint.is_tls() {
            for address in endpoint.addresses.get(Duration::ZERO).await.ok()?.iter() {
                let peer = tls_peer(endpoint, *address, ALPN::H2H1);
                if let Ok(Some(session)) = self.h2.reused_http_session(&peer).await {
                    return Some(Connection::H2 {
                        session: Box::new(session),
                        peer: Box::new(peer),
                        reused: true,
                    });
                }
            }
        }
        loop {
            let stream = endpoint.pool.take()?;
            if is_current(endpoint, &stream) {
                return Some(Connection::H1 { stream, reused: true });
            }
        }
    }

    /// A new connection: the endpoint's addresses are tried in order, and when none works, those where its name leads
    /// by now. With TLS, `alpn` is offered.
    pub async fn connect(&self, endpoint: &Endpoint, alpn: ALPN) -> Result<Connection, ConnectError> {
        let forbidden = |refusal: EgressRefusal| ConnectError::Forbidden(refusal.to_string());
        let policy = self.policy(endpoint);
        policy.check_url(&endpoint.url).map_err(forbidden)?;
        let known = match endpoint.addresses.get(endpoint.timeouts.connect).await {
            Ok(known) => known,
            Err(Outcome::Refused(refusal)) => return Err(forbidden(refusal)),
            Err(_) => Arc::default(),
        };
        let failed = match self.connect_any(endpoint, &known, &alpn).await {
            Ok(connection) => return Ok(connection),
            Err(failed) => failed,
        };
        match endpoint.addresses.moved(&self.names, policy, &known).await {
            moved if moved.is_empty() => Err(failed),
            moved => self.connect_any(endpoint, &moved, &alpn).await,
        }
    }

    async fn connect_any(
        &self,
        endpoint: &Endpoint,
        addresses: &[SocketAddr],
        alpn: &ALPN,
    ) -> Result<Connection, ConnectError> {
        let (policy, limit) = (self.policy(endpoint), endpoint.timeouts.connect);
        let name = match endpoint.url.host() {
            Host::Name(name) => Some(&**name),
            Host::Ip(_) => None,
        };
        let mut last = ConnectError::Dns;
        for &address in addresses.iter() {
            // Judged on the very address that is connected to.
            if let Err(refusal) = policy.check_address(address.ip(), address.port(), name) {
                last = ConnectError::Forbidden(refusal.to_string());
                continue;
            }
            let connecting = async {
                if endpoint.is_tls() {
                    self.connect_tls(endpoint, address, alpn.clone()).await
                } else {
                    connect_plain(address).await
                }
            };
            match tokio::time::timeout(limit, connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error,
                Err(_) => last = ConnectError::Timeout,
            }
        }
        Err(last)
    }

    async fn connect_tls(
        &self,
        endpoint: &Endpoint,
        address: SocketAddr,
        alpn: ALPN,
    ) -> Result<Connection, ConnectError> {
        let peer = tls_peer(endpoint, address, alpn);
        let session = self.h2.new_http_session::<_, ()>(&peer).await.map_err(|error| tls_error(&error))?;
        match session {
            HttpSession::H2(session) => {
                Ok(Connection::H2 { session: Box::new(session), peer: Box::new(peer), reused: false })
            }
            HttpSession::H1(session) => Ok(Connection::H1 { stream: session.into_inner(), reused: false }),
            HttpSession::Custom(()) => Err(ConnectError::Tls),
        }
    }

    /// Gives an HTTP/2 stream's place back, whatever became of it.
    pub fn release_h2(&self, session: Http2Session, peer: &HttpPeer, idle_timeout: Duration) {
        self.h2.release_http_session(session, peer, Some(idle_timeout));
    }
}

/// Whether an idle connection leads where the endpoint's name leads now. Those of numbered ones always do.
fn is_current(endpoint: &Endpoint, stream: &Stream) -> bool {
    if !endpoint.addresses.needs_lookup() {
        return true;
    }
    let digest = stream.get_socket_digest();
    let peer = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet().copied());
    peer.is_none_or(|peer| endpoint.addresses.lists(peer))
}

/// Connects to the registry's socket.
pub async fn connect_unix(path: &PathBuf) -> Result<Stream, ConnectError> {
    let stream = UnixStream::connect(path).await.map_err(|error| io_error(&error))?;
    Ok(Box::new(L4Stream::from(stream)))
}

pub async fn connect_plain(address: SocketAddr) -> Result<Connection, ConnectError> {
    let stream = TcpStream::connect(address).await.map_err(|error| io_error(&error))?;
    let _ = stream.set_nodelay(true);
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    let mut stream = L4Stream::from(stream);
    let _ = digest.peer_addr.set(Some(address.into()));
    stream.set_socket_digest(digest);
    Ok(Connection::H1 { stream: Box::new(stream), reused: false })
}

fn io_error(error: &std::io::Error) -> ConnectError {
    match error.kind() {
        _ if is_exhausted(error) => ConnectError::NoDescriptor,
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound => ConnectError::Refused,
        std::io::ErrorKind::TimedOut => ConnectError::Timeout,
        _ => ConnectError::Unreachable,
    }
}

fn tls_error(error: &pingora::Error) -> ConnectError {
    use pingora::ErrorType as T;
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    match error.etype() {
        _ if cause.is_some_and(is_exhausted) => ConnectError::NoDescriptor,
        T::ConnectTimedout | T::TLSHandshakeTimedout => ConnectError::Timeout,
        T::ConnectRefused => ConnectError::Refused,
        T::ConnectNoRoute | T::ConnectError => ConnectError::Unreachable,
        _ => ConnectError::Tls,
    }
}

/// The one place that builds a peer: every time-out is set, and the group key keeps connections
/// opened for one provider from serving another.
fn tls_peer(endpoint: &Endpoint, address: SocketAddr, alpn: ALPN) -> HttpPeer {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let name = match endpoint.url.host() {
        Host::Name(name) => name.to_string(),
        Host::Ip(ip) => ip.to_string(),
    };
    let mut peer = HttpPeer::new(address, true, name);
    let mut hasher = DefaultHasher::new();
    endpoint.label.hash(&mut hasher);
    peer.group_key = hasher.finish();
    let (limits, options) = (&endpoint.timeouts, &mut peer.options);
    options.connection_timeout = Some(limits.connect);
    options.total_connection_timeout = Some(limits.connect);
    options.read_timeout = Some(limits.first_byte.max(limits.idle));
    options.write_timeout = Some(limits.idle);
    options.idle_timeout = Some(limits.pool_idle);
    options.alpn = alpn;
    options.max_h2_streams = H2_STREAMS_PER_CONNECTION;
    options.h2_stream_window_size = Some(H2_STREAM_WINDOW_BYTES);
    options.h2_connection_window_size = Some(H2_CONNECTION_WINDOW_BYTES);
    peer
}
