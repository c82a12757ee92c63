//! One look at a provider: `GET …/v1/models`, as the gateway would send it. Redirects are not
//! followed, bodies are not repeated anywhere.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proto_shared::KeyRing;
use proto_shared::egress::EgressPolicy;
use proto_shared::secret::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::verdict::{Failure, NoList, Probed};
use super::{address, tls};
use crate::config::{DiscoveryConfig, RegistryConfig};
use crate::domain::routes::KeyedProvider;
use crate::store::OpenError;

const MODELS_TAIL: &str = "v1/models";
pub(super) const AGENT: &str = concat!("nimgate/", env!("CARGO_PKG_VERSION"));

/// What probes need.
pub struct Client {
    tls: TlsConnector,
    egress: EgressPolicy,
    master_key: Arc<KeyRing>,
    limits: DiscoveryConfig,
}

impl Client {
    pub fn new(config: &RegistryConfig) -> Result<Self, OpenError> {
        Ok(Self {
            tls: tls::connector(config.discovery.upstream_ca.as_deref())?,
            egress: config.egress.clone(),
            master_key: Arc::clone(&config.master_key),
            limits: config.discovery.clone(),
        })
    }

    /// Always answers, within the time limit.
    pub async fn probe(&self, provider: &KeyedProvider) -> Probed {
        match tokio::time::timeout(self.limits.timeout, self.ask(provider)).await {
            Ok(Ok(probed)) => probed,
            Ok(Err(failure)) => Probed::Failed(failure),
            Err(_) => Probed::Failed(Failure::TimedOut),
        }
    }

    async fn ask(&self, provider: &KeyedProvider) -> Result<Probed, Failure> {
        let request = self.request(provider)?;
        let url = &provider.provider.spec.host_url;
        let stream = address::connect(url, &self.egress.of(provider.origin())).await?;
        let (status, body) = if url.is_https() {
            let stream = tls::handshake(&self.tls, url, stream).await?;
            exchange(stream, request, self.limits.body_bytes_max).await?
        } else {
            exchange(stream, request, self.limits.body_bytes_max).await?
        };
        match status {
            StatusCode::OK => {
                // A list may be megabytes long: parsing it must not hold up other tasks.
                tokio::task::spawn_blocking(move || read_list(&body)).await.map_err(|_| Failure::Protocol)
            }
            StatusCode::NOT_FOUND => Ok(Probed::NoList(NoList::NotFound)),
            other => Err(Failure::Status(other.as_u16())),
        }
    }

    fn request(&self, provider: &KeyedProvider) -> Result<Request<Empty<Bytes>>, Failure> {
        let url = &provider.provider.spec.host_url;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.join(MODELS_TAIL).parse().map_err(|_| Failure::Protocol)?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::try_from(url.authority()).map_err(|_| Failure::Protocol)?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        self.add_owners_headers(provider, headers)?;
        Ok(request)
    }

    /// Default headers, then required ones, then the key: nothing an owner adds replaces the key.
    fn add_owners_headers(&self, provider: &KeyedProvider, headers: &mut HeaderMap) -> Result<(), Failure> {
        let spec = &provider.provider.spec;
        for extra in [&spec.default_extra_headers, &spec.required_extra_headers].into_iter().flatten() {
            for (name, value) in extra {
                let name = HeaderName::try_from(name.as_str()).map_err(|_| Failure::Protocol)?;
                let value = HeaderValue::try_from(value.as_str()).map_err(|_| Failure::Protocol)?;
                headers.insert(name, value);
            }
        }
        if let Some(name) = provider.missing_secret() {
            return Err(Failure::NoSecret(name.clone()));
        }
        let Some(sealed) = &provider.key else { return Ok(()) };
        let key = self.master_key.open(sealed).map_err(|_| Failure::Key)?;
        let template = spec.auth_header_format.clone().unwrap_or_default();
        let value = template.render(key.expose_secret()).map_err(|_| Failure::Key)?;
        let name = HeaderName::try_from(template.header()).map_err(|_| Failure::Key)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| Failure::Key)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }
}

/// The status that one of our own instances answers with. Its address comes from its runtime, so no policy is asked.
pub async fn get_status(endpoint: SocketAddr, path: &str, timeout: Duration) -> Result<StatusCode, Failure> {
    let ask = async {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.parse().map_err(|_| Failure::Protocol)?;
        let headers = request.headers_mut();
        let host = HeaderValue::try_from(endpoint.to_string()).map_err(|_| Failure::Protocol)?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let stream = TcpStream::connect(endpoint).await.map_err(|error| address::class_of(&error))?;
        head(stream, request).await
    };
    tokio::time::timeout(timeout, ask).await.unwrap_or(Err(Failure::TimedOut))
}

/// Sends the request, and leaves the answer's body unread.
async fn head(stream: TcpStream, request: Request<Empty<Bytes>>) -> Result<StatusCode, Failure> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Protocol)?;
    let call = sender.send_request(request);
    tokio::pin!(call);
    let response = tokio::select! {
        response = &mut call => response,
        _ = connection => call.await,
    };
    response.map(|response| response.status()).map_err(|_| Failure::Protocol)
}

/// Sends the request on a connection of its own. The body is read only where it is wanted.
pub(super) async fn exchange<S, B>(
    stream: S,
    request: Request<B>,
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error = Infallible> + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Protocol)?;
    let call = async {
        let response = sender.send_request(request).await.map_err(|_| Failure::Protocol)?;
        let (head, body) = response.into_parts();
        let body =
            if head.status == StatusCode::OK { read_body(body, bytes_max).await? } else { Bytes::new() };
        Ok((head.status, body))
    };
    tokio::pin!(call);
    // The connection is driven here, so that it ends with the probe.
    tokio::select! {
        result = &mut call => result,
        _ = connection => call.await,
    }
}

async fn read_body(body: Incoming, bytes_max: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLong(bytes_max)),
        Err(_) => Err(Failure::Protocol),
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Card>,
}

#[derive(Deserialize)]
struct Card {
    #[serde(default)]
    id: Value,
}

/// Reads an OpenAI-style list. Cards without an id are passed over.
pub(super) fn read_list(body: &[u8]) -> Probed {
    let Ok(list) = serde_json::from_slice::<List>(body) else { return Probed::NoList(NoList::OtherShape) };
    let ids = list.data.into_iter().filter_map(|card| match card.id {
        Value::String(id) => Some(id),
        _ => None,
    });
    Probed::Listed(ids.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_anything_else_is_no_list() {
        let body = br#"{"object":"list","data":[{"id":"a","object":"model"},{"id":7},{"x":1},{"id":"b"}]}"#;
        assert_eq!(read_list(body), Probed::Listed(vec!["a".into(), "b".into()]));
        assert_eq!(read_list(br#"{"data":[]}"#), Probed::Listed(vec![]));
        for other in ["", "[]", "{}", "<html>", r#"{"data":{}}"#, r#"{"data":["a"]}"#, "null"] {
            assert_eq!(read_list(other.as_bytes()), Probed::NoList(NoList::OtherShape), "{other}");
        }
    }
}
