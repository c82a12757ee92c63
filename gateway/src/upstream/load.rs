//! What stays of one address from request to request: how many use it, whether others still may, how soon it
//! answered, whether it is broken, and how much it can take.
//!
//! The first two are one number: a request that comes too late sees that the address is closed, or else is seen
//! by whoever closed it. So an address that is closed and unused stays unused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::balance::{Pace, Standing, Work};
use crate::health::{Health, Verdict, is_out};
use crate::limit::{Concurrency, Evidence, Hold, Room};
use crate::metrics::Times;
use crate::watch::Shown;

use super::watched::{Reported, Watched};

/// Set: no request may begin here.
const CLOSED: usize = 1 << (usize::BITS - 1);

#[derive(Debug, Default)]
pub struct Load {
    requests: AtomicUsize,
    /// Lines whose first waits until somebody leaves.
    lines: AtomicUsize,
    left: Notify,
    pub pace: Pace,
    pub health: Health,
    pub concurrency: Concurrency,
    /// How soon it began to answer, and how long it was silent in streams: of all time, for a scrape.
    pub first_bytes: Times,
    pub gaps: Times,
    /// What is known of it beside its requests.
    pub watched: Watched,
}

impl Load {
    pub fn in_flight(&self) -> usize {
        self.requests.load(Ordering::Acquire) & !CLOSED
    }

    /// Whether it should get requests now.
    pub fn standing(&self, now_ms: u64) -> Standing {
        if is_out(self.watched.probed(), self.health.state(), now_ms) {
            Standing::Out
        } else if self.concurrency.rests(now_ms) {
            Standing::Busy
        } else if self.in_flight() >= self.concurrency.limit() as usize {
            Standing::Full
        } else {
            Standing::Open
        }
    }

    /// What speaks against sending it more.
    pub fn evidence(&self, now_ms: u64) -> Evidence {
        let reported = self.watched.report(now_ms).and_then(Reported::bearable);
        Evidence { reported, ..self.concurrency.evidence(now_ms) }
    }

    /// Whether a request may go there, as its owner wants it held back.
    pub fn room(&self, hold: Hold, now_ms: u64) -> Room {
        match hold {
            Hold::Never => Room::Free,
            Hold::Said | Hold::Seen => self.evidence(now_ms).room(hold, self.in_flight()),
        }
    }

    /// What is known of it now, to be shown.
    pub fn seen(&self, now_ms: u64) -> Seen {
        Seen {
            in_flight: self.in_flight(),
            standing: self.standing(now_ms),
            concurrency_limit: self.concurrency.limit(),
            overloaded_at: self.evidence(now_ms).limit(Hold::Seen),
            first_byte_ms: self.pace.first_byte_us(now_ms).map(|us| f64::from(us) / 1e3),
            watched: Shown::of(&self.watched, self.health.state(), now_ms),
        }
    }

    /// Why it is out of use, if it is, in words for whoever asks about its provider.
    pub fn out_because(&self, now_ms: u64) -> Option<String> {
        let (verdict, requests) = (self.watched.probed().verdict, self.health.state());
        match verdict {
            Verdict::Down(why) => Some(why.to_string()),
            Verdict::Up | Verdict::Unknown => {
                let is_out = requests.was_out_lately(now_ms, verdict == Verdict::Up);
                is_out.then(|| requests.grounds.to_string())
            }
        }
    }

    /// What it has to do, and how fast it is.
    pub fn work(&self, now_ms: u64) -> Work {
        let in_flight = u32::try_from(self.in_flight()).unwrap_or(u32::MAX);
        let waiting = self.watched.report(now_ms).map_or(0, Reported::burden);
        Work { in_flight, waiting, first_byte_us: self.pace.first_byte_us(now_ms) }
    }

    /// Probes say that it is back. That its requests get through is shown by the next one.
    pub fn reachable(&self, now_ms: u64) {
        self.health.due(now_ms);
    }

    /// Counts a request for as long as the visit lasts. None: the address is closed.
    pub fn enter(self: &Arc<Self>) -> Option<Visit> {
        if self.requests.fetch_add(1, Ordering::AcqRel) & CLOSED != 0 {
            self.requests.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Visit(Arc::clone(self)))
    }

