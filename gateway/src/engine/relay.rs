//! One attempt, from the sent request to the delivered answer: the only loop that reads and writes
//! both sides. All waiting happens in [`Relay::poll_step`]; the reactions are plain functions: to what an
//! upstream answers (`answer`), to what goes wrong (`ending`), to clients that leave (`leaving`), and to time (`limits`).

mod answer;
mod ending;
mod leaving;
mod limits;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::app::App;
use super::clock::{Clock, Limit};
use super::context::RequestContext;
use super::down::{Down, DownError, ReplyFilter, Upload};
use super::exchange::Conversion;
use super::last_words::Dialect;
use super::left_behind::LeftBehind;
use super::reply::Reply;
use super::resumption::Resumption;
use super::silence::Silence;
use super::trial::Trial;
use super::up::{ReplyParts, Up, UpError, UpEvent};
use crate::body::ModelRewrite;
use crate::config::Limits;
use crate::dialect::responses::reply::UpstreamFault;
use crate::metrics::{Kept, ModelTokens};
use crate::upstream::endpoint::Timeouts;
use bytes::Bytes;
use http::Method;

/// Unsent bytes beyond which the other side is not read.
const BACKLOG_BYTES_MAX: usize = 64 * 1024;
/// What a client is told whose answer is not whole.
pub const BROKE_OFF: &str = "the upstream's answer broke off";

/// How an attempt ended.
pub enum RelayEnd {
    /// The answer was delivered whole.
    Delivered,
    /// The answer broke off, and what was delivered says so to its end.
    DeliveredFailure,
    ClientGone,
    /// No byte of an answer went down: the caller decides what happens next.
    NoAnswer(NoAnswer),
    /// An answer of this status came that another address is to better. No byte of it went down.
    PassedOver(http::StatusCode),
    /// The answer had begun and broke off; the client was told.
    Cut,
    /// The answer broke off, and is to go on with another upstream's. The client was told nothing.
    GoesOn,
    /// The upstream does not go on with the answer. The client was told nothing.
    NoRest,
    /// The stream was begun from here, and the upstream's answer is none that can go on with it. The client was told
    /// nothing.
    Fault(Box<UpstreamFault>),
    /// The client's body broke off or is malformed, before an answer.
    BadUpload(UploadFault),
    /// The upstream agreed to switch protocols; its head was passed on.
    Upgraded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    Up(UpError),
    /// No head within the first-byte or total limit.
    Timeout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadFault {
    Framing(&'static str),
    TooSlow,
}

/// What the relay is told about the attempt.
pub struct RelayPlan<'a> {
    pub method: &'a Method,
    pub rewrite: Option<&'a Arc<ModelRewrite>>,
    /// How the answer is made of what comes, when it is not passed.
    pub conversion: Option<Conversion>,
    pub key: &'a [u8],
    pub filter: ReplyFilter,
    pub timeouts: Timeouts,
    pub limits: &'a Limits,
    /// How errors are told to the client inside a stream.
    pub dialect: Dialect,
    pub counts: Option<Counts<'a>>,
    /// Control calls: what the answer's head waits for before it goes down.
    pub gate: Option<&'a dyn Gate>,
    /// What is learned about the upstream's address.
    pub trial: Option<&'a Trial<'a>>,
    /// How a stream can go on that breaks off here, or broke off elsewhere.
    pub resume: Option<&'a mut Resumption>,
    /// What the client hears until somebody speaks.
    pub silence: Option<&'a mut Silence>,
    /// The answer is read on when the client leaves.
    pub reads_on: Option<&'a Arc<App>>,
}

/// What is counted of an answer.
pub struct Counts<'a> {
    /// Events of streams.
    pub frames: &'a prometheus::IntCounter,
    pub tokens: &'a ModelTokens,
}

/// Holds an answer back until something has happened here.
pub trait Gate: Sync {
    /// What to wait for (bounded), or nothing.
    fn wait_for(&self, head: &ReplyParts) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>>;
}

pub struct Relay<'r, 'c> {
    pub down: &'r mut Down<'c>,
    pub up: &'r mut Up,
    plan: RelayPlan<'r>,
    context: &'r mut RequestContext,
    uploading: bool,
    upload_failed: bool,
    /// The answer's head, until it went down.
    waiting_head: Option<Box<ReplyParts>>,
    reply: Option<Reply>,
    head_sent: bool,
    /// The head of a success came, and nothing of its body yet.
    awaits_body: bool,
    /// Comments can stand before the answer's body.
    takes_comments: bool,
    finished: bool,
    gate: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pieces: Vec<Bytes>,
    clock: Clock,
    /// Of a stream.
    pauses: Kept,
    /// The client has left, and the answer is read on.
    left_behind: Option<LeftBehind>,
}

enum Step {
    Up(Result<UpEvent, UpError>),
    Upload(Result<Upload, DownError>),
    Gone,
    Delivered,
    GateOpen,
    Expired(Limit),
}

impl<'r, 'c> Relay<'r, 'c> {
    /// `uploading`: the client's body is streamed through; otherwise the request is queued whole.
    pub fn new(
        down: &'r mut Down<'c>,
        up: &'r mut Up,
        plan: RelayPlan<'r>,
        context: &'r mut RequestContext,
        uploading: bool,
    ) -> Self {
        let clock = Clock::start(context.started);
        Self {
            down,
            up,
            plan,
            context,
            uploading,
            upload_failed: false,
            waiting_head: None,
            reply: None,
            head_sent: false,
            awaits_body: false,
            takes_comments: false,
            finished: false,
            gate: None,
            pieces: Vec::new(),
            clock,
            pauses: Kept::default(),
            left_behind: None,
        }
    }

