//! Bodies: from framed bytes to payload.
//!
//! The decoder takes bytes from the front of a read buffer. It never looks past the end of its
//! message, so what follows stays for the next one.

use bytes::{Buf, Bytes, BytesMut};

use super::head::{BodyLength, has_bare_line_feed};

/// Longest chunk-size line, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Most trailer bytes of one message.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Hex digits of a chunk size: 2^60 bytes are enough.
const CHUNK_SIZE_DIGITS_MAX: usize = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("a chunk's size is not a plain hexadecimal number")]
    ChunkSize,
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    #[error("the trailers are malformed or too large")]
    Trailers,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEvent {
    /// Payload is in the sink, or more bytes are needed.
    Progress,
    /// The message is over. Trailer lines as they came (without the final empty line), if any.
    End { trailers: Option<Bytes> },
}

#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Done,
}

impl BodyDecoder {
    pub fn new(length: BodyLength) -> Self {
        let state = match length {
            BodyLength::Empty => State::Done,
            BodyLength::Known(length) => State::Length(length),
            BodyLength::Chunked => State::ChunkSize,
            BodyLength::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether an end of the connection is this message's proper end.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// Moves payload from the front of `buffer` to `sink`, as much as is there. `sink` gets slices of
    /// the buffer's memory; nothing is copied.
    pub fn decode(
        &mut self,
        buffer: &mut BytesMut,
        mut sink: impl FnMut(Bytes),
    ) -> Result<BodyEvent, FramingError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(BodyEvent::End { trailers: None }),
                State::UntilClose => {
                    if !buffer.is_empty() {
                        sink(buffer.split().freeze());
                    }
                    return Ok(BodyEvent::Progress);
                }
                State::Length(left) => {
                    take(buffer, left, &mut sink);
                    if *left > 0 {
                        return Ok(BodyEvent::Progress);
                    }
                    self.state = State::Done;
                }
                State::ChunkData(left) => {
                    take(buffer, left, &mut sink);
                    if *left > 0 {
                        return Ok(BodyEvent::Progress);
                    }
                    self.state = State::ChunkEnd;
                }
                State::ChunkEnd => {
                    match buffer.get(..2) {
                        Some(b"\r\n") => buffer.advance(2),
                        Some(_) => return Err(FramingError::ChunkEnd),
                        None if buffer.first().is_some_and(|&b| b != b'\r') => {
                            return Err(FramingError::ChunkEnd);
                        }
                        None => return Ok(BodyEvent::Progress),
                    }
                    self.state = State::ChunkSize;
                }
                State::ChunkSize => {
                    let Some(size) = take_chunk_size(buffer)? else { return Ok(BodyEvent::Progress) };
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                }
                State::Trailers => {
                    let Some(trailers) = take_trailers(buffer)? else { return Ok(BodyEvent::Progress) };
                    self.state = State::Done;
                    return Ok(BodyEvent::End { trailers });
                }
            }
        }
    }
}

fn take(buffer: &mut BytesMut, left: &mut u64, sink: &mut impl FnMut(Bytes)) {
    let n = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    if n > 0 {
        sink(buffer.split_to(n).freeze());
        *left -= n as u64;
    }
}

fn take_chunk_size(buffer: &mut BytesMut) -> Result<Option<u64>, FramingError> {
    let Some(line_end) = memchr::memchr(b'\n', buffer) else {
        // A CR that is not the last byte so far can't be followed by its LF any more.
        let stray = memchr::memchr(b'\r', buffer).is_some_and(|at| at + 1 < buffer.len());
        let hopeless = stray || buffer.len() > CHUNK_LINE_BYTES_MAX;
        return if hopeless { Err(FramingError::ChunkSize) } else { Ok(None) };
    };
    let line =
        buffer.get(..line_end).and_then(|line| line.strip_suffix(b"\r")).ok_or(FramingError::ChunkSize)?;
    if line.len() > CHUNK_LINE_BYTES_MAX {
        return Err(FramingError::ChunkSize);
    }
    let (digits, extension) = match memchr::memchr(b';', line) {
        Some(at) => line.split_at(at),
        None => (line, &b""[..]),
    };
    let digits = digits.trim_ascii_end();
    let plain = (1..=CHUNK_SIZE_DIGITS_MAX).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_hexdigit)
        && !extension.iter().any(|b| b.is_ascii_control() && *b != b'\t');
    if !plain {
        return Err(FramingError::ChunkSize);
    }
    let size = digits
        .iter()
        .fold(0u64, |sum, &digit| sum * 16 + u64::from(char::from(digit).to_digit(16).unwrap_or_default()));
    buffer.advance(line_end + 1);
    Ok(Some(size))
}

