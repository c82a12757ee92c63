//! One attempt, from the sent request to the delivered answer: the only loop that reads and writes
//! both sides. All waiting happens in [`Relay::poll_step`]; the reactions are plain functions.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::clock::{Clock, Limit};
use super::context::RequestContext;
use super::down::{Down, DownError, ReplyFilter, ReplyHead, Upload};
use super::encode::Framing;
use super::exchange::Conversion;
use super::last_words::Dialect;
use super::reply::Reply;
use super::resumption::Resumption;
use super::trial::Trial;
use super::up::{ReplyParts, Up, UpError, UpEvent};
use crate::body::ModelRewrite;
use crate::config::Limits;
use crate::dialect::responses::reply::End;
use crate::resume::{AtCut, Misfit};
use crate::upstream::endpoint::Timeouts;
use bytes::Bytes;
use http::Method;

/// Unsent bytes beyond which the other side is not read.
const BACKLOG_BYTES_MAX: usize = 64 * 1024;
/// After a failed upload: how long an answer that explains it may take.
const EARLY_ANSWER_WAIT: Duration = Duration::from_secs(1);

/// After the last event of a translated stream: how long its upstream may take to end.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// How often a client is looked at that is not read from, and so can't be heard leaving.
const CLIENT_LOOK_INTERVAL: Duration = Duration::from_millis(100);

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
    pub frames: Option<&'a prometheus::IntCounter>,
    /// Control calls: what the answer's head waits for before it goes down.
    pub gate: Option<&'a dyn Gate>,
    /// What is learned about the upstream's address.
    pub trial: Option<&'a Trial<'a>>,
    /// How a stream can go on that breaks off here, or broke off elsewhere.
    pub resume: Option<&'a mut Resumption>,
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
    finished: bool,
    gate: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pieces: Vec<Bytes>,
    clock: Clock,
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
            finished: false,
            gate: None,
            pieces: Vec::new(),
            clock,
        }
    }

    pub async fn run(&mut self) -> RelayEnd {
        if self.uploading {
            self.down.want_body();
        }
        loop {
            let step = std::future::poll_fn(|cx| self.poll_step(cx)).await;
            if let Some(end) = self.react(step) {
                self.account();
                return end;
            }
        }
    }

    fn react(&mut self, step: Step) -> Option<RelayEnd> {
        match step {
            Step::Up(Ok(UpEvent::Head(parts))) => self.on_head(parts),
            Step::Up(Ok(UpEvent::Data)) => {
                self.on_first_data();
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

    fn on_head(&mut self, parts: Box<ReplyParts>) -> Option<RelayEnd> {
        self.clock.up_read = self.clock.now();
        let status = parts.status();
        self.awaits_body = status.is_success();
        if let Some(trial) = self.plan.trial
            && trial.answered(&parts)
        {
            return Some(RelayEnd::PassedOver(status));
        }
        if self.plan.resume.as_ref().is_some_and(|resume| resume.awaits_rest()) {
            return self.on_rest_head(&parts);
        }
        self.context.answered(status.as_u16());
        if status == http::StatusCode::SWITCHING_PROTOCOLS {
            self.waiting_head = Some(parts);
            return Some(RelayEnd::Upgraded);
        }
        let plan = &mut self.plan;
        let passed =
            || Reply::plan(&parts, plan.method, plan.rewrite, plan.key, plan.limits.reply_buffer_bytes_max);
        let reply = match plan.conversion.take() {
            None => passed(),
            Some(Conversion::Reasoning) => passed().with_reasoning(&parts, plan.rewrite),
            Some(Conversion::Response(turn)) => Reply::response(&parts, turn, plan.key),
        };
        if let Some(resume) = &mut plan.resume {
            resume.answered(&parts, &reply);
        }
        let (collects, translates) = (reply.collects(), reply.translated().is_some());
        self.gate = plan.gate.and_then(|gate| gate.wait_for(&parts));
        self.reply = Some(reply);
        self.waiting_head = Some(parts);
        if self.gate.is_some() {
            return None;
        }
        let sent = if collects { None } else { self.send_head() };
        // Events that go down with the head; or a head of which nothing can be made.
        if sent.is_none() && translates { self.on_data() } else { sent }
    }

    /// The answer's head went down long ago, with what came first of it elsewhere.
    fn on_rest_head(&mut self, parts: &ReplyParts) -> Option<RelayEnd> {
        let plan = &mut self.plan;
        let bytes_max = plan.limits.reply_buffer_bytes_max;
        let mut reply = Reply::plan(parts, plan.method, plan.rewrite, plan.key, bytes_max);
        reply.framing = Framing::Open;
        if !plan.resume.as_mut().is_some_and(|resume| resume.answered(parts, &reply)) {
            return Some(RelayEnd::NoRest);
        }
        self.reply = Some(reply);
        self.head_sent = true;
        None
    }

    fn send_head(&mut self) -> Option<RelayEnd> {
        let (Some(parts), Some(reply)) = (self.waiting_head.take(), &self.reply) else { return None };
        if let Some(translated) = reply.translated() {
            self.context.answered(translated.status().as_u16());
        }
        let mut own = self.context.reply_fields();
        let (status, filter) = match reply.translated() {
            Some(translated) => {
                translated.put_fields(&mut own);
                (translated.status(), ReplyFilter::Translated)
            }
            None => (parts.status(), self.plan.filter),
        };
        let head = ReplyHead {
            status,
            fields: parts.fields(),
            framing: reply.framing,
            request_id: self.context.id.as_bytes(),
            own: &own,
            filter,
            secret: if parts.status().is_success() { &[] } else { self.plan.key },
        };
        self.head_sent = true;
        self.down.send_head(&head).err().map(|_| RelayEnd::ClientGone)
    }

    /// Tells how long the model took to begin.
    fn on_first_data(&mut self) {
        if std::mem::take(&mut self.awaits_body)
            && let Some(trial) = self.plan.trial
        {
            trial.began(self.clock.now().saturating_duration_since(self.clock.sent));
        }
    }

    fn on_data(&mut self) -> Option<RelayEnd> {
        self.clock.up_read = self.clock.now();
        if let Some(end) = self.feed() {
            return Some(end);
        }
        // An answer that is too large to be kept goes on as it is.
        if !self.head_sent
            && self.reply.as_ref().is_some_and(|reply| !reply.collects())
            && let Some(end) = self.send_head()
        {
            return Some(end);
        }
        self.pass_pieces();
        None
    }

    /// Turns what came into what goes down. An answer of which nothing can be made is none.
    fn feed(&mut self) -> Option<RelayEnd> {
        let reply = self.reply.as_mut()?;
        reply.feed(&mut self.pieces);
        if let Some(resume) = &mut self.plan.resume
            && let Err(misfit) = resume.pass(&mut self.pieces)
        {
            return Some(self.tell_misfit(misfit));
        }
        let reply = self.reply.as_ref()?;
        let translated = reply.translated()?;
        if translated.has_said_all() {
            self.clock.said_all.get_or_insert(self.clock.up_read);
        }
        translated.unusable().map(|why| RelayEnd::NoAnswer(NoAnswer::Up(UpError::Broken(why))))
    }

    fn pass_pieces(&mut self) {
        if !self.pieces.is_empty() {
            self.context.bytes_sent += self.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            self.down.send_data(&mut self.pieces);
        }
    }

    fn on_end(&mut self, trailers: Option<&http::HeaderMap>) -> Option<RelayEnd> {
        if let Some(end) = self.feed() {
            return Some(end);
        }
        if let Some(end) = self.finish_reply() {
            return Some(end);
        }
        if !self.head_sent
            && let Some(end) = self.send_head()
        {
            return Some(end);
        }
        self.pass_pieces();
        // Trailers are about the body that came, not about what was made of it.
        let translates = self.reply.as_ref().is_some_and(|reply| reply.translated().is_some());
        self.down.send_end(trailers.filter(|_| !translates));
        self.finished = true;
        None
    }

    /// Adds what was kept back of an answer.
    fn finish_reply(&mut self) -> Option<RelayEnd> {
        let reply = self.reply.as_mut()?;
        let Some(resume) = &mut self.plan.resume else {
            reply.finish(&mut self.pieces);
            return None;
        };
        let mut rest = Vec::new();
        reply.finish(&mut rest);
        let finished = resume.finish(&mut rest);
        self.pieces.append(&mut rest);
        finished.err().map(|misfit| self.tell_misfit(misfit))
    }

    /// What came to go on with the answer does not fit it.
    fn tell_misfit(&mut self, misfit: Misfit) -> RelayEnd {
        tracing::warn!(request = self.context.id.as_str(), %misfit, "an answer could not go on elsewhere");
        self.tell_cut(BROKE_OFF, "upstream_incomplete")
    }

    fn on_up_error(&mut self, error: UpError) -> Option<RelayEnd> {
        if !self.head_sent {
            let translated = self.reply.as_ref().and_then(Reply::translated);
            // As much of an error's body as came says enough.
            return match translated {
                Some(translated) if translated.is_fault() => self.on_end(None),
                _ => Some(RelayEnd::NoAnswer(NoAnswer::Up(error))),
            };
        }
        let fed = self.on_data();
        if self.plan.resume.is_some() && fed.is_some() {
            return fed;
        }
        self.broke_off(End::Cut, BROKE_OFF, "upstream_incomplete")
    }

    /// It is the upstream's fault that its answer is not whole.
    fn broke_off(&mut self, how: End, message: &str, code: &str) -> Option<RelayEnd> {
        if let Some(trial) = self.plan.trial {
            trial.broke_off();
        }
        match self.plan.resume.as_mut().map_or(AtCut::Lost, |resume| resume.cut()) {
            AtCut::GoesOn => Some(RelayEnd::GoesOn),
            AtCut::Complete(last) => {
                self.pieces.extend(Some(last).filter(|last| !last.is_empty()));
                self.pass_pieces();
                self.down.send_end(None);
                self.finished = true;
                None
            }
            AtCut::Lost => self.break_off(how, message, code),
        }
    }

    /// Ends an answer that has begun and won't be whole. A translated one has an event for that.
    fn break_off(&mut self, how: End, message: &str, code: &str) -> Option<RelayEnd> {
        let translates = |reply: &&mut Reply| reply.translated().is_some() && reply.is_stream;
        match self.reply.as_mut().filter(translates) {
            Some(reply) if !self.finished => {
                reply.end_translated(how, &mut self.pieces);
                self.pass_pieces();
                self.down.send_end(None);
                self.finished = true;
                None
            }
            Some(_) => Some(RelayEnd::Cut),
            None => Some(self.tell_cut(message, code)),
        }
    }

    /// Says inside the stream what happened, where the dialect has a form for it, and leaves the
    /// framing open in any case: a cut answer must not look finished.
    fn tell_cut(&mut self, message: &str, code: &str) -> RelayEnd {
        // In an answer of announced length, an event would stand for bytes that did not come.
        if let Some(reply) = &self.reply
            && reply.is_stream
            && reply.framing == Framing::Open
        {
            if !reply.at_frame_boundary() {
                self.pieces.push(Bytes::from_static(b"\n\n"));
            }
            self.pieces.push(self.plan.dialect.error_event(message, code));
            self.down.send_data(&mut self.pieces);
        }
        RelayEnd::Cut
    }

    fn delivered(&self) -> RelayEnd {
        match self.reply.as_ref().and_then(Reply::translated) {
            Some(translated) if translated.has_told_failure() => RelayEnd::DeliveredFailure,
            _ => RelayEnd::Delivered,
        }
    }

    fn on_bad_upload(&mut self, fault: UploadFault) -> RelayEnd {
        if self.head_sent {
            return self.tell_cut("the request's body broke off", "request_incomplete");
        }
        RelayEnd::BadUpload(fault)
    }

    fn on_expired(&mut self, limit: Limit) -> Option<RelayEnd> {
        match limit {
            Limit::DownStall => Some(RelayEnd::ClientGone),
            Limit::ClientLook => {
                self.clock.looked = Instant::now();
                self.down.has_left().then_some(RelayEnd::ClientGone)
            }
            Limit::KeepAlive => {
                self.clock.beat = Instant::now();
                if let Some(reply) = &mut self.reply {
                    reply.keep_alive(&mut self.pieces);
                }
                self.pass_pieces();
                None
            }
            Limit::LastWords => self.on_end(None),
            Limit::UploadRate => Some(self.on_bad_upload(UploadFault::TooSlow)),
            Limit::UpStall if self.upload_failed => self.on_up_error(UpError::Cut),
            _ if !self.head_sent => Some(RelayEnd::NoAnswer(NoAnswer::Timeout)),
            Limit::Total => {
                self.break_off(End::TimedOut, "the request took longer than its limit", "request_timeout")
            }
            _ => self.broke_off(End::TimedOut, "the upstream sent nothing for too long", "upstream_stalled"),
        }
    }

    /// The limit that runs out next, and when.
    fn next_limit(&self) -> (Instant, Limit) {
        let (clock, times) = (&self.clock, &self.plan.timeouts);
        let mut next = (clock.started + times.total, Limit::Total);
        let mut consider = |at: Instant, limit| {
            if at < next.0 {
                next = (at, limit);
            }
        };
        if !self.hears_client() {
            consider(clock.looked + CLIENT_LOOK_INTERVAL, Limit::ClientLook);
        }
        if self.down.has_output() {
            consider(clock.down_wrote + self.plan.limits.write_stall_timeout, Limit::DownStall);
        }
        if self.upload_failed {
            consider(clock.up_wrote + EARLY_ANSWER_WAIT, Limit::UpStall);
        } else if self.up.has_output() {
            consider(clock.up_wrote.max(clock.sent) + times.idle, Limit::UpStall);
        } else if self.uploading {
            consider(self.upload_deadline(), Limit::UploadRate);
        } else if self.reply.is_none() {
            consider(clock.sent.max(clock.up_wrote) + times.first_byte, Limit::FirstByte);
        }
        if self.reply.is_some() && !self.finished && self.down.backlog() < BACKLOG_BYTES_MAX {
            consider(clock.up_read.max(clock.unblocked) + times.idle, Limit::Idle);
        }
        if self.speaks_for_itself() {
            consider(clock.down_wrote.max(clock.beat) + self.plan.limits.stream_keep_alive, Limit::KeepAlive);
        }
        if let Some(at) = clock.said_all.filter(|_| !self.finished) {
            consider(at + LAST_WORDS_WAIT, Limit::LastWords);
        }
        next
    }

    /// Whether a silent upstream is covered for: its client's idle timer heeds events alone.
    fn speaks_for_itself(&self) -> bool {
        let translated = self.reply.as_ref().and_then(Reply::translated);
        translated.is_some_and(|translated| translated.is_stream() && !translated.has_said_all())
            && !self.finished
            && !self.down.has_output()
    }

    /// When a body that goes on at the least rate would have had to bring its next byte.
    fn upload_deadline(&self) -> Instant {
        let limits = self.plan.limits;
        self.clock.sent + limits.body_rate_grace + limits.time_for_body(self.clock.uploaded_bytes)
    }

    /// One timer for all limits. When it fires, the limits are looked at again.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let (at, limit) = self.next_limit();
        self.down.timer().poll_until(cx, at.into()).map(|()| Step::Expired(limit))
    }

    fn account(&self) {
        if let (Some(reply), Some(frames)) = (&self.reply, self.plan.frames)
            && reply.is_stream
        {
            frames.inc_by(reply.frames());
        }
    }

    /// For an upgrade: the head that was not passed on yet.
    pub fn take_head(&mut self) -> Option<Box<ReplyParts>> {
        self.waiting_head.take()
    }
}
