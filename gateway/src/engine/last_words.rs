//! How a stream that was cut tells its client.

use bytes::Bytes;
use proto_shared::error::ErrorObject;

/// The form of an error event inside a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Responses,
    Anthropic,
}

impl Dialect {
    /// `None`: nothing is known of streams of events there.
    pub fn of_events(tail: &str) -> Option<Self> {
        match tail.trim_end_matches('/').rsplit('/').next() {
            Some("messages") => Some(Self::Anthropic),
            Some("responses") => Some(Self::Responses),
            Some("completions") => Some(Self::OpenAi),
            _ => None,
        }
    }

    pub fn of_tail(tail: &str) -> Self {
        Self::of_events(tail).unwrap_or(Self::OpenAi)
    }

    /// It is nobody's fault but an upstream's or ours.
    pub fn cut_event(self, message: &str, code: &str) -> Bytes {
        let (message, code) = (message.into(), Some(code.into()));
        self.error_event(&ErrorObject { message, kind: "api_error".into(), param: None, code })
    }

    pub fn error_event(self, error: &ErrorObject) -> Bytes {
        let ErrorObject { message, kind, param, code } = error;
        match self {
            Self::OpenAi => format!("data: {}\n\n", serde_json::json!({ "error": error })),
            Self::Responses => format!(
                "event: error\ndata: {}\n\n",
                serde_json::json!({ "type": "error", "code": code, "message": message, "param": param })
            ),
            Self::Anthropic => format!(
                "event: error\ndata: {}\n\n",
                serde_json::json!({ "type": "error", "error": { "type": kind, "message": message } })
            ),
        }
        .into()
    }
}
