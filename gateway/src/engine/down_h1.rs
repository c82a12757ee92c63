//! One HTTP/1.1 client connection.

use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::down::{DownError, ReplyHead, Upload};
use super::encode::{Framing, put_chunk_size, put_content_length, put_header, put_status_line};
use super::timer::LazyTimer;
use super::wire::Wire;
use crate::h1::head::BodyLength;
use crate::h1::{BodyDecoder, BodyEvent, RequestHead};
use crate::headers;

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 8 * 1024;
/// For uploads: fewer system calls.
const BODY_READ_BYTES: usize = 64 * 1024;
/// Bytes of a next request kept while this one is served. Beyond, reading stops.
const PIPELINED_BYTES_MAX: usize = 16 * 1024;
/// Pieces together below this are copied into one write.
const COPY_BYTES_MAX: usize = 16 * 1024;
const HEAD_BYTES_USUAL: usize = 512;

pub struct H1Down {
    pub wire: Wire,
    pub timer: LazyTimer,
    body: BodyDecoder,
    chunked_reply: bool,
    /// The client waits for `100 Continue`.
    owes_continue: bool,
    keep_alive: bool,
    client_minor: u8,
    /// A head went out: nothing but its body may follow.
    replied: bool,
}

impl H1Down {
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            timer: LazyTimer::default(),
            body: BodyDecoder::new(BodyLength::Empty),
            chunked_reply: false,
            owes_continue: false,
            keep_alive: true,
            client_minor: 1,
            replied: false,
        }
    }

    /// Starts a request whose head was just read.
    pub fn begin(&mut self, head: &RequestHead, keep_alive: bool) {
        self.body = BodyDecoder::new(head.body);
        self.owes_continue = head.expect_continue && head.body != BodyLength::Empty;
        self.keep_alive = keep_alive && head.keep_alive;
        self.client_minor = head.minor_version;
        self.chunked_reply = false;
        self.replied = false;
    }

    /// Whether another request may follow on this connection.
    pub fn reusable(&self) -> bool {
        self.keep_alive && self.body_done() && !self.wire.has_output()
    }

    pub fn body_done(&self) -> bool {
        self.body.is_done()
    }

    /// The connection ends after this answer.
    pub fn close_after_reply(&mut self) {
        self.keep_alive = false;
    }

    pub fn want_body(&mut self) {
        if self.owes_continue && !self.replied && self.wire.input.is_empty() {
            self.wire.push(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        self.owes_continue = false;
    }

    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Bytes),
    ) -> Poll<Result<Upload, DownError>> {
        if self.body.is_done() {
            return self.poll_gone(cx).map(Err);
        }
        loop {
            let mut progress = false;
            let event = self.body.decode(&mut self.wire.input, |bytes| {
                progress = true;
                sink(bytes);
            });
            match event {
                Err(_) => {
                    self.keep_alive = false;
                    return Poll::Ready(Err(DownError::Framing("a chunk of the body is malformed")));
                }
                Ok(BodyEvent::End { trailers }) => {
                    return Poll::Ready(Ok(Upload::End {
                        trailers: trailers.and_then(|t| parse_trailers(&t)),
                    }));
                }
                Ok(BodyEvent::Progress) if progress => return Poll::Ready(Ok(Upload::Progress)),
                Ok(BodyEvent::Progress) => {}
            }
            match std::task::ready!(self.wire.poll_read(cx, BODY_READ_BYTES)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(DownError::Gone)),
                Ok(_) => {}
            }
        }
    }

    /// Fills the input with the whole body of a known length, so that it is one piece of memory.
    /// Ready: it is there; take it with [`Self::take_contiguous`].
    pub fn poll_contiguous(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<Result<usize, DownError>> {
        let have = self.wire.input.len();
        if have >= length {
            return Poll::Ready(Ok(have));
        }
        // Grow with what really came: an announced length is not believed in advance.
        let room = (length - have).min(have.max(BODY_READ_BYTES) * 2);
        if self.wire.input.capacity() - have < room.min(READ_BYTES) {
            self.wire.input.reserve(room);
        }
        match std::task::ready!(self.wire.poll_read(cx, BODY_READ_BYTES)) {
            Ok(0) | Err(_) => Poll::Ready(Err(DownError::Gone)),
            Ok(_) => Poll::Ready(Ok(self.wire.input.len())),
        }
    }

    pub fn take_contiguous(&mut self, length: usize) -> Bytes {
        self.body = BodyDecoder::new(BodyLength::Empty);
        let length = length.min(self.wire.input.len());
        self.wire.input.split_to(length).freeze()
    }

    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<DownError> {
        loop {
            if self.wire.input.len() >= PIPELINED_BYTES_MAX {
                return Poll::Pending;
            }
            match std::task::ready!(self.wire.poll_read(cx, READ_BYTES)) {
                Ok(0) | Err(_) => return Poll::Ready(DownError::Gone),
                Ok(_) => {}
            }
        }
    }

    pub fn send_head(&mut self, head: &ReplyHead<'_>) {
        let mut out = BytesMut::with_capacity(HEAD_BYTES_USUAL);
        put_status_line(&mut out, head.status);
        let nominated = head.nominated();
        head.fields.for_each(|name, value| {
            if head.admits(name, value) && !nominated.contains(name) {
                put_header(&mut out, name, value);
            }
        });
        for (name, value) in head.own {
            put_header(&mut out, name.as_bytes(), value.as_bytes());
        }
        put_header(&mut out, b"x-request-id", head.request_id);
        match head.framing {
            Framing::Length(length) | Framing::None { stated: Some(length) } => {
                put_content_length(&mut out, length)
            }
            Framing::None { stated: None } => {}
            Framing::Open if self.client_minor == 0 => self.keep_alive = false,
            Framing::Open => {
                self.chunked_reply = true;
                out.put_slice(b"transfer-encoding: chunked\r\n");
            }
        }
        if !self.body_done() {
            // What is left of the body could only be read as a next request.
            self.keep_alive = false;
        }
        if !self.keep_alive {
            out.put_slice(b"connection: close\r\n");
        } else if self.client_minor == 0 {
            out.put_slice(b"connection: keep-alive\r\n");
        }
        out.put_slice(b"\r\n");
        self.replied = true;
        self.wire.push(out.freeze());
    }

    pub fn send_data(&mut self, pieces: &mut Vec<Bytes>) {
        let total: usize = pieces.iter().map(Bytes::len).sum();
        if total == 0 {
            pieces.clear();
            return;
        }
        if total <= COPY_BYTES_MAX && (self.chunked_reply || pieces.len() > 1) {
            let mut out = BytesMut::with_capacity(total + 32);
            if self.chunked_reply {
                put_chunk_size(&mut out, total);
            }
            pieces.drain(..).for_each(|piece| out.put_slice(&piece));
            if self.chunked_reply {
                out.put_slice(b"\r\n");
            }
            self.wire.push(out.freeze());
            return;
        }
        if self.chunked_reply {
            let mut size = BytesMut::with_capacity(18);
            put_chunk_size(&mut size, total);
            self.wire.push(size.freeze());
        }
        pieces.drain(..).for_each(|piece| self.wire.push(piece));
        if self.chunked_reply {
            self.wire.push(Bytes::from_static(b"\r\n"));
        }
    }

    pub fn send_end(&mut self, trailers: Option<&HeaderMap>) {
        if !self.chunked_reply {
            return;
        }
        let Some(trailers) = trailers else {
            self.wire.push(Bytes::from_static(b"0\r\n\r\n"));
            return;
        };
        let mut out = BytesMut::from(&b"0\r\n"[..]);
        for (name, value) in trailers {
            if headers::may_be_trailer(name.as_str().as_bytes()) {
                put_header(&mut out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        out.put_slice(b"\r\n");
        self.wire.push(out.freeze());
    }

    pub fn backlog(&self) -> usize {
        self.wire.backlog()
    }

    pub fn has_output(&self) -> bool {
        self.wire.has_output()
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownError>> {
        self.wire.poll_flush(cx).map_err(|_| DownError::Gone)
    }

    pub fn abort(&mut self) {
        self.keep_alive = false;
    }
}

/// Trailer lines as a map. Lines that do not parse were refused by the decoder already.
pub fn parse_trailers(lines: &[u8]) -> Option<HeaderMap> {
    let whole = [lines, b"\r\n"].concat();
    let mut room = [httparse::EMPTY_HEADER; 32];
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(&whole, &mut room) else {
        return None;
    };
    let mut map = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(header.name.as_bytes()), HeaderValue::from_bytes(header.value))
        {
            map.append(name, value);
        }
    }
    Some(map)
}
