//! How many requests an address works on without making them wait, learned from the time to the first byte.
//!
//! An address answers as soon as ever while it has room; beyond that, requests wait in it and the time grows in
//! proportion. So of `n` requests about `n × (1 − least time ÷ time now)` wait. The limit rises while almost none
//! do, and comes down to what is worked on when many do. Every now and then it is lowered for a moment, to see
//! the least time anew: else an address that has become slower would look overloaded for ever.
//!
//! What must stay true: the limit only rises where it was used up, and an address that says it is busy is
//! believed, once a second at most, because all who are there hear it at once.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an address can take before anything is known: found to be too low soon, and too high never.
pub const LIMIT_INITIAL: u32 = 8;
pub const LIMIT_MIN: u32 = 1;
pub const LIMIT_MAX: u32 = 10_000;
/// How long one is left alone that says it is busy, and not for how long.
pub const REST_MS_DEFAULT: u64 = 1_000;
/// The longest that one is left alone, whatever it asks for.
pub const REST_MAX_MS: u64 = 60_000;
/// The limit is not lowered twice within this because an address says it is busy.
pub const LOWERED_AGAIN_MS: u64 = 1_000;

/// Fewer than this wait: the limit may rise fast.
const WAITING_NONE: f64 = 1.0;
/// Fewer than this wait: it may rise. A few that wait keep the address at work between arrivals.
const WAITING_FEW: f64 = 3.0;
/// More than this: it comes down.
const WAITING_MANY: f64 = 5.0;
/// Answers that one step is made from: as many as are under way, within these.
const SAMPLES_MIN: u64 = 16;
const SAMPLES_MAX: u64 = 512;
/// Steps between two looks at the least time.
const STEPS_BETWEEN_LOOKS: u32 = 50;
/// What the limit is lowered by for a look, in parts of four.
const LOOK_PARTS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    None,
    /// Requests from before the limit was lowered still end.
    Waits,
    Measures,
}

/// What is known of an address, as one number: 16 bits of limit, 32 of least time, 14 of steps, two of look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Estimate {
    limit: u32,
    /// Zero: not known.
    least_us: u32,
    steps: u32,
    look: Look,
}

impl Estimate {
    fn unpack(word: u64) -> Self {
        Self {
            // Zero: nothing was ever stored.
            limit: match word as u16 {
                0 => LIMIT_INITIAL,
                limit => u32::from(limit),
            },
            least_us: (word >> 16) as u32,
            steps: (word >> 48) as u32 & 0x3fff,
            look: match word >> 62 {
                0 => Look::None,
                1 => Look::Waits,
                _ => Look::Measures,
            },
        }
    }

    fn pack(self) -> u64 {
        let limit = u64::from(self.limit.clamp(LIMIT_MIN, LIMIT_MAX));
        u64::from(self.least_us) << 16
            | u64::from(self.steps.min(0x3fff)) << 48
            | (self.look as u64) << 62
            | limit
    }

    /// How many answers its next step is made from.
    fn samples_wanted(self) -> u64 {
        u64::from(self.limit).clamp(SAMPLES_MIN, SAMPLES_MAX)
    }

    /// After answers that took so long on average, with so many requests there.
    fn after(self, us: u32, in_flight: f64) -> Self {
        match self.look {
            Look::Waits => Self { look: Look::Measures, ..self },
            Look::Measures => Self {
                look: Look::None,
                steps: 0,
                least_us: us.max(1),
                limit: self.limit.saturating_mul(4).div_ceil(LOOK_PARTS),
            },
            Look::None => self.adjusted(us, in_flight),
        }
    }

    fn adjusted(self, us: u32, in_flight: f64) -> Self {
        let least_us = match self.least_us {
            0 => us,
            // Part of the way: one lucky run is not the least time.
            least if us < least => least - (least - us) / 4,
            least => least,
        };
        let worked_on = in_flight * f64::from(least_us) / f64::from(us.max(1)).max(f64::from(least_us));
        let waiting = in_flight - worked_on;
        let used_up = in_flight * 4.0 >= f64::from(self.limit) * 3.0;
        let limit = if waiting > WAITING_MANY {
            // Not below half at once: one bad run is not the end.
            ((worked_on + WAITING_MANY) as u32).max(self.limit / 2).min(self.limit)
        } else if !used_up || waiting > WAITING_FEW {
            self.limit
        } else if waiting < WAITING_NONE {
            self.limit + self.limit / 8 + 1
        } else {
            self.limit + 1
        };
        let next = Self { limit, least_us: least_us.max(1), steps: self.steps + 1, look: Look::None };
        let looks = next.steps >= STEPS_BETWEEN_LOOKS && next.limit >= 4;
        if looks { Self { limit: next.limit * LOOK_PARTS / 4, look: Look::Waits, ..next } } else { next }
    }

    fn lowered(self) -> Self {
        Self { limit: (self.limit * 3 / 4).max(LIMIT_MIN), look: Look::None, ..self }
    }
}

/// The limit of one address, shared.
#[derive(Debug, Default)]
pub struct Concurrency {
    estimate: AtomicU64,
    /// 48 bits of time, 16 of answers.
    samples: AtomicU64,
    /// Requests that were there, over the same answers.
    there: AtomicU64,
    rests_until_ms: AtomicU64,
    lowered_ms: AtomicU64,
}

const SUM_BITS: u32 = 48;

impl Concurrency {
    pub fn limit(&self) -> u32 {
        Estimate::unpack(self.estimate.load(Ordering::Relaxed)).limit
    }

    /// Whether it has asked to be left alone now.
    pub fn rests(&self, now_ms: u64) -> bool {
        now_ms < self.rests_until_ms.load(Ordering::Relaxed)
    }

    /// An answer began `us` after its request had left, while so many requests were there.
    pub fn saw(&self, us: u64, in_flight: u32) {
        let us = us.clamp(1, u64::from(u32::MAX));
        self.there.fetch_add(u64::from(in_flight), Ordering::Relaxed);
        let before = self.samples.fetch_add(us | 1 << SUM_BITS, Ordering::Relaxed);
        let estimate = Estimate::unpack(self.estimate.load(Ordering::Relaxed));
        if (before >> SUM_BITS) + 1 >= estimate.samples_wanted() {
            self.step();
        }
    }

    /// Whoever takes the samples makes the step; who finds none left has been overtaken.
    fn step(&self) {
        let word = self.samples.swap(0, Ordering::Relaxed);
        let there = self.there.swap(0, Ordering::Relaxed);
        let count = word >> SUM_BITS;
        if count < SAMPLES_MIN / 2 {
            return;
        }
        let us = (word & ((1 << SUM_BITS) - 1)) / count;
        let step = |word| {
            let us = u32::try_from(us).unwrap_or(u32::MAX);
            Some(Estimate::unpack(word).after(us, there as f64 / count as f64).pack())
        };
        let _ = self.estimate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// It said that it has too much to do, and perhaps for how long.
    pub fn busy(&self, retry_after_ms: Option<u64>, now_ms: u64) {
        let rest_ms = retry_after_ms.unwrap_or(REST_MS_DEFAULT).min(REST_MAX_MS);
        self.rests_until_ms.fetch_max(now_ms.saturating_add(rest_ms), Ordering::Relaxed);
        // Counted from one, so that zero is never.
        let now = now_ms + 1;
        let due = |last: u64| (last == 0 || now >= last + LOWERED_AGAIN_MS).then_some(now);
        if self.lowered_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            let lower = |word| Some(Estimate::unpack(word).lowered().pack());
            let _ = self.estimate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
        }
    }
}
