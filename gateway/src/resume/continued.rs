//! A stream that goes on with another: its chunks as the first one would have sent them.

use std::ops::Range;

use bytes::BytesMut;

use super::Misfit;
use super::chunk::{Chunk, Usage};
use super::fit::Fit;
use super::request::{Edits, spliced};
use super::stream::{Envelope, Said};

/// A stream that goes on with another.
#[derive(Debug)]
pub struct Continued {
    fit: Fit,
    /// Tokens that were said before, and are in its prompt.
    before: u64,
    /// Events that wait until it is clear that they say nothing again, and what they say.
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    bytes: BytesMut,
    text: String,
    completion_tokens: Option<u64>,
}

/// A chunk of a stream that goes on with another, in its event.
pub struct Part<'p> {
    pub bytes: &'p [u8],
    pub data: &'p [u8],
    /// Where the data begin.
    pub at: usize,
    pub chunk: &'p Chunk,
    pub text: &'p str,
}

impl Continued {
    /// `before`: the tokens of `text`.
    pub fn new(text: &str, before: u64) -> Self {
        Self { fit: Fit::new(text), before, held: Vec::new() }
    }

    /// What waited never went down.
    pub fn forget(&mut self) {
        self.held.clear();
    }

    pub fn chunk(&mut self, part: &Part<'_>, said: &mut Said, out: &mut BytesMut) -> Result<(), Misfit> {
        let new = self.fit.join(part.text)?;
        let is_over = part.chunk.has_finish() || part.chunk.usage.is_some() && part.chunk.choice.is_none();
        if new.is_empty() && !is_over && said.has_role {
            return Ok(());
        }
        if is_over {
            self.release(said, out);
        }
        let completion_tokens = part.chunk.completion_tokens().map(|count| count + self.before);
        let bytes = self.edited(part, new, said);
        if self.fit.is_open() {
            self.held.push(Held { bytes, text: new.to_owned(), completion_tokens });
            return Ok(());
        }
        self.release(said, out);
        said.chunk(part.chunk, part.data, self.before);
        said.text(new, completion_tokens);
        out.unsplit(bytes);
        Ok(())
    }

    /// What waited is no repetition.
    pub fn release(&mut self, said: &mut Said, out: &mut BytesMut) {
        self.fit.close();
        for held in self.held.drain(..) {
            said.text(&held.text, held.completion_tokens);
            out.unsplit(held.bytes);
        }
    }

    /// The event as the first stream would have sent it.
    fn edited(&self, part: &Part<'_>, new: &str, said: &Said) -> BytesMut {
        let mut edits = Edits::new();
        if let Some(envelope) = &said.envelope {
            put_envelope(&mut edits, part.chunk, envelope);
        }
        if let Some(choice) = &part.chunk.choice {
            let text = || serde_json::Value::from(new).to_string();
            match (&choice.delta, &choice.content) {
                (Some(delta), _) if choice.has_role && said.has_role => {
                    let delta_text =
                        if new.is_empty() { "{}".into() } else { format!("{{\"content\":{}}}", text()) };
                    edits.push((delta.clone(), delta_text.into_bytes().into()));
                }
                (_, Some(content)) if new.len() != part.text.len() => {
                    edits.push((content.clone(), text().into_bytes().into()));
                }
                _ => {}
            }
        }
        if let Some(usage) = &part.chunk.usage {
            put_usage(&mut edits, usage, self.before, said.prompt_tokens);
        }
        spliced(part.bytes, part.at, edits)
    }
}

fn put_envelope<'e>(edits: &mut Edits<'e>, chunk: &Chunk, envelope: &'e Envelope) {
    let pairs = [
        (&chunk.id, &envelope.id),
        (&chunk.created, &envelope.created),
        (&chunk.model, &envelope.model),
        (&chunk.fingerprint, &envelope.fingerprint),
    ];
    for (span, first) in pairs {
        if let Some(span) = span {
            edits.push((span.clone(), first.as_deref().unwrap_or(b"null").into()));
        }
    }
}

/// Tokens that were said before move from the prompt to the completion.
fn put_usage(edits: &mut Edits<'_>, usage: &Usage, before: u64, first_prompt: Option<u64>) {
    let told = |count: &Option<(Range<usize>, u64)>| count.as_ref().map_or(0, |(_, count)| *count);
    let prompt = first_prompt.unwrap_or(told(&usage.prompt).saturating_sub(before));
    let completion = told(&usage.completion).saturating_add(before);
    let sums = [
        (&usage.prompt, prompt),
        (&usage.completion, completion),
        (&usage.total, prompt.saturating_add(completion)),
    ];
    for (place, sum) in sums {
        if let Some((span, _)) = place {
            edits.push((span.clone(), sum.to_string().into_bytes().into()));
        }
    }
}
