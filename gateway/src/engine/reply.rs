//! What happens to an answer's body on its way down: passed as it is, or with the model's public id
//! put back, or with the provider's key blotted out. Pure: bytes in, bytes out.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};

use super::encode::{Fields, Framing};
use super::frames::Boundary;
use super::scrub::Scrubber;
use super::translated::Translated;
use super::up::ReplyParts;
use crate::body::{self, JsonRewriter, ModelRewrite, SseRewriter, Usage, UsageScanner};
use crate::dialect::chat_reply::{self, ChatStream};
use crate::dialect::responses::reply::{ANSWER_BYTES_MAX, ERROR_BODY_BYTES_MAX, End, UpstreamFault};
use crate::dialect::responses::turn::Turn;
use crate::h1::head::BodyLength;

pub struct Reply {
    transform: Transform,
    pub framing: Framing,
    pub is_stream: bool,
    boundary: Boundary,
    /// Reads what comes from the upstream.
    usage: Option<UsageScanner>,
    scratch: BytesMut,
}

enum Transform {
    Pass,
    /// Kept until complete, so that it goes on in one piece with its length.
    Collect(Collected),
    Json(JsonRewriter),
    Sse(SseRewriter),
    /// Reasoning goes into the text before the model is looked for.
    Reasoning(Box<ChatStream>, Option<SseRewriter>),
    Scrub(Scrubber),
    Translate(Box<Translated>),
    /// Kept for its message.
    Fault(BytesMut),
}

impl Reply {
    pub fn plan(
        parts: &ReplyParts,
        method: &Method,
        rewrite: Option<&Arc<ModelRewrite>>,
        key: &[u8],
        buffer_bytes_max: usize,
    ) -> Self {
        let (fields, length) = (parts.fields(), parts.body());
        let is_stream = is_event_stream(fields);
        let error = parts.status().is_client_error() || parts.status().is_server_error();
        let scrubber = if error { Scrubber::new(key) } else { None };
        let (transform, framing) = match (rewrite, length, scrubber) {
            (_, BodyLength::Empty, _) => (Transform::Pass, empty_framing(parts, method)),
            (_, _, Some(scrubber)) => (Transform::Scrub(scrubber), Framing::of(length)),
            (Some(_), ..) if error || is_encoded(fields) => (Transform::Pass, Framing::of(length)),
            (Some(rewrite), ..) if is_stream => {
                (Transform::Sse(SseRewriter::new(Arc::clone(rewrite))), Framing::Open)
            }
            (Some(rewrite), BodyLength::Known(n), _) if is_json(fields) && n <= buffer_bytes_max as u64 => {
                let collected = Collected { rewrite: Some(Arc::clone(rewrite)), ..Collected::default() };
                (Transform::Collect(collected), Framing::Length(n))
            }
            (Some(rewrite), ..) if is_json(fields) => {
                (Transform::Json(JsonRewriter::new(Arc::clone(rewrite))), Framing::Open)
            }
            _ => (Transform::Pass, Framing::of(length)),
        };
        Self {
            transform,
            framing,
            is_stream,
            boundary: Boundary::default(),
            usage: usage_scanner(parts),
            scratch: BytesMut::new(),
        }
    }

    /// The same for an answer whose reasoning goes into its text.
    pub fn with_reasoning(mut self, parts: &ReplyParts, rewrite: Option<&Arc<ModelRewrite>>) -> Self {
        let (fields, length) = (parts.fields(), parts.body());
        if !parts.status().is_success() || length == BodyLength::Empty || is_encoded(fields) {
            return self;
        }
        let fits = !matches!(length, BodyLength::Known(n) if n > ANSWER_BYTES_MAX as u64);
        if self.is_stream {
            let rewriter = rewrite.map(|rewrite| SseRewriter::new(Arc::clone(rewrite)));
            self.transform = Transform::Reasoning(Box::default(), rewriter);
            self.framing = Framing::Open;
        } else if is_json(fields) && fits {
            let collected = Collected { rewrite: rewrite.cloned(), reasons: true, ..Collected::default() };
            self.transform = Transform::Collect(collected);
        }
        self
    }

    /// A response, made of a chat completion.
    pub fn response(parts: &ReplyParts, turn: Box<Turn>, key: &[u8]) -> Self {
        let mut scratch = BytesMut::new();
        let translated = Translated::begin(parts, *turn, key, &mut scratch);
        Self {
            framing: Framing::Open,
            is_stream: translated.is_stream(),
            transform: Transform::Translate(Box::new(translated)),
            boundary: Boundary::default(),
            usage: usage_scanner(parts),
            scratch,
        }
    }

    /// An error that is told inside a stream that has begun.
    pub fn fault() -> Self {
        Self {
            transform: Transform::Fault(BytesMut::new()),
            framing: Framing::Open,
            is_stream: false,
            boundary: Boundary::default(),
            usage: None,
            scratch: BytesMut::new(),
        }
    }

