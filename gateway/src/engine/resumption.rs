//! What one request carries from attempt to attempt so that its answer can go on elsewhere; see [`crate::resume`].

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::choice::{Candidate, Choice};
use super::encode::Framing;
use super::exchange::Exchange;
use super::forward::Forward;
use super::plan::Body;
use super::reply::{Reply, is_encoded, is_event_stream};
use super::up::ReplyParts;
use crate::dialect::Operation;
use crate::refusal::Refusal;
use crate::resume::{
    AtCut, CONTINUATIONS_MAX, Misfit, REQUEST_BYTES_MAX, Resumable, ResumableStream, Resume, Unfit,
};
use crate::route::Replica;
use crate::watch::Continues;

pub struct Resumption {
    question: Bytes,
    resumable: Resumable,
    stream: ResumableStream,
    stage: Stage,
    /// The model that the answer is of, as it was asked for.
    served: Option<Bytes>,
    /// How often it has gone on, or was to.
    continuations: u32,
    /// Where it may.
    policy: Resume,
    /// Whoever goes on has a text to go on from.
    has_text: bool,
}

enum Stage {
    /// No answer has begun.
    Asked,
    /// The stream goes down.
    Begun,
    /// The stream is to go on with the answer to this.
    Cut(Bytes),
    /// The answer is another than was asked for.
    Other,
}

impl Resumption {
    /// `None`: the model says nothing of it. Or why the request is none that can go on elsewhere.
    pub fn of(forward: &Forward<'_>, choice: &Choice) -> Option<Result<Self, Unfit>> {
        match choice {
            Choice::Model(entry) if entry.resume != Resume::Off => Some(Self::under(entry.resume, forward)),
            Choice::Model(_) | Choice::Provider(_) => None,
        }
    }

    fn under(policy: Resume, forward: &Forward<'_>) -> Result<Self, Unfit> {
        let Body::Json(question, _) = &forward.body else { return Err(Unfit::Path) };
        if forward.operation != Operation::ChatCompletions {
            return Err(Unfit::Path);
        }
        if question.len() > REQUEST_BYTES_MAX {
            return Err(Unfit::TooLong);
        }
        let resumable = Resumable::of(question)?;
        let stream = ResumableStream::new(resumable.wants_usage);
        Ok(Self {
            question: (*question).clone(),
            resumable,
            stream,
            stage: Stage::Asked,
            served: None,
            continuations: 0,
            policy,
            has_text: false,
        })
    }

    /// Whether an answer may begin or go on there: asking it for a rest bills nobody, or was allowed; it passes requests
    /// and answers as they are, and serves the model that has begun.
    pub fn admits(&self, candidate: Candidate<'_>) -> bool {
        let provider = candidate.provider;
        let is_same = !self.has_gone_on() || self.served.as_ref() == candidate.served;
        is_same && provider.does_not_go_on().is_none()
    }

    /// Whether the answer may go on at this address of a candidate. It may begin at any.
    pub fn admits_address(&self, replica: &Replica) -> bool {
        let is_known = || replica.endpoint.load.watched.continues() == Continues::Yes;
        !self.has_text || self.policy == Resume::Promised || is_known()
    }

    /// The request for the answer, or for the rest of it.
    pub fn exchange<'f>(
        &mut self,
        forward: &Forward<'f>,
        candidate: Candidate<'_>,
    ) -> Result<Exchange<'f>, Refusal> {
        let exchange = if let Stage::Cut(rest) = &self.stage {
            Exchange::of_rest(forward, candidate, rest)
        } else {
            self.served = candidate.served.cloned();
            Exchange::of(forward, candidate)
        };
        Ok(Exchange { is_read: true, ..exchange? })
    }

    /// Whether the answer that is awaited goes on with one whose head went down.
    pub fn awaits_rest(&self) -> bool {
        matches!(self.stage, Stage::Cut(_))
    }

    pub fn has_gone_on(&self) -> bool {
        self.continuations > 0
    }

    /// The head of an answer came: the first one, which goes down, or that of the rest. Gives whether it can be used.
    pub fn answered(&mut self, parts: &ReplyParts, reply: &Reply) -> bool {
        let fields = parts.fields();
        let is_stream = parts.status() == StatusCode::OK && is_event_stream(fields) && !is_encoded(fields);
        self.stage = match std::mem::replace(&mut self.stage, Stage::Other) {
            Stage::Asked if is_stream && reply.framing == Framing::Open => Stage::Begun,
            Stage::Cut(_) if is_stream => Stage::Begun,
            Stage::Cut(rest) => Stage::Cut(rest),
            Stage::Asked | Stage::Begun | Stage::Other => Stage::Other,
        };
        matches!(self.stage, Stage::Begun)
    }

    /// What becomes of a stream's pieces on their way down.
    pub fn pass(&mut self, pieces: &mut Vec<Bytes>) -> Result<(), Misfit> {
        if !matches!(self.stage, Stage::Begun) {
            return Ok(());
        }
        let mut out = BytesMut::new();
        let fed = pieces.drain(..).try_for_each(|piece| self.stream.feed(&piece, &mut out));
        put(out, pieces);
        fed
    }

    /// The same for what was withheld; the stream has ended.
    pub fn finish(&mut self, pieces: &mut Vec<Bytes>) -> Result<(), Misfit> {
        self.pass(pieces)?;
        let mut out = BytesMut::new();
        let finished = self.stream.finish(&mut out);
        put(out, pieces);
        finished
    }

    /// The stream broke off.
    pub fn cut(&mut self) -> AtCut {
        if !matches!(self.stage, Stage::Begun) {
            return AtCut::Lost;
        }
        let at_cut = self.stream.cut();
        if at_cut != AtCut::GoesOn {
            return at_cut;
        }
        let so_far = self.stream.so_far();
        self.has_text = !so_far.text.is_empty();
        let rest = self.resumable.rest(&self.question, &so_far);
        let Some(rest) = rest.filter(|_| self.continuations < CONTINUATIONS_MAX) else { return AtCut::Lost };
        self.continuations += 1;
        self.stage = Stage::Cut(rest);
        self.stream.go_on();
        AtCut::GoesOn
    }
}

fn put(out: BytesMut, pieces: &mut Vec<Bytes>) {
    if !out.is_empty() {
        pieces.push(out.freeze());
    }
}
