//! How soon an address began to answer lately.
//!
//! What must stay true: what was seen fades. An address that was slow and therefore got nothing is asked again
//! after a while, because nobody else can tell that it has become fast.

use std::sync::atomic::{AtomicU64, Ordering};

/// A new observation counts for one in so many.
const SAMPLES: u64 = 16;
/// After so long without an observation, the average counts half.
const HALF_LIFE_MS: u32 = 10_000;

/// A moving average of times to the first byte; zero: nothing was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Average {
    us: u32,
    /// When it was last added to; wraps, which makes an old one look young and does no harm.
    at_ms: u32,
}

impl Average {
    fn unpack(word: u64) -> Self {
        Self { us: word as u32, at_ms: (word >> 32) as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.at_ms) << 32 | u64::from(self.us)
    }

    fn with(self, us: u32, now_ms: u32) -> Self {
        let us = match self.at(now_ms) {
            0 => us,
            old => ((u64::from(old) * (SAMPLES - 1) + u64::from(us)) / SAMPLES) as u32,
        };
        Self { us: us.max(1), at_ms: now_ms }
    }

    fn at(self, now_ms: u32) -> u32 {
        let halves = now_ms.wrapping_sub(self.at_ms) / HALF_LIFE_MS;
        self.us.checked_shr(halves).unwrap_or(0)
    }
}

/// The average of one address, shared.
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

impl Pace {
    /// An answer began `us` after its request had left.
    pub fn saw(&self, us: u64, now_ms: u64) {
        let us = u32::try_from(us).unwrap_or(u32::MAX);
        let add = |word| Some(Average::unpack(word).with(us, now_ms as u32).pack());
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// The time to expect; none: it is not known, or was forgotten.
    pub fn first_byte_us(&self, now_ms: u64) -> Option<u32> {
        let us = Average::unpack(self.0.load(Ordering::Relaxed)).at(now_ms as u32);
        (us > 0).then_some(us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_what_is_seen() {
        let pace = Pace::default();
        assert_eq!(pace.first_byte_us(5), None);
        pace.saw(1_000, 5);
        assert_eq!(pace.first_byte_us(5), Some(1_000));
        pace.saw(9_000, 6);
        assert_eq!(pace.first_byte_us(6), Some(1_500));
        (7..300).for_each(|now| pace.saw(9_000, now));
        assert!(pace.first_byte_us(300).is_some_and(|us| us.abs_diff(9_000) < 20));
    }

    #[test]
    fn what_was_seen_fades_and_is_forgotten() {
        let pace = Pace::default();
        pace.saw(8_000, 0);
        let after = |half_lives: u64| pace.first_byte_us(half_lives * u64::from(HALF_LIFE_MS));
        assert_eq!((after(1), after(3), after(12), after(100)), (Some(4_000), Some(1_000), Some(1), None));
    }

    #[test]
    fn a_clock_that_wraps_and_times_beyond_an_hour_do_no_harm() {
        let pace = Pace::default();
        pace.saw(u64::MAX, u64::from(u32::MAX));
        assert_eq!(pace.first_byte_us(1 << 32), Some(u32::MAX));
        pace.saw(0, 1 << 33);
        assert!(pace.first_byte_us(1 << 33).is_some());
    }
}
