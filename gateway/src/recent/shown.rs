//! How a request is shown to a person, and what is said when it can't be.

use std::time::{Duration, SystemTime};

use proto_shared::routing::Strategy;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::trace::{AttemptEnd, Detour, LeftOut, Link, Look, SeenThen, Tried, Wait};
use super::{Account, NOTED_MAX};
use crate::balance::Standing;
use crate::request_id::{MadeBy, RequestId};

/// Why nothing is known of a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error("this gateway keeps no requests; set limits.recent_requests_max above 0")]
    Off,
    #[error(
        "request {id} is not kept any more: this gateway keeps the last {kept} requests that went straight and the \
         last {kept} others (limits.recent_requests_max); the access log may have it"
    )]
    NotAnyMore { id: String, kept: usize },
    #[error(
        "request {id} is not from this gateway, whose ids begin with {own}, or from before its last start; ask the \
         admin listeners of the others (/health/ready there shows how their ids begin)"
    )]
    Elsewhere { id: String, own: String },
    #[error(
        "request {id} is not known here: a client chose the id, so another gateway may have served it, or it is not \
         among the last {kept} requests that went straight and the last {kept} others"
    )]
    Unknown { id: String, kept: usize },
}

impl NotKept {
    pub(super) fn of(id: &str, kept: usize) -> Self {
        let id = id.to_owned();
        match RequestId::made_by(&id) {
            _ if kept == 0 => Self::Off,
            MadeBy::ThisGateway => Self::NotAnyMore { id, kept },
            MadeBy::AnotherGateway => Self::Elsewhere { id, own: RequestId::prefix() },
            MadeBy::AClient => Self::Unknown { id, kept },
        }
    }
}

/// Times in milliseconds are from its beginning.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub id: String,
    pub state: &'static str,
    pub started: String,
    pub duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Who chose among those who serve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Whether a key of the request (session, user or prompt) was part of the choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_key: Option<bool>,
    /// Whether its stream can go on elsewhere, or why not; absent: its model does not want that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    pub attempts: Vec<ShownAttempt>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<ShownWait>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<ShownLeftOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<&'static str>,
    /// Only where the request did not go straight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<ShownLook>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct ShownAttempt {
    pub provider: String,
    pub address: String,
    pub began_ms: f64,
    /// `reused` or `new`; absent: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From the attempt's beginning to the answer's head, and to the first byte of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    pub result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub struct ShownWait {
    pub provider: String,
    pub began_ms: f64,
    /// Absent: it still waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    pub got_place: bool,
}

#[derive(Debug, Serialize)]
pub struct ShownLeftOut {
    pub provider: String,
    pub address: String,
    pub at_ms: f64,
    pub why: &'static str,
}

