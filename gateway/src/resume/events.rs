//! A stream in whole events.

use std::ops::Range;

use bytes::BytesMut;

use super::EVENT_BYTES_MAX;
use crate::dialect::sse::data_of;

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// It is a comment, or has fields that a chat has no use for.
    Nothing,
    /// Where the one line of data is.
    Data(Range<usize>),
    /// Several lines, or lines of no known form.
    Odd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Withholds the event that has no end yet.
#[derive(Debug, Default)]
pub struct WholeEvents {
    held: BytesMut,
    /// Where the line begins that has no end yet.
    line: usize,
}

impl WholeEvents {
    pub fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// The bytes of the next event that is whole.
    pub fn next(&mut self) -> Result<Option<BytesMut>, TooLong> {
        while let Some(len) = memchr::memchr(b'\n', self.held.get(self.line..).unwrap_or_default()) {
            let next = self.line + len + 1;
            let start = std::mem::replace(&mut self.line, next);
            if matches!(self.held.get(start..start + len), Some(b"" | b"\r")) {
                return Ok(Some(self.held.split_to(std::mem::take(&mut self.line))));
            }
        }
        if self.held.len() > EVENT_BYTES_MAX { Err(TooLong) } else { Ok(None) }
    }

    /// What has no end yet.
    pub fn take_rest(&mut self) -> BytesMut {
        self.line = 0;
        self.held.split()
    }
}

impl Said {
    pub fn by(event: &[u8]) -> Self {
        let (mut said, mut at) = (Self::Nothing, 0);
        for line in event.split(|byte| *byte == b'\n') {
            let next = at + line.len() + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            said = match (data_of(line), said) {
                (Some(data), Self::Nothing) => {
                    let end = at + line.len();
                    Self::Data(end - data.len()..end)
                }
                (None, said) if says_nothing(line) => said,
                _ => return Self::Odd,
            };
            at = next;
        }
        said
    }
}

fn says_nothing(line: &[u8]) -> bool {
    let fields: [&[u8]; 4] = [b":", b"event", b"id", b"retry"];
    line.is_empty() || fields.iter().any(|field| line.starts_with(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_wherever_they_are_cut() {
        let stream = b": ping\n\ndata: a\r\n\r\nevent: x\ndata:b\n\n\ndata: c";
        let whole: [&[u8]; 4] = [b": ping\n\n", b"data: a\r\n\r\n", b"event: x\ndata:b\n\n", b"\n"];
        for cut in 0..=stream.len() {
            let (mut events, mut seen) = (WholeEvents::default(), Vec::new());
            for piece in [&stream[..cut], &stream[cut..]] {
                events.push(piece);
                while let Some(event) = events.next().unwrap() {
                    seen.push(event);
                }
            }
            assert_eq!(seen, whole, "cut at {cut}");
            assert_eq!(events.take_rest(), b"data: c"[..], "cut at {cut}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_bounded() {
        let mut events = WholeEvents::default();
        events.push(&vec![b'x'; EVENT_BYTES_MAX]);
        assert_eq!(events.next(), Ok(None));
        events.push(b"x");
        assert_eq!(events.next(), Err(TooLong));
    }

    #[test]
    fn data_is_one_line_or_odd() {
        assert_eq!(Said::by(b"data: {}\r\n\r\n"), Said::Data(6..8));
        assert_eq!(Said::by(b"id: 1\nevent: x\ndata:a\n\n"), Said::Data(20..21));
        assert_eq!(Said::by(b": ping\n\n"), Said::Nothing);
        for odd in ["data: a\ndata: b\n\n", "\u{feff}data: a\n\n", "what: a\n\n"] {
            assert_eq!(Said::by(odd.as_bytes()), Said::Odd, "{odd:?}");
        }
    }
}
