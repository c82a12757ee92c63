//! What a request met on its way, noted as it happens.
//!
//! What must stay true: a request that goes straight (one attempt, no wait) allocates nothing here. No key, header,
//! path or byte of a body is noted. All lists have a bound.

use std::sync::Arc;
use std::time::Duration;

use proto_shared::routing::Strategy;
use smallvec::SmallVec;

use crate::balance::{Standing, Work};
use crate::metrics::RouteKind;
use crate::resume::Unfit;
use crate::upstream::Spot;

/// Attempts, waits and exclusions that are noted of each request; of a fleet, so many addresses.
pub const NOTED_MAX: usize = 16;

/// Times are from the request's beginning.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    pub route: Option<RouteKind>,
    pub model: Option<Arc<str>>,
    /// Who chose, and whether by a key of the request.
    pub strategy: Option<(Strategy, bool)>,
    /// Whether its stream can go on elsewhere, where its model wants that.
    pub resume: Option<Result<(), Unfit>>,
    pub attempts: SmallVec<[Tried; 1]>,
    /// Only of requests that did not go straight.
    pub detour: Option<Box<Detour>>,
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct Tried {
    pub spot: Arc<Spot>,
    /// `workspace/provider:model`, where the provider is asked for several models.
    pub arm: Option<Arc<str>>,
    pub began: Duration,
    pub connection: Option<Link>,
    /// Of the answer; zero: no head came.
    pub status: u16,
    pub head: Option<Duration>,
    pub first_byte: Option<Duration>,
    /// Unless the request ended with it.
    pub end: Option<(Duration, AttemptEnd)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// One that was used before.
    Reused,
    New {
        took: Duration,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    Answered,
    NotConnected(&'static str),
    /// On a connection that had gone away.
    Stale,
    NoAnswer(&'static str),
    /// The answer was one that another address was to better.
    PassedOver,
    /// The stream went on, or was to go on, elsewhere.
    BrokeOff,
    ClientGone,
}

impl AttemptEnd {
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotConnected(_) => "connect_failed",
            Self::Stale => "stale_connection",
            Self::NoAnswer(_) => "no_answer",
            Self::PassedOver => "passed_over",
            Self::BrokeOff => "broke_off",
            Self::ClientGone => "client_gone",
        }
    }

    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::NotConnected(why) | Self::NoAnswer(why) => Some(why),
            Self::PassedOver => Some("another address was to better this answer"),
            Self::BrokeOff => Some("the stream was to go on elsewhere"),
            Self::Answered | Self::Stale | Self::ClientGone => None,
        }
    }
}

/// What is noted of a request that did not go straight.
#[derive(Debug, Clone, Default)]
pub struct Detour {
    pub waits: Vec<Wait>,
    pub left_out: Vec<LeftOut>,
    /// When it stopped going straight.
    pub look: Option<Look>,
    /// Why nobody else was asked.
    pub stopped: Option<&'static str>,
}

/// A turn in a line.
#[derive(Debug, Clone)]
pub struct Wait {
    /// None: whoever of those who serve its model has room first.
    pub provider: Option<Arc<Spot>>,
    pub began: Duration,
    /// None: it still waits.
    pub took: Option<Duration>,
    pub got_place: bool,
}

#[derive(Debug, Clone)]
pub struct LeftOut {
    pub spot: Arc<Spot>,
    pub at: Duration,
    pub why: &'static str,
}

/// Those who might have served it, as they were then.
#[derive(Debug, Clone)]
pub struct Look {
    pub at: Duration,
    pub seen: Vec<SeenThen>,
    /// How many more there were.
    pub more: usize,
}

#[derive(Debug, Clone)]
pub struct SeenThen {
    pub spot: Arc<Spot>,
    pub standing: Standing,
    pub work: Work,
    pub concurrency_limit: u32,
}

impl Trace {
    pub fn detour(&mut self) -> &mut Detour {
        self.detour.get_or_insert_default()
    }

    pub fn tries(&mut self, spot: &Arc<Spot>, arm: Option<&Arc<str>>, began: Duration) {
        if self.attempts.len() < NOTED_MAX {
            self.attempts.push(Tried {
                spot: Arc::clone(spot),
                arm: arm.cloned(),
                began,
                connection: None,
                status: 0,
                head: None,
                first_byte: None,
                end: None,
            });
        }
    }

    /// The attempt that is under way.
    pub fn current(&mut self) -> Option<&mut Tried> {
        self.attempts.last_mut().filter(|tried| tried.end.is_none())
    }

    pub fn waits(&mut self, provider: Option<&Arc<Spot>>, began: Duration) {
        let waits = &mut self.detour().waits;
        if waits.len() < NOTED_MAX {
            waits.push(Wait { provider: provider.cloned(), began, took: None, got_place: false });
        }
    }

    pub fn is_waiting(&self) -> bool {
        let waits = self.detour.as_ref().map(|detour| &detour.waits);
        waits.and_then(|waits| waits.last()).is_some_and(|wait| wait.took.is_none())
    }

    pub fn waited(&mut self, until: Duration, got_place: bool) {
        let last = self.detour.as_mut().and_then(|detour| detour.waits.last_mut());
        if let Some(wait) = last.filter(|wait| wait.took.is_none()) {
            (wait.took, wait.got_place) = (Some(until.saturating_sub(wait.began)), got_place);
        }
    }

    pub fn leaves_out(&mut self, spot: &Arc<Spot>, at: Duration, why: &'static str) {
        let left_out = &mut self.detour().left_out;
        if left_out.len() < NOTED_MAX {
            left_out.push(LeftOut { spot: Arc::clone(spot), at, why });
        }
    }

    /// Whether it is worth more than a line.
    pub fn went_straight(&self) -> bool {
        self.attempts.len() < 2 && self.detour.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot() -> Arc<Spot> {
        Arc::new(Spot { provider: "default/p1".into(), url: "http://127.0.0.1:1".into() })
    }

    #[test]
    fn one_attempt_goes_straight_and_needs_no_memory_of_its_own() {
        let mut trace = Trace::default();
        trace.tries(&spot(), None, Duration::ZERO);
        assert!(trace.went_straight() && !trace.attempts.spilled());
        trace.tries(&spot(), None, Duration::ZERO);
        assert!(!trace.went_straight());
        let mut waiting = Trace::default();
        waiting.waits(Some(&spot()), Duration::ZERO);
        assert!(!waiting.went_straight());
    }

    #[test]
    fn no_more_is_noted_than_the_bound() {
        let (mut trace, spot) = (Trace::default(), spot());
        for _ in 0..NOTED_MAX * 2 {
            trace.tries(&spot, None, Duration::ZERO);
            trace.waits(Some(&spot), Duration::ZERO);
            trace.leaves_out(&spot, Duration::ZERO, "why");
        }
        let detour = trace.detour();
        assert_eq!((detour.waits.len(), detour.left_out.len()), (NOTED_MAX, NOTED_MAX));
        assert_eq!(trace.attempts.len(), NOTED_MAX);
    }

    #[test]
    fn a_wait_ends_once() {
        let mut trace = Trace::default();
        trace.waits(Some(&spot()), Duration::from_secs(1));
        trace.waited(Duration::from_secs(3), true);
        trace.waited(Duration::from_secs(9), false);
        let wait = &trace.detour().waits[0];
        assert_eq!((wait.took, wait.got_place), (Some(Duration::from_secs(2)), true));
    }
}
