//! Event streams, read for what their events say.
//!
//! What must stay true: cuts anywhere change nothing; lines end with LF or CRLF; an event is at most
//! [`EVENT_BYTES_MAX`] long, and no more than that is ever kept; what is whole in one chunk is not copied.
//!
//! Absent on purpose: names, ids and retry times of events, which no chat stream needs, and lines that end with a
//! lone CR, which no server sends.

use crate::body::data_start;

/// The longest line, and the longest data of one event. A provider may send all arguments of a tool call at once.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A buffer that has grown beyond this is given back when it is empty.
const KEPT_CAPACITY_BYTES: usize = 16 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is over {EVENT_BYTES_MAX} bytes")]
pub struct EventTooLong;

/// Cuts chunks into lines.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
    /// What is held was given out as a line.
    is_spent: bool,
}

impl Lines {
    /// Takes the next line off `rest`, with its LF; `None` when the chunk is used up. A line that is too long stays
    /// where it is.
    pub fn next<'s, 'c: 's>(&'s mut self, rest: &mut &'c [u8]) -> Result<Option<&'s [u8]>, EventTooLong> {
        if std::mem::take(&mut self.is_spent) {
            recycle(&mut self.held);
        }
        let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
        let (line, after) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or_default();
        if self.held.len() + line.len() > EVENT_BYTES_MAX {
            return Err(EventTooLong);
        }
        *rest = after;
        if end.is_some() && self.held.is_empty() {
            return Ok(Some(line));
        }
        self.held.extend_from_slice(line);
        self.is_spent = end.is_some();
        Ok(self.is_spent.then_some(self.held.as_slice()))
    }

    /// The line that has no end yet.
    pub fn rest(&self) -> &[u8] {
        if self.is_spent { &[] } else { &self.held }
    }
}

/// Reads the data of events.
#[derive(Debug, Default)]
pub struct EventReader {
    lines: Lines,
    data: Option<Vec<u8>>,
    has_begun: bool,
}

impl EventReader {
    /// Shows the data of each event that `chunk` completes.
    pub fn feed(&mut self, chunk: &[u8], mut see: impl FnMut(&[u8])) -> Result<(), EventTooLong> {
        let mut rest = chunk;
        while let Some(line) = self.lines.next(&mut rest)? {
            let line = without_end(line);
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            let line = if is_first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    see(&data);
                }
            } else if let Some(data) = data_of(line) {
                if self.data.is_none() && matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]) {
                    see(data);
                } else {
                    join(&mut self.data, data)?;
                }
            }
        }
        Ok(())
    }

    /// The stream has ended, perhaps without its last empty line.
    pub fn finish(&mut self, mut see: impl FnMut(&[u8])) -> Result<(), EventTooLong> {
        let lines = std::mem::take(&mut self.lines);
        let line = without_end(lines.rest());
        let line = if self.has_begun { line } else { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) };
        if let Some(data) = data_of(line) {
            join(&mut self.data, data)?;
        }
        if let Some(data) = self.data.take() {
            see(&data);
        }
        Ok(())
    }
}

/// Adds a line to an event's data.
fn join(event: &mut Option<Vec<u8>>, line: &[u8]) -> Result<(), EventTooLong> {
    let Some(data) = event else {
        *event = Some(line.to_vec());
        return Ok(());
    };
    if data.len() + line.len() >= EVENT_BYTES_MAX {
        return Err(EventTooLong);
    }
    data.push(b'\n');
    data.extend_from_slice(line);
    Ok(())
}

/// What a line says, if it is one of data.
pub fn data_of(line: &[u8]) -> Option<&[u8]> {
    if line == b"data" {
        return Some(&[]);
    }
    line.get(data_start(line)?..)
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn recycle(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_CAPACITY_BYTES {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut reader, mut seen) = (EventReader::default(), Vec::new());
        let mut see = |data: &[u8]| seen.push(String::from_utf8(data.to_vec()).unwrap());
        for chunk in chunks {
            reader.feed(chunk, &mut see).unwrap();
        }
        reader.finish(&mut see).unwrap();
        seen
    }

    /// The events of a text, which no cut changes.
    fn events(text: &str) -> Vec<String> {
        let (bytes, whole) = (text.as_bytes(), read([text.as_bytes()]));
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(read([head, tail]), whole, "cut at {cut}");
        }
        assert_eq!(read(bytes.chunks(1)), whole);
        whole
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_data_may_lack_its_space() {
        assert_eq!(events("data: a\n\ndata:b\n\ndata:  c\n\n"), ["a", "b", " c"]);
        assert_eq!(events("data: a\r\n\r\ndata:b\r\n\r\n"), ["a", "b"]);
        assert_eq!(events("\u{feff}data: é\n\n"), ["é"]);
        assert_eq!(events("\u{feff}data: x"), ["x"]);
    }

    #[test]
    fn comments_other_fields_and_events_without_data_say_nothing() {
        assert_eq!(events(": PROCESSING\n\nevent: x\nid: 1\ndata: a\nretry: 5\n\nevent: y\n\n\n"), ["a"]);
        assert_eq!(events("datas: a\n\n data: b\n\nda"), Vec::<String>::new());
    }

    #[test]
    fn several_lines_are_one_event() {
        assert_eq!(events("data: {\ndata:\ndata: }\n\ndata\n\n"), ["{\n\n}", ""]);
    }

    #[test]
    fn the_last_event_needs_no_empty_line() {
        assert_eq!(events("data: a\n\ndata: [DONE]"), ["a", "[DONE]"]);
        assert_eq!(events("data: a\ndata: b\n"), ["a\nb"]);
        assert_eq!(events(""), Vec::<String>::new());
    }

    #[test]
    fn events_are_bounded_however_they_come() {
        let piece = vec![b'x'; EVENT_BYTES_MAX / 4];
        let mut one_line = EventReader::default();
        let fed: Vec<_> = (0..5).map(|_| one_line.feed(&piece, |_| ())).collect();
        assert_eq!(fed, [Ok(()), Ok(()), Ok(()), Ok(()), Err(EventTooLong)]);
        let line = [b"data:", piece.as_slice(), b"\n"].concat();
        let mut many_lines = EventReader::default();
        let fed: Vec<_> = (0..4).map(|_| many_lines.feed(&line, |_| ())).collect();
        assert_eq!(fed, [Ok(()), Ok(()), Ok(()), Err(EventTooLong)]);
    }

    #[test]
    fn a_long_event_leaves_no_long_buffer() {
        let mut reader = EventReader::default();
        reader.feed(&[b"data:".as_slice(), &vec![b'x'; 1 << 20]].concat(), |_| ()).unwrap();
        reader.feed(b"\n\n: next\n", |_| ()).unwrap();
        assert!(reader.lines.held.capacity() <= KEPT_CAPACITY_BYTES && reader.data.is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere_give_the_same_events(text in "(data|: ?|\r?\n|é|x|\\{|event){0,24}", cut in 0usize..64) {
            let at = cut.min(text.len());
            let (head, tail) = text.as_bytes().split_at(at);
            prop_assert_eq!(read([head, tail]), read([text.as_bytes()]));
        }
    }
}
