//! A routed request's way through its candidates: who is asked next, and what is told when nobody is left.

mod attempt;
mod contact;
mod judge;
mod told;

use std::sync::Arc;

use self::attempt::{Address, Tried};
use super::admit::{NotAdmitted, place_at, place_of, room_at, watched};
use super::app::App;
use super::choice::Choice;
use super::context::RequestContext;
use super::down::{Down, RequestView};
use super::last_words::Dialect;
use super::plan::Body;
use super::relay::BROKE_OFF;
use super::resumption::Resumption;
use super::seats::{Admission, Seat, Seats};
use super::silence::Silence;
use crate::dialect::Operation;
use crate::limit::{Retries, UsedUp};
use crate::metrics::{Outcome, RouteKind};
use crate::refusal::{RateOf, Refusal};
use crate::route::Provider;
use crate::upstream::Spot;
use crate::upstream::Visit;
use crate::upstream::places::Place;
use crate::uptime::now_ms;

/// Why an address was chosen and not asked.
const NOT_ENTERED: &str = "it has left the table, or others are finding out whether it is back";
const RATE_USED_UP: &str = "its provider's rate of requests is used up";
const CANT_GO_ON: &str = "the answer can't go on there";

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
    /// The body asks for a stream of events.
    pub streams: bool,
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

/// Why none of a choice's candidates answered.
enum Unserved {
    Refused(Refusal),
    /// Addresses were passed over because they have left the table since the choice was made.
    Outdated,
}

/// A request on its way: what it needs wherever it goes, and what it carries from attempt to attempt.
struct Errand<'a, 'c> {
    app: &'a Arc<App>,
    down: &'a mut Down<'c>,
    asks: &'a Forward<'a>,
    context: &'a mut RequestContext,
    retries: Retries<'a>,
    /// How its answer can go on elsewhere, or does.
    resume: Option<Resumption>,
    /// What the client hears until somebody speaks.
    silence: Option<Silence>,
}

pub async fn forward(
    app: &Arc<App>,
    down: &mut Down<'_>,
    forward: &Forward<'_>,
    choice: &Choice,
    context: &mut RequestContext,
) -> Result<Forwarded, Refusal> {
    let retries = Retries { own: choice.retries(), all: &app.endpoints.retries };
    retries.came(now_ms());
    let resume = Resumption::of(forward, choice);
    context.resumes(resume.as_ref());
    let resume = resume.and_then(Result::ok);
    let silence = Silence::of(forward, choice);
    let mut errand = Errand { app, down, asks: forward, context, retries, resume, silence };
    let served = errand.serve_admitted(choice).await;
    if errand.has_gone_on() {
        let end = served.unwrap_or_else(|_| errand.tell_cut());
        app.metrics.continued.with_label_values(&[end.label()]).inc();
        return Ok(end);
    }
    match served {
        Err(refusal) if errand.silence.as_ref().is_some_and(Silence::has_begun_stream) => {
            Ok(Box::pin(errand.tell(&refusal, choice)).await)
        }
        served => served,
    }
}

impl Errand<'_, '_> {
    /// With what the owner of a model lets through, held until the answer's last byte has left.
    async fn serve_admitted(&mut self, choice: &Choice) -> Result<Forwarded, Refusal> {
        let Choice::Model(entry) = choice else { return self.serve(choice).await };
        let Some(quota) = &entry.quota else { return self.serve(choice).await };
        quota.rate.take(now_ms()).map_err(|used_up| {
            let name = entry.public_id.to_string();
            Refusal::RateLimited { of: RateOf::Model, name, used_up }
        })?;
        let Some(limit) = entry.limits.concurrency else { return self.serve(choice).await };
        let place = match quota.places.try_take() {
            Some(place) => Ok(place),
            None => {
                self.context.looks(choice);
                self.waited(None, place_of(self.app, entry, quota, limit)).await
            }
        };
        match place {
            Ok(_place) => self.serve(choice).await,
            Err(NotAdmitted::ClientGone) => Ok(Forwarded::ClientGone),
            Err(NotAdmitted::Busy(refusal)) => Err(refusal),
        }
    }

    async fn serve(&mut self, choice: &Choice) -> Result<Forwarded, Refusal> {
        let mut renewed = None;
        for _ in 0..=RENEWALS_MAX {
            let choice = renewed.as_ref().unwrap_or(choice);
            match self.try_candidates(choice).await {
                Ok(end) => return Ok(end),
                Err(Unserved::Refused(refusal)) => {
                    self.context.ended(refusal.outcome());
                    return Err(refusal);
                }
                Err(Unserved::Outdated) => renewed = Some(choice.renewed(self.app)?),
            }
        }
        self.context.ended(Outcome::Failed);
        Err(Refusal::Overloaded)
    }