    pub async fn run(&mut self) -> RelayEnd {
        if self.uploading {
            self.down.want_body();
        }
        loop {
            let step = std::future::poll_fn(|cx| self.poll_step(cx)).await;
            let Some(end) = self.react(step) else { continue };
            if matches!(end, RelayEnd::ClientGone) && self.reads_on() {
                continue;
            }
            self.account();
            return self.without_client(end);
        }
    }

    fn react(&mut self, step: Step) -> Option<RelayEnd> {
        match step {
            Step::Up(Ok(UpEvent::Head(parts))) => self.on_head(parts),
            Step::Up(Ok(UpEvent::Data)) => {
                self.on_more_data();
                self.on_data()
            }
            Step::Up(Ok(UpEvent::End { trailers })) => {
                self.on_first_data();
                self.on_end(trailers.as_ref())
            }
            Step::Up(Err(error)) => self.on_up_error(error),
            Step::Upload(Ok(Upload::Progress)) => None,
            Step::Upload(Ok(Upload::End { trailers })) => {
                self.uploading = false;
                self.clock.sent = self.clock.now();
                self.up.send_end(trailers.as_ref());
                None
            }
            Step::Upload(Err(DownError::Gone)) | Step::Gone => Some(RelayEnd::ClientGone),
            Step::Upload(Err(DownError::Framing(why))) => Some(self.on_bad_upload(UploadFault::Framing(why))),
            Step::Delivered => Some(self.delivered()),
            Step::GateOpen => self.send_head(),
            Step::Expired(limit) => self.on_expired(limit),
        }
    }

    /// Moves whatever can move, in the order that frees memory first; ready when something happened.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.clock.now = None;
        if self.down.has_output() {
            let before = self.down.backlog();
            match self.down.poll_flush(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Step::Gone),
                Poll::Ready(Ok(())) if self.finished => return Poll::Ready(Step::Delivered),
                _ if self.down.backlog() < before => {
                    self.clock.down_wrote = self.clock.now();
                    if before >= BACKLOG_BYTES_MAX {
                        self.clock.unblocked = self.clock.down_wrote;
                    }
                }
                _ => {}
            }
        } else if self.finished {
            return Poll::Ready(Step::Delivered);
        }
        if self.up.has_output() && !self.upload_failed {
            let before = self.up.backlog();
            if let Poll::Ready(Err(_)) = self.up.poll_flush(cx) {
                // An answer that says why may be on its way, or here already.
                (self.upload_failed, self.uploading) = (true, false);
                self.clock.up_wrote = self.clock.now();
            } else if self.up.backlog() < before {
                self.clock.up_wrote = self.clock.now();
            }
        }
        if let Some(gate) = &mut self.gate {
            if gate.as_mut().poll(cx).is_pending() {
                return self.poll_client(cx);
            }
            self.gate = None;
            return Poll::Ready(Step::GateOpen);
        }
        if !self.finished && self.down.backlog() < BACKLOG_BYTES_MAX {
            let pieces = &mut self.pieces;
            if let Poll::Ready(event) = self.up.poll_event(cx, &mut |bytes| pieces.push(bytes)) {
                return Poll::Ready(Step::Up(event));
            }
        }
        if let Poll::Ready(step) = self.poll_client(cx) {
            return Poll::Ready(step);
        }
        if let Some(left_behind) = &mut self.left_behind
            && left_behind.poll_stopped(cx).is_ready()
        {
            return Poll::Ready(Step::Gone);
        }
        self.poll_timer(cx)
    }

    /// Whether the client is read from: only then is it heard leaving.
    fn hears_client(&self) -> bool {
        if !self.uploading {
            // A body that nobody reads any more (early answer) must not be read as "the client left".
            return self.down.body_done();
        }
        // Not one byte is taken before the head is on its way: until then another connection will do.
        self.up.wrote() && self.up.backlog() < BACKLOG_BYTES_MAX
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        if !self.hears_client() {
            return Poll::Pending;
        }
        if !self.uploading {
            return self.down.poll_gone(cx).map(|_| Step::Gone);
        }
        let (up, uploaded) = (&mut *self.up, &mut self.clock.uploaded_bytes);
        self.down
            .poll_body(cx, &mut |bytes| {
                *uploaded += bytes.len() as u64;
                up.send_data(bytes);
            })
            .map(Step::Upload)
    }

    fn account(&mut self) {
        if let Some(trial) = self.plan.trial {
            trial.paused_no_more(&mut self.pauses);
        }
        let (Some(reply), Some(counts)) = (&self.reply, &self.plan.counts) else { return };
        if reply.is_stream {
            counts.frames.inc_by(reply.frames());
        }
        let usage = reply.usage();
        if usage.is_known() {
            counts.tokens.used(usage);
            self.context.used(usage);
        }
    }

    /// For an upgrade: the head that was not passed on yet.
    pub fn take_head(&mut self) -> Option<Box<ReplyParts>> {
        self.waiting_head.take()
    }
}
