//! The stream that the client gets: what it has said, and what becomes of it when its server is gone.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::chunk::Chunk;
use super::continued::{Continued, Part};
use super::events::{self, WholeEvents};
use super::fit::REASONING_OPENING;
use super::{Misfit, TEXT_BYTES_MAX};

/// A chat stream on its way to the client, in whole events.
#[derive(Debug)]
pub struct ResumableStream {
    wants_usage: bool,
    events: WholeEvents,
    said: Said,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    First,
    /// Something came that can't be continued: everything passes.
    Lost,
    Continued(Box<Continued>),
}

/// What the client has.
#[derive(Debug, Default)]
pub struct Said {
    text: String,
    /// Tokens of the text, and of the text without the white space at its end.
    tokens: u64,
    solid_tokens: u64,
    pub envelope: Option<Envelope>,
    pub prompt_tokens: Option<u64>,
    pub has_role: bool,
    has_finish: bool,
    has_usage: bool,
    has_ended: bool,
}

/// What all chunks of one stream have in common, as it is written.
#[derive(Debug)]
pub struct Envelope {
    pub id: Option<Box<[u8]>>,
    pub created: Option<Box<[u8]>>,
    pub model: Option<Box<[u8]>>,
    pub fingerprint: Option<Box<[u8]>>,
}

/// What a server is told that goes on with a text.
#[derive(Debug, PartialEq, Eq)]
pub struct SoFar<'s> {
    /// Without white space at its end.
    pub text: &'s str,
    pub tokens: u64,
}

/// What becomes of an answer whose server is gone.
#[derive(Debug, PartialEq, Eq)]
pub enum AtCut {
    /// It may go on elsewhere: see [`ResumableStream::so_far`].
    GoesOn,
    /// The client has it all but for these last bytes.
    Complete(Bytes),
    /// It stays cut.
    Lost,
}

impl ResumableStream {
    pub fn new(wants_usage: bool) -> Self {
        Self { wants_usage, events: WholeEvents::default(), said: Said::default(), stage: Stage::First }
    }

    /// Appends to `out` what goes down. After a misfit nothing more may be fed.
    pub fn feed(&mut self, piece: &[u8], out: &mut BytesMut) -> Result<(), Misfit> {
        if matches!(self.stage, Stage::Lost) {
            out.extend_from_slice(piece);
            return Ok(());
        }
        self.events.push(piece);
        loop {
            match self.events.next() {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => self.event(event, out)?,
                Err(_) => match self.stage {
                    Stage::Continued(_) => return Err(Misfit::EventTooLong),
                    Stage::First | Stage::Lost => return self.lose(out),
                },
            }
        }
    }

    /// The upstream's stream has ended as it should.
    pub fn finish(&mut self, out: &mut BytesMut) -> Result<(), Misfit> {
        let rest = self.events.take_rest();
        if !rest.is_empty() {
            self.event(rest, out)?;
        }
        if let Stage::Continued(continued) = &mut self.stage {
            continued.release(&mut self.said, out);
        }
        Ok(())
    }

    /// The upstream's stream broke off; half an event is forgotten.
    pub fn cut(&mut self) -> AtCut {
        self.events.take_rest();
        if let Stage::Continued(continued) = &mut self.stage {
            continued.forget();
        }
        let said = &self.said;
        let text = &said.text;
        if said.has_ended {
            AtCut::Complete(Bytes::new())
        } else if matches!(self.stage, Stage::Lost) {
            AtCut::Lost
        } else if said.has_finish && (said.has_usage || !self.wants_usage) {
            AtCut::Complete(Bytes::from_static(b"data: [DONE]\n\n"))
        } else if said.has_finish
            || text.len() > TEXT_BYTES_MAX
            || text.ends_with(char::REPLACEMENT_CHARACTER)
            || text.trim_start().starts_with(REASONING_OPENING)
        {
            AtCut::Lost
        } else {
            AtCut::GoesOn
        }
    }

    /// What a server has to know that goes on.
    pub fn so_far(&self) -> SoFar<'_> {
        SoFar { text: self.said.text.trim_end(), tokens: self.said.solid_tokens }
    }

    /// What is fed from now on is said by another server that was told [`ResumableStream::so_far`].
    pub fn go_on(&mut self) {
        self.stage = Stage::Continued(Box::new(Continued::new(&self.said.text, self.said.solid_tokens)));
    }

    fn lose(&mut self, out: &mut BytesMut) -> Result<(), Misfit> {
        self.stage = Stage::Lost;
        out.unsplit(self.events.take_rest());
        Ok(())
    }

    fn event(&mut self, bytes: BytesMut, out: &mut BytesMut) -> Result<(), Misfit> {
        let span = match events::Said::by(&bytes) {
            events::Said::Nothing => return self.pass(bytes, out),
            events::Said::Data(span) => span,
            events::Said::Odd => 0..0,
        };
        let (at, data) = (span.start, bytes.get(span).unwrap_or_default());
        if data == b"[DONE]" {
            if let Stage::Continued(continued) = &mut self.stage {
                continued.release(&mut self.said, out);
            }
            self.said.has_ended = true;
            return self.pass(bytes, out);
        }
        let read = Chunk::read(data).and_then(|chunk| chunk.text(data).map(|text| (chunk, text)));
        match (&mut self.stage, read) {
            (Stage::First, Some((chunk, text))) => {
                self.said.chunk(&chunk, data, 0);
                self.said.text(&text, chunk.completion_tokens());
            }
            (Stage::Continued(continued), Some((chunk, text))) => {
                let part = Part { bytes: &bytes, data, at, chunk: &chunk, text: &text };
                return continued.chunk(&part, &mut self.said, out);
            }
            (Stage::Continued(_), None) => return Err(Misfit::NotText),
            (Stage::First, None) => self.stage = Stage::Lost,
            (Stage::Lost, _) => {}
        }
        self.pass(bytes, out)
    }

    fn pass(&mut self, bytes: BytesMut, out: &mut BytesMut) -> Result<(), Misfit> {
        out.extend_from_slice(&bytes);
        if matches!(self.stage, Stage::Lost) { self.lose(out) } else { Ok(()) }
    }
}

impl Said {
    /// `before`: how much of its prompt was said by us.
    pub fn chunk(&mut self, chunk: &Chunk, data: &[u8], before: u64) {
        self.envelope.get_or_insert_with(|| Envelope::of(chunk, data));
        self.has_role |= chunk.has_role();
        self.has_finish |= chunk.has_finish();
        if let Some(usage) = &chunk.usage {
            let prompt = usage.prompt.as_ref().map(|(_, count)| count.saturating_sub(before));
            self.prompt_tokens = self.prompt_tokens.or(prompt);
            self.has_usage |= self.has_finish;
        }
    }

    pub fn text(&mut self, text: &str, completion_tokens: Option<u64>) {
        if self.text.len() <= TEXT_BYTES_MAX {
            self.text.push_str(text);
        }
        self.tokens = completion_tokens.unwrap_or(self.tokens + u64::from(!text.is_empty()));
        if !text.trim().is_empty() {
            self.solid_tokens = self.tokens;
        }
    }
}

impl Envelope {
    fn of(chunk: &Chunk, data: &[u8]) -> Self {
        let keep = |span: &Option<Range<usize>>| span.clone().and_then(|span| data.get(span)).map(Box::from);
        Self {
            id: keep(&chunk.id),
            created: keep(&chunk.created),
            model: keep(&chunk.model),
            fingerprint: keep(&chunk.fingerprint),
        }
    }
}
