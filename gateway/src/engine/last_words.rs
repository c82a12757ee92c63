//! How a stream that was cut tells its client.

use bytes::Bytes;

/// The form of an error event inside a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Responses,
    Anthropic,
}

impl Dialect {
    pub fn of_tail(tail: &str) -> Self {
        match tail.trim_end_matches('/').rsplit('/').next() {
            Some("messages") => Self::Anthropic,
            Some("responses") => Self::Responses,
            _ => Self::OpenAi,
        }
    }

    pub fn error_event(self, message: &str, code: &str) -> Bytes {
        let error =
            serde_json::json!({ "message": message, "type": "api_error", "param": null, "code": code });
        match self {
            Self::OpenAi => format!("data: {}\n\n", serde_json::json!({ "error": error })),
            Self::Responses => format!(
                "event: error\ndata: {}\n\n",
                serde_json::json!({ "type": "error", "code": code, "message": message, "param": null })
            ),
            Self::Anthropic => format!(
                "event: error\ndata: {}\n\n",
                serde_json::json!({ "type": "error", "error": { "type": "api_error", "message": message } })
            ),
        }
        .into()
    }
}
