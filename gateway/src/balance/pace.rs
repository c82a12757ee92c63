//! How soon an address began to answer lately.
//!
//! What must stay true:
//! - The first answers of a server are often late (it compiles its kernels, it fills its caches), so of the
//!   first few the soonest counts.
//! - The longer nothing was seen, the less counts what was known.
//! - An address that was slow and therefore gets nothing is asked again after [`ASKED_AGAIN_MS`], however slow it
//!   was, by one request: nobody else can tell that it has become fast. What that request finds takes the place
//!   of all that was known.

use std::sync::atomic::{AtomicU64, Ordering};

/// A new observation counts for one in so many.
const SAMPLES: u64 = 15;
/// Of so many observations the lowest counts, before there is an average.
const FIRST: u64 = 4;
/// For each time that nothing was seen for so long, what is known counts half.
const HALF_LIFE_MS: u64 = 4_000;
/// What is known counts for so long after it was last seen, or tried to be seen.
pub const ASKED_AGAIN_MS: u64 = 20_000;

const AT_BITS: u32 = 28;
const AT_MASK: u64 = (1 << AT_BITS) - 1;

/// A moving average of times to the first byte, as one number: 32 bits of time, 28 of when, 4 of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Average {
    /// Zero: nothing was ever seen.
    us: u32,
    /// When it was last added to, in milliseconds; wraps after three days, which makes an old one look young and
    /// does no harm.
    at_ms: u64,
    /// Observations that are in it. Zero: the next one takes its place.
    samples: u64,
}

impl Average {
    fn unpack(word: u64) -> Self {
        Self { us: word as u32, at_ms: word >> 32 & AT_MASK, samples: word >> (32 + AT_BITS) }
    }

    fn pack(self) -> u64 {
        u64::from(self.us) | (self.at_ms & AT_MASK) << 32 | self.samples.min(SAMPLES) << (32 + AT_BITS)
    }

    fn age_ms(self, now_ms: u64) -> u64 {
        now_ms.wrapping_sub(self.at_ms) & AT_MASK
    }

    fn is_old(self, now_ms: u64) -> bool {
        self.age_ms(now_ms) >= ASKED_AGAIN_MS
    }

    fn with(self, us: u32, now_ms: u64) -> Self {
        let halvings = u32::try_from(self.age_ms(now_ms) / HALF_LIFE_MS).unwrap_or(u32::MAX);
        let samples = self.samples.checked_shr(halvings).unwrap_or(0);
        let us = match samples {
            0 => us,
            1..FIRST => us.min(self.us),
            samples => {
                let sum = u64::from(self.us) * samples + u64::from(us);
                u32::try_from(sum / (samples + 1)).unwrap_or(u32::MAX)
            }
        };
        Self { us: us.max(1), at_ms: now_ms, samples: samples + 1 }
    }

    /// A request is on its way that will tell. None: that is not wanted now.
    fn asked_again(self, now_ms: u64) -> Option<Self> {
        (self.us > 0 && self.is_old(now_ms)).then_some(Self { at_ms: now_ms, samples: 0, ..self })
    }
}

/// The average of one address, shared.
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

impl Pace {
    /// An answer began `us` after its request had left.
    pub fn saw(&self, us: u64, now_ms: u64) {
        let us = u32::try_from(us).unwrap_or(u32::MAX);
        let add = |word| Some(Average::unpack(word).with(us, now_ms).pack());
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// A request goes there. What was known long ago counts until it has told.
    pub fn asked(&self, now_ms: u64) {
        let ask = |word| Average::unpack(word).asked_again(now_ms).map(Average::pack);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, ask);
    }

    /// The time to expect; none: it is not known, or is to be found out anew.
    pub fn first_byte_us(&self, now_ms: u64) -> Option<u32> {
        let average = Average::unpack(self.0.load(Ordering::Relaxed));
        (average.us > 0 && !average.is_old(now_ms)).then_some(average.us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_what_is_seen() {
        let pace = Pace::default();
        assert_eq!(pace.first_byte_us(5), None);
        (0..FIRST).for_each(|_| pace.saw(1_000, 5));
        assert_eq!(pace.first_byte_us(5), Some(1_000));
        pace.saw(6_000, 6);
        assert_eq!(pace.first_byte_us(6), Some(2_000));
        (7..300).for_each(|now| pace.saw(9_000, now));
        assert!(pace.first_byte_us(300).is_some_and(|us| us.abs_diff(9_000) < 20));
    }

    #[test]
    fn of_the_first_few_the_soonest_counts_in_any_order() {
        for times in [[10_000, 100, 120, 110], [120, 110, 100, 10_000]] {
            let pace = Pace::default();
            times.iter().for_each(|us| pace.saw(*us, 5));
            assert_eq!(pace.first_byte_us(5), Some(100));
        }
    }

    #[test]
    fn one_request_finds_out_anew_what_was_long_ago() {
        let pace = Pace::default();
        (0..20).for_each(|_| pace.saw(8_000, 0));
        assert_eq!(pace.first_byte_us(ASKED_AGAIN_MS - 1), Some(8_000));
        pace.asked(ASKED_AGAIN_MS - 1);
        assert_eq!(pace.first_byte_us(ASKED_AGAIN_MS), None);
        pace.asked(ASKED_AGAIN_MS);
        assert_eq!(pace.first_byte_us(ASKED_AGAIN_MS + 1), Some(8_000), "it is on its way");
        pace.saw(100, ASKED_AGAIN_MS + 2);
        assert_eq!(pace.first_byte_us(ASKED_AGAIN_MS + 2), Some(100));
    }

    #[test]
    fn an_answer_that_comes_long_after_the_last_one_stands_for_itself() {
        let pace = Pace::default();
        (0..20).for_each(|_| pace.saw(8_000, 0));
        pace.saw(100, 2 * ASKED_AGAIN_MS);
        assert_eq!(pace.first_byte_us(2 * ASKED_AGAIN_MS), Some(100));
    }

    #[test]
    fn the_longer_nothing_was_seen_the_more_counts_what_is_seen_now() {
        let after = |pause_ms| {
            let pace = Pace::default();
            (0..8).for_each(|_| pace.saw(9_000, 0));
            pace.saw(0, pause_ms);
            pace.first_byte_us(pause_ms)
        };
        assert_eq!(after(1), Some(8_000));
        assert_eq!(after(HALF_LIFE_MS), Some(7_200));
        assert_eq!(after(4 * HALF_LIFE_MS), Some(1));
    }

    #[test]
    fn a_clock_that_wraps_and_times_beyond_an_hour_do_no_harm() {
        let pace = Pace::default();
        pace.asked(7);
        pace.saw(u64::MAX, AT_MASK);
        assert_eq!(pace.first_byte_us(AT_MASK + 1), Some(u32::MAX));
        (0..100).for_each(|_| pace.saw(u64::MAX, AT_MASK));
        assert_eq!(pace.first_byte_us(AT_MASK), Some(u32::MAX));
        pace.saw(0, 1 << 33);
        assert!(pace.first_byte_us(1 << 33).is_some());
    }
}