fn take_trailers(buffer: &mut BytesMut) -> Result<Option<Option<Bytes>>, FramingError> {
    match buffer.get(..2) {
        Some(b"\r\n") => {
            buffer.advance(2);
            return Ok(Some(None));
        }
        Some(_) => {}
        None if buffer.first().is_some_and(|&b| b == b'\n') => return Err(FramingError::Trailers),
        None => return Ok(None),
    }
    let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") else {
        return if buffer.len() > TRAILER_BYTES_MAX { Err(FramingError::Trailers) } else { Ok(None) };
    };
    if end > TRAILER_BYTES_MAX {
        return Err(FramingError::Trailers);
    }
    let lines = buffer.split_to(end + 2).freeze();
    buffer.advance(2);
    let mut room = [httparse::EMPTY_HEADER; 32];
    let whole = [&lines[..], b"\r\n"].concat();
    if has_bare_line_feed(&whole) {
        return Err(FramingError::Trailers);
    }
    match httparse::parse_headers(&whole, &mut room) {
        Ok(httparse::Status::Complete(_)) => Ok(Some(Some(lines))),
        _ => Err(FramingError::Trailers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded = (Vec<u8>, Option<BodyEvent>, Vec<u8>);

    /// Feeds `raw` in two pieces; gives payload, end event and what is left.
    fn decode(length: BodyLength, raw: &[u8], cut: usize) -> Result<Decoded, FramingError> {
        let mut decoder = BodyDecoder::new(length);
        let (mut buffer, mut payload, mut end) = (BytesMut::new(), Vec::new(), None);
        for piece in [&raw[..cut], &raw[cut..]] {
            buffer.extend_from_slice(piece);
            if end.is_none() {
                match decoder.decode(&mut buffer, |data| payload.extend_from_slice(&data))? {
                    BodyEvent::Progress => {}
                    event => end = Some(event),
                }
            }
        }
        Ok((payload, end, buffer.to_vec()))
    }

    #[test]
    fn bodies_cut_at_every_byte_come_out_whole() {
        let trailers = Some(Bytes::from_static(b"x-a: b\r\n"));
        for (length, raw, end) in [
            (BodyLength::Known(5), &b"helloNEXT"[..], Some(BodyEvent::End { trailers: None })),
            (
                BodyLength::Chunked,
                b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\nNEXT",
                Some(BodyEvent::End { trailers: None }),
            ),
            (
                BodyLength::Chunked,
                b"5\r\nhello\r\n0\r\nx-a: b\r\n\r\nNEXT",
                Some(BodyEvent::End { trailers }),
            ),
        ] {
            for cut in 0..=raw.len() {
                let (payload, event, rest) = decode(length, raw, cut).unwrap();
                assert_eq!(
                    (&payload[..], &event, &rest[..]),
                    (&b"hello"[..], &end, &b"NEXT"[..]),
                    "cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn odd_chunks_are_refused_wherever_they_are_cut() {
        for raw in [
            &b"+5\r\nhello\r\n0\r\n\r\n"[..],
            b"-1\r\nhello\r\n0\r\n\r\n",
            b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\n0\n\n",
            b"5\r\nhello0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
            b"5\r\nhello\r\n0\r\na: b\nc: d\r\n\r\n",
            b"5\rhello\r0\r\r",
        ] {
            for cut in 0..=raw.len() {
                assert!(decode(BodyLength::Chunked, raw, cut).is_err(), "{raw:?} cut at {cut}");
            }
        }
        assert!(decode(BodyLength::Chunked, &[b'1'; 300], 0).is_err());
        let endless = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(3000)].concat();
        assert!(decode(BodyLength::Chunked, &endless, 0).is_err());
    }
}