    /// Tells when a request leaves, while it lives.
    pub fn leaving(&self) -> Leaving<'_> {
        self.lines.fetch_add(1, Ordering::AcqRel);
        Leaving(self)
    }

    /// Requests that are here go on; others must go elsewhere.
    pub fn close(&self) {
        self.requests.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub fn open(&self) {
        self.requests.fetch_and(!CLOSED, Ordering::AcqRel);
    }
}

/// What a person may want to know of an address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    pub in_flight: usize,
    pub standing: Standing,
    /// What it was found to be able to take at once.
    pub concurrency_limit: u32,
    /// There is evidence that it has too much to do when it has so many; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overloaded_at: Option<u32>,
    /// Lately; absent: nothing was seen, or it was forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    #[serde(flatten)]
    pub watched: Shown,
}

/// A request's stay at an address.
#[derive(Debug)]
pub struct Visit(Arc<Load>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
        // Most of the time nobody waits, and no lock is taken.
        if self.0.lines.load(Ordering::Acquire) > 0 {
            self.0.left.notify_waiters();
        }
    }
}

/// See [`Load::leaving`].
pub struct Leaving<'l>(&'l Load);

impl<'l> Leaving<'l> {
    /// Ready when a request has left since this was called.
    pub fn next(&self) -> Notified<'l> {
        self.0.left.notified()
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.lines.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Report;

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
    fn what_is_found_out_about_an_address_decides_its_standing() {
        use crate::health::{Ended, Pass};
        let load = Arc::new(Load::default());
        assert_eq!(load.standing(0), Standing::Open);
        let visits: Vec<_> = (0..load.concurrency.limit()).map(|_| load.enter()).collect();
        assert_eq!(load.standing(0), Standing::Full);
        drop(visits);
        load.concurrency.busy(Some(500), 9, 0);
        assert_eq!((load.standing(0), load.standing(500)), (Standing::Busy, Standing::Open));
        load.health.ended(Pass::Free, Ended::NotConnected.event(), 500, 0);
        assert_eq!(load.standing(500), Standing::Out);
    }

    #[test]
    fn an_address_that_is_down_is_out_and_what_it_says_of_its_queue_counts() {
        use crate::health::{DOWN_AFTER, Finding, Why};
        let load = Arc::new(Load::default());
        let _visit = load.enter();
        load.watched.reported(&Report { running: 5, waiting: 2, cache_permille: None }, 1, 0);
        assert_eq!((load.work(0).in_flight, load.work(0).waiting), (1, 6));
        assert_eq!(load.work(60_000).waiting, 0, "that was long ago");
        (0..DOWN_AFTER).for_each(|_| _ = load.watched.found(Finding::Down(Why::Refused), 0));
        assert_eq!(load.standing(0), Standing::Out);
        load.watched.forget();
        assert_eq!(load.standing(0), Standing::Open);
    }

    #[test]
    fn probes_end_an_ejection_early_but_only_the_next_request_shows() {
        use crate::health::{Ended, Pass};
        let load = Load::default();
        load.health.ended(Pass::Free, Ended::NotConnected.event(), 0, 0);
        assert_eq!(load.standing(100), Standing::Out);
        load.reachable(100);
        assert_eq!((load.standing(100), load.health.enter(100)), (Standing::Open, Some(Pass::Probe)));
        assert_eq!(load.standing(100), Standing::Out);
        load.reachable(100);
        assert_eq!(load.health.enter(100), None, "one is under way");
    }

    #[test]
    fn why_it_is_out_of_use_is_known_as_long_as_that_is_news() {
        use crate::health::{DOWN_AFTER, Ended, Finding, LATELY_MS, Pass, UP_AFTER, Why};
        let load = Load::default();
        assert_eq!(load.out_because(0), None);
        load.health.ended(Pass::Free, Ended::NotConnected.event(), 0, 0);
        let reason = Some("its last requests got no connection".to_owned());
        assert_eq!((load.out_because(100), load.out_because(LATELY_MS)), (reason.clone(), reason));
        assert_eq!(load.out_because(2 * LATELY_MS), None, "nobody asked since");
        (0..UP_AFTER).for_each(|_| _ = load.watched.found(Finding::Up, 100));
        assert_eq!(load.out_because(LATELY_MS), None, "its probes say otherwise, and its time is over");
        (0..DOWN_AFTER).for_each(|_| _ = load.watched.found(Finding::Down(Why::Refused), 100));
        assert_eq!(load.out_because(100).as_deref(), Some("connection refused"));
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
