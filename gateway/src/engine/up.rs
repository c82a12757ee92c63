//! The upstream's side of one attempt, HTTP/1 or HTTP/2.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::encode::Fields;
use super::up_h1::H1Up;
use super::up_h2::H2Up;
use crate::h1::ResponseHead;
use crate::h1::head::BodyLength;

/// What an upstream does next.
#[derive(Debug)]
pub enum UpEvent {
    Head(Box<ReplyParts>),
    /// Body bytes went to the sink.
    Data,
    End {
        trailers: Option<HeaderMap>,
    },
}

/// The head of an answer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it travels boxed")]
pub enum ReplyParts {
    H1(ResponseHead),
    H2 { status: StatusCode, headers: HeaderMap, body: BodyLength },
}

impl ReplyParts {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::H1(head) => head.status,
            Self::H2 { status, .. } => *status,
        }
    }

    pub fn fields(&self) -> Fields<'_> {
        match self {
            Self::H1(head) => Fields::H1(&head.head),
            Self::H2 { headers, .. } => Fields::Map(headers),
        }
    }

    pub fn body(&self) -> BodyLength {
        match self {
            Self::H1(head) => head.body,
            Self::H2 { body, .. } => *body,
        }
    }
}

/// Why an upstream's side is over before its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpError {
    /// The connection ended or broke.
    Cut,
    /// The answer can't be believed.
    Broken(&'static str),
    /// HTTP/2: the upstream did not process the request (refused stream, or a goaway before it).
    NotProcessed,
}

pub enum Up {
    H1(H1Up),
    H2(H2Up),
}

impl Up {
    pub fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Bytes),
    ) -> Poll<Result<UpEvent, UpError>> {
        match self {
            Self::H1(h1) => h1.poll_event(cx, sink),
            Self::H2(h2) => h2.poll_event(cx, sink),
        }
    }

    pub fn send_data(&mut self, bytes: Bytes) {
        match self {
            Self::H1(h1) => h1.send_data(bytes),
            Self::H2(h2) => h2.send_data(bytes),
        }
    }

    pub fn send_end(&mut self, trailers: Option<&HeaderMap>) {
        match self {
            Self::H1(h1) => h1.send_end(trailers),
            Self::H2(h2) => h2.send_end(),
        }
    }

    pub fn backlog(&self) -> usize {
        match self {
            Self::H1(h1) => h1.backlog(),
            Self::H2(h2) => h2.backlog(),
        }
    }

    pub fn has_output(&self) -> bool {
        match self {
            Self::H1(h1) => h1.has_output(),
            Self::H2(h2) => h2.has_output(),
        }
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpError>> {
        match self {
            Self::H1(h1) => h1.poll_flush(cx),
            Self::H2(h2) => h2.poll_flush(cx),
        }
    }

    pub fn reused(&self) -> bool {
        match self {
            Self::H1(h1) => h1.reused,
            Self::H2(h2) => h2.reused,
        }
    }

    /// Whether any byte of the request may have reached the upstream.
    pub fn wrote(&self) -> bool {
        match self {
            Self::H1(h1) => h1.wrote(),
            Self::H2(_) => true,
        }
    }
}
