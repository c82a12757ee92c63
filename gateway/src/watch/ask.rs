//! One question to one address: `GET`, on a connection of its own, to the end of the answer or of what is wanted of it.
//!
//! A connection that stood idle would prove less: those are kept alive by servers that take no new ones.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pingora::protocols::Stream;
use pingora::protocols::tls::ALPN;

use super::targets::Target;
use crate::health::{Finding, Why};
use crate::upstream::{ConnectError, Connection, Connector};

const AGENT: &str = concat!("nimgate/", env!("CARGO_PKG_VERSION"));
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What a path has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    /// None: it was too long, or cut.
    pub body: Option<Bytes>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    Theirs(Why),
    /// This gateway had nothing left to ask with.
    Ours,
}

/// An answer of at most so many bytes, or why there is none. It ends in time, whatever the other side does.
pub async fn get(
    connector: &Connector,
    target: &Target,
    path: &str,
    bytes_max: usize,
    timeout: Duration,
) -> Result<Answer, NoAnswer> {
    let mut body = BytesMut::new();
    let keep = |piece: &[u8]| {
        body.extend_from_slice(piece);
        ControlFlow::Continue(())
    };
    let Heard { status, is_whole } = hear(connector, target, path, bytes_max, timeout, keep).await?;
    Ok(Answer { status, body: is_whole.then(|| body.freeze()) })
}

/// An answer whose body was shown to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub status: StatusCode,
    /// To its end, within its limit.
    pub is_whole: bool,
}

/// Shows the body of an answer piece by piece, until who looks at it has seen enough.
pub async fn hear(
    connector: &Connector,
    target: &Target,
    path: &str,
    bytes_max: usize,
    timeout: Duration,
    see: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Heard, NoAnswer> {
    const BROKEN: NoAnswer = NoAnswer::Theirs(Why::Broken);
    let asking = async {
        let request = request(target, path).ok_or(BROKEN)?;
        match connector.connect(&target.endpoint, ALPN::H1).await.map_err(|error| not_connected(&error))? {
            Connection::H1 { stream, .. } => exchange(stream, request, bytes_max, see).await.ok_or(BROKEN),
            // It was not offered.
            Connection::H2 { .. } => Err(BROKEN),
        }
    };
    tokio::time::timeout(timeout, asking).await.unwrap_or(Err(NoAnswer::Theirs(Why::Silent)))
}

fn request(target: &Target, path: &str) -> Option<Request<Empty<Bytes>>> {
    let mut request = Request::get(path).body(Empty::new()).ok()?;
    let headers = request.headers_mut();
    headers.extend(target.headers.iter().cloned());
    headers.insert(HOST, HeaderValue::try_from(target.endpoint.url.authority()).ok()?);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Some(request)
}

async fn exchange(
    stream: Stream,
    request: Request<Empty<Bytes>>,
    bytes_max: usize,
    see: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Option<Heard> {
    let connecting = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = connecting.await.ok()?;
    let talk = async {
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status();
        let is_whole = show(answer.into_body(), bytes_max, see).await;
        Some(Heard { status, is_whole })
    };
    let driving = async {
        // How it ended is seen by who talks.
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = talk => answer,
        () = driving => None,
    }
}

/// Gives whether all of it was shown.
async fn show(mut body: Incoming, bytes_max: usize, mut see: impl FnMut(&[u8]) -> ControlFlow<()>) -> bool {
    let mut left = bytes_max;
    loop {
        let frame = match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => frame,
        };
        let Some(piece) = frame.data_ref() else { continue };
        let Some(rest) = left.checked_sub(piece.len()) else { return false };
        left = rest;
        if see(piece).is_break() {
            return false;
        }
    }
}

fn not_connected(error: &ConnectError) -> NoAnswer {
    NoAnswer::Theirs(match error {
        ConnectError::Dns => Why::Dns,
        ConnectError::Forbidden(_) => Why::Forbidden,
        ConnectError::Refused => Why::Refused,
        ConnectError::Timeout => Why::Silent,
        ConnectError::Tls => Why::Tls,
        ConnectError::Unreachable => Why::Unreachable,
        ConnectError::NoDescriptor => return NoAnswer::Ours,
    })
}

/// What a path's status says; none: it says that there is no such path. Whoever refuses a key, or has too much to
/// do, works.
pub fn finding(status: StatusCode) -> Option<Finding> {
    match status.as_u16() {
        404 | 405 | 410 | 501 | 300..=399 => None,
        500..=599 => Some(Finding::Down(Why::Status(status.as_u16()))),
        _ => Some(Finding::Up),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_says_of_who_answers() {
        let found = |status| finding(StatusCode::from_u16(status).unwrap());
        for status in [200, 204, 401, 403, 429] {
            assert_eq!(found(status), Some(Finding::Up), "{status}");
        }
        for status in [404, 405, 501, 302] {
            assert_eq!(found(status), None, "{status}");
        }
        for status in [500, 502, 503] {
            assert_eq!(found(status), Some(Finding::Down(Why::Status(status))), "{status}");
        }
    }
}
