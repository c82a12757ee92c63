//! An answer in another dialect than the upstream's.
//!
//! What must stay true: nothing goes down before the upstream's status is known, and a failed call keeps one;
//! an event leaves with the piece that caused it; what broke off does not look finished; of nothing more is kept
//! than a named bound.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::context::OwnFields;
use super::reply::{is_encoded, is_event_stream};
use super::scrub::scrubbed;
use super::silence::EVENT_STREAM_FIELDS;
use super::up::ReplyParts;
use crate::dialect::responses::reply::{
    ANSWER_BYTES_MAX, ERROR_BODY_BYTES_MAX, End, Opening, StreamTranslator, UpstreamFault, whole,
    whole_as_events,
};
use crate::dialect::responses::turn::Turn;
use crate::random::random;

/// What is made of a provider's answer.
pub struct Translated {
    stage: Stage,
    head: NewHead,
    key: Box<[u8]>,
    /// What went wrong there, where that is all there is to tell.
    fault: Option<UpstreamFault>,
}

enum Stage {
    Events(Box<StreamTranslator>),
    Whole {
        opening: Box<Opening>,
        wants_events: bool,
        body: BytesMut,
    },
    Fault {
        status: u16,
        retry_after: Option<String>,
        body: BytesMut,
    },
    /// It can't be used, and why.
    Unusable(&'static str),
    Over,
}

/// The head of the answer that goes down.
struct NewHead {
    status: StatusCode,
    kind: Kind,
    retry_after: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Events,
}

impl Translated {
    /// Reads the head of an answer; `out` gets the events that go down with it.
    pub fn begin(parts: &ReplyParts, turn: Turn, key: &[u8], out: &mut BytesMut) -> Self {
        let (status, fields) = (parts.status(), parts.fields());
        let wants_events = turn.stream;
        let stage = if !status.is_success() {
            let retry_after = fields.text("retry-after").map(str::to_owned);
            Stage::Fault { status: status.as_u16(), retry_after, body: BytesMut::new() }
        } else if is_encoded(fields) {
            Stage::Unusable("its answer is compressed, though it was asked not to")
        } else if wants_events && is_event_stream(fields) {
            let mut translator = Box::new(StreamTranslator::new(opening(turn)).hiding(key));
            translator.start(out);
            Stage::Events(translator)
        } else {
            Stage::Whole { opening: Box::new(opening(turn)), wants_events, body: BytesMut::new() }
        };
        let kind = if matches!(stage, Stage::Events(_)) { Kind::Events } else { Kind::Json };
        Self {
            stage,
            head: NewHead { status: StatusCode::OK, kind, retry_after: None },
            key: key.into(),
            fault: None,
        }
    }

    /// Whether events go down as they come.
    pub fn is_stream(&self) -> bool {
        matches!(self.stage, Stage::Events(_))
    }

    /// Whether it is an error's body that is read.
    pub fn is_fault(&self) -> bool {
        matches!(self.stage, Stage::Fault { .. })
    }

    /// Why nothing can be made of the answer.
    pub fn unusable(&self) -> Option<&'static str> {
        match self.stage {
            Stage::Unusable(why) => Some(why),
            _ => None,
        }
    }

    /// The last event went down, whatever else comes.
    pub fn has_said_all(&self) -> bool {
        matches!(&self.stage, Stage::Events(translator) if translator.finished())
    }

    /// The last event went down, and says that the answer failed.
    pub fn has_told_failure(&self) -> bool {
        matches!(&self.stage, Stage::Events(translator) if translator.failed())
    }

    pub fn feed(&mut self, piece: &Bytes, out: &mut BytesMut) {
        match &mut self.stage {
            Stage::Events(translator) => translator.feed(piece, now_s(), out),
            Stage::Whole { body, .. } if body.len() + piece.len() <= ANSWER_BYTES_MAX => {
                body.extend_from_slice(piece);
            }
            Stage::Whole { .. } => self.stage = Stage::Unusable("its answer is too large to be translated"),
            Stage::Fault { body, .. } => {
                // What is beyond the bound can't be read for a message; it is passed over.
                let room = (ERROR_BODY_BYTES_MAX + 1).saturating_sub(body.len());
                body.extend_from_slice(piece.get(..room).unwrap_or(piece));
            }
            Stage::Unusable(_) | Stage::Over => {}
        }
    }

    /// The upstream's answer has ended, or nothing more will come of it.
    pub fn end(&mut self, how: End, out: &mut BytesMut) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Events(mut translator) => {
                translator.end(how, now_s(), out);
                self.stage = Stage::Events(translator);
            }
            Stage::Whole { opening, wants_events, body } => {
                self.end_whole(*opening, wants_events, &body, out)
            }
            Stage::Fault { status, retry_after, body } => {
                self.tell(UpstreamFault::of_answer(status, &body, retry_after.as_deref()), out);
            }
            Stage::Unusable(_) | Stage::Over => {}
        }
    }

    fn end_whole(&mut self, opening: Opening, wants_events: bool, body: &[u8], out: &mut BytesMut) {
        let made = if wants_events {
            self.head.kind = Kind::Events;
            whole_as_events(opening, body, now_s(), out)
        } else {
            whole(opening, body, now_s()).map(|answer| out.unsplit(answer))
        };
        if let Err(fault) = made {
            self.tell(fault, out);
        }
    }

    fn tell(&mut self, fault: UpstreamFault, out: &mut BytesMut) {
        self.head = NewHead {
            status: StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_GATEWAY),
            kind: Kind::Json,
            retry_after: fault.retry_after.clone(),
        };
        out.unsplit(scrubbed(&self.key, &fault.body_json()));
        self.fault = Some(fault);
    }

    /// What the answer tells instead of being one.
    pub fn take_fault(&mut self) -> Option<UpstreamFault> {
        self.fault.take().map(|fault| fault.without_key(&self.key))
    }

    /// An event for the client's idle timer.
    pub fn keep_alive(&mut self, out: &mut BytesMut) {
        if let Stage::Events(translator) = &mut self.stage {
            translator.keep_alive(out);
        }
    }

    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// What the head says in the place of what the upstream's said of its body.
    pub fn put_fields<'a>(&'a self, own: &mut OwnFields<'a>) {
        match self.head.kind {
            Kind::Json => own.push(("content-type", "application/json")),
            Kind::Events => own.extend(EVENT_STREAM_FIELDS),
        }
        if let Some(after) = &self.head.retry_after {
            own.push(("retry-after", after));
        }
    }
}

pub fn opening(turn: Turn) -> Opening {
    let nonce = u128::from(random()) << 64 | u128::from(random());
    Opening { turn, now_s: now_s(), nonce }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
