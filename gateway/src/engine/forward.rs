//! A routed request's way through its candidates: connect, send, relay, decide.

use std::sync::Arc;

use http::StatusCode;
use pingora::protocols::tls::ALPN;

use super::admit::{NotAdmitted, wait};
use super::app::App;
use super::choice::{Candidate, Choice};
use super::context::RequestContext;
use super::down::{Down, ReplyFilter, RequestView};
use super::exchange::Exchange;
use super::last_words::Dialect;
use super::plan::{Body, Length, Receiver, UpstreamHead, join_small, upstream_path};
use super::relay::{BROKE_OFF, NoAnswer, Relay, RelayEnd, RelayPlan, UploadFault};
use super::resumption::Resumption;
use super::seats::{Admission, Seats};
use super::trial::{Others, Trial};
use super::up::{Up, UpError};
use super::up_h1::H1Up;
use super::up_h2::H2Up;
use super::{ReplyParts, tunnel};
use crate::dialect::Operation;
use crate::failover::{Attempt, Verdict, is_safe, verdict};
use crate::health::{Event, Pass, status_event};
use crate::metrics::{AttemptResult, Outcome, RouteKind};
use crate::refusal::Refusal;
use crate::route::{Provider, Replica};
use crate::upstream::places::Place;
use crate::upstream::{ConnectError, Connection, Endpoint};
use crate::uptime::now_ms;

/// How often a request whose addresses have left the table is resolved again: each time, a newer table
/// was swapped in since.
const RENEWALS_MAX: usize = 3;

/// Everything about a request that is the same for all candidates.
pub struct Forward<'a> {
    pub kind: RouteKind,
    pub request: RequestView<'a>,
    /// Checked; goes on the upstream's base path.
    pub tail: &'a str,
    pub operation: Operation<'a>,
    pub query: Option<&'a str>,
    pub body: Body<'a>,
}

/// How forwarding ended, when the gateway need not answer itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Forwarded {
    Delivered,
    /// The answer was cut; the connection must not look fine.
    Cut,
    ClientGone,
}

impl Forwarded {
    /// How an answer ended that went on elsewhere.
    fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "whole",
            Self::Cut => "cut",
            Self::ClientGone => "cancelled",
        }
    }
}

/// What one attempt led to.
enum Next {
    End(Forwarded),
    Refuse(Refusal),
    FreshConnection,
    /// Another address or candidate, if there is one; else this.
    Other(Refusal),
    /// The same, after an answer that was not delivered.
    PassedOver(Refusal),
}

/// Why none of a choice's candidates answered.
enum Unserved {
    Refused(Refusal),
    /// Addresses were passed over because they have left the table since the choice was made.
    Outdated,
}

pub async fn forward(
    app: &Arc<App>,
    down: &mut Down<'_>,
    forward: &Forward<'_>,
    choice: &Choice,
    context: &mut RequestContext,
) -> Result<Forwarded, Refusal> {
    app.endpoints.retries.came(now_ms());
    let mut resume = Resumption::of(forward, choice);
    let served = serve(app, down, forward, choice, &mut resume, context).await;
    if !resume.is_some_and(|resume| resume.has_gone_on()) {
        return served;
    }
    let end = served.unwrap_or_else(|_| {
        // Its head went down long ago, and nobody goes on.
        let dialect = Dialect::of_tail(forward.tail);
        down.send_data(&mut vec![dialect.error_event(BROKE_OFF, "upstream_incomplete")]);
        context.ended(Outcome::Incomplete);
        Forwarded::Cut
    });
    app.metrics.continued.with_label_values(&[end.label()]).inc();
    Ok(end)
}

async fn serve(
    app: &Arc<App>,
    down: &mut Down<'_>,
    forward: &Forward<'_>,
    choice: &Choice,
    resume: &mut Option<Resumption>,
    context: &mut RequestContext,
) -> Result<Forwarded, Refusal> {
    let mut renewed = None;
    for _ in 0..=RENEWALS_MAX {
        let choice = renewed.as_ref().unwrap_or(choice);
        match try_candidates(app, down, forward, choice, resume, context).await {
            Ok(end) => return Ok(end),
            Err(Unserved::Refused(refusal)) => {
                context.ended(refusal.outcome());
                return Err(refusal);
            }
            Err(Unserved::Outdated) => renewed = Some(choice.renewed(app)?),
        }
    }
    context.ended(Outcome::Failed);
    Err(Refusal::Overloaded)
}

