//! Whether a request without an answer may be tried again: a pure table.
//!
//! The rules: a request of which nothing reached an upstream may go anywhere. One that may have
//! arrived is sent again only where that is harmless: to providers marked so, or with a safe method.
//! A time-out may have arrived, whatever was written: the upstream may still be working on it.
//!
//! An answer that says "too busy" or "I failed" is one: nothing of it was delivered and nothing is under way, so
//! somebody else may be asked. What a server between says of the one behind it (502, 504) leaves that open.

use http::{Method, StatusCode};

use crate::engine::NoAnswer;
use crate::engine::UpError;

#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub failure: NoAnswer,
    /// A byte of the request may have reached the upstream.
    pub wrote: bool,
    /// On a pooled connection, which may have been closed meanwhile.
    pub reused: bool,
    /// The whole request can be sent once more.
    pub replayable: bool,
    pub method: &'a Method,
    pub provider_replay_safe: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same provider, on a new connection.
    FreshConnection,
    NextCandidate,
    /// It may have been executed.
    Ambiguous,
    TimedOut,
    Broken(&'static str),
    /// The upstream can't be spoken to, and nothing was sent.
    Unreachable,
}

pub fn verdict(attempt: &Attempt<'_>) -> Verdict {
    let harmless = attempt.provider_replay_safe || is_safe(attempt.method);
    let error = match attempt.failure {
        // Where it was asked is given up on, and so told to stop.
        NoAnswer::Timeout if harmless && attempt.replayable => return Verdict::NextCandidate,
        NoAnswer::Timeout => return Verdict::TimedOut,
        NoAnswer::Up(error) => error,
    };
    let arrived = attempt.wrote && error != UpError::NotProcessed;
    if attempt.replayable && (!arrived || (harmless && error == UpError::Cut)) {
        return if attempt.reused { Verdict::FreshConnection } else { Verdict::NextCandidate };
    }
    match error {
        UpError::Broken(why) => Verdict::Broken(why),
        _ if arrived => Verdict::Ambiguous,
        _ => Verdict::Unreachable,
    }
}

/// Whether an answer of this status is worth less than somebody else's, before any of it went down.
pub fn passes_over(status: StatusCode, harmless: bool) -> bool {
    match status.as_u16() {
        429 | 500 | 503 | 529 => true,
        502 | 504 => harmless,
        _ => false,
    }
}

/// Safe methods (RFC 9110, section 9.2.1): executing one twice changes nothing.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Attempt<'static> = Attempt {
        failure: NoAnswer::Up(UpError::Cut),
        wrote: true,
        reused: false,
        replayable: true,
        method: &Method::POST,
        provider_replay_safe: false,
    };

    #[test]
    fn a_dead_pooled_connection_is_not_the_clients_problem_when_nothing_was_sent() {
        assert_eq!(verdict(&Attempt { wrote: false, reused: true, ..BASE }), Verdict::FreshConnection);
        assert_eq!(verdict(&Attempt { wrote: false, ..BASE }), Verdict::NextCandidate);
        assert_eq!(
            verdict(&Attempt { wrote: false, reused: true, replayable: false, ..BASE }),
            Verdict::Unreachable
        );
    }

    #[test]
    fn what_may_have_been_executed_is_not_sent_again() {
        assert_eq!(verdict(&BASE), Verdict::Ambiguous);
        assert_eq!(verdict(&Attempt { reused: true, ..BASE }), Verdict::Ambiguous);
        assert_eq!(
            verdict(&Attempt { failure: NoAnswer::Timeout, provider_replay_safe: true, ..BASE }),
            Verdict::NextCandidate
        );
        assert_eq!(verdict(&Attempt { failure: NoAnswer::Timeout, ..BASE }), Verdict::TimedOut);
        let broken = NoAnswer::Up(UpError::Broken("x"));
        assert_eq!(
            verdict(&Attempt { failure: broken, provider_replay_safe: true, ..BASE }),
            Verdict::Broken("x")
        );
    }

    #[test]
    fn answers_that_say_busy_or_failed_are_passed_over_and_what_is_the_clients_fault_is_not() {
        let status = |status| StatusCode::from_u16(status).unwrap();
        for passed in [429, 500, 503, 529] {
            assert!(passes_over(status(passed), false), "{passed}");
        }
        for unclear in [502, 504] {
            assert!(passes_over(status(unclear), true) && !passes_over(status(unclear), false), "{unclear}");
        }
        for final_word in [200, 400, 401, 403, 404, 413, 422, 501] {
            assert!(!passes_over(status(final_word), true), "{final_word}");
        }
    }

    #[test]
    fn harmless_requests_are() {
        assert_eq!(verdict(&Attempt { provider_replay_safe: true, ..BASE }), Verdict::NextCandidate);
        assert_eq!(
            verdict(&Attempt { method: &Method::GET, reused: true, ..BASE }),
            Verdict::FreshConnection
        );
        let refused = NoAnswer::Up(UpError::NotProcessed);
        assert_eq!(verdict(&Attempt { failure: refused, ..BASE }), Verdict::NextCandidate);
    }
}
