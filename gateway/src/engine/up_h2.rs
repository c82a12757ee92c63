//! One request on an HTTP/2 upstream connection.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use pingora::http::RequestHeader;
use pingora::protocols::http::v2::client::Http2Session;
use pingora::upstreams::peer::HttpPeer;

use super::up::{ReplyParts, UpError, UpEvent};
use crate::h1::head::BodyLength;
use crate::upstream::Connector;

pub struct H2Up {
    session: Option<Box<Http2Session>>,
    peer: Box<HttpPeer>,
    pub reused: bool,
    writer: Option<SendStream<Bytes>>,
    output: VecDeque<Bytes>,
    output_bytes: usize,
    end_queued: bool,
    answer: Answer,
}

#[derive(PartialEq, Eq)]
enum Answer {
    Head,
    Body,
    Trailers,
    Done,
}

impl H2Up {
    pub fn new(session: Box<Http2Session>, peer: Box<HttpPeer>, reused: bool) -> Self {
        Self {
            session: Some(session),
            peer,
            reused,
            writer: None,
            output: VecDeque::new(),
            output_bytes: 0,
            end_queued: false,
            answer: Answer::Head,
        }
    }

    pub fn send_request(&mut self, head: Box<RequestHeader>, ends: bool) -> Result<(), UpError> {
        let session = self.session.as_mut().ok_or(UpError::Cut)?;
        session.write_request_header(head, ends).map_err(|_| UpError::NotProcessed)?;
        self.writer = session.take_request_body_writer();
        if ends {
            self.end_queued = false;
        }
        Ok(())
    }

    pub fn send_data(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.output_bytes += bytes.len();
            self.output.push_back(bytes);
        }
    }

    pub fn send_end(&mut self) {
        self.end_queued = true;
    }

    pub fn backlog(&self) -> usize {
        self.output_bytes
    }

    pub fn has_output(&self) -> bool {
        self.output_bytes > 0 || self.end_queued
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpError>> {
        let Some(writer) = &mut self.writer else { return Poll::Ready(Ok(())) };
        while let Some(front) = self.output.front_mut() {
            writer.reserve_capacity(front.len());
            let room = match std::task::ready!(writer.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                _ => return Poll::Ready(Err(UpError::Cut)),
            };
            let piece = front.split_to(room.min(front.len()));
            self.output_bytes -= piece.len();
            let last = front.is_empty();
            if last {
                self.output.pop_front();
            }
            let ends = self.end_queued && self.output.is_empty();
            self.end_queued &= !ends;
            if writer.send_data(piece, ends).is_err() {
                return Poll::Ready(Err(UpError::Cut));
            }
        }
        if std::mem::take(&mut self.end_queued) && writer.send_data(Bytes::new(), true).is_err() {
            return Poll::Ready(Err(UpError::Cut));
        }
        Poll::Ready(Ok(()))
    }

    pub fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Bytes),
    ) -> Poll<Result<UpEvent, UpError>> {
        let Some(session) = &mut self.session else { return Poll::Ready(Err(UpError::Cut)) };
        if self.answer == Answer::Head {
            if let Err(error) = std::task::ready!(session.poll_read_response_header(cx)) {
                return Poll::Ready(Err(classify(&error)));
            }
            self.answer = Answer::Body;
            return Poll::Ready(reply_parts(session).map(|parts| UpEvent::Head(Box::new(parts))));
        }
        if self.answer == Answer::Body {
            match std::task::ready!(session.poll_read_response_body(cx)) {
                Some(Ok(bytes)) => {
                    sink(bytes);
                    return Poll::Ready(Ok(UpEvent::Data));
                }
                Some(Err(_)) => return Poll::Ready(Err(UpError::Cut)),
                None => self.answer = Answer::Trailers,
            }
        }
        if self.answer == Answer::Done {
            return Poll::Ready(Ok(UpEvent::End { trailers: None }));
        }
        // A reset can look like a clean end; the session tells them apart.
        let trailers = {
            let reading = std::pin::pin!(session.read_trailers());
            std::task::ready!(std::future::Future::poll(reading, cx)).map_err(|_| UpError::Cut)?
        };
        if session.check_response_end_or_error().is_err() {
            return Poll::Ready(Err(UpError::Cut));
        }
        self.answer = Answer::Done;
        Poll::Ready(Ok(UpEvent::End { trailers }))
    }

    /// Gives the stream's place on its connection back. An unfinished stream is cancelled.
    pub fn release(mut self, connector: &Connector, idle_timeout: Duration) {
        let finished = self.answer == Answer::Done && !self.has_output();
        if let Some(mut writer) = self.writer.take()
            && !finished
        {
            writer.send_reset(h2::Reason::CANCEL);
        }
        if let Some(session) = self.session.take() {
            connector.release_h2(*session, &self.peer, idle_timeout);
        }
    }
}

impl Drop for H2Up {
    fn drop(&mut self) {
        if let Some(writer) = &mut self.writer
            && self.answer != Answer::Done
        {
            writer.send_reset(h2::Reason::CANCEL);
        }
    }
}

fn reply_parts(session: &Http2Session) -> Result<ReplyParts, UpError> {
    let header = session.response_header().ok_or(UpError::Cut)?;
    let length = header.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    let body = match length {
        _ if session.response_finished() => BodyLength::Empty,
        Some(length) => BodyLength::Known(length),
        None => BodyLength::UntilClose,
    };
    Ok(ReplyParts::H2 { status: header.status, headers: header.headers.clone(), body })
}

fn classify(error: &h2::Error) -> UpError {
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR));
    if refused { UpError::NotProcessed } else { UpError::Cut }
}
