//! What an upstream answers, and what of it goes down.

use http::StatusCode;

use super::{NoAnswer, Relay, RelayEnd};
use crate::dialect::responses::reply::UpstreamFault;
use crate::engine::down::{ReplyFilter, ReplyHead};
use crate::engine::encode::Framing;
use crate::engine::exchange::Conversion;
use crate::engine::reply::{Reply, is_encoded};
use crate::engine::up::{ReplyParts, UpError};

impl Relay<'_, '_> {
    pub(super) fn on_head(&mut self, parts: Box<ReplyParts>) -> Option<RelayEnd> {
        self.clock.up_read = self.clock.now();
        let status = parts.status();
        self.context.head_came(status.as_u16(), self.clock.up_read);
        self.awaits_body = status.is_success();
        if let Some(trial) = self.plan.trial
            && trial.answered(&parts)
        {
            return Some(RelayEnd::PassedOver(status));
        }
        if self.plan.resume.as_ref().is_some_and(|resume| resume.awaits_rest()) {
            return self.on_rest_head(&parts);
        }
        let has_begun = self.has_begun_stream();
        if !has_begun {
            self.context.answered(status.as_u16());
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.waiting_head = Some(parts);
            return Some(RelayEnd::Upgraded);
        }
        let plan = &mut self.plan;
        let passed =
            || Reply::plan(&parts, plan.method, plan.rewrite, plan.key, plan.limits.reply_buffer_bytes_max);
        let mut reply = match plan.conversion.take() {
            Some(Conversion::Response(turn)) => Reply::response(&parts, turn, plan.key),
            _ if has_begun && !status.is_success() => Reply::fault(),
            None => passed(),
            Some(Conversion::Reasoning) => passed().with_reasoning(&parts, plan.rewrite),
        };
        let is_plain_stream = reply.is_stream && !is_encoded(parts.fields());
        if has_begun {
            if let Some(fault) = unfit(&reply, is_plain_stream) {
                return Some(RelayEnd::Fault(Box::new(fault)));
            }
            reply.framing = Framing::Open;
        }
        self.takes_comments =
            is_plain_stream && reply.framing == Framing::Open && reply.translated().is_none();
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
    pub(super) fn on_rest_head(&mut self, parts: &ReplyParts) -> Option<RelayEnd> {
        let plan = &mut self.plan;
        let bytes_max = plan.limits.reply_buffer_bytes_max;
        let mut reply = Reply::plan(parts, plan.method, plan.rewrite, plan.key, bytes_max);
        reply.framing = Framing::Open;
        if !plan.resume.as_mut().is_some_and(|resume| resume.answered(parts, &reply)) {
            return Some(RelayEnd::NoRest);
        }
        self.reply = Some(reply);
        (self.head_sent, self.takes_comments) = (true, true);
        None
    }

    fn has_begun_stream(&self) -> bool {
        self.plan.silence.as_ref().is_some_and(|silence| silence.has_begun_stream())
    }

    pub(super) fn send_head(&mut self) -> Option<RelayEnd> {
        if self.has_begun_stream() {
            return self.send_no_head();
        }
        if let Some(silence) = &mut self.plan.silence {
            silence.upstream_begins();
        }
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
        let sent = self.down.send_head(&head);
        drop(own);
        if reply.is_stream {
            self.context.streams();
        }
        sent.err().map(|_| RelayEnd::ClientGone)
    }

    /// The stream was begun from here: the answer goes on with it, or is told in it.
    fn send_no_head(&mut self) -> Option<RelayEnd> {
        let (Some(parts), Some(reply)) = (self.waiting_head.take(), &mut self.reply) else { return None };
        if let Some(fault) = reply.take_fault(parts.status(), self.plan.key) {
            return Some(RelayEnd::Fault(Box::new(fault)));
        }
        self.context.answered(StatusCode::OK.as_u16());
        self.head_sent = true;
        self.context.streams();
        None
    }

    /// Tells how long the model took to begin.
    pub(super) fn on_first_data(&mut self) {
        if std::mem::take(&mut self.awaits_body)
            && let Some(trial) = self.plan.trial
        {
            let now = self.clock.now();
            self.context.body_began(now);
            trial.began(now.saturating_duration_since(self.clock.sent));
        }
    }

    /// The same, and in a stream how long it was silent; not while its client kept it from being read.
    pub(super) fn on_more_data(&mut self) {
        if !self.awaits_body
            && let Some(trial) = self.plan.trial
            && self.reply.as_ref().is_some_and(|reply| reply.is_stream)
            && self.clock.unblocked <= self.clock.up_read
        {
            let silence = self.clock.now().saturating_duration_since(self.clock.up_read);
            trial.paused(silence, &mut self.pauses);
        }
        self.on_first_data();
    }

    pub(super) fn on_data(&mut self) -> Option<RelayEnd> {
        self.clock.up_read = self.clock.now();
        if let Some(left_behind) = &mut self.left_behind
            && left_behind.read(self.pieces.iter().map(|piece| piece.len() as u64).sum())
        {
            return Some(RelayEnd::ClientGone);
        }
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
    pub(super) fn feed(&mut self) -> Option<RelayEnd> {
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

    pub(super) fn pass_pieces(&mut self) {
        if self.left_behind.is_some() {
            self.pieces.clear();
        } else if !self.pieces.is_empty() {
            self.context.bytes_sent += self.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            self.down.send_data(&mut self.pieces);
        }
    }

    pub(super) fn on_end(&mut self, trailers: Option<&http::HeaderMap>) -> Option<RelayEnd> {
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
    pub(super) fn finish_reply(&mut self) -> Option<RelayEnd> {
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
}

/// Why the answer can't go on with an event stream that has begun.
fn unfit(reply: &Reply, is_plain_stream: bool) -> Option<UpstreamFault> {
    let why = match () {
        // What these make of an answer, they know themselves.
        () if reply.translated().is_some() || reply.is_fault() || is_plain_stream => return None,
        () if reply.is_stream => "the provider's answer is compressed, though it was asked not to",
        () => "the provider answered with something else than the event stream that it was asked for",
    };
    Some(UpstreamFault::server(why))
}