    /// Whether it is an error's body that is read.
    pub fn is_fault(&self) -> bool {
        match &self.transform {
            Transform::Fault(_) => true,
            Transform::Translate(translated) => translated.is_fault(),
            _ => false,
        }
    }

    /// What the answer, which has ended, tells instead of being one.
    pub fn take_fault(&mut self, status: StatusCode, key: &[u8]) -> Option<UpstreamFault> {
        match &mut self.transform {
            Transform::Fault(body) => {
                Some(UpstreamFault::of_answer(status.as_u16(), body, None).without_key(key))
            }
            Transform::Translate(translated) => translated.take_fault(),
            _ => None,
        }
    }

    /// The answer that is made anew, if it is.
    pub fn translated(&self) -> Option<&Translated> {
        match &self.transform {
            Transform::Translate(translated) => Some(translated),
            _ => None,
        }
    }

    /// Whether the head waits for the whole body.
    pub fn collects(&self) -> bool {
        match &self.transform {
            Transform::Collect(..) | Transform::Fault(_) => true,
            Transform::Translate(translated) => !translated.is_stream(),
            _ => false,
        }
    }

    /// Turns the upstream's pieces into what goes down.
    pub fn feed(&mut self, pieces: &mut Vec<Bytes>) {
        if let Some(usage) = &mut self.usage {
            pieces.iter().for_each(|piece| usage.feed(piece));
        }
        let scratch = &mut self.scratch;
        match &mut self.transform {
            Transform::Pass => {}
            Transform::Collect(collected) => {
                pieces.drain(..).for_each(|piece| collected.push(piece));
                if collected.body.len() > ANSWER_BYTES_MAX {
                    self.stop_collecting(pieces);
                }
            }
            Transform::Json(rewriter) => pieces.drain(..).for_each(|piece| rewriter.feed(&piece, scratch)),
            Transform::Sse(rewriter) => pieces.drain(..).for_each(|piece| rewriter.feed(&piece, scratch)),
            Transform::Reasoning(stream, rewriter) => {
                pieces.drain(..).for_each(|piece| put_reasoning(stream, rewriter, &piece, scratch));
            }
            Transform::Scrub(scrubber) => pieces.drain(..).for_each(|piece| scrubber.feed(&piece, scratch)),
            Transform::Translate(translated) => {
                pieces.drain(..).for_each(|piece| translated.feed(&piece, scratch))
            }
            Transform::Fault(body) => {
                // What is beyond the bound can't be read for a message; that it is beyond has to be seen.
                let room = (ERROR_BODY_BYTES_MAX + 1).saturating_sub(body.len());
                body.extend(pieces.drain(..).flatten().take(room));
            }
        }
        self.take_scratch(pieces);
        self.count(pieces);
    }

    /// What is kept of an answer that is too large goes on as it came.
    fn stop_collecting(&mut self, pieces: &mut Vec<Bytes>) {
        let Transform::Collect(collected) = std::mem::replace(&mut self.transform, Transform::Pass) else {
            return;
        };
        self.framing = Framing::Open;
        match collected.rewrite {
            None => pieces.push(collected.body.freeze()),
            Some(rewrite) => {
                let mut rewriter = JsonRewriter::new(rewrite);
                rewriter.feed(&collected.body, &mut self.scratch);
                self.transform = Transform::Json(rewriter);
            }
        }
    }

    fn count(&mut self, pieces: &[Bytes]) {
        if self.is_stream {
            pieces.iter().for_each(|piece| self.boundary.see(piece));
        }
    }

    /// Ends an answer that is made anew, however its original ended.
    pub fn end_translated(&mut self, how: End, pieces: &mut Vec<Bytes>) {
        let Transform::Translate(translated) = &mut self.transform else { return };
        let collected = !translated.is_stream();
        translated.end(how, &mut self.scratch);
        if collected {
            self.framing = Framing::Length(self.scratch.len() as u64);
        }
        self.take_scratch(pieces);
        self.count(pieces);
    }

    /// An event for a client that hears nothing.
    pub fn keep_alive(&mut self, pieces: &mut Vec<Bytes>) {
        if let Transform::Translate(translated) = &mut self.transform {
            translated.keep_alive(&mut self.scratch);
            self.take_scratch(pieces);
            self.count(pieces);
        }
    }

