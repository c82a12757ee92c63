//! Where a request goes next: the addresses of all who serve it, each once.
//!
//! An address that has left the table since the request was resolved is passed over: whoever waits until
//! it is unused must not see it used again.
//!
//! Nobody waits in a full provider's line while another's address of the model has room, also where the strategy
//! would have preferred the first. A split alone waits: its shares say who sees which answers.

use proto_shared::routing::Strategy;

use super::choice::Choice;
use crate::balance::{Fleet, Plan, Set, Standing, Work};
use crate::health::Pass;
use crate::limit::{Hold, Room};
use crate::random::random;
use crate::route::Replica;
use crate::upstream::places::Place;
use crate::upstream::{Leaving, Load, Visit};
use crate::uptime::now_ms;

pub struct Seats<'c> {
    choice: &'c Choice,
    plan: &'c Plan,
    untried: Set,
    /// What requests that belong together have in common.
    key: Option<u64>,
    outdated: bool,
    held_back: bool,
}

/// An address that was chosen, and is not yet used.
pub struct Seat<'c> {
    /// Its provider's place among those that serve the request.
    pub arm: usize,
    pub replica: &'c Replica,
    index: usize,
}

/// How a request got its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    AtOnce,
    AfterWaiting,
}

impl<'c> Seats<'c> {
    pub fn of(choice: &'c Choice, key: Option<u64>) -> Self {
        let plan = choice.plan();
        Self { choice, plan, untried: plan.candidates().clone(), key, outdated: false, held_back: false }
    }

