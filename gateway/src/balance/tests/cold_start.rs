//! One server compiles its kernels when its first request comes, and is as fast as the others from then on.

use proto_shared::routing::Strategy;

use super::super::Plan;
use super::super::pace::ASKED_AGAIN_MS;
use super::fleet::{Replica, Simulation, arrivals};
use super::{arms, numbers};

const REPLICAS: usize = 4;
const SLOTS: usize = 8;
const COLD_US: u64 = 10_000_000;

/// The share of the cold one, in percent, of what came in each second of a minute.
fn shares(per_second: f64) -> Vec<f64> {
    let mut fleet = Simulation::new((0..REPLICAS).map(|_| Replica::new(SLOTS, 1.0)).collect());
    fleet.replicas[0].warm_up_us = COLD_US;
    let (plan, mut random) = (Plan::new(Strategy::LeastBusy, &arms(REPLICAS)), numbers(9));
    let mut counts = vec![(0u32, 0u32); 60];
    for (at_us, size_us) in arrivals(per_second as usize * 60, per_second, 31) {
        fleet.run_until(at_us);
        let index = plan.pick(plan.candidates(), &fleet, None, &mut random).unwrap();
        if let Some((all, cold)) = counts.get_mut(at_us as usize / 1_000_000) {
            (*all, *cold) = (*all + 1, *cold + u32::from(index == 0));
        }
        fleet.send(index, size_us);
    }
    counts.iter().map(|(all, cold)| f64::from(*cold) * 100.0 / f64::from(*all)).collect()
}

#[test]
fn a_server_whose_first_answer_was_late_soon_has_its_share() {
    for per_second in [10.0, 40.0, 100.0] {
        let shares = shares(per_second);
        let warm_s = (COLD_US / 1_000_000 + ASKED_AGAIN_MS / 1_000) as usize + 2;
        let after = &shares[warm_s..];
        let mean = after.iter().sum::<f64>() / after.len() as f64;
        println!("{per_second}/s: {mean:.1} % from second {warm_s} on; by second {shares:.0?}");
        assert!(mean > 20.0, "{per_second}/s: {mean} %, where 25 % is fair");
    }
}

#[test]
fn while_it_is_cold_nobody_runs_into_it() {
    let cold: f64 = shares(40.0)[1..10].iter().sum::<f64>() / 9.0;
    assert!(cold < 5.0, "{cold} %");
}
