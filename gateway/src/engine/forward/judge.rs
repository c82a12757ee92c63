//! What an attempt leads to, and what a client is told of it when nobody else answers.

use http::StatusCode;

use super::attempt::Next;
use super::{Forward, Forwarded};
use crate::engine::context::RequestContext;
use crate::engine::relay::{NoAnswer, RelayEnd, UploadFault};
use crate::engine::up::{Up, UpError};
use crate::failover::{Attempt, Verdict, verdict};
use crate::health::{Event, status_event};
use crate::metrics::{AttemptResult, Outcome};
use crate::recent::AttemptEnd;
use crate::refusal::Refusal;
use crate::route::Provider;
use crate::upstream::ConnectError;

/// For the client, when nobody else answers.
pub fn passed_over(provider: &Provider, status: StatusCode) -> Refusal {
    let provider = provider.label.to_string();
    match status_event(status, false) {
        Event::Busy => Refusal::ProviderBusy { provider, why: "it said so" },
        _ => Refusal::UpstreamAnswer { provider, why: "it answered that it failed" },
    }
}

/// An attempt without an answer: counted, and what it leads to.
pub fn unanswered(failure: NoAnswer, forward: &Forward<'_>, provider: &Provider, up: &Up) -> Next {
    let tried = Attempt {
        failure,
        wrote: up.wrote(),
        reused: up.reused(),
        replayable: !forward.body.is_stream() || !up.wrote(),
        method: forward.request.method,
        provider_replay_safe: provider.replay_safe,
    };
    provider.metrics.attempt(if tried.reused {
        AttemptResult::StaleConnection
    } else {
        AttemptResult::NoAnswer
    });
    judge(&tried, provider)
}

/// The same, for whoever asks about the request.
pub fn unanswered_end(failure: NoAnswer, up: &Up) -> AttemptEnd {
    match failure {
        NoAnswer::Up(UpError::Cut) if up.reused() => AttemptEnd::Stale,
        NoAnswer::Timeout => AttemptEnd::NoAnswer("no answer in time"),
        NoAnswer::Up(UpError::Cut) => AttemptEnd::NoAnswer("the connection broke"),
        NoAnswer::Up(UpError::NotProcessed) => AttemptEnd::NoAnswer("it did not take the request"),
        NoAnswer::Up(UpError::Broken(why)) => AttemptEnd::NoAnswer(why),
    }
}

fn judge(tried: &Attempt<'_>, provider: &Provider) -> Next {
    let name = || provider.label.to_string();
    let unreachable = || Refusal::UpstreamConnect { provider: name(), why: "the connection broke" };
    match verdict(tried) {
        Verdict::FreshConnection => Next::FreshConnection,
        Verdict::NextCandidate => Next::Other(unreachable()),
        Verdict::Unreachable => Next::Refuse(unreachable()),
        Verdict::Ambiguous => Next::Refuse(Refusal::UpstreamAmbiguous { provider: name() }),
        Verdict::Broken(why) => Next::Refuse(Refusal::UpstreamAnswer { provider: name(), why }),
        Verdict::TimedOut => Next::Refuse(Refusal::UpstreamTimeout { provider: name(), what: "no answer" }),
    }
}

pub fn settle(end: RelayEnd, context: &mut RequestContext) -> Next {
    match end {
        RelayEnd::Delivered => {
            context.ended_whole();
            Next::End(Forwarded::Delivered)
        }
        RelayEnd::DeliveredFailure => {
            context.ended(Outcome::Incomplete);
            Next::End(Forwarded::Delivered)
        }
        RelayEnd::Cut => {
            context.ended(Outcome::Incomplete);
            Next::End(Forwarded::Cut)
        }
        RelayEnd::BadUpload(UploadFault::Framing(why)) => Next::Refuse(Refusal::Framing(why)),
        RelayEnd::BadUpload(UploadFault::TooSlow) => Next::Refuse(Refusal::BodyTooSlow),
        RelayEnd::ClientGone | RelayEnd::Upgraded => {
            context.ended(Outcome::Cancelled);
            Next::End(Forwarded::ClientGone)
        }
        RelayEnd::Fault(fault) => Next::Refuse(Refusal::UpstreamFault(fault)),
        // Judged by the caller; here only for completeness.
        RelayEnd::NoAnswer(
            NoAnswer::Timeout | NoAnswer::Up(UpError::Cut | UpError::Broken(_) | UpError::NotProcessed),
        )
        | RelayEnd::PassedOver(_)
        | RelayEnd::GoesOn
        | RelayEnd::NoRest => Next::Refuse(Refusal::Overloaded),
    }
}

pub fn connect_refusal(provider: &Provider, error: &ConnectError) -> Refusal {
    let name = provider.label.to_string();
    match error {
        ConnectError::Dns => Refusal::UpstreamDns { provider: name },
        ConnectError::Forbidden(why) => Refusal::UpstreamForbidden { provider: name, why: why.clone() },
        ConnectError::Timeout => Refusal::UpstreamTimeout { provider: name, what: "no connection" },
        ConnectError::NoDescriptor => Refusal::Overloaded,
        error => Refusal::UpstreamConnect { provider: name, why: error.reason() },
    }
}
