//! Chat answers whose reasoning goes where every chat client reads: into the text, as `<think>…</think>`.
//!
//! What must stay true: only messages with reasoning change, and of them only its fields and `content`; every other
//! byte, of events too, passes as it came. A block that was opened is closed before anything else the message says.
//!
//! Absent on purpose: a stream that ends inside its reasoning gets no `</think>`; it has not come to its end.

mod message;

use std::ops::Range;

use bytes::BytesMut;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::message::CHOICES_MAX;
use self::message::{Thinking, with_reasoning_in_text};
use super::sse::{Lines, data_of};

/// How both fields begin.
const FIELD: &str = "\"reasoning";

/// The whole answer with its reasoning in its text; `None` when it passes as it is.
pub fn whole(body: &[u8]) -> Option<Vec<u8>> {
    let json = std::str::from_utf8(body).ok()?;
    Finder::new(FIELD).find(body)?;
    moved(json, &mut Thinking::default(), |choice| Some((choice.message?, true))).map(String::into_bytes)
}

/// Moves the reasoning of a stream.
#[derive(Debug)]
pub struct ChatStream {
    lines: Lines,
    thinking: Thinking,
    field: Finder<'static>,
    /// There was a line too long to be read.
    is_passing: bool,
}

impl Default for ChatStream {
    fn default() -> Self {
        Self {
            lines: Lines::default(),
            thinking: Thinking::default(),
            field: Finder::new(FIELD),
            is_passing: false,
        }
    }
}

impl ChatStream {
    /// Appends what the lines become that `chunk` completes.
    pub fn feed(&mut self, chunk: &[u8], out: &mut BytesMut) {
        let mut rest = chunk;
        while !self.is_passing {
            match self.lines.next(&mut rest) {
                Ok(Some(line)) => put_line(line, &self.field, &mut self.thinking, out),
                Ok(None) => return,
                Err(_) => {
                    out.extend_from_slice(self.lines.rest());
                    self.lines = Lines::default();
                    self.is_passing = true;
                }
            }
        }
        out.extend_from_slice(rest);
    }

    /// Appends what was held back; the stream ends here.
    pub fn finish(&mut self, out: &mut BytesMut) {
        let lines = std::mem::take(&mut self.lines);
        put_line(lines.rest(), &self.field, &mut self.thinking, out);
    }
}

fn put_line(line: &[u8], field: &Finder<'_>, thinking: &mut Thinking, out: &mut BytesMut) {
    let mut rewrite = || {
        if thinking.is_over() && field.find(line).is_none() {
            return None;
        }
        let data = data_of(line)?;
        let json = std::str::from_utf8(data).ok()?;
        let new = moved(json, thinking, |choice| {
            let ends = choice.finish_reason.is_some();
            Some((choice.delta?, ends))
        })?;
        Some((line.len() - data.len(), new))
    };
    match rewrite() {
        Some((field_len, new)) => {
            out.extend_from_slice(line.get(..field_len).unwrap_or_default());
            out.extend_from_slice(new.as_bytes());
        }
        None => out.extend_from_slice(line),
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

/// The JSON with the reasoning of its messages moved. `message` gives a choice's message, and whether it ends here.
fn moved<'a>(
    json: &'a str,
    thinking: &mut Thinking,
    message: impl Fn(&Choice<'a>) -> Option<(&'a RawValue, bool)>,
) -> Option<String> {
    let answer: Answer<'a> = serde_json::from_str(json).ok()?;
    let mut new = String::new();
    let mut copied = 0;
    for choice in &answer.choices {
        let Some((message, ends)) = message(choice) else { continue };
        let Some(text) = with_reasoning_in_text(message.get(), choice.index.unwrap_or(0), ends, thinking)
        else {
            continue;
        };
        let at = place_of(message.get(), json)?;
        new.push_str(json.get(copied..at.start)?);
        new.push_str(&text);
        copied = at.end;
    }
    if copied == 0 {
        return None;
    }
    new.push_str(json.get(copied..)?);
    Some(new)
}

/// Where a part of a text that was borrowed from it is.
fn place_of(part: &str, whole: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let range = start..start + part.len();
    (whole.get(range.clone()) == Some(part)).then_some(range)
}

#[cfg(test)]
mod tests;
