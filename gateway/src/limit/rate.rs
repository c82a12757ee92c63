//! Requests a minute: one atomic number, which is when the next one would be due if all came evenly.
//!
//! After a pause a quarter of a minute's requests may come at once, so that in no minute there are more than five
//! quarters of them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const MINUTE_US: u64 = 60_000_000;
/// So much of a minute's requests may come at once.
const BURST_PARTS: u32 = 4;

/// The rate of one model or provider, shared.
#[derive(Debug, Default)]
pub struct Rate {
    due_us: AtomicU64,
    /// Zero: any number.
    per_minute: AtomicU32,
}

/// It is used up, and so long it stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
    pub per_minute: u32,
    pub wait_ms: u64,
}

impl Rate {
    pub fn set_limit(&self, per_minute: Option<u32>) {
        self.per_minute.store(per_minute.map_or(0, |limit| limit.max(1)), Ordering::Relaxed);
    }

    /// Counts a request, unless there were too many.
    pub fn take(&self, now_ms: u64) -> Result<(), UsedUp> {
        let per_minute = self.per_minute.load(Ordering::Relaxed);
        if per_minute == 0 {
            return Ok(());
        }
        let take = |due_us| next(per_minute, due_us, now_ms).ok();
        match self.due_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(due_us) => next(per_minute, due_us, now_ms).map(drop),
        }
    }

    /// Whether a request would be counted, without counting it.
    pub fn look(&self, now_ms: u64) -> Result<(), UsedUp> {
        match self.per_minute.load(Ordering::Relaxed) {
            0 => Ok(()),
            per_minute => next(per_minute, self.due_us.load(Ordering::Relaxed), now_ms).map(drop),
        }
    }
}

/// When the one after this one is due.
fn next(per_minute: u32, due_us: u64, now_ms: u64) -> Result<u64, UsedUp> {
    let (now_us, each_us) = (now_ms.saturating_mul(1_000), MINUTE_US / u64::from(per_minute.max(1)));
    let burst = u64::from((per_minute / BURST_PARTS).max(1));
    let early_us = each_us * (burst - 1);
    let due_us = due_us.max(now_us);
    match due_us.saturating_sub(now_us).saturating_sub(early_us) {
        0 => Ok(due_us + each_us),
        wait_us => Err(UsedUp { per_minute, wait_ms: wait_us.div_ceil(1_000) }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(per_minute: u32) -> Rate {
        let rate = Rate::default();
        rate.set_limit(Some(per_minute));
        rate
    }

    #[test]
    fn a_quarter_of_a_minute_may_come_at_once_and_then_one_after_the_other() {
        let rate = of(60);
        let taken = (0..100).filter(|_| rate.take(5).is_ok()).count();
        assert_eq!(taken, 15);
        assert_eq!(rate.take(5), Err(UsedUp { per_minute: 60, wait_ms: 1_000 }));
        assert_eq!(
            (rate.take(1_004).is_ok(), rate.take(1_005), rate.take(1_006).is_ok()),
            (false, Ok(()), false)
        );
    }

    #[test]
    fn whoever_comes_after_the_time_that_was_told_is_let_through() {
        for per_minute in [1, 2, 7, 600, 100_000] {
            let (rate, mut now_ms) = (of(per_minute), 0);
            for _ in 0..50 {
                if let Err(UsedUp { wait_ms, .. }) = rate.look(now_ms) {
                    assert!(rate.take(now_ms + wait_ms - 1).is_err() || wait_ms == 1, "{per_minute}");
                    now_ms += wait_ms;
                }
                assert_eq!(rate.take(now_ms), Ok(()), "{per_minute}");
            }
        }
    }

    #[test]
    fn no_limit_is_none_and_a_new_one_counts_at_once() {
        let rate = Rate::default();
        assert!((0..1_000).all(|_| rate.take(1).is_ok()));
        rate.set_limit(Some(1));
        assert!(rate.take(1).is_ok() && rate.take(1).is_err());
        rate.set_limit(None);
        assert!(rate.take(1).is_ok());
    }

    #[test]
    fn many_at_once_take_no_more_than_there_is() {
        let rate = of(400);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..200).filter(|_| rate.take(9).is_ok()).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }

    proptest! {
        #[test]
        fn in_no_minute_there_are_more_than_five_quarters(
            per_minute in 4..5_000u32,
            gaps_ms in prop::collection::vec(0..400u64, 1..600),
        ) {
            let (rate, mut now_ms, mut passed) = (of(per_minute), 0, Vec::new());
            for gap in gaps_ms {
                now_ms += gap;
                for _ in 0..per_minute / 50 + 1 {
                    if rate.take(now_ms).is_ok() {
                        passed.push(now_ms);
                    }
                }
            }
            for (n, begin) in passed.iter().enumerate() {
                let within = passed[n..].iter().take_while(|at| *at - begin < 60_000).count();
                prop_assert!(within as u32 <= per_minute + per_minute / 4 + 1, "{within}");
            }
        }
    }
}
