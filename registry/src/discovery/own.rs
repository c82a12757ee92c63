//! Calls of our own instances, beside the looks. Their addresses come from their runtimes, so no policy is asked.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tokio::net::TcpStream;

use super::address;
use super::probe::{AGENT, exchange, read_list};
use super::verdict::{Failure, Probed};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// `GET` without a body, `POST` with one. The answer's own body is there only with 200.
pub async fn call(
    endpoint: SocketAddr,
    path: &str,
    body: Option<&Value>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), Failure> {
    let ask = async {
        let mut request = Request::new(Full::from(body.map(Value::to_string).unwrap_or_default()));
        *request.uri_mut() = path.parse().map_err(|_| Failure::Protocol)?;
        if body.is_some() {
            *request.method_mut() = Method::POST;
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let headers = request.headers_mut();
        let host = HeaderValue::try_from(endpoint.to_string()).map_err(|_| Failure::Protocol)?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let stream = TcpStream::connect(endpoint).await.map_err(|error| address::class_of(&error))?;
        exchange(stream, request, ANSWER_BYTES_MAX).await
    };
    tokio::time::timeout(timeout, ask).await.unwrap_or(Err(Failure::TimedOut))
}

/// What an instance says that it serves; none when it does not say it in time.
pub async fn get_models(endpoint: SocketAddr, timeout: Duration) -> Option<Vec<String>> {
    let (status, body) = call(endpoint, "/v1/models", None, timeout).await.ok()?;
    match read_list(&body) {
        Probed::Listed(ids) if status == StatusCode::OK => Some(ids),
        Probed::Listed(_) | Probed::NoList(_) | Probed::Failed(_) => None,
    }
}