    async fn try_candidates(&mut self, choice: &Choice) -> Result<Forwarded, Unserved> {
        let mut last = None;
        // Held until the answer's last byte has left, or nothing more comes.
        let mut place = None;
        let key = choice.key(self.asks.request, &self.asks.body);
        self.context.chooses(self.asks.kind, choice, key.is_some());
        let mut seats = Seats::of(choice, key);
        let mut is_paid = true;
        let (mut next, mut reserved) = match self.first_seat(choice, &mut seats).await {
            Ok(first) => first,
            Err(NotAdmitted::ClientGone) => return Ok(Forwarded::ClientGone),
            Err(NotAdmitted::Busy(refusal)) => return Err(Unserved::Refused(refusal)),
        };
        while let Some(first) = next.take().or_else(|| seats.next()) {
            let seat = seats.with_room(first, &mut place);
            let Some(candidate) = choice.candidate(seat.arm, &self.asks.body) else { continue };
            let resumes = self.resume.as_ref().is_some_and(|resume| resume.admits(candidate));
            if self.has_gone_on() && !resumes {
                self.context.leaves_out(&seat.replica.endpoint.spot, CANT_GO_ON);
                seats.leave_out(seat.arm);
                continue;
            }
            if self.resume.as_ref().is_some_and(|resume| !resume.admits_address(seat.replica)) {
                self.context.leaves_out(&seat.replica.endpoint.spot, CANT_GO_ON);
                continue;
            }
            let rate = &candidate.provider.quota.rate;
            if let Err(used_up) = rate.look(now_ms()) {
                self.context.leaves_out(&seat.replica.endpoint.spot, RATE_USED_UP);
                last = Some(rate_limited(candidate.provider, used_up));
                seats.leave_out_provider(seat.arm);
                continue;
            }
            if place.is_none() {
                self.context.looks(choice);
            }
            let admitted = self.take_place(candidate.provider, &mut place).await;
            self.context.routed(self.asks.kind, candidate);
            let admission = match admitted {
                Ok(admission) => admission,
                Err(NotAdmitted::ClientGone) => return Ok(Forwarded::ClientGone),
                Err(NotAdmitted::Busy(refusal)) => {
                    last = Some(refusal);
                    seats.leave_out_provider(seat.arm);
                    continue;
                }
            };
            if !is_paid && !self.retries.try_retry(now_ms()) {
                self.context.stops("the retry budget is spent");
                return Err(Unserved::Refused(last.unwrap_or(Refusal::Overloaded)));
            }
            is_paid = true;
            if let Err(used_up) = rate.take(now_ms()) {
                self.context.leaves_out(&seat.replica.endpoint.spot, RATE_USED_UP);
                last = Some(rate_limited(candidate.provider, used_up));
                seats.leave_out_provider(seat.arm);
                continue;
            }
            let Some((_visit, pass)) = seats.enter(&seat, admission) else {
                self.context.leaves_out(&seat.replica.endpoint.spot, NOT_ENTERED);
                continue;
            };
            reserved.take();
            let address = Address { candidate, replica: seat.replica, resumes };
            match self.try_address(address, pass, &seats).await? {
                Tried::End(end) => return Ok(end),
                Tried::Other(refusal) => (last, is_paid) = (Some(refusal), false),
                Tried::PassedOver(refusal) => (last, is_paid) = (Some(refusal), true),
                Tried::TooOften(refusal) => {
                    self.context.stops("limits.attempts_max is reached");
                    return Err(Unserved::Refused(refusal.or(last).unwrap_or(Refusal::Overloaded)));
                }
            }
            self.context.looks(choice);
        }
        self.context.looks(choice);
        Err(unserved(last, &seats, choice))
    }

    /// The answer's head went down long ago, and nobody goes on.
    fn tell_cut(&mut self) -> Forwarded {
        let dialect = Dialect::of_tail(self.asks.tail);
        self.down.send_data(&mut vec![dialect.cut_event(BROKE_OFF, "upstream_incomplete")]);
        self.context.ended(Outcome::Incomplete);
        Forwarded::Cut
    }

    /// Where to go first, and the visit there when it was waited for: at once, unless all who could answer have too
    /// much to do, or others wait for them already.
    async fn first_seat<'c>(
        &mut self,
        choice: &'c Choice,
        seats: &mut Seats<'c>,
    ) -> Result<(Option<Seat<'c>>, Option<Visit>), NotAdmitted> {
        let first = seats.next();
        let (Some(line), Some(seat)) = (choice.line(), &first) else { return Ok((first, None)) };
        if self.context.attempts > 0 || (line.is_empty() && seats.has_room(seat)) {
            return Ok((first, None));
        }
        seats.put_back(seat);
        self.context.looks(choice);
        let found = self.waited(None, room_at(self.app, choice, line, seats)).await?;
        Ok(found.map_or((None, None), |(seat, visit)| (Some(seat), visit)))
    }

    fn has_gone_on(&self) -> bool {
        self.resume.as_ref().is_some_and(Resumption::has_gone_on)
    }

    /// What is waited for, at one provider or any, unless the client leaves first. It may hear that it is not forgotten.
    async fn waited<T>(
        &mut self,
        spot: Option<&Arc<Spot>>,
        waiting: impl Future<Output = Result<T, NotAdmitted>>,
    ) -> Result<T, NotAdmitted> {
        // Boxed: a request that need not wait shall not carry the room for it.
        self.context.waits(spot);
        let got = match &mut self.silence {
            None => Box::pin(watched(self.down, waiting)).await,
            Some(silence) => {
                let covered = silence.cover(self.down, self.context, waiting);
                Box::pin(covered).await.unwrap_or(Err(NotAdmitted::ClientGone))
            }
        };
        self.context.waited(got.is_ok());
        got
    }

    /// Sees to it that `place` is one at `provider`: there is one, or a turn in its line.
    async fn take_place<'p>(
        &mut self,
        provider: &'p Provider,
        place: &mut Option<Place<'p>>,
    ) -> Result<Admission, NotAdmitted> {
        if place.is_some() {
            return Ok(Admission::AtOnce);
        }
        let spot = provider.replicas.first().map(|replica| &replica.endpoint.spot);
        *place = Some(self.waited(spot, place_at(self.app, provider)).await?);
        Ok(Admission::AfterWaiting)
    }
}

fn rate_limited(provider: &Provider, used_up: UsedUp) -> Refusal {
    Refusal::RateLimited { of: RateOf::Provider, name: provider.label.to_string(), used_up }
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
