//! `/__sim/…`: what was received, counters, and the switches, for tests in other processes. Never recorded, never
//! disturbed by a fault.

use crate::answer::{Answer, Refusal};
use crate::error::SimError;
use crate::record::{Outcome, Recorded};
use crate::state::Shared;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::StatusCode;
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::sync::atomic::Ordering::Relaxed;

pub(crate) const PREFIX: &str = "/__sim/";
const MAX_CONTROL_BYTES: usize = 1024 * 1024;

pub(crate) async fn answer(
    parts: &Parts,
    target: &str,
    incoming: Incoming,
    shared: &Shared,
) -> Result<Answer, SimError> {
    let body = match Limited::new(incoming, MAX_CONTROL_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Ok(Refusal::bad_request(None, format!("the request body: {error}")).into()),
    };
    let text = String::from_utf8_lossy(&body);
    let path = target.split('?').next().unwrap_or(target);
    Ok(match (&parts.method, path.trim_start_matches(PREFIX)) {
        (&Method::GET, "requests") => {
            Answer::ok(&shared.recorder.requests().iter().map(view).collect::<Vec<Value>>())
        }
        (&Method::DELETE, "requests") => {
            shared.recorder.clear();
            Answer::empty(StatusCode::NO_CONTENT)
        }
        (&Method::GET, "stats") => Answer::ok(&shared.stats()),
        (&Method::PUT, "fault") => match shared.set_fault(&text) {
            Ok(()) => Answer::empty(StatusCode::NO_CONTENT),
            Err(error) => Refusal::bad_request(Some("fault"), error.to_string()).into(),
        },
        (&Method::PUT, "ready") => match text.trim().parse() {
            Ok(ready) => {
                shared.set_ready(ready);
                Answer::empty(StatusCode::NO_CONTENT)
            }
            Err(_) => Refusal::bad_request(Some("ready"), "send `true` or `false`").into(),
        },
        (&Method::PUT, "waiting") => match text.trim().parse() {
            Ok(requests) => {
                shared.waiting.store(requests, Relaxed);
                Answer::empty(StatusCode::NO_CONTENT)
            }
            Err(_) => Refusal::bad_request(Some("waiting"), "send a number of requests").into(),
        },
        (&Method::GET, "script") => Answer::ok(&json!({ "waiting": shared.script.waiting() })),
        (&Method::PUT, "script") => match shared.script.extend(&text) {
            Ok(()) => Answer::empty(StatusCode::NO_CONTENT),
            Err(error) => Refusal::bad_request(Some("script"), error).into(),
        },
        (&Method::DELETE, "script") => {
            shared.script.clear();
            Answer::empty(StatusCode::NO_CONTENT)
        }
        (_, "requests") => Answer::method_not_allowed("GET, DELETE"),
        (_, "stats") => Answer::method_not_allowed("GET"),
        (_, "script") => Answer::method_not_allowed("GET, PUT, DELETE"),
        (_, "fault" | "ready" | "waiting") => Answer::method_not_allowed("PUT"),
        _ => Answer::not_found(),
    })
}

fn view(record: &Recorded) -> Value {
    let (outcome, left_after_ms) = match record.outcome {
        Outcome::Open => ("open", None),
        Outcome::Answered => ("answered", None),
        Outcome::Cut => ("cut", None),
        Outcome::ClientLeft { at } => {
            ("client_left", Some(at.saturating_duration_since(record.received_at).as_millis()))
        }
    };
    json!({
        "id": record.id,
        "connection": record.connection,
        "method": record.method,
        "target": record.target,
        "version": format!("{:?}", record.version),
        "headers": record.headers,
        "raw_head": record.raw_head.as_ref().map(|head| STANDARD.encode(head)),
        "body": STANDARD.encode(&record.body),
        "body_len": record.body_len,
        "body_complete": record.body_complete,
        "status": record.status,
        "outcome": outcome,
        "left_after_ms": left_after_ms.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
    })
}
