//! Answers that don't come, or not to their end, and how the client is told.

use bytes::Bytes;

use super::{BROKE_OFF, NoAnswer, Relay, RelayEnd, UploadFault};
use crate::dialect::responses::reply::End;
use crate::engine::encode::Framing;
use crate::engine::reply::Reply;
use crate::engine::up::UpError;
use crate::resume::{AtCut, Misfit};

impl Relay<'_, '_> {
    pub(super) fn on_up_error(&mut self, error: UpError) -> Option<RelayEnd> {
        if !self.head_sent {
            // As much of an error's body as came says enough.
            return match &self.reply {
                Some(reply) if reply.is_fault() => self.on_end(None),
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
    pub(super) fn broke_off(&mut self, how: End, message: &str, code: &str) -> Option<RelayEnd> {
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
    pub(super) fn break_off(&mut self, how: End, message: &str, code: &str) -> Option<RelayEnd> {
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
    pub(super) fn tell_cut(&mut self, message: &str, code: &str) -> RelayEnd {
        // In an answer of announced length, an event would stand for bytes that did not come.
        if let Some(reply) = &self.reply
            && reply.is_stream
            && reply.framing == Framing::Open
        {
            if !reply.at_frame_boundary() {
                self.pieces.push(Bytes::from_static(b"\n\n"));
            }
            self.pieces.push(self.plan.dialect.cut_event(message, code));
            self.down.send_data(&mut self.pieces);
        }
        RelayEnd::Cut
    }

    /// What came to go on with the answer does not fit it.
    pub(super) fn tell_misfit(&mut self, misfit: Misfit) -> RelayEnd {
        tracing::warn!(request = self.context.id.as_str(), %misfit, "an answer could not go on elsewhere");
        if let Some(trial) = self.plan.trial.filter(|_| misfit.shows_a_new_beginning()) {
            trial.began_anew();
        }
        self.tell_cut(BROKE_OFF, "upstream_incomplete")
    }

    pub(super) fn delivered(&self) -> RelayEnd {
        match self.reply.as_ref().and_then(Reply::translated) {
            Some(translated) if translated.has_told_failure() => RelayEnd::DeliveredFailure,
            _ => RelayEnd::Delivered,
        }
    }

    pub(super) fn on_bad_upload(&mut self, fault: UploadFault) -> RelayEnd {
        if self.head_sent {
            return self.tell_cut("the request's body broke off", "request_incomplete");
        }
        RelayEnd::BadUpload(fault)
    }
}
