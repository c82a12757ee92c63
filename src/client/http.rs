//! A small HTTP/1.1 client: one connection a request, each phase with a limit.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proto_shared::HostUrl;
use proto_shared::host_url::Host;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::ClientError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole control call. Longer than a gateway waits until a change is applied.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Until a model's answer begins: a large model may think for minutes before its first token.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest silence inside an answer or an upload.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Which address this is, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    pub what: &'static str,
    pub flag: &'static str,
}

pub const GATEWAY: Named = Named { what: "gateway URL", flag: "--url" };
pub const FAR_GATEWAY: Named = Named { what: "gateway URL", flag: "--gateway-url" };
pub const REGISTRY: Named = Named { what: "registry address", flag: "--listen" };
pub const ADMIN: Named = Named { what: "admin URL", flag: "--admin-url" };

/// The body of a request; it may be read while it is sent.
pub type Payload = UnsyncBoxBody<Bytes, io::Error>;

/// A server that requests can be sent to.
#[derive(Clone)]
pub struct Http {
    base: HostUrl,
    named: Named,
    tls: Option<TlsConnector>,
    /// Goes there, whatever `base` says.
    socket: Option<PathBuf>,
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Http {
    pub fn new(url: &str, named: Named, ca: Option<&Path>) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::Url { what: named.what, url: url.to_owned(), why };
        let base = HostUrl::parse(url).map_err(|e| bad(e.to_string()))?;
        let tls = if base.is_https() { Some(tls(ca)?) } else { None };
        Ok(Self { base, named, tls, socket: None })
    }

    /// A registry that listens on a Unix socket.
    pub fn over(socket: &Path) -> Result<Self, ClientError> {
        Ok(Self { socket: Some(socket.to_owned()), ..Self::new("http://registry", REGISTRY, None)? })
    }

    /// The URL as given, without a slash at its end.
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Sends a request and reads the whole answer, which must be a success.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, ClientError> {
        let whole = async {
            let (status, bytes) = self.exchange(method, path, body).await?;
            if status.is_success() { Ok(bytes) } else { Err(ClientError::answer(status, &bytes)) }
        };
        timeout(CALL_TIMEOUT, whole).await.unwrap_or_else(|_| Err(self.late(CALL_TIMEOUT)))
    }

    /// The same for answers that are JSON.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let bytes = self.call(method, path, body).await?;
        self.parsed(&bytes)
    }

    fn parsed(&self, bytes: &[u8]) -> Result<Value, ClientError> {
        serde_json::from_slice(bytes).map_err(|_| ClientError::NotJson { url: self.base().to_owned() })
    }

    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Method::GET, path, None).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(http::StatusCode, Bytes), ClientError> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        Ok((status, self.read(response).await?))
    }

    /// Sends a question to a model and returns as soon as the answer's head is here.
    pub async fn open(&self, path: &str, body: &Value) -> Result<Response<Incoming>, ClientError> {
        self.head_within(ANSWER_TIMEOUT, self.send(Method::POST, path, Some(body))).await
    }

    /// Asks for something long and returns as soon as its head is here.
    pub async fn open_get(&self, path: &str) -> Result<Response<Incoming>, ClientError> {
        self.head_within(CALL_TIMEOUT, self.send(Method::GET, path, None)).await
    }

    async fn head_within(
        &self,
        limit: Duration,
        sent: impl Future<Output = Result<Response<Incoming>, ClientError>>,
    ) -> Result<Response<Incoming>, ClientError> {
        timeout(limit, sent).await.unwrap_or_else(|_| Err(self.late(limit)))
    }

    /// Sends bytes as they are read. How long that may take is for the caller to watch.
    pub async fn put(&self, path: &str, payload: Payload) -> Result<Value, ClientError> {
        let response = self.transmit(Method::PUT, path, "application/octet-stream", payload).await?;
        let status = response.status();
        let bytes = self.read(response).await?;
        if status.is_success() { self.parsed(&bytes) } else { Err(ClientError::answer(status, &bytes)) }
    }

    /// Reads the rest of an answer.
    pub async fn read(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => {
                Err(ClientError::TooLong { url: self.base().to_owned(), limit_bytes: ANSWER_BYTES_MAX })
            }
            Err(e) => Err(self.broken(e)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, ClientError> {
        match body {
            Some(body) => {
                let payload = Full::from(body.to_string()).map_err(|never| match never {}).boxed_unsync();
                self.transmit(method, path, "application/json", payload).await
            }
            None => self.transmit(method, path, "", Payload::default()).await,
        }
    }

    async fn transmit(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        payload: Payload,
    ) -> Result<Response<Incoming>, ClientError> {
        let io = timeout(CONNECT_TIMEOUT, self.connect()).await;
        let io = io.unwrap_or_else(|_| Err(self.late(CONNECT_TIMEOUT)))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(|e| self.broken(e))?;
        // Ends by itself when the answer was read or dropped.
        tokio::spawn(connection);
        let target = format!("{}{path}", self.base.base_path());
        let request = request(method, &target, &self.base.authority(), content_type, payload)
            .map_err(|e| ClientError::Said(format!("can't ask for {target:?}: {e}")))?;
        sender.send_request(request).await.map_err(|e| self.broken(explained(&e)))
    }

    async fn connect(&self) -> Result<Box<dyn Io>, ClientError> {
        if let Some(socket) = &self.socket {
            return Ok(Box::new(UnixStream::connect(socket).await.map_err(|e| self.unreached(&e))?));
        }
        let host = match self.base.host() {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.to_string(),
        };
        let stream =
            TcpStream::connect((host.as_str(), self.base.port())).await.map_err(|e| self.unreached(&e))?;
        let Some(connector) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host).map_err(|e| self.broken(e))?;
        let stream = connector.connect(name, stream).await.map_err(|e| self.unreached(&e))?;
        Ok(Box::new(stream))
    }

    fn unreached(&self, error: &io::Error) -> ClientError {
        let url = self.base().to_owned();
        match error.kind() {
            io::ErrorKind::ConnectionRefused => ClientError::Refused { url, flag: self.named.flag },
            _ => ClientError::Connect { url, why: error.to_string() },
        }
    }

    pub fn broken(&self, why: impl ToString) -> ClientError {
        ClientError::Broken { url: self.base().to_owned(), why: why.to_string() }
    }

    pub fn late(&self, within: Duration) -> ClientError {
        ClientError::Timeout { url: self.base().to_owned(), within }
    }
}

