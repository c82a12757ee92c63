//! When to look at which provider. Pure: it is told the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Pause after the first failure; doubled with each further one, up to the usual interval.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Pauses are spread by this share, so that a fleet of providers is not asked in step.
const SPREAD_PERCENT: u32 = 10;

/// How a look ended, as far as the next one is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Working,
    Failing,
}

/// Which providers wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Fresh,
    Working,
    Failing,
}

/// A provider to look at now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub seq: i64,
    pub lane: Lane,
    /// Failed looks in a row so far.
    pub failures: u32,
}

#[derive(Debug)]
struct Entry {
    revision: i64,
    failures: u32,
    lane: Lane,
    next: Next,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    At(Instant),
    /// Somebody is looking.
    Looking,
    /// The same, and what is seen may be out of date already.
    LookingAgain,
}

pub struct Schedule {
    interval: Duration,
    entries: HashMap<i64, Entry>,
}

impl Schedule {
    pub fn new(interval: Duration) -> Self {
        Self { interval: interval.max(Duration::from_millis(1)), entries: HashMap::new() }
    }

    /// Takes in which providers there are: new and changed ones are due at once.
    pub fn observe(&mut self, providers: impl Iterator<Item = (i64, i64)>, now: Instant) {
        let mut present = HashMap::with_capacity(self.entries.len());
        for (seq, revision) in providers {
            let fresh = Entry { revision, failures: 0, lane: Lane::Fresh, next: Next::At(now) };
            let entry = match self.entries.remove(&seq) {
                None => fresh,
                Some(known) if known.revision == revision => known,
                // A look that is under way is of the old revision; it is looked at again after it.
                Some(Entry { next: Next::Looking | Next::LookingAgain, .. }) => {
                    Entry { next: Next::Looking, ..fresh }
                }
                Some(_) => fresh,
            };
            present.insert(seq, entry);
        }
        self.entries = present;
    }

    /// Everything that is due; each is being looked at from now on.
    pub fn take_due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        for (seq, entry) in &mut self.entries {
            if matches!(entry.next, Next::At(at) if at <= now) {
                entry.next = Next::Looking;
                due.push(Due { seq: *seq, lane: entry.lane, failures: entry.failures });
            }
        }
        due.sort_unstable_by_key(|due| due.seq);
        due
    }

    /// When the next one is due; `None` while all are being looked at, or there is none.
    pub fn next_due(&self) -> Option<Instant> {
        let times = self.entries.values().filter_map(|entry| match entry.next {
            Next::At(at) => Some(at),
            Next::Looking | Next::LookingAgain => None,
        });
        times.min()
    }

    /// It is due now, and once more when somebody is looking already.
    pub fn hurry(&mut self, seq: i64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.next = match entry.next {
                Next::At(_) => Next::At(now),
                Next::Looking | Next::LookingAgain => Next::LookingAgain,
            };
        }
    }

    /// Takes in how a look at `revision` ended.
    pub fn finished(&mut self, seq: i64, revision: i64, outcome: Outcome, now: Instant) {
        let interval = self.interval;
        let Some(entry) = self.entries.get_mut(&seq) else { return };
        if entry.revision != revision || matches!(entry.next, Next::LookingAgain) {
            entry.next = Next::At(now);
            return;
        }
        let pause = match outcome {
            Outcome::Working => {
                entry.failures = 0;
                entry.lane = Lane::Working;
                interval
            }
            Outcome::Failing => {
                entry.failures = entry.failures.saturating_add(1);
                entry.lane = Lane::Failing;
                back_off(entry.failures).min(interval)
            }
        };
        entry.next = Next::At(now + spread(pause, seq, entry.failures));
    }
}

fn back_off(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16))
}

/// Up to `SPREAD_PERCENT` shorter, differently for each provider and each failure.
fn spread(pause: Duration, seq: i64, failures: u32) -> Duration {
    let mixed =
        seq.unsigned_abs().wrapping_add(u64::from(failures)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let percent = u32::try_from(mixed % u64::from(SPREAD_PERCENT + 1)).unwrap_or_default();
    pause - pause / 100 * percent
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn schedule(now: Instant, providers: &[(i64, i64)]) -> Schedule {
        let mut schedule = Schedule::new(INTERVAL);
        schedule.observe(providers.iter().copied(), now);
        schedule
    }

    #[test]
    fn a_new_provider_is_due_at_once_and_only_once() {
        let now = Instant::now();
        let mut s = schedule(now, &[(1, 1), (2, 1)]);
        let due = s.take_due(now);
        assert_eq!(
            due.iter().map(|d| (d.seq, d.lane)).collect::<Vec<_>>(),
            [(1, Lane::Fresh), (2, Lane::Fresh)]
        );
        assert!(s.take_due(now).is_empty());
        assert_eq!(s.next_due(), None);
    }

    #[test]
    fn a_working_provider_is_looked_at_again_after_the_interval() {
        let now = Instant::now();
        let mut s = schedule(now, &[(1, 1)]);
        s.take_due(now);
        s.finished(1, 1, Outcome::Working, now);
        assert!(s.take_due(now + INTERVAL / 2).is_empty());
        assert_eq!(s.take_due(now + INTERVAL), [Due { seq: 1, lane: Lane::Working, failures: 0 }]);
    }

    #[test]
    fn a_failing_provider_is_looked_at_sooner_then_less_and_less_often() {
        let mut now = Instant::now();
        let mut s = schedule(now, &[(1, 1)]);
        let mut pauses = Vec::new();
        for failures in 0..8 {
            assert_eq!(s.take_due(now)[0].failures, failures);
            s.finished(1, 1, Outcome::Failing, now);
            let next = s.next_due().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert!(pauses[0] <= RETRY_FIRST && pauses[0] >= RETRY_FIRST * 9 / 10);
        assert!(pauses.windows(2).take(4).all(|w| w[0] < w[1]));
        assert!(pauses.iter().all(|pause| *pause <= INTERVAL));
    }

    #[test]
    fn a_changed_provider_is_due_at_once_even_while_it_is_looked_at() {
        let now = Instant::now();
        let mut s = schedule(now, &[(1, 1)]);
        s.take_due(now);
        s.observe([(1, 2)].into_iter(), now);
        assert!(s.take_due(now).is_empty(), "one look at a time");
        s.finished(1, 1, Outcome::Failing, now);
        assert_eq!(s.take_due(now), [Due { seq: 1, lane: Lane::Fresh, failures: 0 }]);
    }

    #[test]
    fn a_hurried_provider_is_due_at_once_and_again_after_a_look_that_is_under_way() {
        let now = Instant::now();
        let mut s = schedule(now, &[(1, 1)]);
        s.take_due(now);
        s.hurry(1, now);
        s.hurry(9, now);
        assert!(s.take_due(now).is_empty(), "one look at a time");
        s.finished(1, 1, Outcome::Working, now);
        assert_eq!(s.take_due(now).len(), 1);
        s.finished(1, 1, Outcome::Working, now);
        assert!(s.take_due(now).is_empty());
        s.hurry(1, now);
        assert_eq!(s.take_due(now).len(), 1);
    }

    #[test]
    fn a_provider_that_is_gone_is_forgotten() {
        let now = Instant::now();
        let mut s = schedule(now, &[(1, 1)]);
        s.take_due(now);
        s.observe(std::iter::empty(), now);
        s.finished(1, 1, Outcome::Working, now);
        assert_eq!(s.next_due(), None);
    }
}
