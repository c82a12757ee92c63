//! One HTTP/2 stream of a client.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use pingora::http::ResponseHeader;
use pingora::protocols::http::v2::server::HttpSession;
use tokio::sync::oneshot;

use super::down::{DownError, ReplyHead, Upload};
use super::encode::Framing;
use super::timer::LazyTimer;
use crate::headers;

pub struct H2Down {
    pub timer: LazyTimer,
    session: HttpSession,
    body_done: bool,
    /// There once a head with a body was sent.
    writer: Option<SendStream<Bytes>>,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    end: End,
    replied: bool,
}

/// An empty piece of an answer. The codec drops it when it comes to it, and that can be waited for.
struct Mark {
    _dropped: oneshot::Sender<()>,
}

impl AsRef<[u8]> for Mark {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

/// What follows the queued data.
enum End {
    Open,
    Queued(Option<HeaderMap>),
    Sent,
}

impl H2Down {
    pub fn new(session: HttpSession) -> Self {
        let body_done = session.is_body_done();
        Self {
            timer: LazyTimer::default(),
            session,
            body_done,
            writer: None,
            output: VecDeque::new(),
            output_bytes: 0,
            end: End::Open,
            replied: false,
        }
    }

    pub fn local_address(&self) -> Option<SocketAddr> {
        self.session.server_addr()?.as_inet().copied()
    }

    pub fn body_done(&self) -> bool {
        self.body_done
    }

    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Bytes),
    ) -> Poll<Result<Upload, DownError>> {
        if self.body_done {
            return self.poll_gone(cx).map(Err);
        }
        match std::task::ready!(self.session.poll_read_body_bytes(cx)) {
            Some(Ok(bytes)) => {
                sink(bytes);
                Poll::Ready(Ok(Upload::Progress))
            }
            // Request trailers are dropped here: the framework's session does not hand them out.
            None => {
                self.body_done = true;
                Poll::Ready(Ok(Upload::End { trailers: None }))
            }
            Some(Err(_)) => Poll::Ready(Err(DownError::Gone)),
        }
    }

    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<DownError> {
        let gone = match &mut self.writer {
            Some(writer) => writer.poll_reset(cx).map(drop),
            // After a head without a body nothing is left to wait for.
            None if self.replied => return Poll::Pending,
            None => {
                let idle = std::pin::pin!(self.session.idle());
                std::future::Future::poll(idle, cx).map(drop)
            }
        };
        gone.map(|()| DownError::Gone)
    }

    pub fn send_head(&mut self, head: &ReplyHead<'_>) -> Result<(), DownError> {
        let mut header = ResponseHeader::build(head.status, None).map_err(|_| DownError::Gone)?;
        let nominated = head.nominated();
        head.fields.for_each(|name, value| {
            if head.admits(name, value)
                && !nominated.contains(name)
                && let (Ok(name), Ok(value)) =
                    (http::HeaderName::from_bytes(name), http::HeaderValue::from_bytes(value))
            {
                // Names come from a parsed head; the only failure left is too many fields.
                let _ = header.append_header(name, value);
            }
        });
        for (name, value) in head.own {
            let _ = header.append_header(*name, *value);
        }
        if let Ok(id) = http::HeaderValue::from_bytes(head.request_id) {
            let _ = header.insert_header("x-request-id", id);
        }
        if let Framing::Length(length) | Framing::None { stated: Some(length) } = head.framing {
            let _ = header.insert_header(http::header::CONTENT_LENGTH, length);
        }
        let ends = !head.framing.has_body();
        self.session.write_response_header(Box::new(header), ends).map_err(|_| DownError::Gone)?;
        self.replied = true;
        if ends {
            self.end = End::Sent;
        } else {
            self.writer = self.session.take_response_body_writer();
        }
        Ok(())
    }

    pub fn send_data(&mut self, pieces: &mut Vec<Bytes>) {
        for piece in pieces.drain(..).filter(|piece| !piece.is_empty()) {
            self.output_bytes += piece.len();
            self.output.push_back(piece);
        }
    }

    pub fn send_end(&mut self, trailers: Option<&HeaderMap>) {
        if matches!(self.end, End::Open) {
            let allowed = |(name, _): &(&http::HeaderName, &http::HeaderValue)| {
                headers::may_be_trailer(name.as_str().as_bytes())
            };
            let trailers = trailers.map(|all| {
                all.iter().filter(allowed).map(|(name, value)| (name.clone(), value.clone())).collect()
            });
            self.end = End::Queued(trailers);
        }
    }

    pub fn backlog(&self) -> usize {
        self.output_bytes
    }

    pub fn has_output(&self) -> bool {
        self.output_bytes > 0 || matches!(self.end, End::Queued(_))
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DownError>> {
        let Some(writer) = &mut self.writer else {
            self.output.clear();
            self.output_bytes = 0;
            self.end = End::Sent;
            return Poll::Ready(Ok(()));
        };
        while let Some(front) = self.output.front_mut() {
            // Sending without capacity would queue without bound inside the codec.
            writer.reserve_capacity(front.len());
            let room = match std::task::ready!(writer.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                _ => return Poll::Ready(Err(DownError::Gone)),
            };
            let piece = front.split_to(room.min(front.len()));
            self.output_bytes -= piece.len();
            let last = front.is_empty();
            if writer.send_data(piece, false).is_err() {
                return Poll::Ready(Err(DownError::Gone));
            }
            if last {
                self.output.pop_front();
            }
        }
        if let End::Queued(trailers) = &mut self.end {
            let sent = match trailers.take() {
                Some(trailers) if !trailers.is_empty() => writer.send_trailers(trailers),
                _ => writer.send_data(Bytes::new(), true),
            };
            self.end = End::Sent;
            if sent.is_err() {
                return Poll::Ready(Err(DownError::Gone));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the codec has written what it was given: a reset throws away the rest.
    pub async fn written(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        let (dropped, passed) = oneshot::channel();
        if writer.send_data(Bytes::from_owner(Mark { _dropped: dropped }), false).is_ok() {
            let _ = passed.await;
        }
    }

    pub fn abort(&mut self) {
        if !matches!(self.end, End::Sent) {
            match &mut self.writer {
                Some(writer) => writer.send_reset(h2::Reason::INTERNAL_ERROR),
                None => self.session.shutdown(),
            }
            self.end = End::Sent;
        }
    }
}
