//! Prompts that begin alike, at replicas that remember some beginnings.

use std::collections::VecDeque;

use proto_shared::routing::Strategy;

use super::super::{Plan, hash};
use super::{Given, arms, numbers};

const REPLICAS: usize = 8;
const PREFIXES: usize = 4_000;
const REMEMBERED: usize = 250;
const REQUESTS: usize = 60_000;
/// Requests that are under way at once.
const UNDER_WAY: usize = 160;

/// The beginnings that a cache holds, the oldest first to go.
struct Cache(VecDeque<usize>, usize);

impl Cache {
    fn asked(&mut self, prefix: usize) -> bool {
        let at = self.0.iter().rposition(|held| *held == prefix);
        if let Some(at) = at {
            self.0.remove(at);
        } else if self.0.len() == self.1 {
            self.0.pop_front();
        }
        self.0.push_back(prefix);
        at.is_some()
    }
}

/// Beginnings by Zipf's law: the `n`th is asked for `n` times less than the first.
fn zipf() -> impl FnMut() -> usize {
    let mut sums = vec![0.0];
    for n in 1..=PREFIXES {
        sums.push(sums[n - 1] + 1.0 / n as f64);
    }
    let mut next = numbers(17);
    move || {
        let at = hash::unit(next()) * sums[PREFIXES];
        sums.partition_point(|sum| *sum <= at) - 1
    }
}

/// Hits in percent, and the highest load over the mean that anybody had when it was given a request.
fn run(mut pick: impl FnMut(&Given, u64) -> usize) -> (f64, f64) {
    let mut caches: Vec<_> = (0..REPLICAS).map(|_| Cache(VecDeque::new(), REMEMBERED)).collect();
    let (mut fleet, mut under_way) = (Given::idle(REPLICAS), VecDeque::new());
    let (mut prefix, mut hits, mut highest) = (zipf(), 0, 0f64);
    for n in 0..REQUESTS {
        let prefix = prefix();
        let index = pick(&fleet, hash::mix(prefix as u64 + 1));
        fleet.0[index].1.in_flight += 1;
        under_way.push_back(index);
        if n >= UNDER_WAY {
            let mean = under_way.len() as f64 / REPLICAS as f64;
            highest = highest.max(f64::from(fleet.0[index].1.in_flight) / mean);
            let done = under_way.pop_front().unwrap();
            fleet.0[done].1.in_flight -= 1;
        }
        hits += usize::from(caches[index].asked(prefix) && n > REQUESTS / 4);
    }
    (hits as f64 * 100.0 / (REQUESTS * 3 / 4) as f64, highest)
}

/// One cache as large as all of them together.
fn ideal() -> f64 {
    let (mut cache, mut prefix, mut hits) = (Cache(VecDeque::new(), REMEMBERED * REPLICAS), zipf(), 0);
    for n in 0..REQUESTS {
        hits += usize::from(cache.asked(prefix()) && n > REQUESTS / 4);
    }
    hits as f64 * 100.0 / (REQUESTS * 3 / 4) as f64
}

#[test]
fn prompts_find_who_remembers_them_and_nobody_is_overloaded_by_it() {
    let (best, plan, mut random) =
        (ideal(), Plan::new(Strategy::PrefixAffinity, &arms(REPLICAS)), numbers(2));
    let all = plan.candidates();
    let (hits, highest) = run(|fleet, key| plan.pick(all, fleet, Some(key), &mut random).unwrap());
    let (chance, _) = run(|fleet, _| plan.pick(all, fleet, None, &mut random).unwrap());
    println!(
        "hits {hits:.1} %, at best {best:.1} %, by load alone {chance:.1} %; load {highest:.3} of the mean"
    );
    assert!(hits >= 0.8 * best, "{hits} %, {best} % at best");
    assert!(hits > chance);
    assert!(highest <= 1.25, "{highest}");
}

#[test]
fn when_one_leaves_only_its_keys_move() {
    let plan = Plan::new(Strategy::PrefixAffinity, &arms(REPLICAS));
    let (all, idle) = (plan.candidates(), Given::idle(REPLICAS));
    let mut rest = all.clone();
    rest.remove(3);
    let (mut moved, keys) = (0, 20_000);
    for key in 0..keys {
        let key = Some(hash::mix(key));
        let (before, after) = (plan.pick(all, &idle, key, || 0), plan.pick(&rest, &idle, key, || 0));
        assert!(before == after || before == Some(3));
        moved += usize::from(before != after);
    }
    // One in eight, within six standard deviations.
    assert!(moved.abs_diff(keys as usize / REPLICAS) < 290, "{moved} of {keys}");
}

#[test]
fn a_replica_that_comes_back_under_another_number_has_its_keys_again() {
    let (before, mut turned) = (arms(4), arms(4));
    turned.reverse();
    let (before, after) =
        (Plan::new(Strategy::PrefixAffinity, &before), Plan::new(Strategy::PrefixAffinity, &turned));
    for key in 0..1_000 {
        let at = |plan: &Plan| plan.pick(plan.candidates(), &Given::idle(4), Some(hash::mix(key)), || 0);
        assert_eq!(at(&before), at(&after).map(|index| 3 - index));
    }
}
