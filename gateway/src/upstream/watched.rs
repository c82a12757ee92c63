//! What is known of one address beside its requests: what probes found, and what it says of its own load.
//!
//! Written off the request path; read on it by one atomic look. What is too old, or was never said, is as if it
//! were not there.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::health::{Finding, Probed, Verdict};
use crate::watch::{Continues, Report};

/// A report is believed for so long.
pub const REPORT_AGE_MAX_MS: u32 = 5_000;
/// No cache use is known.
const NO_CACHE: u64 = 0xffff;

#[derive(Debug, Default)]
pub struct Watched {
    /// [`Probed`], packed.
    probed: AtomicU64,
    /// 32 bits of time, 16 of running, 16 of waiting; zero: nothing was said.
    load: AtomicU64,
    /// 16 bits of our own requests at that time, 16 of cache use.
    beside: AtomicU64,
    /// [`Continues`]: zero for not known, one for yes.
    continues: AtomicU8,
}

/// A back end's report as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    pub report: Report,
    /// How many of them were ours.
    pub ours: u32,
    pub age_ms: u32,
}

impl Reported {
    /// What comes on top of our own requests: those that others brought, and at least all that wait. A place
    /// where ours wait is worse than one that works on as many.
    pub fn burden(self) -> u32 {
        let there = self.report.running.saturating_add(self.report.waiting);
        there.saturating_sub(self.ours).max(self.report.waiting)
    }
}

/// Fewer than this that wait in a back end keep it at work, or were just about to begin.
const WAITING_FEW: u32 = 5;

impl Reported {
    /// How many of our requests it has room for, when too many wait in it.
    pub fn bearable(self) -> Option<u32> {
        let Report { running, waiting, .. } = self.report;
        if waiting <= WAITING_FEW {
            return None;
        }
        let there = u64::from(running) + u64::from(waiting);
        // Of those that wait, as many are ours as of all that are there.
        let ours_waiting = u64::from(waiting) * u64::from(self.ours).min(there) / there.max(1);
        Some(self.ours.saturating_sub(ours_waiting as u32) + WAITING_FEW)
    }
}

/// What somebody may want to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    Up,
    Down,
}

impl Watched {
    pub fn probed(&self) -> Probed {
        Probed::unpack(self.probed.load(Ordering::Relaxed))
    }

    /// A probe has ended. Gives whether that turned the verdict; the first good finding is no turn.
    pub fn found(&self, finding: Finding, now_ms: u64) -> Option<Turned> {
        let now_s = (now_ms / 1_000) as u32;
        let turn = |word| Some(Probed::unpack(word).after(finding, now_s).pack());
        let before = self.probed.fetch_update(Ordering::AcqRel, Ordering::Acquire, turn).ok()?;
        let before = Probed::unpack(before);
        let after = before.after(finding, now_s);
        match (before.is_down(), after.verdict) {
            (false, Verdict::Down(_)) => {
                // What comes back may be another server.
                self.learned(Continues::Unknown);
                Some(Turned::Down)
            }
            (true, Verdict::Up) => Some(Turned::Up),
            _ => None,
        }
    }

    /// It said how much it has to do while so many of our requests were there.
    pub fn reported(&self, report: &Report, ours: usize, now_ms: u64) {
        let short = |count: u32| u64::from(count.min(0xffff));
        let ours = short(u32::try_from(ours).unwrap_or(u32::MAX));
        let cache = report.cache_permille.map_or(NO_CACHE, u64::from);
        self.beside.store(ours << 16 | cache, Ordering::Relaxed);
        let load = (now_ms & 0xffff_ffff) << 32 | short(report.running) << 16 | short(report.waiting);
        self.load.store(load.max(1), Ordering::Release);
    }

    /// What it said last, unless that is too old.
    pub fn report(&self, now_ms: u64) -> Option<Reported> {
        let load = self.load.load(Ordering::Acquire);
        let age_ms = (now_ms as u32).wrapping_sub((load >> 32) as u32);
        if load == 0 || age_ms > REPORT_AGE_MAX_MS {
            return None;
        }
        let beside = self.beside.load(Ordering::Relaxed);
        let short = |word: u64| (word & 0xffff) as u32;
        let report = Report {
            running: short(load >> 16),
            waiting: short(load),
            cache_permille: Some(beside as u16).filter(|cache| u64::from(*cache) != NO_CACHE),
        };
        Some(Reported { report, ours: short(beside >> 16), age_ms })
    }

    /// Nothing was heard in time: what was is not kept, or it would look young again after the clock wraps.
    pub fn unreported(&self, now_ms: u64) {
        if self.report(now_ms).is_none() {
            self.load.store(0, Ordering::Release);
        }
    }

