//! Event streams: the JSON in their `data:` lines is tracked, everything else passes.
//!
//! What must stay true: lines end with LF, CR or CRLF, cut anywhere; an event's data lines are one JSON document; an
//! empty line begins a new one. Nothing changes by a byte but the served name.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::reply::{Held, ModelRewrite};
use super::track::Tracker;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const FIELD: &[u8] = b"data";

/// Where in a line the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// At the beginning of the stream, after so many bytes of a byte order mark.
    Mark(usize),
    Start,
    /// After so many bytes of `data`.
    Field(usize),
    /// After `data:`, where one space is no part of the data.
    Colon,
    Data,
    /// A comment or another field.
    Other,
}

/// Rewrites an event stream that comes in pieces.
#[derive(Debug)]
pub struct SseRewriter {
    rewrite: Arc<ModelRewrite>,
    tracker: Tracker,
    held: Held,
    line: Line,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
}

impl SseRewriter {
    pub fn new(rewrite: Arc<ModelRewrite>) -> Self {
        Self { rewrite, tracker: Tracker::new(), held: Held::default(), line: Line::Mark(0), after_cr: false }
    }

    /// Appends to `out` what `chunk` becomes.
    pub fn feed(&mut self, chunk: &[u8], out: &mut BytesMut) {
        out.reserve(chunk.len() + self.rewrite.longest_value() + self.rewrite.replacement().len());
        let (mut at, mut copied) = (0, 0);
        while let Some(&byte) = chunk.get(at) {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                at += 1;
                continue;
            }
            let rest = chunk.get(at..).unwrap_or_default();
            if self.line == Line::Data || self.line == Line::Other {
                let len = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                if self.line == Line::Data {
                    let line = chunk.get(..at + len).unwrap_or_default();
                    self.held.track(&mut self.tracker, &self.rewrite, line, at, &mut copied, out);
                }
                at += len;
                if len > 0 {
                    continue;
                }
            }
            if matches!(byte, b'\n' | b'\r') {
                self.line_end(out);
                self.after_cr = byte == b'\r';
                at += 1;
            } else {
                at += self.line_byte(byte);
            }
        }
        out.put_slice(chunk.get(copied..).unwrap_or_default());
    }

    /// Appends what was withheld; the stream ends here.
    pub fn finish(&mut self, out: &mut BytesMut) {
        self.held.release(out);
    }

    /// Takes a byte of a line's beginning; gives how many bytes are done with.
    fn line_byte(&mut self, byte: u8) -> usize {
        let (line, taken) = match self.line {
            Line::Mark(seen) if BYTE_ORDER_MARK.get(seen) == Some(&byte) => {
                (if seen + 1 == BYTE_ORDER_MARK.len() { Line::Start } else { Line::Mark(seen + 1) }, 1)
            }
            Line::Mark(0) => (Line::Start, 0),
            Line::Start => (Line::Field(0), 0),
            Line::Field(seen) if FIELD.get(seen) == Some(&byte) => (Line::Field(seen + 1), 1),
            Line::Field(seen) if seen == FIELD.len() && byte == b':' => (Line::Colon, 1),
            Line::Colon => (Line::Data, usize::from(byte == b' ')),
            Line::Mark(_) | Line::Field(_) | Line::Data | Line::Other => (Line::Other, 0),
        };
        self.line = line;
        taken
    }

    fn line_end(&mut self, out: &mut BytesMut) {
        match self.line {
            Line::Mark(0) | Line::Start => self.tracker = Tracker::new(),
            Line::Data if self.tracker.line_end() => self.held.release(out),
            Line::Field(_) | Line::Colon | Line::Data if self.line != Line::Field(0) => {
                self.tracker.line_end();
            }
            _ => {}
        }
        self.line = Line::Start;
    }
}
