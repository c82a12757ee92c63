//! How many attempts there may be beyond the first ones, so that an outage does not double the load.

use std::sync::atomic::{AtomicU64, Ordering};

/// Of the requests of the last seconds, so many may be tried once more.
pub const RETRY_PERCENT: u64 = 20;
/// And so many in any case, or a quiet gateway could never retry.
pub const RETRIES_FLOOR: u64 = 10;
/// So much of what everybody may retry can be spent by one model that has spent its own part.
pub const LENT_PERCENT: u64 = 50;
/// All are counted over at least so long, and less than twice as long.
pub const WINDOW_MS: u64 = 5_000;

/// Events of this window and the one before, as one number: 16 bits of window, twice 24 of counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    window: u16,
    before: u64,
    now: u64,
}

const COUNT_MAX: u64 = (1 << 24) - 1;

impl Count {
    fn unpack(word: u64) -> Self {
        Self { window: (word >> 48) as u16, before: word >> 24 & COUNT_MAX, now: word & COUNT_MAX }
    }

    fn pack(self) -> u64 {
        u64::from(self.window) << 48 | self.before.min(COUNT_MAX) << 24 | self.now.min(COUNT_MAX)
    }

    fn at(self, now_ms: u64) -> Self {
        let window = (now_ms / WINDOW_MS) as u16;
        match window.wrapping_sub(self.window) {
            0 => self,
            1 => Self { window, before: self.now, now: 0 },
            // A look with a clock from just before the window began.
            u16::MAX => self,
            _ => Self { window, before: 0, now: 0 },
        }
    }

    fn plus_one(self) -> Self {
        Self { now: self.now + 1, ..self }
    }

    fn sum(self) -> u64 {
        self.before + self.now
    }
}

/// What one model, or all requests together, may retry. That of a model begins anew with each table: a map that
/// outlives them would be looked up, and everybody's bounds all of them.
#[derive(Debug, Default)]
pub struct RetryBudget {
    requests: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
}

/// What a person may want to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBudget {
    pub allowed: u64,
    pub spent: u64,
    /// Since the gateway began.
    pub refused: u64,
}

impl RetryBudget {
    /// A request came.
    pub fn came(&self, now_ms: u64) {
        let add = |word| Some(Count::unpack(word).at(now_ms).plus_one().pack());
        let _ = self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes one retry out of so much of the budget, if there is one.
    fn try_take(&self, now_ms: u64, percent: u64) -> bool {
        let allowed = self.allowed(now_ms) * percent / 100;
        let take = |word| {
            let count = Count::unpack(word).at(now_ms);
            (count.sum() < allowed).then(|| count.plus_one().pack())
        };
        let is_taken = self.retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if !is_taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    fn is_spent(&self, now_ms: u64) -> bool {
        self.spent(now_ms) >= self.allowed(now_ms)
    }

    fn spent(&self, now_ms: u64) -> u64 {
        Count::unpack(self.retries.load(Ordering::Relaxed)).at(now_ms).sum()
    }

    fn retried(&self, now_ms: u64) {
        let add = |word| Some(Count::unpack(word).at(now_ms).plus_one().pack());
        let _ = self.retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    fn allowed(&self, now_ms: u64) -> u64 {
        let requests = Count::unpack(self.requests.load(Ordering::Relaxed)).at(now_ms).sum();
        (requests * RETRY_PERCENT / 100).max(RETRIES_FLOOR)
    }

    pub fn seen(&self, now_ms: u64) -> SeenBudget {
        SeenBudget {
            allowed: self.allowed(now_ms),
            spent: self.spent(now_ms),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// What a request may be tried again out of. A model that fails has the part of its own requests, and what others left
/// of the first half of everybody's: so it is not held to a fifth while there is plenty, and leaves the others theirs. Of the few that a quiet gateway may retry all have the same part.
#[derive(Debug, Clone, Copy)]
pub struct Retries<'a> {
    pub own: &'a RetryBudget,
    pub all: &'a RetryBudget,
}

impl Retries<'_> {
    /// A request came.
    pub fn came(self, now_ms: u64) {
        self.own.came(now_ms);
        self.all.came(now_ms);
    }

    /// Takes one retry, if there is one.
    pub fn try_retry(self, now_ms: u64) -> bool {
        let percent = if self.own.is_spent(now_ms) { LENT_PERCENT } else { 100 };
        let is_taken = self.all.try_take(now_ms, percent);
        if is_taken {
            self.own.retried(now_ms);
        }
        is_taken
    }
}
