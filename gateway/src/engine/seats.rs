//! Where a request goes next: the addresses of all who serve it, each once.
//!
//! An address that has left the table since the request was resolved is passed over: whoever waits until
//! it is unused must not see it used again.

use super::choice::Choice;
use crate::balance::{Fleet, Plan, Set, Standing, Work};
use crate::health::Pass;
use crate::random::random;
use crate::route::Replica;
use crate::upstream::{Load, Visit};
use crate::uptime::now_ms;

pub struct Seats<'c> {
    choice: &'c Choice,
    plan: &'c Plan,
    untried: Set,
    /// What requests that belong together have in common.
    key: Option<u64>,
    outdated: bool,
}

/// An address that was chosen, and is not yet used.
pub struct Seat<'c> {
    /// Its provider's place among those that serve the request.
    pub arm: usize,
    pub replica: &'c Replica,
}

impl<'c> Seats<'c> {
    pub fn of(choice: &'c Choice, key: Option<u64>) -> Self {
        let plan = choice.plan();
        Self { choice, plan, untried: plan.candidates(), key, outdated: false }
    }

    pub fn next(&mut self) -> Option<Seat<'c>> {
        let fleet = Live { choice: self.choice, now_ms: now_ms() };
        loop {
            let index = self.plan.pick(self.untried, &fleet, self.key, random)?;
            self.untried.remove(index);
            if let Some((arm, replica)) = self.choice.replica(index) {
                return Some(Seat { arm, replica });
            }
        }
    }

    /// No place is to be had at this provider.
    pub fn leave_out(&mut self, arm: usize) {
        self.untried = self.untried.without(self.plan.arm(arm));
    }

    /// The request counts as in flight there while it holds the visit. None: it must not, or should not, go there.
    pub fn enter(&mut self, seat: &Seat<'_>) -> Option<(Visit, Pass)> {
        let load = &seat.replica.endpoint.load;
        let Some(visit) = load.enter() else {
            self.outdated = true;
            return None;
        };
        match load.health.enter(now_ms()) {
            Some(pass) => Some((visit, pass)),
            // Somebody else is finding out whether it is back.
            None if self.has_working() => None,
            // All are out: a try costs less than a refusal on a suspicion.
            None => Some((visit, Pass::Free)),
        }
    }

    /// Whether one is left that is not known to be broken.
    fn has_working(&self) -> bool {
        self.has(Standing::Busy)
    }

    /// Whether one is left that should take another's request.
    pub fn has_spare(&self) -> bool {
        self.has(Standing::Full)
    }

    fn has(&self, worst: Standing) -> bool {
        let fleet = Live { choice: self.choice, now_ms: now_ms() };
        self.untried.iter().any(|index| fleet.standing(index) <= worst)
    }

    /// Whether an address was passed over: a newer table knows better.
    pub fn outdated(&self) -> bool {
        self.outdated
    }
}

/// The candidates as they are now.
struct Live<'c> {
    choice: &'c Choice,
    now_ms: u64,
}

impl Live<'_> {
    fn load(&self, candidate: usize) -> Option<&Load> {
        self.choice.replica(candidate).map(|(_, replica)| &*replica.endpoint.load)
    }
}

impl Fleet for Live<'_> {
    fn standing(&self, candidate: usize) -> Standing {
        self.load(candidate).map_or(Standing::Out, |load| load.standing(self.now_ms))
    }

    fn work(&self, candidate: usize) -> Work {
        self.load(candidate).map_or(Work::default(), |load| load.work(self.now_ms))
    }
}