async fn try_candidates(
    app: &Arc<App>,
    down: &mut Down<'_>,
    forward: &Forward<'_>,
    choice: &Choice,
    resume: &mut Option<Resumption>,
    context: &mut RequestContext,
) -> Result<Forwarded, Unserved> {
    let mut last = None;
    // Held until the answer's last byte has left, or nothing more comes.
    let mut place = None;
    let mut seats = Seats::of(choice, choice.key(forward.request, &forward.body));
    let mut is_paid = true;
    while let Some(first) = seats.next() {
        let seat = seats.with_room(first, &mut place);
        let Some(candidate) = choice.candidate(seat.arm, &forward.body) else { continue };
        let has_begun = resume.as_ref().is_some_and(Resumption::has_gone_on);
        let resume = resume.as_mut().filter(|resume| resume.admits(candidate));
        if has_begun && resume.is_none() {
            seats.leave_out(seat.arm);
            continue;
        }
        let admitted = take_place(app, down, candidate.provider, &mut place).await;
        context.routed(forward.kind, candidate.provider, choice.model());
        let admission = match admitted {
            Ok(admission) => admission,
            Err(NotAdmitted::ClientGone) => return Ok(Forwarded::ClientGone),
            Err(NotAdmitted::Busy(refusal)) => {
                last = Some(refusal);
                seats.leave_out(seat.arm);
                continue;
            }
        };
        if !is_paid && !app.endpoints.retries.try_retry(now_ms()) {
            return Err(Unserved::Refused(last.unwrap_or(Refusal::Overloaded)));
        }
        is_paid = true;
        let Some((_visit, pass)) = seats.enter(&seat, admission) else { continue };
        let at = (candidate, seat.replica, pass);
        match try_address(app, down, forward, at, &seats, resume, context).await? {
            Tried::End(end) => return Ok(end),
            Tried::Other(refusal) => (last, is_paid) = (Some(refusal), false),
            Tried::PassedOver(refusal) => (last, is_paid) = (Some(refusal), true),
            Tried::TooOften(refusal) => {
                return Err(Unserved::Refused(refusal.or(last).unwrap_or(Refusal::Overloaded)));
            }
        }
    }
    Err(unserved(last, &seats, choice))
}

/// Why there is nobody left; `last` is what the last one was given up for.
fn unserved(last: Option<Refusal>, seats: &Seats<'_>, choice: &Choice) -> Unserved {
    match last {
        _ if seats.outdated() => Unserved::Outdated,
        Some(refusal) => Unserved::Refused(refusal),
        None if seats.held_back() => Unserved::Refused(Refusal::NoneReachable { asked: choice.asked() }),
        None => Unserved::Refused(Refusal::Overloaded),
    }
}

/// What became of a request at one address.
enum Tried {
    End(Forwarded),
    Other(Refusal),
    /// The same, and the next attempt was taken out of the budget.
    PassedOver(Refusal),
    /// There are no attempts left; with the reason, when it is of this address.
    TooOften(Option<Refusal>),
}

/// One address: an attempt, or two when the first was on a connection that had gone away.
async fn try_address(
    app: &Arc<App>,
    down: &mut Down<'_>,
    forward: &Forward<'_>,
    (candidate, replica, pass): (Candidate<'_>, &Replica, Pass),
    seats: &Seats<'_>,
    mut resume: Option<&mut Resumption>,
    context: &mut RequestContext,
) -> Result<Tried, Unserved> {
    let mut last = None;
    let mut fresh = false;
    loop {
        let may_ask_others = !forward.body.is_stream()
            && !forward.request.websocket
            && (context.attempts as usize) + 1 < app.limits.attempts_max
            && seats.has_spare();
        let others = may_ask_others.then(|| Others {
            budget: &app.endpoints.retries,
            is_harmless: candidate.provider.replay_safe || is_safe(forward.request.method),
        });
        // Made first: whatever ends this, somebody else may find out whether the address is back.
        let trial = Trial::new(&replica.endpoint, pass, forward.request.method, others);
        if context.attempts as usize >= app.limits.attempts_max {
            return Ok(Tried::TooOften(last));
        }
        let exchange = match &mut resume {
            Some(resume) => resume.exchange(forward, candidate),
            None => Exchange::of(forward, candidate),
        };
        let exchange = exchange.map_err(Unserved::Refused)?;
        context.attempts += 1;
        let asked = Asked { exchange, trial, resume: resume.as_deref_mut(), fresh };
        match attempt(app, down, forward, (candidate, replica), asked, context).await {
            Next::End(end) => return Ok(Tried::End(end)),
            Next::Refuse(refusal) => return Err(Unserved::Refused(refusal)),
            Next::Other(refusal) => return Ok(Tried::Other(refusal)),
            Next::PassedOver(refusal) => return Ok(Tried::PassedOver(refusal)),
            Next::FreshConnection => {
                fresh = true;
                last = Some(Refusal::UpstreamAmbiguous { provider: candidate.provider.label.to_string() });
            }
        }
    }
}

/// Sees to it that `place` is one at `provider`: there is one, or a turn in its line.
async fn take_place<'p>(
    app: &App,
    down: &mut Down<'_>,
    provider: &'p Provider,
    place: &mut Option<Place<'p>>,
) -> Result<Admission, NotAdmitted> {
    if place.is_some() {
        return Ok(Admission::AtOnce);
    }
    // Boxed: a request that need not wait shall not carry the room for it.
    *place = Some(Box::pin(wait(app, down, provider)).await?);
    Ok(Admission::AfterWaiting)
}

