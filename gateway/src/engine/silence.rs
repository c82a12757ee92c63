//! What the client of a stream hears while nobody says anything yet: comments, in an event stream that the gateway
//! begins itself, so that nothing on the way takes the connection for dead.
//!
//! What must stay true: nothing that goes down here is an upstream's, so the request may still go anywhere; once an
//! upstream has begun to speak nothing is put in between; a client that takes nothing gets no more.
//!
//! Absent on purpose: what the head of the answer would have said. It is sent before anybody has answered.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::choice::Choice;
use super::context::RequestContext;
use super::down::{Down, DownError, ReplyFilter, ReplyHead};
use super::encode::{Fields, Framing};
use super::forward::Forward;
use super::last_words::Dialect;

/// Says nothing: event streams begin and end at will between two of them.
const COMMENT: &[u8] = b": waiting\n\n";

/// The silence of one request's upstreams.
pub struct Silence {
    interval: Duration,
    /// When the client last heard something.
    heard: Instant,
    head: Head,
}

/// What began the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Nothing,
    Ours,
    Upstream,
}

/// The client has left.
pub struct Gone;

impl Silence {
    /// `None`: nobody asks for comments, or the answer is to be no event stream.
    pub fn of(forward: &Forward<'_>, choice: &Choice) -> Option<Self> {
        let interval = choice.comment_interval()?;
        let is_stream = forward.streams
            && *forward.request.method == Method::POST
            && Dialect::of_events(forward.tail).is_some();
        is_stream.then(|| Self { interval, heard: Instant::now(), head: Head::Nothing })
    }

    /// When the client is to hear something.
    pub fn due(&self) -> Instant {
        self.heard + self.interval
    }

    /// Whether the stream was begun from here: only events can follow.
    pub fn has_begun_stream(&self) -> bool {
        self.head == Head::Ours
    }

    /// An upstream's head goes down.
    pub fn upstream_begins(&mut self) {
        self.head = Head::Upstream;
    }

    /// A comment, after the stream's head if there was none.
    pub fn speak(&mut self, down: &mut Down<'_>, context: &mut RequestContext) -> Result<(), DownError> {
        self.heard = Instant::now();
        if self.head == Head::Nothing {
            send_head(down, context)?;
            self.head = Head::Ours;
        } else if down.has_output() {
            return Ok(());
        }
        context.bytes_sent += COMMENT.len() as u64;
        down.send_data(&mut vec![Bytes::from_static(COMMENT)]);
        Ok(())
    }

    /// Waits for `work`, which says nothing to the client, unless that leaves.
    pub async fn cover<T>(
        &mut self,
        down: &mut Down<'_>,
        context: &mut RequestContext,
        work: impl Future<Output = T>,
    ) -> Result<T, Gone> {
        let mut work = pin!(work);
        loop {
            let due = self.due().into();
            let done = std::future::poll_fn(|cx| {
                if let Poll::Ready(done) = work.as_mut().poll(cx) {
                    return Poll::Ready(Ok(Some(done)));
                }
                let is_cut_off = down.has_output() && matches!(down.poll_flush(cx), Poll::Ready(Err(_)));
                if is_cut_off || down.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(Gone));
                }
                down.timer().poll_until(cx, due).map(|()| Ok(None))
            });
            match done.await? {
                Some(done) => return Ok(done),
                None => self.speak(down, context).map_err(|_| Gone)?,
            }
        }
    }
}

fn send_head(down: &mut Down<'_>, context: &mut RequestContext) -> Result<(), DownError> {
    context.began(StatusCode::OK.as_u16());
    let mut own = context.own_fields();
    own.extend(EVENT_STREAM_FIELDS);
    down.send_head(&ReplyHead {
        status: StatusCode::OK,
        fields: Fields::None,
        framing: Framing::Open,
        request_id: context.id.as_bytes(),
        own: &own,
        filter: ReplyFilter::Upstream,
        secret: &[],
    })
}

/// What the head of an event stream says that is made here.
pub const EVENT_STREAM_FIELDS: [(&str, &str); 3] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    // Proxies on the way must not collect it.
    ("x-accel-buffering", "no"),
];
