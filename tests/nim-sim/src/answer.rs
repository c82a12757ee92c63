//! An answer before it becomes HTTP: what a route returns, and what faults change.

use crate::steps::Frames;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub payload: Payload,
}

pub(crate) enum Payload {
    Whole(Bytes),
    Events(Frames),
}

/// Why a request is not served, before it is an answer.
pub(crate) enum Refusal {
    UnknownModel(String),
    BadRequest { param: Option<&'static str>, message: String },
}

impl Refusal {
    pub fn bad_request(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self::BadRequest { param, message: message.into() }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownModel(id) => {
                let message = format!("The model `{id}` does not exist.");
                Self::error(StatusCode::NOT_FOUND, "NotFoundError", Some("model"), message)
            }
            Refusal::BadRequest { param, message } => {
                Self::error(StatusCode::BAD_REQUEST, "BadRequestError", param, message)
            }
        }
    }
}

impl Answer {
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, payload: Payload::Whole(body.into()) }
    }

    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), payload: Payload::Whole(Bytes::new()) }
    }

    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => Self::new(status, "application/json", bytes),
            Err(error) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
        }
    }

    pub fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    pub fn json_text(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, "application/json", body)
    }

    pub fn text(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, "text/plain; charset=utf-8", body)
    }

    pub fn events(frames: Frames) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Self { status: StatusCode::OK, headers, payload: Payload::Events(frames) }
    }

    /// An error in OpenAI's form, with the status as its code, as vLLM has it.
    pub fn error(status: StatusCode, kind: &str, param: Option<&str>, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let error = json!({ "message": message, "type": kind, "param": param, "code": status.as_u16() });
        Self::json(status, &json!({ "error": error }))
    }

    pub fn not_found() -> Self {
        Self::json(StatusCode::NOT_FOUND, &json!({ "detail": "Not Found" }))
    }

    pub fn method_not_allowed(allow: &'static str) -> Self {
        let body: Value = json!({ "detail": "Method Not Allowed" });
        Self::json(StatusCode::METHOD_NOT_ALLOWED, &body).with(ALLOW, HeaderValue::from_static(allow))
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}
