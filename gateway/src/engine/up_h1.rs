//! One request on an HTTP/1.1 upstream connection.

use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method};
use pingora::protocols::Stream;

use super::down_h1::parse_trailers;
use super::encode::{put_chunk_size, put_header};
use super::up::{ReplyParts, UpError, UpEvent};
use super::wire::Wire;
use crate::h1::{AnswerError, BodyDecoder, BodyEvent, parse_response};
use crate::headers;

/// Bytes asked of the socket at a time: a burst of events in one read.
const READ_BYTES: usize = 16 * 1024;
/// Informational answers before the real one.
const INFORMATIONAL_MAX: u32 = 8;

pub struct H1Up {
    wire: Wire,
    pub reused: bool,
    method: Method,
    head_bytes_max: usize,
    chunked_request: bool,
    request_ended: bool,
    /// Bytes queued in all: with the backlog it tells whether any byte left.
    queued_bytes: usize,
    answer: Answer,
    keep_alive: bool,
    informational: u32,
    upgrade: bool,
}

enum Answer {
    Head,
    Body(BodyDecoder),
    Done,
}

impl H1Up {
    pub fn new(stream: Stream, reused: bool, method: Method, head_bytes_max: usize) -> Self {
        Self {
            wire: Wire::new(stream),
            reused,
            method,
            head_bytes_max,
            chunked_request: false,
            request_ended: false,
            queued_bytes: 0,
            answer: Answer::Head,
            keep_alive: false,
            informational: 0,
            upgrade: false,
        }
    }

    /// Queues the request's head, and with it whatever of the body is already here.
    pub fn send_request(
        &mut self,
        head: Bytes,
        body: impl IntoIterator<Item = Bytes>,
        ended: bool,
        chunked: bool,
    ) {
        self.queue(head);
        body.into_iter().for_each(|piece| self.queue(piece));
        self.request_ended = ended;
        self.chunked_request = chunked;
    }

    /// The request asks for another protocol: a 101 is the last head.
    pub fn expect_upgrade(&mut self) {
        self.upgrade = true;
    }

    fn queue(&mut self, bytes: Bytes) {
        self.queued_bytes += bytes.len();
        self.wire.push(bytes);
    }

    pub fn send_data(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if !self.chunked_request {
            self.queue(bytes);
            return;
        }
        let mut size = BytesMut::with_capacity(18);
        put_chunk_size(&mut size, bytes.len());
        self.queue(size.freeze());
        self.queue(bytes);
        self.queue(Bytes::from_static(b"\r\n"));
    }

    pub fn send_end(&mut self, trailers: Option<&HeaderMap>) {
        self.request_ended = true;
        if !self.chunked_request {
            return;
        }
        let mut out = BytesMut::from(&b"0\r\n"[..]);
        for (name, value) in trailers.into_iter().flatten() {
            if headers::may_be_trailer(name.as_str().as_bytes()) {
                put_header(&mut out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        out.put_slice(b"\r\n");
        self.queue(out.freeze());
    }

    pub fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Bytes),
    ) -> Poll<Result<UpEvent, UpError>> {
        loop {
            if let Some(event) = self.next_event(sink)? {
                return Poll::Ready(Ok(event));
            }
            match std::task::ready!(self.wire.poll_read(cx, READ_BYTES)) {
                Ok(0) => return Poll::Ready(self.at_close()),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(UpError::Cut)),
            }
        }
    }

    /// The next event that the bytes read so far hold.
    fn next_event(&mut self, sink: &mut dyn FnMut(Bytes)) -> Result<Option<UpEvent>, UpError> {
        match &mut self.answer {
            Answer::Done => Ok(Some(UpEvent::End { trailers: None })),
            Answer::Head => self.next_head(),
            Answer::Body(decoder) => {
                let mut progress = false;
                let event = decoder.decode(&mut self.wire.input, |bytes| {
                    progress = true;
                    sink(bytes);
                });
                match event {
                    Err(_) => Err(UpError::Broken("its body's framing is malformed")),
                    Ok(BodyEvent::Progress) => Ok(progress.then_some(UpEvent::Data)),
                    Ok(BodyEvent::End { trailers }) => {
                        self.answer = Answer::Done;
                        let trailers = trailers.and_then(|lines| parse_trailers(&lines));
                        Ok(Some(UpEvent::End { trailers }))
                    }
                }
            }
        }
    }

    fn next_head(&mut self) -> Result<Option<UpEvent>, UpError> {
        loop {
            let parsed = parse_response(&mut self.wire.input, self.head_bytes_max, &self.method);
            let Some(head) = parsed.map_err(|error| UpError::Broken(describe(error)))? else {
                return Ok(None);
            };
            if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                if !self.upgrade {
                    return Err(UpError::Broken(describe(AnswerError::UnaskedUpgrade)));
                }
                self.answer = Answer::Done;
                return Ok(Some(UpEvent::Head(Box::new(ReplyParts::H1(head)))));
            }
            if head.status.is_informational() {
                self.informational += 1;
                if self.informational > INFORMATIONAL_MAX {
                    return Err(UpError::Broken("it sends informational answers without end"));
                }
                continue;
            }
            self.keep_alive = head.keep_alive;
            let decoder = BodyDecoder::new(head.body);
            self.answer = if decoder.is_done() { Answer::Done } else { Answer::Body(decoder) };
            return Ok(Some(UpEvent::Head(Box::new(ReplyParts::H1(head)))));
        }
    }

    fn at_close(&mut self) -> Result<UpEvent, UpError> {
        self.keep_alive = false;
        match &self.answer {
            Answer::Body(decoder) if decoder.ends_with_connection() => {
                self.answer = Answer::Done;
                Ok(UpEvent::End { trailers: None })
            }
            _ => Err(UpError::Cut),
        }
    }

    pub fn backlog(&self) -> usize {
        self.wire.backlog()
    }

    pub fn has_output(&self) -> bool {
        self.wire.has_output()
    }

    pub fn wrote(&self) -> bool {
        self.wire.backlog() < self.queued_bytes
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpError>> {
        self.wire.poll_flush(cx).map_err(|_| UpError::Cut)
    }

    /// The connection, if another request may use it: everything sent, everything read, nothing over.
    pub fn into_reusable(self) -> Option<Stream> {
        let clean = self.keep_alive
            && self.request_ended
            && matches!(self.answer, Answer::Done)
            && !self.wire.has_output()
            && self.wire.input.is_empty();
        clean.then(|| self.wire.into_io())
    }

    /// For a tunnel: the stream, and what the upstream already sent on it.
    pub fn into_tunnel(self) -> (Stream, BytesMut) {
        let mut wire = self.wire;
        let early = wire.input.split();
        (wire.into_io(), early)
    }
}

fn describe(error: AnswerError) -> &'static str {
    match error {
        AnswerError::Malformed => "its head is malformed",
        AnswerError::TooLarge => "its head is too large",
        AnswerError::Length => "its lengths contradict each other",
        AnswerError::UnaskedUpgrade => "it switched protocols without being asked",
    }
}
