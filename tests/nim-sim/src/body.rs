//! The response body: plays [`Step`]s against a clock and a socket.
//!
//! Invariant: the ticket ends as answered when the last byte was handed over, and not before.

use crate::error::SimError;
use crate::record::{Outcome, Ticket};
use crate::socket::{Connection, CutKind};
use crate::steps::{Step, Steps};
use bytes::Bytes;
use http::{HeaderMap, Version};
use hyper::body::{Body, Frame, SizeHint};
use std::iter::Peekable;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// HTTP/2 tells a body nothing about flushes: what was written gets this long to leave before a cut.
const H2_CUT_DELAY: Duration = Duration::from_millis(20);

pub(crate) struct SimBody {
    steps: Peekable<Steps>,
    sleeping: Option<Pin<Box<Sleep>>>,
    cutting: Option<CutKind>,
    /// Bytes still to come, when the length was announced.
    left: Option<u64>,
    trailers: Option<HeaderMap>,
    connection: Arc<Connection>,
    version: Version,
    ticket: Option<Ticket>,
}

impl SimBody {
    pub fn new(
        steps: Steps,
        length: Option<u64>,
        trailers: Option<HeaderMap>,
        connection: Arc<Connection>,
        version: Version,
        ticket: Option<Ticket>,
    ) -> Self {
        let mut body = Self {
            steps: steps.peekable(),
            sleeping: None,
            cutting: None,
            left: length,
            trailers,
            connection,
            version,
            ticket,
        };
        body.end_if_complete();
        body
    }

    pub fn empty(connection: Arc<Connection>, ticket: Option<Ticket>) -> Self {
        Self::new(Box::new(std::iter::empty()), None, None, connection, Version::HTTP_11, ticket)
    }

    fn is_complete(&self) -> bool {
        self.left == Some(0)
    }

    fn end_if_complete(&mut self) {
        let no_more = self.steps.peek().is_none() && self.trailers.is_none();
        if no_more && self.cutting.is_none() {
            self.left = Some(0);
        }
        if self.is_complete()
            && let Some(mut ticket) = self.ticket.take()
        {
            ticket.end(Outcome::Answered);
        }
    }

    fn cut(&mut self, kind: CutKind) -> Poll<Option<Result<Frame<Bytes>, SimError>>> {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.end(Outcome::Cut);
        }
        if self.version != Version::HTTP_2 {
            self.connection.cut_when_flushed(kind);
            return Poll::Pending;
        }
        if kind == CutKind::Rst {
            self.connection.reset_now();
        }
        Poll::Ready(Some(Err(SimError::Cut)))
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleeping) = &mut self.sleeping {
            ready!(sleeping.as_mut().poll(cx));
            self.sleeping = None;
        }
        Poll::Ready(())
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = SimError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SimError>>> {
        let this = &mut *self;
        loop {
            ready!(this.poll_sleep(cx));
            if let Some(kind) = this.cutting {
                return this.cut(kind);
            }
            match this.steps.next() {
                Some(Step::Data(bytes)) => {
                    this.left = this.left.map(|left| left.saturating_sub(bytes.len() as u64));
                    this.end_if_complete();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Pause(pause)) => this.sleeping = Some(Box::pin(sleep(pause))),
                Some(Step::Yield) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Cut(kind)) => {
                    this.cutting = Some(kind);
                    if this.version == Version::HTTP_2 {
                        this.sleeping = Some(Box::pin(sleep(H2_CUT_DELAY)));
                    }
                }
                None => {
                    let trailers = this.trailers.take();
                    this.end_if_complete();
                    return Poll::Ready(trailers.map(|map| Ok(Frame::trailers(map))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_complete()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
