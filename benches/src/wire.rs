//! HTTP/1.1 as a load generator needs it: encode a request, read a reply in pieces.
//!
//! Pure. A [`Reply`] takes bytes as they come and knows when the answer is complete; anything that
//! is no well-formed answer of known length is an error, so that a cut answer never counts as one.

use bytes::Bytes;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADER_LINES_MAX: usize = 64;
/// Longest chunk-size line, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the head is no HTTP/1.1")]
    Head,
    #[error("the body has no length")]
    NoLength,
    #[error("the chunks are malformed")]
    Chunk,
    #[error("there are bytes behind the answer")]
    Surplus,
}

/// A request with a JSON body, or none.
pub fn request(method: &str, path: &str, body: Option<&str>) -> Bytes {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n");
    if let Some(body) = body {
        text.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    } else {
        text.push_str("\r\n");
    }
    Bytes::from(text)
}

/// One answer on its way in.
#[derive(Debug, Default)]
pub struct Reply {
    state: State,
    head: Vec<u8>,
    pub status: u16,
    /// The server closes the connection after this answer.
    pub closes: bool,
    /// Decoded bytes of the body so far.
    pub body_bytes: u64,
    /// The decoded body, where it is wanted.
    kept: Option<Vec<u8>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Fixed {
        left: u64,
    },
    ChunkSize {
        value: u64,
        line_bytes: usize,
        /// Behind a `;` or a space.
        ignored: bool,
    },
    ChunkData {
        left: u64,
    },
    /// The line end behind a chunk.
    ChunkEnd,
    /// The lines behind the last chunk.
    Trailers {
        line_bytes: usize,
    },
    Done,
}

impl Reply {
    pub fn new() -> Self {
        Self::default()
    }

    /// A reply whose head and body can be looked at afterwards.
    pub fn keeping() -> Self {
        Self { kept: Some(Vec::new()), ..Self::default() }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub fn body(&self) -> &[u8] {
        self.kept.as_deref().unwrap_or_default()
    }

    /// A header's value; only of a [`Reply::keeping`].
    pub fn header(&self, name: &str) -> Option<&str> {
        let text = std::str::from_utf8(&self.head).ok()?;
        text.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Takes the next bytes; gives how many of them were decoded body.
    pub fn feed(&mut self, mut input: &[u8]) -> Result<u64, WireError> {
        let before = self.body_bytes;
        while !input.is_empty() {
            input = match self.state {
                State::Head => self.feed_head(input)?,
                State::Fixed { left } => {
                    let (rest, left) = self.take(input, left);
                    self.state = if left == 0 { State::Done } else { State::Fixed { left } };
                    rest
                }
                State::ChunkData { left } => {
                    let (rest, left) = self.take(input, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData { left } };
                    rest
                }
                State::ChunkSize { .. } | State::ChunkEnd | State::Trailers { .. } => {
                    let (&byte, rest) = input.split_first().ok_or(WireError::Chunk)?;
                    self.state = self.state.step(byte)?;
                    rest
                }
                State::Done => return Err(WireError::Surplus),
            };
        }
        Ok(self.body_bytes - before)
    }

    fn take<'a>(&mut self, input: &'a [u8], left: u64) -> (&'a [u8], u64) {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (body, rest) = input.split_at(count);
        self.body_bytes += count as u64;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(body);
        }
        (rest, left - count as u64)
    }

    fn feed_head<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], WireError> {
        // The usual case: a whole head in one piece, which is not copied.
        let whole = self.head.is_empty().then(|| end_of_head(input)).flatten();
        if let Some(end) = whole {
            let (head, rest) = input.split_at(end);
            self.read_head(head)?;
            if self.kept.is_some() {
                self.head.extend_from_slice(head);
            }
            return Ok(rest);
        }
        let had = self.head.len();
        self.head.extend_from_slice(input);
        let Some(end) = end_of_head(&self.head) else {
            return if self.head.len() > HEAD_BYTES_MAX { Err(WireError::Head) } else { Ok(&[]) };
        };
        let head = std::mem::take(&mut self.head);
        self.read_head(&head[..end])?;
        self.head.extend_from_slice(&head[..end]);
        Ok(input.get(end - had..).unwrap_or_default())
    }

    fn read_head(&mut self, head: &[u8]) -> Result<(), WireError> {
        let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
        let mut parsed = httparse::Response::new(&mut lines);
        parsed.parse(head).map_err(|_| WireError::Head)?;
        self.status = parsed.code.ok_or(WireError::Head)?;
        let mut length = None;
        let mut chunked = false;
        for line in parsed.headers.iter() {
            let is = |name: &str| line.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let text = std::str::from_utf8(line.value).map_err(|_| WireError::Head)?;
                length = Some(text.trim().parse::<u64>().map_err(|_| WireError::Head)?);
            } else if is("transfer-encoding") {
                chunked = line.value.eq_ignore_ascii_case(b"chunked");
            } else if is("connection") {
                self.closes = line.value.eq_ignore_ascii_case(b"close");
            }
        }
        self.state = match (chunked, length) {
            _ if self.status == 204 => State::Done,
            (true, _) => State::ChunkSize { value: 0, line_bytes: 0, ignored: false },
            (false, Some(0)) => State::Done,
            (false, Some(left)) => State::Fixed { left },
            (false, None) => return Err(WireError::NoLength),
        };
        Ok(())
    }
}

