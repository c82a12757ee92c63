//! What an address was found to be able to take when it said that it has too much to do.
//!
//! It may have meant something else, or be as good as before soon. So the limit grows from that moment on, and after
//! a minute there is none: until the address says it again.

use std::sync::atomic::{AtomicU64, Ordering};

/// There is no limit when nothing was said for so long.
pub const FADES_MS: u64 = 60_000;
/// By then it has doubled, and grown by so many beside.
const GROWS_BY: u64 = 30;

const LIMIT_MAX: u64 = 0xffff;
const LIMIT_BITS: u32 = 16;

/// 48 bits of when, counted from one; 16 of how many. Zero: nothing was said.
#[derive(Debug, Default)]
pub struct Said(AtomicU64);

impl Said {
    /// It said so while it had so many other requests. Without any it was not because of their number.
    pub fn busy(&self, others: u32, now_ms: u64) {
        if others == 0 {
            return;
        }
        let lower = |word| {
            // Whoever is refused leaves at once: of many that hear it together, the last sees what was accepted.
            let limit = u64::from(others) * 3 / 4;
            let limit = limit.min(limit_at(word, now_ms).map_or(LIMIT_MAX, u64::from)).max(1);
            Some((now_ms + 1) << LIMIT_BITS | limit)
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
    }

    /// How many it can take as far as is known; none: any number.
    pub fn limit(&self, now_ms: u64) -> Option<u32> {
        limit_at(self.0.load(Ordering::Relaxed), now_ms)
    }
}

fn limit_at(word: u64, now_ms: u64) -> Option<u32> {
    let (at_ms, limit) = (word >> LIMIT_BITS, word & LIMIT_MAX);
    let age_ms = now_ms.saturating_sub(at_ms.checked_sub(1)?);
    let grown = limit + (limit + GROWS_BY) * age_ms / FADES_MS;
    (age_ms < FADES_MS).then_some(u32::try_from(grown).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_no_limit_and_what_was_said_fades() {
        let said = Said::default();
        assert_eq!((said.limit(0), said.limit(u64::MAX >> LIMIT_BITS)), (None, None));
        said.busy(40, 0);
        assert_eq!((said.limit(0), said.limit(30_000), said.limit(59_999)), (Some(30), Some(60), Some(89)));
        assert_eq!(said.limit(60_000), None);
    }

    #[test]
    fn a_crowd_that_is_refused_leaves_the_limit_at_what_was_accepted() {
        let said = Said::default();
        (100..1_000).rev().for_each(|others| said.busy(others, 7));
        assert_eq!(said.limit(7), Some(75));
        said.busy(500, 8);
        assert_eq!(said.limit(8), Some(75), "they came before it was known");
    }

    #[test]
    fn who_can_hardly_take_another_is_asked_for_one_and_a_refusal_out_of_the_blue_says_nothing() {
        let said = Said::default();
        said.busy(0, 5);
        assert_eq!(said.limit(5), None);
        said.busy(1, 5);
        assert_eq!((said.limit(5), said.limit(4_005)), (Some(1), Some(3)));
    }
}
