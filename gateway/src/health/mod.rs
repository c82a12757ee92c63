//! Which addresses are broken, learned from the requests themselves and from probes: pure, but for one atomic number.
//!
//! What must stay true:
//! - Only what is the address's own fault counts ([`Ended::event`] is the whole table). A client that leaves, a
//!   request that is wrong and an address that has too much to do say nothing about it.
//! - Who is out gets one request at a time to show that it is back, and no other, while there is somebody else.
//! - When all are out, it depends on the [`Grounds`]. Who failed is asked as if nothing had happened (the panic rule):
//!   it may still answer, and soon. Who can't be reached, or takes requests and lets them wait in vain, gets one
//!   request at a time, before its time too, and all others are refused at once: waiting takes long and leads to
//!   nothing. Whoever gets through, or gets an answer, shows the way to all.
//! - A look costs one atomic read, an outcome one atomic change; nobody waits for anybody.
//!
//! Absent on purpose: probing, which `watch` does, and whether anybody else is left to ask; `balance` knows the latter.

mod fault;
mod probed;
mod state;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

pub use fault::{Ended, Event, Fault, status_event};
pub use probed::{DOWN_AFTER, Finding, Probed, UP_AFTER, Verdict, Why, is_out};
pub use state::{
    CONSECUTIVE_FAULTS_MAX, EJECTION_BASE_MS, EJECTION_MAX_MS, Grounds, LATELY_MS, Phase, RATE_REQUESTS_MIN,
    SILENT_PROBE_MAX_MS, State, WINDOW_MS,
};

/// The health of one address, shared.
#[derive(Debug, Default)]
pub struct Health(AtomicU64);

/// How a request is let to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As one of many.
    Free,
    /// As the one that shows whether it is back.
    Probe,
    /// The same before it was time, because nobody else is left.
    Early,
}

impl Health {
    pub fn state(&self) -> State {
        State::unpack(self.0.load(Ordering::Acquire))
    }

    /// Whether a request may be sent there now, as any or as the one that shows.
    pub fn takes(&self, now_ms: u64) -> bool {
        self.state().takes(now_ms)
    }

    /// Lets a request through, if it is not out: of several at once that find it due for a probe, one.
    pub fn enter(&self, now_ms: u64) -> Option<Pass> {
        let state = self.state();
        if matches!(state.phase, Phase::Closed { .. }) {
            return Some(Pass::Free);
        }
        self.change(|state| state.probed(now_ms)).map(|_| Pass::Probe)
    }

    /// The same when there is nobody better.
    pub fn enter_for_want_of_others(&self, now_ms: u64) -> Option<Pass> {
        match self.state().grounds {
            Grounds::Failing => Some(Pass::Free),
            Grounds::Unreachable | Grounds::Silent => {
                self.change(|state| state.tried_early(now_ms)).map(|_| Pass::Early)
            }
        }
    }

    /// Somebody got a connection.
    pub fn reached(&self) {
        let _ = self.change(State::reached);
    }

    /// Somebody found that it is back: the next request may show it.
    pub fn due(&self, now_ms: u64) {
        self.reached();
        let _ = self.change(|state| state.due(now_ms));
    }

    /// A request that was let through has ended. Gives whether that opened or closed the address.
    pub fn ended(&self, pass: Pass, event: Event, now_ms: u64, random: u64) -> Option<Turn> {
        let (before, after) = self.change(|state| state.after(pass, event, now_ms, random))?;
        match (before.is_closed(), after.is_closed()) {
            (true, false) => Some(Turn::Ejected),
            (false, true) => Some(Turn::Returned),
            _ => None,
        }
    }

    fn change(&self, to: impl Fn(State) -> Option<State>) -> Option<(State, State)> {
        let change = |word| to(State::unpack(word)).map(State::pack);
        let before = State::unpack(self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).ok()?);
        // The same function of the same value: what was stored.
        Some((before, to(before).unwrap_or(before)))
    }
}

/// What somebody may want to count or say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Ejected,
    Returned,
}
