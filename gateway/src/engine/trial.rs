//! What one attempt teaches about its address, told once it is known: with the answer's head, or without one. That an
//! answer is good is known at its end; only where the question is whether an address is back, a head will do.
//!
//! An attempt that ends without a word taught nothing, also when its task was dropped; somebody else may then
//! find out whether the address is back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use super::relay::NoAnswer;
use super::up::{ReplyParts, UpError};
use crate::failover::passes_over;
use crate::health::{Ended, Event, Pass, Turn};
use crate::limit::Retries;
use crate::metrics::Kept;
use crate::random::random;
use crate::upstream::{ConnectError, Endpoint};
use crate::uptime::now_ms;
use crate::watch::Continues;

pub struct Trial<'a> {
    endpoint: &'a Endpoint,
    pass: Pass,
    /// Atomic only because others share it, as is the next; one task tells.
    told: AtomicBool,
    /// An answer has begun that is a good one if it ends as it should: that is told last.
    is_under_way: AtomicBool,
    /// Times of other methods say nothing about how soon a model answers.
    is_measured: bool,
    others: Option<Others<'a>>,
}

/// Somebody else can be asked, when the answer is no use.
pub struct Others<'a> {
    pub budget: Retries<'a>,
    /// Asking twice is harmless at this provider.
    pub is_harmless: bool,
}

impl<'a> Trial<'a> {
    pub fn new(endpoint: &'a Endpoint, pass: Pass, method: &Method, others: Option<Others<'a>>) -> Self {
        Self {
            endpoint,
            pass,
            told: AtomicBool::new(false),
            is_under_way: AtomicBool::new(false),
            is_measured: *method == Method::POST,
            others,
        }
    }

    /// The answer's head came. Gives whether another address is to be asked instead.
    pub fn answered(&self, head: &ReplyParts) -> bool {
        let (status, now_ms) = (head.status(), now_ms());
        self.endpoint.metrics.upstream_response(status.as_u16());
        let retry_after = head.fields().get("retry-after");
        let event = Ended::Answered { status, retry_after: retry_after.is_some() }.event();
        let load = &self.endpoint.load;
        if event == Event::Ok && self.pass == Pass::Free && load.health.state().is_closed() {
            self.is_under_way.store(true, Ordering::Relaxed);
        } else {
            self.tell(event);
        }
        match event {
            Event::Busy => {
                let date = head.fields().get("date");
                let asked_ms = retry_after.and_then(|value| delay_ms(value, date, SystemTime::now()));
                // This one is there, and was not accepted.
                let others = u32::try_from(load.in_flight()).unwrap_or(u32::MAX).saturating_sub(1);
                load.concurrency.busy(asked_ms, others, now_ms);
            }
            Event::Ok | Event::Fault(_) | Event::Neutral => {}
        }
        self.passes_over(status, now_ms)
    }

    /// The body of an answer that is one began. Its head says nothing about speed: many servers send it at once.
    pub fn began(&self, took: Duration) {
        if !self.is_measured {
            return;
        }
        let (load, us, now_ms) = (&self.endpoint.load, took.as_micros() as u64, now_ms());
        load.first_bytes.saw(took);
        load.pace.saw(us, now_ms);
        load.concurrency.saw(us, u32::try_from(load.in_flight()).unwrap_or(u32::MAX), now_ms);
    }

    /// In a stream it said nothing for so long.
    pub fn paused(&self, took: Duration, kept: &mut Kept) {
        kept.saw(took, &self.endpoint.load.gaps);
    }

    /// The stream is over.
    pub fn paused_no_more(&self, kept: &mut Kept) {
        kept.add_to(&self.endpoint.load.gaps);
    }

    fn passes_over(&self, status: StatusCode, now_ms: u64) -> bool {
        let others = self.others.as_ref().filter(|others| passes_over(status, others.is_harmless));
        others.is_some_and(|others| others.budget.try_retry(now_ms))
    }

    pub fn connected(&self) {
        if self.pass != Pass::Free {
            self.endpoint.load.health.reached();
        }
    }