/// What one attempt is made with.
struct Asked<'a> {
    exchange: Exchange<'a>,
    trial: Trial<'a>,
    /// How its stream can go on elsewhere, or goes on here.
    resume: Option<&'a mut Resumption>,
    /// On no connection that was used before.
    fresh: bool,
}

async fn attempt(
    app: &Arc<App>,
    down: &mut Down<'_>,
    forward: &Forward<'_>,
    (candidate, replica): (Candidate<'_>, &Replica),
    asked: Asked<'_>,
    context: &mut RequestContext,
) -> Next {
    let Asked { mut exchange, trial, resume, fresh } = asked;
    let (provider, endpoint) = (candidate.provider, &replica.endpoint);
    let metrics = &provider.metrics;
    // An upgrade needs HTTP/1, and a connection of its own.
    let alpn = if forward.request.websocket { ALPN::H1 } else { ALPN::H2H1 };
    let connection = match connect(app, down, endpoint, fresh || forward.request.websocket, alpn).await {
        Ok(connection) => {
            trial.connected();
            connection
        }
        Err(None) => return Next::End(Forwarded::ClientGone),
        Err(Some(error)) => {
            metrics.attempt(AttemptResult::ConnectFailed);
            trial.not_connected(&error);
            return Next::Other(connect_refusal(provider, &error));
        }
    };
    let mut up = match prepare(app, forward, (candidate, replica), &mut exchange, context, connection) {
        Ok(up) => up,
        Err(refusal) => return Next::Refuse(refusal),
    };
    let plan = RelayPlan {
        method: forward.request.method,
        rewrite: candidate.rewrite,
        conversion: exchange.conversion.take(),
        key: &provider.key,
        filter: ReplyFilter::Upstream,
        timeouts: endpoint.timeouts,
        limits: &app.limits,
        dialect: Dialect::of_tail(forward.tail),
        frames: Some(&metrics.frames),
        gate: None,
        trial: Some(&trial),
        resume,
    };
    let streaming = forward.body.is_stream();
    let mut relay = Relay::new(down, &mut up, plan, context, streaming);
    let end = relay.run().await;
    let switched = relay.take_head();
    drop(relay);
    match end {
        RelayEnd::NoAnswer(failure) => {
            trial.unanswered(failure, up.reused());
            let next = unanswered(failure, forward, provider, &up);
            release(app, endpoint, up);
            next
        }
        RelayEnd::PassedOver(status) => {
            metrics.attempt(AttemptResult::PassedOver);
            release(app, endpoint, up);
            Next::PassedOver(passed_over(provider, status))
        }
        RelayEnd::GoesOn | RelayEnd::NoRest => {
            metrics.attempt(AttemptResult::Answered);
            release(app, endpoint, up);
            let refusal = Refusal::UpstreamAnswer { provider: provider.label.to_string(), why: BROKE_OFF };
            // The rest is no work beyond what was asked for; a second try at it is.
            if matches!(end, RelayEnd::GoesOn) { Next::PassedOver(refusal) } else { Next::Other(refusal) }
        }
        RelayEnd::Upgraded => {
            metrics.attempt(AttemptResult::Answered);
            Next::End(switch(down, up, switched, context).await)
        }
        end => {
            if !matches!(end, RelayEnd::ClientGone) {
                metrics.attempt(AttemptResult::Answered);
            }
            release(app, endpoint, up);
            settle(end, context)
        }
    }
}

/// For the client, when nobody else answers.
fn passed_over(provider: &Provider, status: StatusCode) -> Refusal {
    let provider = provider.label.to_string();
    match status_event(status, false) {
        Event::Busy => Refusal::ProviderBusy { provider, why: "it said so" },
        _ => Refusal::UpstreamAnswer { provider, why: "it answered that it failed" },
    }
}

/// An attempt without an answer: counted, and what it leads to.
fn unanswered(failure: NoAnswer, forward: &Forward<'_>, provider: &Provider, up: &Up) -> Next {
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

/// A connection, unless the client leaves first (`Err(None)`).
async fn connect(
    app: &App,
    down: &mut Down<'_>,
    endpoint: &Endpoint,
    fresh: bool,
    alpn: ALPN,
) -> Result<Connection, Option<ConnectError>> {
    if !fresh && let Some(connection) = app.connector.reuse(endpoint).await {
        return Ok(connection);
    }
    let connecting = app.connector.connect(endpoint, alpn);
    tokio::select! {
        biased;
        connection = connecting => connection.map_err(Some),
        _ = std::future::poll_fn(|cx| down.poll_gone(cx)) => Err(None),
    }
}

/// Queues the request on the connection.
fn prepare(
    app: &App,
    forward: &Forward<'_>,
    (candidate, replica): (Candidate<'_>, &Replica),
    exchange: &mut Exchange<'_>,
    context: &RequestContext,
    connection: Connection,
) -> Result<Up, Refusal> {
    let provider = candidate.provider;
    let parts = exchange.parts.take();
    let path = upstream_path(replica, &exchange.tail, forward.query);
    let length = Length::of(&forward.body, parts.as_ref(), forward.request.method);
    let head = UpstreamHead {
        request: forward.request,
        receiver: Receiver::Provider(provider, replica),
        path: &path,
        length,
        request_id: context.id.as_bytes(),
        // A key can be blotted out of an error only while it can be seen there; what is read must be plain.
        identity_only: candidate.rewrite.is_some() || !provider.key.is_empty() || exchange.is_read,
    };
    let streaming = forward.body.is_stream();
    match connection {
        Connection::H1 { stream, reused } => {
            let method = forward.request.method.clone();
            let mut up = H1Up::new(stream, reused, method, app.limits.upstream_head_bytes_max);
            if forward.request.websocket {
                up.expect_upgrade();
            }
            let (first, rest) = join_small(head.encode_h1(), parts);
            let rest = rest.into_iter().flat_map(|parts| parts.segments);
            up.send_request(first, rest, !streaming, length == Length::Chunked);
            Ok(Up::H1(up))
        }
        Connection::H2 { session, peer, reused } => {
            if forward.request.websocket {
                return Err(Refusal::UpgradeNotHere);
            }
            let mut up = H2Up::new(session, peer, reused);
            let ends = !streaming && parts.as_ref().is_none_or(|parts| parts.len == 0);
            let head = head.encode_h2(provider, replica)?;
            // A connection that went away since is found out by the relay, as a stream not processed.
            let _ = up.send_request(head, ends);
            if let Some(parts) = parts {
                parts.segments.into_iter().for_each(|segment| up.send_data(segment));
            }
            if !ends && !streaming {
                up.send_end();
            }
            Ok(Up::H2(up))
        }
    }
}

fn release(app: &App, endpoint: &Endpoint, up: Up) {
    match up {
        Up::H1(up) => {
            if let Some(stream) = up.into_reusable() {
                endpoint.pool.give_back(stream);
            }
        }
        Up::H2(up) => up.release(&app.connector, endpoint.timeouts.pool_idle),
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

fn settle(end: RelayEnd, context: &mut RequestContext) -> Next {
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
        // Judged by the caller; here only for completeness.
        RelayEnd::NoAnswer(
            NoAnswer::Timeout | NoAnswer::Up(UpError::Cut | UpError::Broken(_) | UpError::NotProcessed),
        )
        | RelayEnd::PassedOver(_)
        | RelayEnd::GoesOn
        | RelayEnd::NoRest => Next::Refuse(Refusal::Overloaded),
    }
}

async fn switch(
    down: &mut Down<'_>,
    up: Up,
    head: Option<Box<ReplyParts>>,
    context: &mut RequestContext,
) -> Forwarded {
    if let (Down::H1(h1), Up::H1(up), Some(ReplyParts::H1(head))) = (down, up, head.as_deref()) {
        context.bytes_sent += tunnel::run(h1, up, head, context.id.as_bytes()).await;
        context.ended(Outcome::Ok);
    }
    Forwarded::ClientGone
}

fn connect_refusal(provider: &Provider, error: &ConnectError) -> Refusal {
    let name = provider.label.to_string();
    match error {
        ConnectError::Dns => Refusal::UpstreamDns { provider: name },
        ConnectError::Forbidden(why) => Refusal::UpstreamForbidden { provider: name, why: why.clone() },
        ConnectError::Timeout => Refusal::UpstreamTimeout { provider: name, what: "no connection" },
        error => Refusal::UpstreamConnect { provider: name, why: error.reason() },
    }
}
