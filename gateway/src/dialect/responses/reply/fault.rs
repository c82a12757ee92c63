//! What went wrong at the provider, in words for the client.
//!
//! What must stay true: nothing of an answer is repeated but its error message and code, both bounded; of a refused
//! key nothing at all, since providers like to repeat it.

use std::borrow::Cow;
use std::fmt::Write as _;

use proto_shared::ErrorBody;
use serde_json::Value;

/// As much of a provider's message as is repeated.
pub const MESSAGE_CHARS_MAX: usize = 2000;
/// A longer code is no code.
const CODE_BYTES_MAX: usize = 64;
/// Shorter keys are not looked for: they would hit ordinary text.
const KEY_BYTES_MIN: usize = 8;
/// A longer body is not read for its error.
pub const ERROR_BODY_BYTES_MAX: usize = 256 * 1024;

/// The class of an error, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    InvalidRequest,
    RateLimit,
    Server,
}

impl FaultKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::RateLimit => "rate_limit_error",
            Self::Server => "server_error",
        }
    }
}

/// An answer that is none, as the client is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamFault {
    pub status: u16,
    pub kind: FaultKind,
    pub code: Option<String>,
    pub message: String,
    /// The provider's `Retry-After`, to be passed on.
    pub retry_after: Option<String>,
}

impl UpstreamFault {
    pub fn server(message: impl Into<String>) -> Self {
        Self { status: 502, kind: FaultKind::Server, code: None, message: message.into(), retry_after: None }
    }

    /// An answer of an error status.
    pub fn of_answer(status: u16, body: &[u8], retry_after: Option<&str>) -> Self {
        let said = Said::of(body);
        let (status_down, kind) = match status {
            400 | 404 | 413 | 422 => (status, FaultKind::InvalidRequest),
            429 => (429, FaultKind::RateLimit),
            // The provider's time-out, not the client's.
            408 => (504, FaultKind::Server),
            // Key and credit are the gateway's.
            401..=403 => {
                let message = format!(
                    "the provider refused the gateway's key (status {status}): check the provider's secret and account"
                );
                return Self::server(message);
            }
            405..500 => (status, FaultKind::InvalidRequest),
            _ => (502, FaultKind::Server),
        };
        let message = match said.message {
            Some(message) if kind == FaultKind::Server => {
                format!("the provider answered with status {status}: {message}")
            }
            Some(message) => message,
            None => format!("the provider answered with status {status} and no message"),
        };
        let retry_after = retry_after.filter(|_| matches!(status, 429 | 503)).map(str::to_owned);
        Self { status: status_down, kind, code: said.code, message, retry_after }
    }

    /// An answer that promised to be none of an error status.
    pub(super) fn in_answer(body: &[u8]) -> Self {
        let said = Said::of(body);
        let message =
            said.message.unwrap_or_else(|| "the provider reported an error without a message".into());
        Self { code: said.code, ..Self::server(message) }
    }

    /// What `response.failed` gives as the error's code: never empty.
    pub(super) fn code_in_stream(&self) -> &str {
        self.code.as_deref().unwrap_or("server_error")
    }

    /// The fault without a word of the key.
    pub(super) fn without(&self, key: &str) -> Cow<'_, Self> {
        if key.len() < KEY_BYTES_MIN || !self.message.contains(key) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self { message: self.message.replace(key, &"*".repeat(key.len())), ..self.clone() })
    }

    /// The same for a key as it is sent.
    pub fn without_key(self, key: &[u8]) -> Self {
        match std::str::from_utf8(key) {
            Ok(key) => self.without(key).into_owned(),
            Err(_) => self,
        }
    }

    pub fn body_json(&self) -> Vec<u8> {
        let mut body = ErrorBody::new(self.message.as_str(), self.kind.as_str(), "");
        body.error.code = self.code.clone();
        // Texts and options only: this serialisation has no way to fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// What a body says of an error, in whichever of the shapes that are about.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    message: Option<String>,
    code: Option<String>,
}

impl Said {
    fn of(body: &[u8]) -> Self {
        if body.len() > ERROR_BODY_BYTES_MAX {
            return Self::default();
        }
        match serde_json::from_slice::<Value>(body) {
            Ok(json) => Self::of_json(&json),
            Err(_) => Self { message: plain(body), code: None },
        }
    }

    fn of_json(json: &Value) -> Self {
        let json = json.get(0).unwrap_or(json);
        let error = json.get("error").filter(|error| !error.is_null()).unwrap_or(json);
        let message = [error, json].into_iter().find_map(|place| {
            let names = ["message", "detail", "msg", "error"];
            let named = names.iter().find_map(|name| place.get(name)).unwrap_or(place);
            // One kind of server lists what it found wrong.
            let first = named.get(0).map_or(named, |first| first.get("msg").unwrap_or(first));
            first.as_str().and_then(bounded)
        });
        let code = [error, json].into_iter().find_map(|place| place.get("code").and_then(code_of));
        Self { message, code }
    }
}

/// A code that is a text; of numbers only one means something to clients.
fn code_of(code: &Value) -> Option<String> {
    match code {
        Value::String(code) if is_code(code) => Some(code.clone()),
        Value::Number(number) if number.as_u64() == Some(429) => Some("rate_limit_exceeded".into()),
        _ => None,
    }
}

fn is_code(text: &str) -> bool {
    let is_code_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=CODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_code_byte)
}

/// A body that is no JSON; pages for people are not repeated.
fn plain(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.starts_with('<') || text.starts_with(['{', '[']) { None } else { bounded(text) }
}

fn bounded(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let mut message: String = text.chars().take(MESSAGE_CHARS_MAX).collect();
    if message.len() < text.len() {
        // Writing to a string has no way to fail.
        let _ = write!(message, "… ({} bytes)", text.len());
    }
    Some(message)
}
