//! Event streams: the JSON in their `data:` lines is tracked, everything else passes.
//!
//! What must stay true: lines end with LF, CR or CRLF, cut anywhere; an event's data lines are one JSON document; an
//! empty line begins a new one. Nothing changes by a byte but the served name.
//!
//! The events of a stream begin alike, up to the model's name and beyond. So the beginning that was tracked once is
//! kept, and an event with the same beginning needs no tracking: the tracker would see the same. What follows, and an
//! event with another beginning, is tracked only if something in it can spell a key `model`.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::blocks::plain_line_len;
use super::reply::{Held, ModelRewrite};
use super::track::{Found, Tracker};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const FIELD: &[u8] = b"data";

/// The longest beginning of an event's data that is kept.
const LONGEST_OPENING_BYTES: usize = 512;

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
    opening: Opening,
}

/// The data of an event from its first byte to the end of the served name.
#[derive(Debug)]
struct Opening {
    bytes: Vec<u8>,
    /// Where the served name begins, with its quote.
    name: usize,
    /// Where it leads a tracker that is fresh.
    tracker: Tracker,
}

impl SseRewriter {
    pub fn new(rewrite: Arc<ModelRewrite>) -> Self {
        Self {
            rewrite,
            tracker: Tracker::new(),
            held: Held::default(),
            line: Line::Mark(0),
            after_cr: false,
            opening: Opening { bytes: Vec::new(), name: 0, tracker: Tracker::new() },
        }
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
            if self.line == Line::Start
                && self.tracker.is_fresh()
                && let Some(end) = self.whole_event(chunk, at, &mut copied, out)
            {
                at = end;
                continue;
            }
            let rest = chunk.get(at..).unwrap_or_default();
            if self.line == Line::Data || self.line == Line::Other {
                let len = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                if self.line == Line::Data {
                    let line = chunk.get(..at + len).unwrap_or_default();
                    let start = self.skip_opening(line, at, &mut copied, out);
                    self.held.track(&mut self.tracker, &self.rewrite, line, start, &mut copied, out);
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

    /// Passes an event of one data line that is all there and need not be tracked; gives the index after it.
    fn whole_event(
        &mut self,
        chunk: &[u8],
        at: usize,
        copied: &mut usize,
        out: &mut BytesMut,
    ) -> Option<usize> {
        let start = at + data_start(chunk.get(at..)?)?;
        let data = chunk.get(start..)?;
        let is_known = self.opening.begins(data);
        let skip = if is_known { self.opening.bytes.len() } else { 0 };
        let line_end = start + skip + plain_line_len(data.get(skip..)?)?;
        let event_end = line_end + empty_line_len(chunk.get(line_end..)?)?;
        if is_known {
            self.put_opening(chunk, start, copied, out);
        }
        Some(event_end)
    }

    /// Passes what a fresh tracker need not read again; gives where it has to go on.
    fn skip_opening(&mut self, line: &[u8], at: usize, copied: &mut usize, out: &mut BytesMut) -> usize {
        let data = line.get(at..).unwrap_or_default();
        if !self.tracker.is_fresh() || data.is_empty() {
            return at;
        }
        if !self.opening.begins(data) && !self.opening.learn(&self.rewrite, data) {
            return at;
        }
        self.tracker = self.opening.tracker;
        self.put_opening(line, at, copied, out);
        at + self.opening.bytes.len()
    }

    fn put_opening(&self, input: &[u8], start: usize, copied: &mut usize, out: &mut BytesMut) {
        out.put_slice(input.get(*copied..start + self.opening.name).unwrap_or_default());
        out.put_slice(self.rewrite.replacement());
        *copied = start + self.opening.bytes.len();
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

impl Opening {
    fn begins(&self, data: &[u8]) -> bool {
        !self.bytes.is_empty() && data.starts_with(&self.bytes)
    }

    /// Keeps the beginning of `data`, if the served name comes early enough in it.
    fn learn(&mut self, rewrite: &ModelRewrite, data: &[u8]) -> bool {
        let mut tracker = Tracker::new();
        let near = data.get(..data.len().min(LONGEST_OPENING_BYTES)).unwrap_or_default();
        let Found::Model(name) = tracker.advance(rewrite, &[], near, 0) else { return false };
        self.bytes.clear();
        self.bytes.extend_from_slice(near.get(..name.end).unwrap_or_default());
        self.name = name.start;
        self.tracker = tracker;
        true
    }
}

/// The length of `data:` and its space at the beginning of a line.
pub(crate) fn data_start(line: &[u8]) -> Option<usize> {
    let data = line.strip_prefix(FIELD)?.strip_prefix(b":")?;
    Some(FIELD.len() + 1 + usize::from(data.first() == Some(&b' ')))
}

/// The length of a line end and the empty line after it.
fn empty_line_len(ends: &[u8]) -> Option<usize> {
    match ends {
        [b'\n', b'\n', ..] => Some(2),
        [b'\r', b'\n', b'\r', b'\n', ..] => Some(4),
        _ => None,
    }
}
