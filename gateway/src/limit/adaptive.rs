//! How many requests an address works on without making them wait, learned from the time to the first byte.
//!
//! An address answers as soon as ever while it has room; beyond that, requests wait in it, and all of them do, also
//! those that are soon done. So what the soonest of a few answers took longer than the soonest ever is how long each
//! waited, and of `n` requests about `n × waited ÷ mean time` wait. Long prompts among short ones change the mean
//! alone, and look like no queue. The limit rises while almost none wait, and comes down to what is worked on when
//! many do. Every now and then, and soon after it came down again and again, it is lowered for a moment, to see the
//! least time anew: else an address that has become slower would look overloaded for ever.
//!
//! What must stay true: the limit only rises where it was used up, and an address that says it is busy is
//! believed, once a second at most, because all who are there hear it at once. The limit alone holds nothing back:
//! it begins low and rises slowly. What does is [`Evidence`], and it fades.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::hold::Evidence;
use super::said::{FADES_MS, Said};

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
const WAITING_NONE: f64 = 0.5;
/// Fewer than this wait: it may rise. A few that wait keep the address at work between arrivals.
const WAITING_FEW: f64 = 2.0;
/// More than this: it comes down.
const WAITING_MANY: f64 = 3.5;
/// Answers that one step is made from: as many as are under way, within these.
const SAMPLES_MIN: u64 = 16;
const SAMPLES_MAX: u64 = 512;
/// Steps between two looks at the least time.
const STEPS_BETWEEN_LOOKS: u32 = 50;
/// So many more steps does it count for when the limit comes down: what waits may be no queue at all.
const STEPS_OF_A_FALL: u32 = 12;
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

    fn after(self, seen: Round) -> Self {
        match self.look {
            Look::Waits => Self { look: Look::Measures, ..self },
            Look::Measures => Self {
                look: Look::None,
                steps: 0,
                // What is not held back came all the same: then nothing was lowered, and nothing is learned.
                least_us: if seen.in_flight > f64::from(self.limit) + WAITING_MANY {
                    self.least_us
                } else {
                    seen.soonest_us.max(1)
                },
                limit: self.limit.saturating_mul(4).div_ceil(LOOK_PARTS),
            },
            Look::None => self.adjusted(seen),
        }
    }

    fn adjusted(self, seen: Round) -> Self {
        let in_flight = seen.in_flight;
        let least_us = match self.least_us {
            0 => seen.soonest_us,
            // Part of the way: one lucky run is not the least time.
            least if seen.soonest_us < least => least - (least - seen.soonest_us) / 4,
            least => least,
        };
        let waiting = seen.waiting(least_us);
        let used_up = in_flight * 4.0 >= f64::from(self.limit) * 3.0;
        let comes_down = waiting > WAITING_MANY;
        let limit = if comes_down {
            let bearable = (in_flight - waiting + WAITING_MANY) as u32;
            // Not below half at once: one bad run is not the end. Where more were there than the limit says, it
            // was too low.
            bearable.max(self.limit / 2)
        } else if !used_up || waiting > WAITING_FEW {
            self.limit
        } else if waiting < WAITING_NONE {
            self.limit + self.limit / 8 + 1
        } else {
            self.limit + 1
        };
        let steps = self.steps + if comes_down { STEPS_OF_A_FALL } else { 1 };
        let next = Self { limit, least_us: least_us.max(1), steps, look: Look::None };
        let looks = next.steps >= STEPS_BETWEEN_LOOKS && next.limit >= 4;
        if looks { Self { limit: next.limit * LOOK_PARTS / 4, look: Look::Waits, ..next } } else { next }
    }

    fn lowered(self) -> Self {
        Self { limit: (self.limit * 3 / 4).max(LIMIT_MIN), look: Look::None, ..self }
    }
}

/// The answers that one step is made from.
#[derive(Debug, Clone, Copy)]
struct Round {
    mean_us: u32,
    soonest_us: u32,
    /// How many requests were there, on average.
    in_flight: f64,
}

impl Round {
    /// How many of them waited, when an answer without waiting takes at least so long; zero: not known.
    fn waiting(self, least_us: u32) -> f64 {
        if least_us == 0 {
            return 0.0;
        }
        let waited_us = self.soonest_us.saturating_sub(least_us);
        self.in_flight * f64::from(waited_us) / f64::from(self.mean_us.max(1))
    }
}

/// The limit of one address, shared.
#[derive(Debug, Default)]
pub struct Concurrency {
    estimate: AtomicU64,
    /// The soonest of the samples, as what is missing to the longest that can be told.
    sooner: AtomicU32,
    /// When requests were last seen to wait there, counted from one.
    waited_ms: AtomicU64,
    said: Said,
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
        self.rests_ms(now_ms) > 0
    }

    fn rests_ms(&self, now_ms: u64) -> u64 {
        self.rests_until_ms.load(Ordering::Relaxed).saturating_sub(now_ms)
    }

    /// What of its requests' answers speaks against sending it more.
    pub fn evidence(&self, now_ms: u64) -> Evidence {
        let waited_ms = self.waited_ms.load(Ordering::Relaxed);
        let has_waited = waited_ms > 0 && now_ms < waited_ms + FADES_MS;
        Evidence {
            rests_ms: self.rests_ms(now_ms),
            said: self.said.limit(now_ms),
            reported: None,
            seen: has_waited.then(|| self.limit()),
        }
    }

    /// An answer began `us` after its request had left, while so many requests were there.
    pub fn saw(&self, us: u64, in_flight: u32, now_ms: u64) {
        let us = us.clamp(1, u64::from(u32::MAX));
        self.sooner.fetch_max(u32::MAX - us as u32, Ordering::Relaxed);
        self.there.fetch_add(u64::from(in_flight), Ordering::Relaxed);
        let before = self.samples.fetch_add(us | 1 << SUM_BITS, Ordering::Relaxed);
        let estimate = Estimate::unpack(self.estimate.load(Ordering::Relaxed));
        if (before >> SUM_BITS) + 1 >= estimate.samples_wanted() {
            self.step(now_ms);
        }
    }

    /// Whoever takes the samples makes the step; who finds none left has been overtaken.
    fn step(&self, now_ms: u64) {
        let word = self.samples.swap(0, Ordering::Relaxed);
        let there = self.there.swap(0, Ordering::Relaxed);
        let soonest_us = u32::MAX - self.sooner.swap(0, Ordering::Relaxed);
        let count = word >> SUM_BITS;
        if count < SAMPLES_MIN / 2 {
            return;
        }
        let us = (word & ((1 << SUM_BITS) - 1)) / count;
        let mean_us = u32::try_from(us).unwrap_or(u32::MAX);
        // Whoever added a sample just now may have been late with the others.
        let soonest_us = soonest_us.min(mean_us);
        let seen = Round { mean_us, soonest_us, in_flight: there as f64 / count as f64 };
        let step = |word| Some(Estimate::unpack(word).after(seen).pack());
        if let Ok(before) = self.estimate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            && Estimate::unpack(before).look == Look::None
            && seen.waiting(Estimate::unpack(before).least_us) > WAITING_MANY
        {
            self.waited_ms.store(now_ms + 1, Ordering::Relaxed);
        }
    }

    /// It said that it has too much to do, and perhaps for how long, while it had so many other requests.
    pub fn busy(&self, retry_after_ms: Option<u64>, others: u32, now_ms: u64) {
        self.said.busy(others, now_ms);
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
