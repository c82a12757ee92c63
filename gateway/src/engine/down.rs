//! The client's side of one request, HTTP/1 or HTTP/2.

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::down_h1::H1Down;
use super::down_h2::H2Down;
use super::encode::{Fields, Framing};
use super::timer::LazyTimer;
use crate::h1::head::BodyLength;
use crate::headers::{self, Nominated};

/// How reading a request body goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upload {
    /// Some bytes went to the sink.
    Progress,
    End {
        trailers: Option<HeaderMap>,
    },
}

/// Why the client's side is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownError {
    /// The client left (end of file, reset, broken pipe).
    Gone,
    /// The body's framing is broken.
    Framing(&'static str),
}

/// The head of an answer on its way down.
pub struct ReplyHead<'a> {
    pub status: StatusCode,
    pub fields: Fields<'a>,
    pub framing: Framing,
    pub request_id: &'a [u8],
    /// Extra lines of the gateway's own.
    pub own: &'a [(&'static str, &'a str)],
    /// Where `fields` come from, and so what of them may go on.
    pub filter: ReplyFilter,
    /// A header whose value holds these bytes (a provider's key) is dropped. Empty: none.
    pub secret: &'a [u8],
}

impl ReplyHead<'_> {
    /// The names that belong to the upstream's hop alone.
    pub fn nominated(&self) -> Nominated<'_> {
        match self.fields {
            Fields::H1(fields) => Nominated::of(fields.iter()),
            Fields::Map(_) | Fields::None => Nominated::default(),
        }
    }

    pub fn admits(&self, name: &[u8], value: &[u8]) -> bool {
        self.filter.admits(name)
            && (self.secret.is_empty() || memchr::memmem::find(value, self.secret).is_none())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyFilter {
    /// From an inference upstream: no cookies, no server names.
    Upstream,
    /// The same, of an answer whose body was made anew.
    Translated,
    /// From our own registry: only hop-by-hop fields go.
    Control,
}

impl ReplyFilter {
    fn admits(self, name: &[u8]) -> bool {
        match self {
            Self::Upstream => headers::may_go_downstream(name),
            Self::Translated => headers::may_go_downstream(name) && !headers::is_of_the_original(name),
            Self::Control => headers::may_go_downstream(name) || name.eq_ignore_ascii_case(b"server"),
        }
    }
}

/// The head of a request, whatever protocol it came by.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    pub method: &'a Method,
    /// Path and query as sent.
    pub target: &'a str,
    pub fields: Fields<'a>,
    pub body: BodyLength,
    pub websocket: bool,
    /// The web page that a browser asks for.
    pub origin: Option<&'a str>,
}

pub enum Down<'c> {
    H1(&'c mut H1Down),
    H2(&'c mut H2Down),
    /// The client has left, and its answer is read on: whatever is sent here is forgotten.
    Nobody(Box<LazyTimer>),
}

impl Down<'_> {
    /// The client has left: from here on nothing is sent.
    pub fn forget(&mut self) {
        *self = Self::Nobody(Box::default());
    }

    /// Tells a client that waits for it to send its body.
    pub fn want_body(&mut self) {
        if let Self::H1(h1) = self {
            h1.want_body();
        }
    }

    /// The connection's address on our side. Asks the system: not for the hot path.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::H1(h1) => h1.wire.local_address(),
            Self::H2(h2) => h2.local_address(),
            Self::Nobody(_) => None,
        }
    }

    /// Reads body bytes into `sink`. After the end it stays pending until the client leaves.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Bytes),
    ) -> Poll<Result<Upload, DownError>> {
        match self {
            Self::H1(h1) => h1.poll_body(cx, sink),
            Self::H2(h2) => h2.poll_body(cx, sink),
            Self::Nobody(_) => Poll::Pending,
        }
    }

    /// Pending until the client leaves.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<DownError> {
        match self {
            Self::H1(h1) => h1.poll_gone(cx),
            Self::H2(h2) => h2.poll_gone(cx),
            Self::Nobody(_) => Poll::Pending,
        }
    }

    /// The timer of the connection or stream.
    pub fn timer(&mut self) -> &mut LazyTimer {
        match self {
            Self::H1(h1) => &mut h1.timer,
            Self::H2(h2) => &mut h2.timer,
            Self::Nobody(timer) => timer,
        }
    }

    /// Whether the client has left, without reading from it.
    pub fn has_left(&mut self) -> bool {
        match self {
            Self::H1(h1) => h1.wire.is_closed_by_peer(),
            Self::H2(h2) => {
                let gone = std::future::poll_fn(|cx| h2.poll_gone(cx));
                futures_util::FutureExt::now_or_never(gone).is_some()
            }
            Self::Nobody(_) => false,
        }
    }

    pub fn body_done(&self) -> bool {
        match self {
            Self::H1(h1) => h1.body_done(),
            Self::H2(h2) => h2.body_done(),
            Self::Nobody(_) => true,
        }
    }

    pub fn send_head(&mut self, head: &ReplyHead<'_>) -> Result<(), DownError> {
        match self {
            Self::H1(h1) => {
                h1.send_head(head);
                Ok(())
            }
            Self::H2(h2) => h2.send_head(head),
            Self::Nobody(_) => Ok(()),
        }
    }

    /// Queues body bytes. The pieces go out in one write.
    pub fn send_data(&mut self, pieces: &mut Vec<Bytes>) {
        match self {
            Self::H1(h1) => h1.send_data(pieces),
            Self::H2(h2) => h2.send_data(pieces),
            Self::Nobody(_) => pieces.clear(),
        }
    }

    /// Queues the proper end of the answer.
    pub fn send_end(&mut self, trailers: Option<&HeaderMap>) {
        match self {
            Self::H1(h1) => h1.send_end(trailers),
            Self::H2(h2) => h2.send_end(trailers),
            Self::Nobody(_) => {}
        }
    }

    /// Queued bytes that did not leave yet.
    pub fn backlog(&self) -> usize {
        match self {
            Self::H1(h1) => h1.backlog(),
            Self::H2(h2) => h2.backlog(),
            Self::Nobody(_) => 0,
        }
    }

    pub fn has_output(&self) -> bool {
        match self {
            Self::H1(h1) => h1.has_output(),
            Self::H2(h2) => h2.has_output(),
            Self::Nobody(_) => false,
        }
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownError>> {
        match self {
            Self::H1(h1) => h1.poll_flush(cx),
            Self::H2(h2) => h2.poll_flush(cx),
            Self::Nobody(_) => Poll::Ready(Ok(())),
        }
    }

    /// Waits until all that is queued has left, as long as the client takes it.
    pub async fn flush_within(&mut self, limit: Duration) -> Result<(), DownError> {
        let flushing = std::future::poll_fn(|cx| self.poll_flush(cx));
        tokio::time::timeout(limit, flushing).await.unwrap_or(Err(DownError::Gone))
    }

    /// After a flush: waits until the last byte has left for the socket.
    pub async fn written(&mut self) {
        if let Self::H2(h2) = self {
            h2.written().await;
        }
    }

    /// Gives the answer up so that the client can tell: broken framing, or a stream reset.
    pub fn abort(&mut self) {
        match self {
            Self::H1(h1) => h1.abort(),
            Self::H2(h2) => h2.abort(),
            Self::Nobody(_) => {}
        }
    }
}