    /// The body has ended: what was kept back comes out, and a collected body gets its length.
    pub fn finish(&mut self, pieces: &mut Vec<Bytes>) {
        match &self.transform {
            Transform::Translate(_) => return self.end_translated(End::Clean, pieces),
            Transform::Fault(_) => return,
            _ => {}
        }
        match std::mem::replace(&mut self.transform, Transform::Pass) {
            Transform::Pass | Transform::Translate(_) | Transform::Fault(_) => {}
            Transform::Collect(collected) => {
                collected.finish(pieces);
                self.framing = Framing::Length(pieces.iter().map(|piece| piece.len() as u64).sum());
            }
            Transform::Json(mut rewriter) => rewriter.finish(&mut self.scratch),
            Transform::Sse(mut rewriter) => rewriter.finish(&mut self.scratch),
            Transform::Reasoning(mut stream, mut rewriter) => {
                let mut rest = BytesMut::new();
                stream.finish(&mut rest);
                match &mut rewriter {
                    None => self.scratch.unsplit(rest),
                    Some(rewriter) => {
                        rewriter.feed(&rest, &mut self.scratch);
                        rewriter.finish(&mut self.scratch);
                    }
                }
            }
            Transform::Scrub(scrubber) => scrubber.finish(&mut self.scratch),
        }
        self.take_scratch(pieces);
    }

    fn take_scratch(&mut self, pieces: &mut Vec<Bytes>) {
        if !self.scratch.is_empty() {
            pieces.push(self.scratch.split().freeze());
        }
    }

    /// What the upstream said so far of its tokens.
    pub fn usage(&self) -> Usage {
        self.usage.as_ref().map(UsageScanner::usage).unwrap_or_default()
    }

    /// Frames seen so far.
    pub fn frames(&self) -> u64 {
        self.boundary.frames
    }

    /// Whether the last byte sent ended a frame, so that another event may follow.
    pub fn at_frame_boundary(&self) -> bool {
        self.boundary.is_between_frames()
    }
}

/// The body of an answer that is kept until it is complete.
#[derive(Default)]
struct Collected {
    body: BytesMut,
    rewrite: Option<Arc<ModelRewrite>>,
    /// Its reasoning goes into its text.
    reasons: bool,
}

impl Collected {
    fn push(&mut self, piece: Bytes) {
        // The usual answer is one piece, and then this is no copy.
        if self.body.is_empty() {
            self.body = piece.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        } else {
            self.body.extend_from_slice(&piece);
        }
    }

    fn finish(self, pieces: &mut Vec<Bytes>) {
        let moved = if self.reasons { chat_reply::whole(&self.body) } else { None };
        let body = moved.map_or_else(|| self.body.freeze(), Bytes::from);
        match &self.rewrite {
            Some(rewrite) => splice_model(body, rewrite, pieces),
            None => pieces.push(body),
        }
    }
}

fn put_reasoning(
    stream: &mut ChatStream,
    rewriter: &mut Option<SseRewriter>,
    piece: &[u8],
    out: &mut BytesMut,
) {
    let Some(rewriter) = rewriter else { return stream.feed(piece, out) };
    let mut moved = BytesMut::with_capacity(piece.len());
    stream.feed(piece, &mut moved);
    rewriter.feed(&moved, out);
}

fn splice_model(whole: Bytes, rewrite: &ModelRewrite, pieces: &mut Vec<Bytes>) {
    let mut from = 0;
    for span in body::spans(&whole, rewrite) {
        pieces.push(whole.slice(from..span.start));
        pieces.push(Bytes::copy_from_slice(rewrite.replacement()));
        from = span.end;
    }
    pieces.push(whole.slice(from..));
}

/// For answers that can say something of their tokens.
fn usage_scanner(parts: &ReplyParts) -> Option<UsageScanner> {
    let fields = parts.fields();
    let is_told = parts.status().is_success() && (is_event_stream(fields) || is_json(fields));
    (is_told && parts.body() != BodyLength::Empty && !is_encoded(fields)).then(UsageScanner::default)
}

/// HEAD, 204, 304 and empty answers: a stated length passes where it means something.
fn empty_framing(parts: &ReplyParts, method: &Method) -> Framing {
    let stated = parts.fields().text("content-length").and_then(|length| length.parse().ok());
    match parts.status().as_u16() {
        204 | 304 => Framing::None { stated: stated.filter(|_| parts.status().as_u16() == 304) },
        _ if *method == Method::HEAD => Framing::None { stated },
        _ => Framing::Length(0),
    }
}

fn media_type<'a>(fields: Fields<'a>) -> &'a str {
    let value = fields.text("content-type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

pub fn is_event_stream(fields: Fields<'_>) -> bool {
    media_type(fields).eq_ignore_ascii_case("text/event-stream")
}

/// `application/json`, or any type that is JSON by its suffix.
pub fn is_json(fields: Fields<'_>) -> bool {
    let kind = media_type(fields);
    let tail = kind.len().checked_sub(5).and_then(|at| kind.get(at..)).unwrap_or_default();
    kind.eq_ignore_ascii_case("application/json") || tail.eq_ignore_ascii_case("+json")
}

pub fn is_encoded(fields: Fields<'_>) -> bool {
    fields.get("content-encoding").is_some_and(|value| !value.eq_ignore_ascii_case(b"identity"))
}