    pub fn not_connected(&self, error: &ConnectError) {
        self.tell(match error {
            ConnectError::Dns => Ended::NotFound.event(),
            ConnectError::Tls => Ended::NoTls.event(),
            ConnectError::Forbidden(_) | ConnectError::NoDescriptor => Ended::Ours.event(),
            ConnectError::Refused | ConnectError::Timeout | ConnectError::Unreachable => {
                Ended::NotConnected.event()
            }
        });
    }

    pub fn unanswered(&self, failure: NoAnswer, reused: bool) {
        let ended = match failure {
            NoAnswer::Timeout => Ended::Silent,
            NoAnswer::Up(UpError::NotProcessed) => Ended::NotProcessed,
            NoAnswer::Up(UpError::Cut) if reused => Ended::CutWhenReused,
            NoAnswer::Up(UpError::Cut | UpError::Broken(_)) => Ended::Cut,
        };
        self.tell(ended.event());
    }

    /// The answer had begun, and did not go on to its end.
    pub fn broke_off(&self) {
        self.tell(Ended::AnswerCut.event());
    }

    /// It did not go on with a text that it was told to continue.
    pub fn began_anew(&self) {
        self.endpoint.load.watched.learned(Continues::No);
    }

    /// What is told after the first is no longer about whether the address is back.
    fn tell(&self, event: Event) {
        let pass = if self.told.swap(true, Ordering::Relaxed) { Pass::Free } else { self.pass };
        let label = &self.endpoint.label;
        let url = self.endpoint.url.as_str();
        match self.endpoint.load.health.ended(pass, event, now_ms(), random()) {
            Some(Turn::Ejected) => {
                self.endpoint.metrics.ejections.inc();
                tracing::warn!(provider = %label, url, ?event, "address left out for a while");
            }
            Some(Turn::Returned) => tracing::info!(provider = %label, url, "address is back"),
            None => {}
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.told.load(Ordering::Relaxed) {
            return;
        }
        if self.is_under_way.load(Ordering::Relaxed) {
            // It did not break off, as far as the client wanted it.
            self.tell(Event::Ok);
        } else if self.pass != Pass::Free {
            self.tell(Event::Neutral);
        }
    }
}

/// A delay in seconds, or until a date. The upstream's own clock counts, where its answer tells it: else one that
/// is slow or fast would not be left alone at all, or for too long.
fn delay_ms(value: &[u8], date: Option<&[u8]>, now: SystemTime) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1_000));
    }
    let now = date.and_then(http_date).unwrap_or(now);
    let wait = http_date(value)?.duration_since(now).unwrap_or_default();
    Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

fn http_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_read_in_seconds_or_until_a_date_and_nothing_else_is() {
        // Fri, 31 Dec 1999 23:59:52 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_792);
        let delay = |value: &[u8], date| delay_ms(value, date, now);
        assert_eq!(delay(b" 7 ", None), Some(7_000));
        assert_eq!(delay(b"Fri, 31 Dec 1999 23:59:59 GMT", None), Some(7_000));
        assert_eq!(delay(b"Friday, 31-Dec-99 23:59:59 GMT", None), Some(7_000), "as in old times");
        assert_eq!(delay(b"Fri, 31 Dec 1999 23:59:01 GMT", None), Some(0), "that is over");
        for value in
            [&b"-1"[..], b"+1", b"1.5", b"", b"\xff", b"99999999999999999999", b"31 Dec 1999", b"soon"]
        {
            assert_eq!(delay(value, None), None);
        }
    }

    #[test]
    fn a_date_is_read_by_the_clock_of_who_says_it() {
        let until = &b"Fri, 31 Dec 1999 23:59:59 GMT"[..];
        for now in [SystemTime::UNIX_EPOCH, SystemTime::now()] {
            assert_eq!(delay_ms(until, Some(b"Fri, 31 Dec 1999 23:59:55 GMT"), now), Some(4_000));
        }
        assert_eq!(delay_ms(until, Some(b"today"), SystemTime::now()), Some(0));
    }
}
