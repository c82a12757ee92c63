//! Ways to take one of several candidates that are all as good as each other, but for their load.

use std::num::NonZeroU64;

use super::hash::{GOLDEN, below, pair, unit};
use super::set::Set;
use super::{Fleet, Work};

/// Times below this are all the same: they are the network's, and say nothing about how fast a model is.
const FIRST_BYTE_LEAST_US: u32 = 20_000;

/// How far above the mean of all the load of a candidate may be that a key leads to: 5/4.
const BOUND: (u64, u64) = (5, 4);

/// One of `from`: of two at random, the one of the lower rank, such as its requests in flight. A single one costs neither a
/// random number nor a look at its load.
pub fn choose(from: &Set, random: impl FnOnce() -> u64, rank: impl Fn(usize) -> usize) -> Option<usize> {
    two_choices(from, random, |one, other| rank(other) < rank(one))
}

/// Nearly as even as looking at all of them, and several gateways that don't know of each other don't all run
/// to the same one. Of equals it is the first, which is any of them.
fn two_choices(
    from: &Set,
    random: impl FnOnce() -> u64,
    is_better: impl FnOnce(usize, usize) -> bool,
) -> Option<usize> {
    let count = from.count();
    if count < 2 {
        return from.nth(0);
    }
    let random = random();
    let one = below(count, random as u32);
    let other = below(count - 1, (random >> 32) as u32);
    let (one, other) = (from.nth(one)?, from.nth(if other < one { other } else { other + 1 })?);
    Some(if is_better(one, other) { other } else { one })
}

/// The one of two at random that should answer sooner.
pub(super) fn least_busy(from: &Set, fleet: &impl Fleet, random: impl FnOnce() -> u64) -> Option<usize> {
    two_choices(from, random, |one, other| is_less_busy(fleet.work(other), fleet.work(one)))
}

/// Whether a request should begin to be answered sooner at `one`. The time counts twice, because the queue
/// says little below the number of requests that are worked on at once: an idle address that is slow must not
/// look better than a fast one that has much to do and room for more. Where a speed is not known, it is taken to be
/// the other's: a new address gets its share, and not everything at once.
fn is_less_busy(one: Work, other: Work) -> bool {
    match (one.cost(), other.cost()) {
        (Some(one), Some(other)) => one < other,
        _ => one.queue() < other.queue(),
    }
}

impl Work {
    /// Requests before whom a new one would be answered, and itself.
    pub fn queue(self) -> u128 {
        u128::from(self.in_flight) + u128::from(self.waiting) + 1
    }

    /// The queue times the square of the time to the first byte, in µs².
    pub fn cost(self) -> Option<u128> {
        let us = u128::from(self.first_byte_us?.max(FIRST_BYTE_LEAST_US));
        Some(self.queue() * us.pow(2))
    }
}

/// Each in turn; `turn` counts the requests.
pub(super) fn in_turn(from: &Set, turn: u64) -> Option<usize> {
    let count = u64::from(from.count());
    from.nth((turn % NonZeroU64::new(count)?) as u32)
}

/// Where a key belongs: the candidate whose number with the key is the highest, so that only the keys of one
/// that leaves move. Passed over is who has a quarter more to do than the mean; then the next highest has it.
pub(super) fn affine(
    from: &Set,
    fleet: &impl Fleet,
    hash_of: impl Fn(usize) -> u64,
    key: u64,
) -> Option<usize> {
    let load = |index: usize| {
        let work = fleet.work(index);
        u64::from(work.in_flight) + u64::from(work.waiting)
    };
    let (mut total, mut count) = (1u64, 0u64);
    for index in from.iter() {
        total += load(index);
        count += 1;
    }
    // At least the mean, rounded up: somebody is always below that.
    let room = (total * BOUND.0 / NonZeroU64::new(count * BOUND.1)?).max(total.div_ceil(count));
    let (mut best, mut with_room) = (None, None);
    for index in from.iter() {
        let found = Some((pair(key, hash_of(index)), index));
        best = best.max(found);
        // Of few it is looked at again.
        if found > with_room && load(index) < room {
            with_room = found;
        }
    }
    // Loads change meanwhile; then it is whose the key is.
    with_room.or(best).map(|(_, index)| index)
}

/// How high an arm stands for a key. Of several arms each is the highest for its share of the keys, and a
/// changed weight moves only keys to or from arms whose part has changed.
pub(super) fn rank(key: u64, arm: u64, weight: u32) -> f64 {
    f64::from(weight) / -unit(pair(key, arm)).ln()
}

/// Where the `turn`th request without a key goes: shares are met closely over any run of requests, because
/// multiples of the golden ratio leave no gap and meet no period.
pub(super) fn spread(turn: u64, total: u64) -> u64 {
    ((u128::from(turn.wrapping_mul(GOLDEN)) * u128::from(total)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Work = Work { in_flight: 0, waiting: 0, first_byte_us: Some(100_000) };

    #[test]
    fn who_should_answer_sooner_is_less_busy() {
        let slow = Work { first_byte_us: Some(200_000), ..IDLE };
        let with = |in_flight, waiting| Work { in_flight, waiting, ..IDLE };
        assert!(is_less_busy(with(2, 0), slow) && !is_less_busy(with(3, 0), slow));
        assert!(is_less_busy(slow, with(3, 2)), "what waits elsewhere counts");
        assert!(!is_less_busy(IDLE, IDLE));
        let near = |us| Work { first_byte_us: Some(us), ..IDLE };
        assert!(!is_less_busy(near(100), near(9_000)), "differences of the network don't count");
    }

    #[test]
    fn who_is_not_known_is_as_fast_as_the_other() {
        let new = |in_flight| Work { in_flight, waiting: 0, first_byte_us: None };
        let known = Work { in_flight: 2, ..IDLE };
        assert!(is_less_busy(new(1), known) && !is_less_busy(new(2), known) && is_less_busy(known, new(3)));
    }

    #[test]
    fn a_spread_is_close_to_its_shares_over_every_run() {
        for begin in [0u64, 7, 1 << 40, u64::MAX - 100] {
            for run in [10u64, 100, 1_000] {
                let first =
                    (0..run).filter(|turn| spread(begin.wrapping_add(*turn), 100) < 90).count() as u64;
                assert!(first.abs_diff(run * 9 / 10) <= 3, "{begin} {run}: {first}");
            }
        }
    }
}
