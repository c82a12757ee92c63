//! One replica takes five times as long as the others.

use proto_shared::routing::Strategy;

use super::super::Plan;
use super::fleet::{MEAN_US, Replica, Simulation, arrivals};
use super::{arms, numbers};

const REPLICAS: usize = 8;
const SLOTS: usize = 4;
const REQUESTS: usize = 40_000;

fn fleet() -> Simulation {
    let slowness = |n| if n == 0 { 5.0 } else { 1.0 };
    Simulation::new((0..REPLICAS).map(|n| Replica::new(SLOTS, slowness(n))).collect())
}

/// The 99th percentile of the time to the first byte, and the slow replica's share.
fn run(load: f64, mut pick: impl FnMut(&Simulation, u64) -> usize) -> (u64, f64) {
    let (mut fleet, mut slow) = (fleet(), 0);
    let capacity_per_second =
        fleet.replicas.iter().map(|replica| replica.slots as f64 / replica.slowness).sum::<f64>() * 1e6
            / MEAN_US as f64;
    for (at_us, size_us) in arrivals(REQUESTS, capacity_per_second * load, 11) {
        fleet.run_until(at_us);
        let index = pick(&fleet, size_us);
        slow += usize::from(index == 0);
        fleet.send(index, size_us);
    }
    fleet.run_until(u64::MAX);
    assert_eq!(fleet.first_bytes_us.len(), REQUESTS);
    (fleet.percentile_us(99), slow as f64 * 100.0 / REQUESTS as f64)
}

fn ideal(fleet: &Simulation, size_us: u64) -> usize {
    let expected = |at: &usize| fleet.expected_us(*at, size_us);
    (0..REPLICAS).min_by(|one, other| expected(one).total_cmp(&expected(other))).unwrap()
}

fn by(strategy: Strategy) -> impl FnMut(&Simulation, u64) -> usize {
    let (plan, mut random) = (Plan::new(strategy, &arms(REPLICAS)), numbers(5));
    move |fleet, _| plan.pick(plan.candidates(), fleet, None, &mut random).unwrap()
}

#[test]
fn the_slowest_percent_wait_little_longer_than_if_everything_were_known() {
    for load in [0.3, 0.5, 0.7] {
        let (best, _) = run(load, ideal);
        let (ours, share) = run(load, by(Strategy::LeastBusy));
        println!("load {load}: p99 {best} us at best, {ours} us here; the slow one got {share:.2} %");
        assert!(ours as f64 <= 1.3 * best as f64, "load {load}: {ours} us, {best} us at best");
    }
}

#[test]
fn taking_turns_would_be_far_worse() {
    let ((ours, _), (turns, _)) = (run(0.5, by(Strategy::LeastBusy)), run(0.5, by(Strategy::RoundRobin)));
    assert!(ours * 2 < turns, "{ours} us, {turns} us in turn");
}

#[test]
fn a_replica_that_became_fast_is_found_again() {
    let mut fleet = fleet();
    let mut pick = by(Strategy::LeastBusy);
    let (mut before, mut after) = (0, 0);
    for (n, (at_us, size_us)) in arrivals(30_000, 70.0, 3).into_iter().enumerate() {
        fleet.run_until(at_us);
        if n == 5_000 {
            fleet.replicas[0].slowness = 1.0;
        }
        let index = pick(&fleet, size_us);
        before += usize::from(index == 0 && n < 5_000);
        after += usize::from(index == 0 && n >= 25_000);
        fleet.send(index, size_us);
    }
    // A fair share of the last 5,000 is 625.
    assert!(before < 100 && after > 450, "{before} before, {after} after");
}