#[derive(Debug, Serialize)]
pub struct ShownLook {
    pub at_ms: f64,
    pub seen: Vec<ShownThen>,
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[derive(Debug, Serialize)]
pub struct ShownThen {
    pub provider: String,
    pub address: String,
    pub standing: Standing,
    pub in_flight: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub waiting: u32,
    pub concurrency_limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
}

fn is_zero<N: Default + PartialEq>(n: &N) -> bool {
    *n == N::default()
}

/// Two looks at the same request show the same.
fn to_ms(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_millisecond(at.millisecond()).unwrap_or(at)
}

/// To the microsecond.
/// To the microsecond: more digits say nothing.
pub fn ms(took: Duration) -> f64 {
    took.as_micros() as f64 / 1e3
}

impl Shown {
    pub(super) fn of(account: &Account) -> Self {
        let (trace, usage) = (&account.trace, account.usage);
        let age = account.started.elapsed();
        let duration = account.end.map_or(age, |(_, duration)| duration);
        let started =
            OffsetDateTime::from(SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
        let empty = Detour::default();
        let detour = trace.detour.as_deref().unwrap_or(&empty);
        let is_under_way = account.end.is_none();
        Self {
            id: account.id.as_str().to_owned(),
            state: if is_under_way { "under way" } else { "ended" },
            started: to_ms(started).format(&Rfc3339).unwrap_or_default(),
            duration_ms: ms(duration),
            route: trace.route.map(|route| route.label()),
            model: trace.model.as_deref().map(str::to_owned),
            strategy: trace.strategy.map(|(strategy, _)| strategy),
            by_key: trace.strategy.map(|(_, by_key)| by_key),
            resume: trace.resume.map(|resume| match resume {
                Ok(()) => "its stream can go on elsewhere".to_owned(),
                Err(unfit) => format!("not possible: {unfit}"),
            }),
            attempts: trace.attempts.iter().map(|tried| ShownAttempt::of(tried, is_under_way)).collect(),
            waits: detour.waits.iter().map(ShownWait::of).collect(),
            left_out: detour.left_out.iter().map(ShownLeftOut::of).collect(),
            stopped: detour.stopped,
            candidates: detour.look.as_ref().map(ShownLook::of),
            status: Some(account.status).filter(|status| *status != 0),
            outcome: account.end.map(|(outcome, _)| outcome.label()),
            reason: account.reason,
            first_byte_ms: account.first_byte.map(ms),
            bytes_sent: (!is_under_way).then_some(account.bytes_sent),
            input_tokens: usage.input,
            cached_input_tokens: usage.cached_input,
            output_tokens: usage.output,
        }
    }
}

impl ShownAttempt {
    fn of(tried: &Tried, is_under_way: bool) -> Self {
        let since = |at: Duration| ms(at.saturating_sub(tried.began));
        let (connection, connect) = match tried.connection {
            None => (None, None),
            Some(Link::Reused) => (Some("reused"), None),
            Some(Link::New { took }) => (Some("new"), Some(took)),
        };
        Self {
            provider: tried.arm.as_deref().unwrap_or(&tried.spot.provider).to_owned(),
            address: tried.spot.url.to_string(),
            began_ms: ms(tried.began),
            connection,
            connect_ms: connect.map(ms),
            status: Some(tried.status).filter(|status| *status != 0),
            head_ms: tried.head.map(since),
            first_byte_ms: tried.first_byte.map(since),
            took_ms: tried.end.map(|(at, _)| since(at)),
            result: match tried.end {
                Some((_, end)) => end.label(),
                None if is_under_way && tried.connection.is_none() => "connecting",
                None if is_under_way && tried.head.is_none() => "waits for an answer",
                None if is_under_way => "answers",
                None if tried.head.is_some() => AttemptEnd::Answered.label(),
                None => "none",
            },
            why: tried.end.and_then(|(_, end)| end.why()),
        }
    }
}

impl ShownWait {
    fn of(wait: &Wait) -> Self {
        Self {
            provider: wait.provider.as_ref().map_or("any", |spot| &spot.provider).to_owned(),
            began_ms: ms(wait.began),
            took_ms: wait.took.map(ms),
            got_place: wait.got_place,
        }
    }
}

impl ShownLeftOut {
    fn of(left: &LeftOut) -> Self {
        let (provider, address) = (left.spot.provider.to_string(), left.spot.url.to_string());
        Self { provider, address, at_ms: ms(left.at), why: left.why }
    }
}

impl ShownLook {
    fn of(look: &Look) -> Self {
        let seen = look.seen.iter().take(NOTED_MAX).map(ShownThen::of).collect();
        Self { at_ms: ms(look.at), seen, more: look.more }
    }
}

impl ShownThen {
    fn of(seen: &SeenThen) -> Self {
        Self {
            provider: seen.spot.provider.to_string(),
            address: seen.spot.url.to_string(),
            standing: seen.standing,
            in_flight: seen.work.in_flight,
            waiting: seen.work.waiting,
            concurrency_limit: seen.concurrency_limit,
            first_byte_ms: seen.work.first_byte_us.map(|us| f64::from(us) / 1e3),
        }
    }
}
