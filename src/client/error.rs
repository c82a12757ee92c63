//! What can go wrong between a command and a gateway, in words for the person who typed it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::exit;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{what} {url:?} is not an address: {why}")]
    Url { what: &'static str, url: String, why: String },
    #[error(
        "nobody listens on {url}; is nimgate running? Start it with `nimgate up`, or name its address with {flag}"
    )]
    Refused { url: String, flag: &'static str },
    #[error("can't connect to {url}: {why}")]
    Connect { url: String, why: String },
    #[error("{url} did not answer within {} s", .within.as_secs())]
    Timeout { url: String, within: Duration },
    #[error("the connection to {url} broke: {why}")]
    Broken { url: String, why: String },
    #[error("{url} answered with more than {limit_bytes} bytes")]
    TooLong { url: String, limit_bytes: usize },
    #[error("{url} answered something that is not JSON; is this a nimgate address?")]
    NotJson { url: String },
    #[error("{}", answered(.status, .message, .hint.as_deref()))]
    Answer { status: StatusCode, message: String, hint: Option<String> },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Said(String),
    /// The command line is well formed and says too little.
    #[error("{0}")]
    Usage(String),
    #[error("can't write the answer: {0}")]
    Print(#[from] io::Error),
    #[error("can't start the runtime: {0}")]
    Runtime(io::Error),
    #[error("interrupted")]
    Interrupted,
}

/// One reason on one line, several on a line each; what to do next on a line of its own.
fn answered(status: &StatusCode, message: &str, hint: Option<&str>) -> String {
    let message = message.trim_end_matches('.');
    let text = if message.contains('\n') {
        format!("the request was refused ({status}):\n  {}", message.replace('\n', "\n  "))
    } else if status.canonical_reason() == Some(message) {
        format!("the gateway answered {status}")
    } else {
        format!("{message} ({status})")
    };
    hint.map_or(text.clone(), |hint| format!("{text}\n  {hint}"))
}

impl ClientError {
    pub fn answer(status: StatusCode, body: &[u8]) -> Self {
        Self::Answer { status, message: message_of(body), hint: None }
    }

    /// Adds what to do about an answer with this status, unless that is known already.
    pub fn or_try(self, on: StatusCode, advice: impl FnOnce() -> String) -> Self {
        match self {
            Self::Answer { status, message, hint: None } if status == on => {
                Self::Answer { status, message, hint: Some(advice()) }
            }
            other => other,
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            // `nimgate … | head`: the reader has seen enough.
            Self::Print(e) if e.kind() == io::ErrorKind::BrokenPipe => exit::DONE,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Usage(_) => exit::WRONG_USAGE,
            _ => exit::FAILED,
        }
    }

    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }
}

const MESSAGE_CHARS_MAX: usize = 2_000;

/// The text of an error body: the platform's `detail`, a list of its field errors, OpenAI's
/// `error.message`, or the body as it is.
pub fn message_of(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => message_in(&value),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    let text = if text.is_empty() { "no reason was given".to_owned() } else { text };
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

pub fn message_in(value: &Value) -> String {
    let message = value.pointer("/error/message").and_then(Value::as_str);
    match (&value["detail"], message) {
        (Value::Array(items), _) => items.iter().map(field_error).collect::<Vec<_>>().join("\n"),
        (Value::String(text), _) => text.clone(),
        (_, Some(text)) => text.to_owned(),
        (_, None) => match (&value["error"], &value["reason"]) {
            (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
            _ => value.to_string(),
        },
    }
}

fn field_error(item: &Value) -> String {
    let place: Vec<String> = item["loc"]
        .as_array()
        .map(|loc| {
            loc.iter().skip(1).map(|part| part.as_str().map_or(part.to_string(), str::to_owned)).collect()
        })
        .unwrap_or_default();
    let message = item["msg"].as_str().unwrap_or("not valid");
    let message = message.strip_prefix("Value error, ").unwrap_or(message);
    if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_error_body_gives_its_message() {
        for (body, message) in [
            (r#"{"detail":"no such provider"}"#, "no such provider"),
            (r#"{"error":{"message":"rate limited"}}"#, "rate limited"),
            (r#"{"error":"bad key"}"#, "bad key"),
            (r#"{"status":"not ready","reason":"draining"}"#, "draining"),
            (
                r#"{"detail":[{"loc":["body","name"],"msg":"Value error, too short"},{"msg":"x"}]}"#,
                "name: too short\nx",
            ),
            ("<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>"),
            ("", "no reason was given"),
        ] {
            assert_eq!(message_of(body.as_bytes()), message, "{body}");
        }
    }

    #[test]
    fn advice_is_added_to_its_status_alone() {
        let error = || ClientError::answer(StatusCode::NOT_FOUND, br#"{"detail":"no such model."}"#);
        let with = error().or_try(StatusCode::NOT_FOUND, || "see `nimgate model list`".into());
        assert_eq!(with.to_string(), "no such model (404 Not Found)\n  see `nimgate model list`");
        let without = error().or_try(StatusCode::CONFLICT, || "x".into());
        assert_eq!(without.to_string(), "no such model (404 Not Found)");
        let known = error().or_try(StatusCode::NOT_FOUND, || "first".into());
        assert!(known.or_try(StatusCode::NOT_FOUND, || "second".into()).to_string().ends_with("\n  first"));
    }

    #[test]
    fn several_faults_of_a_request_get_a_line_each() {
        let body = br#"{"detail":[{"loc":["body","name"],"msg":"too short"},{"loc":["body","gpu"],"msg":"missing"}]}"#;
        let error = ClientError::answer(StatusCode::UNPROCESSABLE_ENTITY, body);
        let expected =
            "the request was refused (422 Unprocessable Entity):\n  name: too short\n  gpu: missing";
        assert_eq!(error.to_string(), expected);
    }
}
