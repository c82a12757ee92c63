//! How many requests use one address, whether others still may, and whether others rather should not.
//!
//! The first two are one number: a request that comes too late sees that the address is closed, or else is seen
//! by whoever closed it. So an address that is closed and unused stays unused.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Set: no request may begin here.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// An address that can't be reached looks idle, and would be the first choice of every request. For this
/// long after a failure it is the last.
const SHUNNED_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Load {
    requests: AtomicUsize,
    /// By [`clock_ms`]; zero: not at all.
    shunned_until_ms: AtomicU64,
}

impl Load {
    pub fn in_flight(&self) -> usize {
        self.requests.load(Ordering::Acquire) & !CLOSED
    }

    /// For the choice among several: the lower, the better.
    pub fn rank(&self) -> usize {
        let until_ms = self.shunned_until_ms.load(Ordering::Relaxed);
        if until_ms > 0 && clock_ms() < until_ms { usize::MAX } else { self.in_flight() }
    }

    /// It could not be connected to just now.
    pub fn unreachable(&self) {
        let until_ms = clock_ms().saturating_add(SHUNNED_FOR.as_millis() as u64);
        self.shunned_until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Counts a request for as long as the visit lasts. None: the address is closed.
    pub fn enter(self: &Arc<Self>) -> Option<Visit> {
        if self.requests.fetch_add(1, Ordering::AcqRel) & CLOSED != 0 {
            self.requests.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Visit(Arc::clone(self)))
    }

    /// Requests that are here go on; others must go elsewhere.
    pub fn close(&self) {
        self.requests.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub fn open(&self) {
        self.requests.fetch_and(!CLOSED, Ordering::AcqRel);
    }
}

/// A request's stay at an address.
#[derive(Debug)]
pub struct Visit(Arc<Load>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Milliseconds since this was first asked, plus one.
fn clock_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_address_keeps_who_is_there_and_takes_nobody_else() {
        let load = Arc::new(Load::default());
        let (first, second) = (load.enter().unwrap(), load.enter().unwrap());
        load.close();
        assert!(load.enter().is_none());
        assert_eq!(load.in_flight(), 2);
        drop((first, second));
        assert_eq!(load.in_flight(), 0);
        assert!(load.enter().is_none());
        load.open();
        assert!(load.enter().is_some());
    }

    #[test]
    fn an_address_that_could_not_be_reached_comes_last_for_a_while() {
        let load = Load::default();
        assert_eq!(load.rank(), 0);
        load.unreachable();
        assert_eq!((load.rank(), load.in_flight()), (usize::MAX, 0));
        load.shunned_until_ms.store(clock_ms(), Ordering::Relaxed);
        assert_eq!(load.rank(), 0);
    }

    #[test]
    fn nobody_slips_in_behind_whoever_closes() {
        for _ in 0..200 {
            let load = Arc::new(Load::default());
            let entering: Vec<_> = (0..4)
                .map(|_| {
                    let load = Arc::clone(&load);
                    std::thread::spawn(move || load.enter())
                })
                .collect();
            load.close();
            let visits: Vec<_> = entering.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(load.in_flight(), visits.iter().flatten().count());
            drop(visits);
            assert_eq!(load.in_flight(), 0);
        }
    }
}
