//! A model's strategy over its candidates: built with a table, asked by every request.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use proto_shared::routing::{Strategy, WEIGHT_DEFAULT};

use super::set::{CANDIDATES_MAX, Set};
use super::strategy::{affine, in_turn, least_busy, rank, spread};
use super::{Fleet, Standing, hash};

/// One provider's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// `workspace/provider`.
    pub label: Box<str>,
    /// Its addresses, in the order in which they are candidates.
    pub addresses: Vec<Box<str>>,
    pub weight: u32,
    pub tier: u32,
}

impl Arm {
    /// One that nothing was said about, at its place in the list.
    pub fn listed(label: &str, addresses: &[&str], place: usize) -> Self {
        Self {
            label: label.into(),
            addresses: addresses.iter().map(|url| (*url).into()).collect(),
            weight: WEIGHT_DEFAULT,
            tier: place as u32,
        }
    }
}

#[derive(Debug)]
struct BuiltArm {
    hash: u64,
    weight: u32,
    tier: u32,
    candidates: Range<usize>,
}

/// Candidates are numbered through: the addresses of the first arm, then those of the next.
#[derive(Debug)]
pub struct Plan {
    strategy: Strategy,
    arms: Box<[BuiltArm]>,
    /// By tier.
    order: Box<[usize]>,
    hashes: Box<[u64]>,
    /// The arm of each candidate, and its place there.
    seats: Box<[(u16, u16)]>,
    /// Those that may be chosen.
    candidates: Set,
    turn: AtomicU64,
}

impl Plan {
    /// Candidates beyond [`CANDIDATES_MAX`] are never chosen.
    pub fn new(strategy: Strategy, arms: &[Arm]) -> Self {
        let (mut hashes, mut seats) = (Vec::new(), Vec::new());
        let built = arms.iter().enumerate().map(|(at, arm)| {
            let first = hashes.len();
            let own = hash::bytes(arm.label.as_bytes());
            for (place, url) in arm.addresses.iter().enumerate() {
                hashes.push(hash::pair(own, hash::bytes(url.as_bytes())));
                seats.push((at as u16, place as u16));
            }
            BuiltArm { hash: own, weight: arm.weight, tier: arm.tier, candidates: first..hashes.len() }
        });
        let built: Box<[_]> = built.collect();
        hashes.truncate(CANDIDATES_MAX);
        seats.truncate(CANDIDATES_MAX);
        let mut order: Vec<usize> = (0..built.len()).collect();
        order.sort_by_key(|arm| built.get(*arm).map(|arm| arm.tier));
        Self {
            strategy,
            candidates: candidates(strategy, &built, hashes.len()),
            arms: built,
            order: order.into(),
            hashes: hashes.into(),
            seats: seats.into(),
            turn: AtomicU64::new(0),
        }
    }

    /// The arm of a candidate, and its place among the addresses there.
    pub fn seat(&self, candidate: usize) -> Option<(usize, usize)> {
        self.seats.get(candidate).map(|(arm, place)| (usize::from(*arm), usize::from(*place)))
    }

    /// All addresses of one arm.
    pub fn arm(&self, arm: usize) -> Range<usize> {
        self.arms.get(arm).map(|arm| arm.candidates.clone()).unwrap_or_default()
    }

    /// The weight of an arm, and its tier.
    pub fn share(&self, arm: usize) -> Option<(u32, u32)> {
        self.arms.get(arm).map(|arm| (arm.weight, arm.tier))
    }

    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// All candidates that may be chosen.
    pub fn candidates(&self) -> &Set {
        &self.candidates
    }

    /// Where a request goes that was not yet sent to `untried`, a part of [`Self::candidates`].
    pub fn pick(
        &self,
        untried: &Set,
        fleet: &impl Fleet,
        key: Option<u64>,
        random: impl FnOnce() -> u64,
    ) -> Option<usize> {
        if untried.count() < 2 {
            return untried.nth(0);
        }
        match self.strategy {
            Strategy::LeastBusy => least_busy(&usable(untried, fleet), fleet, random),
            Strategy::RoundRobin => in_turn(&usable(untried, fleet), self.turn()),
            Strategy::Priority => least_busy(&self.first_tier(untried, fleet), fleet, random),
            Strategy::Weighted => least_busy(&self.arm_of(untried, fleet, key), fleet, random),
            Strategy::PrefixAffinity => {
                let usable = usable(untried, fleet);
                let hash_of = |index: usize| self.hashes.get(index).copied().unwrap_or_default();
                match key {
                    Some(key) => affine(&usable, fleet, hash_of, key),
                    None => least_busy(&usable, fleet, random),
                }
            }
        }
    }

    fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The usable ones of the lowest tier that has some. A tier that is full keeps its requests: the next one may
    /// cost more.
    fn first_tier(&self, untried: &Set, fleet: &impl Fleet) -> Set {
        for worst in [Standing::Full, Standing::Busy, Standing::Out] {
            let left = untried.filter(|index| fleet.standing(index) <= worst);
            let arms = || self.order.iter().filter_map(|arm| self.arms.get(*arm));
            let Some(first) = arms().find(|arm| left.has_any(&arm.candidates)) else { continue };
            let later = arms().filter(|arm| arm.tier != first.tier);
            return usable(&later.fold(left, |left, arm| left.without(&arm.candidates)), fleet);
        }
        Set::default()
    }

    /// The usable ones of the arm that the key, or the turn, leads to. An arm that is busy keeps its keys: a
    /// split says who sees which answers, and that must not depend on load.
    fn arm_of(&self, untried: &Set, fleet: &impl Fleet, key: Option<u64>) -> Set {
        let working = untried.filter(|index| fleet.standing(index) != Standing::Out);
        let left = if working.is_empty() { untried } else { &working };
        let arms = || self.arms.iter().filter(|arm| arm.weight > 0 && left.has_any(&arm.candidates));
        let chosen = match key {
            Some(key) => arms().max_by(|one, other| {
                rank(key, one.hash, one.weight).total_cmp(&rank(key, other.hash, other.weight))
            }),
            None => {
                let mut at = spread(self.turn(), arms().map(|arm| u64::from(arm.weight)).sum());
                arms().find(|arm| match at.checked_sub(u64::from(arm.weight)) {
                    Some(rest) => {
                        at = rest;
                        false
                    }
                    None => true,
                })
            }
        };
        chosen.map(|arm| usable(&left.clone().within(&arm.candidates), fleet)).unwrap_or_default()
    }
}

/// Those that have a share, of so many.
fn candidates(strategy: Strategy, arms: &[BuiltArm], count: usize) -> Set {
    let resting = arms.iter().filter(|arm| strategy == Strategy::Weighted && arm.weight == 0);
    resting.fold(Set::all(count), |left, arm| left.without(&arm.candidates))
}

/// Those that are in the best standing that any has.
fn usable(untried: &Set, fleet: &impl Fleet) -> Set {
    let mut best = Standing::Out;
    let mut usable = untried.filter(|_| false);
    for index in untried.iter() {
        let standing = fleet.standing(index);
        if standing < best {
            best = standing;
            usable = untried.filter(|_| false);
        }
        if standing == best {
            usable.insert(index);
        }
    }
    usable
}