impl State {
    /// One byte of the framing between chunks.
    fn step(self, byte: u8) -> Result<Self, WireError> {
        Ok(match (self, byte) {
            (Self::ChunkSize { line_bytes: 0, .. } | Self::ChunkEnd | Self::Trailers { .. }, b'\r') => self,
            (Self::ChunkSize { line_bytes, .. }, _) if line_bytes >= CHUNK_LINE_BYTES_MAX => {
                return Err(WireError::Chunk);
            }
            (Self::ChunkSize { line_bytes: 0, .. }, b'\n') => return Err(WireError::Chunk),
            (Self::ChunkSize { value: 0, .. }, b'\n') => Self::Trailers { line_bytes: 0 },
            (Self::ChunkSize { value, .. }, b'\n') => Self::ChunkData { left: value },
            (Self::ChunkSize { value, line_bytes, ignored }, _) => {
                let ignored = ignored || matches!(byte, b';' | b' ' | b'\r');
                let digit = char::from(byte).to_digit(16);
                let value = match digit {
                    _ if ignored => value,
                    Some(digit) => value.checked_mul(16).ok_or(WireError::Chunk)? + u64::from(digit),
                    None => return Err(WireError::Chunk),
                };
                Self::ChunkSize { value, line_bytes: line_bytes + 1, ignored }
            }
            (Self::ChunkEnd, b'\n') => Self::ChunkSize { value: 0, line_bytes: 0, ignored: false },
            (Self::Trailers { line_bytes: 0 }, b'\n') => Self::Done,
            (Self::Trailers { .. }, b'\n') => Self::Trailers { line_bytes: 0 },
            (Self::Trailers { line_bytes }, _) if line_bytes < HEAD_BYTES_MAX => {
                Self::Trailers { line_bytes: line_bytes + 1 }
            }
            _ => return Err(WireError::Chunk),
        })
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nConnection: close\r\n\r\n\
        5\r\nhello\r\nA;x=1\r\n, 23456789\r\n0\r\nT: v\r\n\r\n";

    fn read(text: &str, piece_bytes: usize) -> Result<Reply, WireError> {
        let mut reply = Reply::keeping();
        for piece in text.as_bytes().chunks(piece_bytes) {
            reply.feed(piece)?;
        }
        Ok(reply)
    }

    #[test]
    fn an_answer_is_read_the_same_however_it_is_cut() {
        for piece_bytes in 1..CHUNKED.len() {
            let fixed = read(FIXED, piece_bytes).unwrap();
            assert!(fixed.is_done() && !fixed.closes);
            assert_eq!((fixed.status, fixed.body(), fixed.header("x-a")), (200, &b"hello"[..], Some("b")));
            let chunked = read(CHUNKED, piece_bytes).unwrap();
            assert!(chunked.is_done() && chunked.closes);
            assert_eq!((chunked.body(), chunked.body_bytes), (&b"hello, 23456789"[..], 15));
        }
    }

    #[test]
    fn a_cut_answer_is_not_done() {
        for end in 0..CHUNKED.len() {
            assert!(!read(&CHUNKED[..end], 7).unwrap().is_done(), "{end}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let head = "HTTP/1.1 200 OK\r\n";
        for (text, error) in [
            ("nonsense\r\n\r\n".to_owned(), WireError::Head),
            (format!("{head}\r\nbody"), WireError::NoLength),
            (format!("{FIXED}more"), WireError::Surplus),
            (format!("{head}transfer-encoding: chunked\r\n\r\nxyz\r\n"), WireError::Chunk),
            (format!("{head}transfer-encoding: chunked\r\n\r\n1\r\nab\r\n"), WireError::Chunk),
        ] {
            assert_eq!(read(&text, 3).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn a_request_says_its_length() {
        let text = request("POST", "/v1/x", Some("{}"));
        assert!(text.ends_with(b"Content-Length: 2\r\n\r\n{}"));
        assert!(request("GET", "/", None).ends_with(b"Host: bench\r\n\r\n"));
    }
}
