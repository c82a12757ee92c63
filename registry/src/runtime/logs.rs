//! Lines of what instances print. However much that is, what is held of it is bounded.

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::fault::Fault;
use crate::domain::timestamp::Timestamp;

/// A longer line is shown in pieces.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Lines of the past that can be asked for.
pub const TAIL_LINES_MAX: u32 = 10_000;

/// What is wanted of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// The last so many lines; at most [`TAIL_LINES_MAX`].
    pub tail: u32,
    /// Goes on with what comes, until the instance ends.
    pub follow: bool,
    /// Nothing that was printed before. Where lines have no times: all of them, if one came since.
    pub since: Option<Timestamp>,
}

impl LogQuery {
    /// The last so many lines, and no more.
    pub fn last(tail: u32) -> Self {
        Self { tail, follow: false, since: None }
    }

    pub fn tail(self) -> u32 {
        self.tail.min(TAIL_LINES_MAX)
    }
}

/// Line by line, without the line's end. Read as fast as the reader takes them.
pub type LogStream = BoxStream<'static, Result<String, Fault>>;

/// Makes lines of pieces.
#[derive(Debug, Default)]
pub struct LineSplitter(Vec<u8>);

impl LineSplitter {
    /// Lines that end in `piece`; what is left waits for the next.
    pub fn push(&mut self, piece: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            for &byte in text {
                self.0.push(byte);
                if self.0.len() >= LINE_BYTES_MAX {
                    lines.extend(self.rest());
                }
            }
            // An empty line counts; the end of one that was cut to pieces does not.
            if ends && (!self.0.is_empty() || text.is_empty()) {
                lines.push(self.take());
            }
        }
        lines
    }

    /// A last line without an end.
    pub fn rest(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.0);
        String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(&bytes)).into_owned()
    }
}

/// Turns a stream of pieces into one of lines.
pub fn lines(pieces: impl futures_util::Stream<Item = Result<Bytes, Fault>> + Send + 'static) -> LogStream {
    use futures_util::{StreamExt as _, stream};
    let ended = std::iter::once(None);
    let pieces = pieces.map(Some).chain(stream::iter(ended));
    let split = pieces.scan(LineSplitter::default(), |splitter, piece| {
        let lines: Vec<_> = match piece {
            Some(Ok(bytes)) => splitter.push(&bytes).into_iter().map(Ok).collect(),
            Some(Err(fault)) => vec![Err(fault)],
            None => splitter.rest().into_iter().map(Ok).collect(),
        };
        std::future::ready(Some(stream::iter(lines)))
    });
    split.flatten().boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_wherever_the_pieces_were_cut() {
        let text = b"one\r\n\ntwo\nthree";
        for at in 0..text.len() {
            let mut splitter = LineSplitter::default();
            let mut lines = splitter.push(&text[..at]);
            lines.extend(splitter.push(&text[at..]));
            lines.extend(splitter.rest());
            assert_eq!(lines, ["one", "", "two", "three"], "cut at {at}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_shown_in_pieces() {
        let mut splitter = LineSplitter::default();
        let lines = splitter.push(&[b'x'; 3 * LINE_BYTES_MAX]);
        assert_eq!(lines.len(), 3);
        assert_eq!(splitter.rest(), None);
    }
}