    /// Whether it can go on with the last message of a chat.
    pub fn continues(&self) -> Continues {
        match self.continues.load(Ordering::Relaxed) {
            0 => Continues::Unknown,
            1 => Continues::Yes,
            _ => Continues::No,
        }
    }

    pub fn learned(&self, continues: Continues) {
        let word = match continues {
            Continues::Unknown => 0,
            Continues::Yes => 1,
            Continues::No => 2,
        };
        self.continues.store(word, Ordering::Relaxed);
    }

    /// There is nothing there that a probe could ask for.
    pub fn unprobed(&self) {
        self.probed.store(0, Ordering::Release);
    }

    /// Nobody looks any more: what was found says nothing about later.
    pub fn forget(&self) {
        self.unprobed();
        self.load.store(0, Ordering::Release);
        self.learned(Continues::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{DOWN_AFTER, UP_AFTER, Why};

    const REPORT: Report = Report { running: 7, waiting: 3, cache_permille: Some(400) };

    #[test]
    fn a_queue_that_is_reported_says_how_many_there_is_room_for() {
        let bearable = |running, waiting, ours| {
            let report = Report { running, waiting, cache_permille: None };
            Reported { report, ours, age_ms: 0 }.bearable()
        };
        assert_eq!((bearable(256, 5, 261), bearable(256, 44, 300)), (None, Some(261)));
        assert_eq!(bearable(50, 50, 20), Some(15), "half of what is there waits, and of ours too");
        assert_eq!((bearable(0, 50, 50), bearable(0, 50, 900)), (Some(5), Some(855)));
    }

    #[test]
    fn a_report_is_kept_with_its_time_and_believed_for_a_while() {
        let watched = Watched::default();
        assert_eq!(watched.report(5), None);
        for said_ms in [1_000, u64::from(u32::MAX) - 10] {
            watched.reported(&REPORT, 4, said_ms);
            let now_ms = said_ms + u64::from(REPORT_AGE_MAX_MS);
            assert_eq!(
                watched.report(now_ms),
                Some(Reported { report: REPORT, ours: 4, age_ms: REPORT_AGE_MAX_MS })
            );
            assert_eq!(watched.report(now_ms + 1), None);
        }
    }

    #[test]
    fn one_that_is_too_old_does_not_come_back_when_the_clock_wraps() {
        let watched = Watched::default();
        watched.reported(&REPORT, 0, 1_000);
        watched.unreported(2_000);
        assert!(watched.report(2_000).is_some());
        watched.unreported(10_000);
        assert_eq!(watched.report(1_000 + (1 << 32)), None);
    }

    #[test]
    fn requests_that_others_brought_count_and_those_that_wait_always_do() {
        let burden = |ours| Reported { report: REPORT, ours, age_ms: 0 }.burden();
        assert_eq!((burden(0), burden(4), burden(99)), (10, 6, 3));
    }

    #[test]
    fn numbers_that_are_too_large_are_large() {
        let watched = Watched::default();
        watched.reported(&Report { running: u32::MAX, waiting: 0, cache_permille: None }, usize::MAX, 1);
        let reported = watched.report(1).unwrap();
        assert_eq!(
            (reported.report.running, reported.ours, reported.report.cache_permille),
            (0xffff, 0xffff, None)
        );
    }

    #[test]
    fn turns_are_told_once_and_forgetting_is_a_new_beginning() {
        let watched = Watched::default();
        assert_eq!(watched.found(Finding::Up, 0), None);
        let down = Finding::Down(Why::Silent);
        let turns: Vec<_> = (0..=DOWN_AFTER).map(|_| watched.found(down, 9_000)).collect();
        assert_eq!(turns.iter().flatten().collect::<Vec<_>>(), [&Turned::Down]);
        let turns: Vec<_> = (0..=UP_AFTER).map(|_| watched.found(Finding::Up, 9_000)).collect();
        assert_eq!(turns.iter().flatten().collect::<Vec<_>>(), [&Turned::Up]);
        watched.forget();
        assert_eq!(watched.probed(), Probed::UNKNOWN);
    }

    #[test]
    fn what_it_can_do_is_learned_anew_after_it_was_down() {
        let watched = Watched::default();
        for continues in [Continues::Yes, Continues::No] {
            watched.learned(continues);
            (0..UP_AFTER).for_each(|_| _ = watched.found(Finding::Up, 0));
            assert_eq!(watched.continues(), continues);
            (0..DOWN_AFTER).for_each(|_| _ = watched.found(Finding::Down(Why::Refused), 0));
            assert_eq!(watched.continues(), Continues::Unknown);
        }
    }
}
