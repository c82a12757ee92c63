//! What a request meets, noted for whoever asks about it by its id. While it is under way, others see what was noted
//! up to the last attempt, wait or beginning of a stream; that costs no lock that could be waited for. One that goes
//! straight is seen after a moment: most have ended by then, and are written down once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RequestContext;
use crate::engine::choice::Choice;
use crate::engine::resumption::Resumption;
use crate::metrics::{Outcome, RouteKind};
use crate::recent::{Account, AttemptEnd, Link, Look, NOTED_MAX, SeenThen, Trace};
use crate::resume::Unfit;
use crate::upstream::Spot;
use crate::uptime::now_ms;

/// From when on a request that goes straight is seen.
const SEEN_AFTER: Duration = Duration::from_millis(250);

impl RequestContext {
    /// Who may serve it is known, and how one of them is chosen.
    pub fn chooses(&mut self, kind: RouteKind, choice: &Choice, by_key: bool) {
        self.trace.route = Some(kind);
        self.trace.strategy = Some((choice.plan().strategy(), by_key));
        if let Choice::Model(entry) = choice {
            self.trace.model = Some(Arc::clone(&entry.public_id));
        }
    }

    /// Whether its stream can go on elsewhere, where its model wants that.
    pub fn resumes(&mut self, resume: Option<&Result<Resumption, Unfit>>) {
        self.trace.resume = resume.map(|resume| resume.as_ref().map(|_| ()).map_err(|unfit| *unfit));
    }

    /// It waits for a place in a provider's line, or in its model's.
    pub fn waits(&mut self, spot: Option<&Arc<Spot>>) {
        self.trace.waits(spot, self.started.elapsed());
        self.publish();
    }

    pub fn waited(&mut self, got_place: bool) {
        if self.trace.is_waiting() {
            self.trace.waited(self.started.elapsed(), got_place);
        }
    }

    /// An address that might have been asked was not.
    pub fn leaves_out(&mut self, spot: &Arc<Spot>, why: &'static str) {
        self.trace.leaves_out(spot, self.started.elapsed(), why);
    }

    /// Nobody else is asked, though there may be somebody.
    pub fn stops(&mut self, why: &'static str) {
        self.trace.detour().stopped = Some(why);
    }

    /// All who might serve it, as they are when it first does not go straight.
    pub fn looks(&mut self, choice: &Choice) {
        let at = self.started.elapsed();
        self.trace.detour().look.get_or_insert_with(|| look(choice, at));
    }

    /// An attempt begins.
    pub fn tries(&mut self, spot: &Arc<Spot>, arm: Option<&Arc<str>>) {
        self.attempts += 1;
        self.trace.tries(spot, arm, self.started.elapsed());
        if self.is_seen || !self.trace.went_straight() {
            self.publish();
        }
    }

    /// A new connection is made, which may take long.
    pub fn connects(&mut self) {
        self.publish();
    }

    pub fn connected(&mut self, reused: bool) {
        if let Some(tried) = self.trace.current() {
            let took = || self.started.elapsed().saturating_sub(tried.began);
            tried.connection = Some(if reused { Link::Reused } else { Link::New { took: took() } });
        }
    }

    /// An answer's head came, which may go down or not.
    pub fn head_came(&mut self, status: u16, at: Instant) {
        if let Some(tried) = self.trace.current() {
            (tried.status, tried.head) = (status, Some(at.saturating_duration_since(self.started)));
        }
    }

    pub fn body_began(&mut self, at: Instant) {
        if let Some(tried) = self.trace.current() {
            tried.first_byte = Some(at.saturating_duration_since(self.started));
        }
    }

    /// A stream goes down, which may take long.
    pub fn streams(&mut self) {
        if self.is_seen {
            self.publish();
        }
    }

    /// When it is to be shown to others; none: it is already, or shall not be.
    pub fn due_to_show(&self) -> Option<Instant> {
        (!self.is_seen && self.trace.route.is_some()).then(|| self.started + SEEN_AFTER)
    }

    pub fn show(&mut self) {
        self.publish();
    }

    /// The attempt led to no answer, or not to the end of one.
    pub fn tried(&mut self, end: AttemptEnd) {
        let at = self.started.elapsed();
        if let Some(tried) = self.trace.current() {
            tried.end = Some((at, end));
        }
    }

    fn publish(&mut self) {
        self.is_seen = true;
        if !self.app.recent.is_on() {
            return;
        }
        let account = self.account(self.trace.clone(), None);
        match &self.ticket {
            Some(ticket) => self.app.recent.goes_on(ticket, account),
            None => self.ticket = self.app.recent.begin(account),
        }
    }

    fn account(&self, trace: Trace, end: Option<(Outcome, Duration)>) -> Account {
        Account {
            id: self.id.clone(),
            started: self.started,
            trace,
            status: self.status,
            reason: self.reason,
            first_byte: self.first_byte,
            bytes_sent: self.bytes_sent,
            usage: self.usage,
            end,
        }
    }

    /// Keeps what was noted. Of what is answered from here nobody asks, unless it was a refusal.
    pub(super) fn keep(&mut self, outcome: Outcome, duration: Duration) {
        let is_told = self.ticket.is_some() || self.route.is_some() || self.reason.is_some();
        if !is_told || !self.app.recent.is_on() {
            return;
        }
        let trace = std::mem::take(&mut self.trace);
        let account = self.account(trace, Some((outcome, duration)));
        if !self.app.recent.ended(self.ticket.take(), account) {
            self.app.metrics.recent_requests_dropped.inc();
        }
    }
}

fn look(choice: &Choice, at: Duration) -> Look {
    let (now_ms, all) = (now_ms(), choice.plan().candidates());
    let seen = all.iter().take(NOTED_MAX).filter_map(|index| {
        let (_, replica) = choice.replica(index)?;
        let load = &replica.endpoint.load;
        Some(SeenThen {
            spot: Arc::clone(&replica.endpoint.spot),
            standing: load.standing(now_ms),
            work: load.work(now_ms),
            concurrency_limit: load.concurrency.limit(),
        })
    });
    Look { at, seen: seen.collect(), more: (all.count() as usize).saturating_sub(NOTED_MAX) }
}
