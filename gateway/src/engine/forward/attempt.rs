//! A request at one address: an attempt, or two when the first was on a connection that had gone away.

use super::judge::{connect_refusal, passed_over, settle, unanswered, unanswered_end};
use super::{Errand, Forwarded, Unserved};
use crate::engine::choice::Candidate;
use crate::engine::down::ReplyFilter;
use crate::engine::exchange::Exchange;
use crate::engine::last_words::Dialect;
use crate::engine::relay::{BROKE_OFF, Counts, Relay, RelayEnd, RelayPlan};
use crate::engine::seats::Seats;
use crate::engine::trial::{Others, Trial};
use crate::engine::up::Up;
use crate::failover::is_safe;
use crate::health::Pass;
use crate::metrics::AttemptResult;
use crate::recent::AttemptEnd;
use crate::refusal::Refusal;
use crate::route::Replica;

/// An address, and what it is asked for.
#[derive(Clone, Copy)]
pub struct Address<'s> {
    pub candidate: Candidate<'s>,
    pub replica: &'s Replica,
    /// Its stream can go on elsewhere, or goes on here.
    pub resumes: bool,
}

/// What one attempt led to.
pub enum Next {
    End(Forwarded),
    Refuse(Refusal),
    FreshConnection,
    /// Another address or candidate, if there is one; else this.
    Other(Refusal),
    /// The same, after an answer that was not delivered.
    PassedOver(Refusal),
}

/// What became of a request at one address.
pub enum Tried {
    End(Forwarded),
    Other(Refusal),
    /// The same, and the next attempt was taken out of the budget.
    PassedOver(Refusal),
    /// There are no attempts left; with the reason, when it is of this address.
    TooOften(Option<Refusal>),
}

/// What one attempt is made with.
struct Asked<'a> {
    exchange: Exchange<'a>,
    trial: Trial<'a>,
    /// On no connection that was used before.
    fresh: bool,
}

impl<'a> Errand<'a, '_> {
    pub async fn try_address(
        &mut self,
        address: Address<'_>,
        pass: Pass,
        seats: &Seats<'_>,
    ) -> Result<Tried, Unserved> {
        let Address { candidate, replica, resumes } = address;
        let (asks, attempts_max) = (self.asks, self.app.limits.attempts_max);
        let mut last = None;
        let mut fresh = false;
        loop {
            let others = self.may_ask_others(seats).then(|| Others {
                budget: self.retries,
                is_harmless: candidate.provider.replay_safe || is_safe(asks.request.method),
            });
            // Made first: whatever ends this, somebody else may find out whether the address is back.
            let trial = Trial::new(&replica.endpoint, pass, asks.request.method, others);
            if self.context.attempts as usize >= attempts_max {
                return Ok(Tried::TooOften(last));
            }
            let exchange = match self.resume.as_mut().filter(|_| resumes) {
                Some(resume) => resume.exchange(asks, candidate),
                None => Exchange::of(asks, candidate),
            };
            let mut exchange = exchange.map_err(Unserved::Refused)?;
            // Comments can stand in what is plain alone.
            exchange.is_read |= self.silence.is_some();
            self.context.tries(&replica.endpoint.spot, candidate.label);
            match self.attempt(address, Asked { exchange, trial, fresh }).await {
                Next::End(end) => return Ok(Tried::End(end)),
                Next::Refuse(refusal) => return Err(Unserved::Refused(refusal)),
                Next::Other(refusal) => return Ok(Tried::Other(refusal)),
                Next::PassedOver(refusal) => return Ok(Tried::PassedOver(refusal)),
                Next::FreshConnection => {
                    fresh = true;
                    last =
                        Some(Refusal::UpstreamAmbiguous { provider: candidate.provider.label.to_string() });
                }
            }
        }
    }

    fn may_ask_others(&self, seats: &Seats<'_>) -> bool {
        !self.asks.body.is_stream()
            && !self.asks.request.websocket
            && (self.context.attempts as usize) + 1 < self.app.limits.attempts_max
            && seats.has_spare()
    }

    async fn attempt(&mut self, address: Address<'_>, mut asked: Asked<'_>) -> Next {
        let (provider, endpoint) = (address.candidate.provider, &address.replica.endpoint);
        let connection = match self.connect(endpoint, asked.fresh).await {
            Ok(connection) => {
                asked.trial.connected();
                self.context.connected(connection.is_reused());
                connection
            }
            Err(None) => return Next::End(Forwarded::ClientGone),
            Err(Some(error)) => {
                provider.metrics.attempt(AttemptResult::ConnectFailed);
                asked.trial.not_connected(&error);
                self.context.tried(AttemptEnd::NotConnected(error.reason()));
                return Next::Other(connect_refusal(provider, &error));
            }
        };
        let mut up = match self.prepare(address, &mut asked.exchange, connection) {
            Ok(up) => up,
            Err(refusal) => return Next::Refuse(refusal),
        };
        let plan = RelayPlan {
            method: self.asks.request.method,
            rewrite: address.candidate.rewrite,
            conversion: asked.exchange.conversion.take(),
            key: &provider.key,
            filter: ReplyFilter::Upstream,
            timeouts: endpoint.timeouts,
            limits: &self.app.limits,
            dialect: Dialect::of_tail(self.asks.tail),
            counts: Some(Counts { frames: &provider.metrics.frames, tokens: address.candidate.tokens }),
            gate: None,
            trial: Some(&asked.trial),
            resume: self.resume.as_mut().filter(|_| address.resumes),
            silence: self.silence.as_mut(),
            reads_on: provider.reads_on.then_some(self.app),
        };
        let mut relay = Relay::new(self.down, &mut up, plan, self.context, self.asks.body.is_stream());
        let end = relay.run().await;
        let switched = relay.take_head();
        drop(relay);
        if matches!(end, RelayEnd::Upgraded) {
            provider.metrics.attempt(AttemptResult::Answered);
            return Next::End(self.switch(up, switched).await);
        }
        self.after(end, address, &asked.trial, up)
    }

    /// What comes after an attempt.
    fn after(&mut self, end: RelayEnd, address: Address<'_>, trial: &Trial<'_>, up: Up) -> Next {
        let (provider, endpoint) = (address.candidate.provider, &address.replica.endpoint);
        let next = match end {
            RelayEnd::NoAnswer(failure) => {
                trial.unanswered(failure, up.reused());
                self.context.tried(unanswered_end(failure, &up));
                unanswered(failure, self.asks, provider, &up)
            }
            RelayEnd::PassedOver(status) => {
                provider.metrics.attempt(AttemptResult::PassedOver);
                self.context.tried(AttemptEnd::PassedOver);
                Next::PassedOver(passed_over(provider, status))
            }
            RelayEnd::GoesOn | RelayEnd::NoRest => {
                provider.metrics.attempt(AttemptResult::Answered);
                self.context.tried(AttemptEnd::BrokeOff);
                let refusal =
                    Refusal::UpstreamAnswer { provider: provider.label.to_string(), why: BROKE_OFF };
                // The rest is no work beyond what was asked for; a second try at it is.
                if matches!(end, RelayEnd::GoesOn) { Next::PassedOver(refusal) } else { Next::Other(refusal) }
            }
            end => {
                if !matches!(end, RelayEnd::ClientGone) {
                    provider.metrics.attempt(AttemptResult::Answered);
                }
                settle(end, self.context)
            }
        };
        self.release(endpoint, up);
        next
    }
}