fn request(
    method: Method,
    target: &str,
    authority: &str,
    content_type: &str,
    payload: Payload,
) -> Result<Request<Payload>, http::Error> {
    let mut builder = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, authority)
        .header(ACCEPT, "application/json, text/event-stream")
        .header(USER_AGENT, concat!("nimgate/", env!("CARGO_PKG_VERSION")));
    if !content_type.is_empty() {
        builder = builder.header(CONTENT_TYPE, content_type);
    }
    builder.body(payload)
}

/// The reason below hyper's own words: a file that can't be read is not the connection's fault.
fn explained(error: &hyper::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Public roots, and the user's own.
fn tls(ca: Option<&Path>) -> Result<TlsConnector, ClientError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = ca {
        let error = |source| ClientError::File { path: path.to_owned(), source };
        let text = std::fs::read(path).map_err(error)?;
        for certificate in rustls_pemfile::certs(&mut text.as_slice()) {
            let added = roots.add(certificate.map_err(error)?);
            added.map_err(|e| error(io::Error::other(e)))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| ClientError::Said(format!("TLS can't be set up: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A path of several segments, with its slashes.
pub fn encoded_path(path: &str) -> String {
    path.split('/').map(encoded).collect::<Vec<_>>().join("/")
}

/// A text as one segment of a path, or as a value of a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_segment() {
        assert_eq!(encoded("a/b?c=d&é"), "a%2Fb%3Fc%3Dd%26%C3%A9");
        assert_eq!(encoded_path("a b/c?"), "a%20b/c%3F");
    }

    #[tokio::test]
    async fn a_closed_port_is_told_with_what_to_do() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = Http::new(&url, GATEWAY, None).unwrap().get("/status").await.unwrap_err();
        assert!(matches!(error, ClientError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("nimgate up"), "{error}");
    }

    #[tokio::test]
    async fn tls_is_trusted_by_the_given_root_alone() {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let tls = Some((made.cert.pem(), made.signing_key.serialize_pem()));
        let sim = nim_sim::Sim::start(nim_sim::SimOptions { tls, ..Default::default() }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root.pem");
        std::fs::write(&root, made.cert.pem()).unwrap();
        let trusting = Http::new(&sim.url(), GATEWAY, Some(&root)).unwrap();
        assert!(trusting.get("/v1/models").await.unwrap()["data"].is_array());
        let wary = Http::new(&sim.url(), GATEWAY, None).unwrap();
        let error = wary.get("/v1/models").await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    }

    #[test]
    fn a_url_that_is_none_names_its_flag() {
        let Err(error) = Http::new("localhost:8080", GATEWAY, None) else { panic!("accepted") };
        assert!(error.to_string().starts_with("gateway URL"), "{error}");
    }
}
