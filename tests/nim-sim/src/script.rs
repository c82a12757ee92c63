//! Scripted chat replies: what a test wants a server to say, word for word. So one simulator plays the ways of every
//! provider.
//!
//! A reply is used once, by the first request it fits; without a script that fits, the simulator makes its own reply.

use crate::answer::{Answer, Payload};
use crate::steps::Frame;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Replies that wait to be used.
const MAX_WAITING: usize = 1000;

/// One reply.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scripted {
    /// Words that the request's body must hold.
    #[serde(default)]
    when: String,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    /// A whole answer: a string as it is, anything else as JSON.
    Body(Value),
    /// An event stream.
    Events(Vec<Event>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    /// The data of one event.
    Data(Value),
    /// Bytes as they are, blank line and all.
    Raw(String),
    PauseMs(u64),
    /// `data: [DONE]`.
    Done,
    /// The connection is closed without an end of the answer.
    Cut,
}

fn ok() -> u16 {
    200
}

/// The replies of one server, oldest first.
#[derive(Default)]
pub(crate) struct Script(Mutex<VecDeque<Scripted>>);

impl Script {
    /// Adds a JSON list of replies.
    pub fn extend(&self, text: &str) -> Result<(), String> {
        let replies: Vec<Scripted> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut waiting = self.0.lock();
        if waiting.len() + replies.len() > MAX_WAITING {
            return Err(format!("at most {MAX_WAITING} replies wait at a time"));
        }
        waiting.extend(replies);
        Ok(())
    }

    pub fn clear(&self) {
        self.0.lock().clear();
    }

    /// How many were not used yet.
    pub fn waiting(&self) -> usize {
        self.0.lock().len()
    }

    /// The first reply that fits a request's body.
    pub fn take(&self, body: &[u8]) -> Option<Answer> {
        let mut waiting = self.0.lock();
        let fits = |reply: &Scripted| memchr::memmem::find(body, reply.when.as_bytes()).is_some();
        let at = waiting.iter().position(fits)?;
        waiting.remove(at).map(Scripted::into_answer)
    }
}

impl Scripted {
    fn into_answer(self) -> Answer {
        let mut answer = match self.content {
            Content::Body(Value::String(text)) => Answer::text(text),
            Content::Body(value) => Answer::ok(&value),
            Content::Events(events) => Answer::events(Box::new(events.into_iter().map(Event::into_frame))),
        };
        answer.status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::IM_A_TEAPOT);
        set_headers(&mut answer.headers, &self.headers);
        if answer.status == StatusCode::NO_CONTENT {
            answer.payload = Payload::Whole(Bytes::new());
        }
        answer
    }
}

fn set_headers(headers: &mut HeaderMap, given: &BTreeMap<String, String>) {
    for (name, value) in given {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
}

impl Event {
    fn into_frame(self) -> Frame {
        match self {
            Self::Data(value) => Frame::Note(value.to_string()),
            Self::Raw(text) => Frame::Raw(text),
            Self::PauseMs(ms) => Frame::Pause(Duration::from_millis(ms)),
            Self::Done => Frame::Done,
            Self::Cut => Frame::Cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_used_once_and_by_what_it_fits() {
        let script = Script::default();
        script.extend(r#"[{"when":"red","body":{"a":1}},{"body":"any"}]"#).unwrap();
        assert_eq!(script.take(b"blue").unwrap().status, StatusCode::OK);
        assert!(script.take(b"blue").is_none());
        assert!(script.take(b"so red").is_some());
        assert_eq!(script.waiting(), 0);
    }

    #[test]
    fn a_script_that_makes_no_sense_is_refused() {
        let script = Script::default();
        for text in ["", "{}", r#"[{}]"#, r#"[{"body":1,"event":[]}]"#, r#"[{"events":["sing"]}]"#] {
            assert!(script.extend(text).is_err(), "{text}");
        }
    }
}