    pub fn next(&mut self) -> Option<Seat<'c>> {
        let fleet = Live { choice: self.choice, now_ms: now_ms() };
        loop {
            let index = self.pick(&fleet)?;
            self.untried.remove(index);
            let Some((arm, replica)) = self.choice.replica(index) else { continue };
            if replica.endpoint.load.health.state().is_on_trial(fleet.now_ms) {
                self.held_back = true;
                continue;
            }
            return Some(Seat { arm, replica, index });
        }
    }

    /// Who is held back is passed over while somebody else is not; in a split that is an address of the same arm.
    fn pick(&self, fleet: &Live<'_>) -> Option<usize> {
        let index = self.plan.pick(&self.untried, fleet, self.key, random)?;
        if fleet.room(index) == Room::Free {
            return Some(index);
        }
        let mut free = self.working(fleet).filter(|index| fleet.room(index) == Room::Free);
        if self.plan.strategy() == Strategy::Weighted {
            let arm = self.plan.seat(index).map(|(arm, _)| self.plan.arm(arm))?;
            free = free.within(&arm);
        }
        self.plan.pick(&free, fleet, self.key, random).or(Some(index))
    }

    /// Who is not known to be broken.
    fn working(&self, fleet: &Live<'_>) -> Set {
        self.untried.filter(|index| fleet.standing(index) != Standing::Out)
    }

    /// Whether a request that came just now may go there. Whoever is broken holds nobody back: it is not worked too
    /// hard.
    pub fn has_room(&self, seat: &Seat<'_>) -> bool {
        let fleet = Live { choice: self.choice, now_ms: now_ms() };
        fleet.room(seat.index) == Room::Free || fleet.standing(seat.index) == Standing::Out
    }

    /// The seat is left to be chosen again.
    pub fn put_back(&mut self, seat: &Seat<'_>) {
        self.untried.insert(seat.index);
    }

    /// Those that room is waited for at: each tells when a request leaves it.
    pub fn awaited(&self) -> Vec<Leaving<'c>> {
        let fleet = Live { choice: self.choice, now_ms: now_ms() };
        let working = self.working(&fleet);
        let loads = working.iter().filter_map(|index| self.choice.replica(index));
        loads.map(|(_, replica)| replica.endpoint.load.leaving()).collect()
    }

    /// How long all of them want to be left alone. None: one has room as soon as a request leaves it.
    pub fn rest_ms(&self) -> Option<u64> {
        let fleet = Live { choice: self.choice, now_ms: now_ms() };
        let working = self.working(&fleet);
        let rests = working.iter().map(|index| match fleet.room(index) {
            Room::Rests(ms) => Some(ms),
            Room::Full | Room::Free => None,
        });
        rests.min().flatten()
    }

    /// `first` with a place at its provider, or another seat with a place at its own. Without a place, it is who is
    /// to be waited for.
    pub fn with_room(&mut self, first: Seat<'c>, place: &mut Option<Place<'c>>) -> Seat<'c> {
        let Some(provider) = self.choice.provider(first.arm) else { return first };
        if place.as_ref().is_some_and(|place| place.is_of(&provider.quota.places)) {
            return first;
        }
        // Another provider's is free before one is looked for or waited for.
        *place = None;
        *place = provider.quota.places.try_take();
        if place.is_some() {
            return first;
        }
        let Some((seat, taken)) = self.elsewhere(&first) else { return first };
        self.untried.insert(first.index);
        self.untried.remove(seat.index);
        *place = Some(taken);
        seat
    }

    /// Room at another provider, at no address that is worse off than one with much to do, or than `first`.
    fn elsewhere(&self, first: &Seat<'c>) -> Option<(Seat<'c>, Place<'c>)> {
        if self.plan.strategy() == Strategy::Weighted {
            return None;
        }
        let fleet = Live { choice: self.choice, now_ms: now_ms() };
        let worst = fleet.standing(first.index).max(Standing::Full);
        let others = self.untried.clone().without(&self.plan.arm(first.arm));
        let mut left = others.filter(|index| fleet.standing(index) <= worst);
        while let Some(index) = self.plan.pick(&left, &fleet, self.key, random) {
            let (arm, replica) = self.choice.replica(index)?;
            if let Some(place) = self.choice.provider(arm)?.quota.places.try_take() {
                return Some((Seat { arm, replica, index }, place));
            }
            left = left.without(&self.plan.arm(arm));
        }
        None
    }

    /// It can't take this request.
    pub fn leave_out(&mut self, arm: usize) {
        self.untried = std::mem::take(&mut self.untried).without(&self.plan.arm(arm));
    }

    /// No place is to be had at the provider of this arm.
    pub fn leave_out_provider(&mut self, arm: usize) {
        for arm in self.choice.arms_of_provider(arm) {
            self.leave_out(arm);
        }
    }

    /// The request counts as in flight there while it holds the visit. None: it must not, or should not, go there.
    pub fn enter(&mut self, seat: &Seat<'_>, admission: Admission) -> Option<(Visit, Pass)> {
        let load = &seat.replica.endpoint.load;
        let Some(visit) = load.enter() else {
            self.outdated = true;
            return None;
        };
        let now_ms = now_ms();
        let pass = load.health.enter(now_ms).or_else(|| self.for_want_of_others(load, admission))?;
        load.pace.asked(now_ms);
        Some((visit, pass))
    }

    fn for_want_of_others(&mut self, load: &Load, admission: Admission) -> Option<Pass> {
        // Somebody else is finding out whether it is back.
        if self.has_working() {
            return None;
        }
        let makes_wait = |load: &Load| load.health.state().grounds.makes_wait();
        let fleet = Live { choice: self.choice, now_ms: now_ms() };
        let has_answering =
            || self.untried.iter().filter_map(|index| fleet.load(index)).any(|load| !makes_wait(load));
        // A whole line that waited shall not try one after the other.
        let has_waited = admission == Admission::AfterWaiting;
        if makes_wait(load) && (has_waited || has_answering()) {
            self.held_back = true;
            return None;
        }
        let pass = load.health.enter_for_want_of_others(fleet.now_ms);
        self.held_back |= pass.is_none();
        pass
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

    /// Whether an address was passed over because it can't be reached or is silent, and others are finding out.
    pub fn held_back(&self) -> bool {
        self.held_back
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

impl<'c> Live<'c> {
    fn load(&self, candidate: usize) -> Option<&Load> {
        self.choice.replica(candidate).map(|(_, replica)| &*replica.endpoint.load)
    }

    fn room(&self, candidate: usize) -> Room {
        let Some((arm, replica)) = self.choice.replica(candidate) else { return Room::Free };
        let hold = self.choice.provider(arm).map_or(Hold::Never, |provider| provider.hold);
        replica.endpoint.load.room(hold, self.now_ms)
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
