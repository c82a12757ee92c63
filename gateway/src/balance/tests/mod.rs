//! The choice of a candidate, by cases and by simulated fleets.

mod choosing;
mod cold_start;
pub(crate) mod fleet;
mod prefixes;
mod slow_replica;
mod split;

use super::{Fleet, Plan, Standing, Work, hash};

/// Repeatable numbers that are evenly spread.
pub fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(hash::GOLDEN);
        hash::mix(state)
    }
}

/// Candidates as a test wants them.
pub struct Given(pub Vec<(Standing, Work)>);

impl Given {
    pub fn idle(count: usize) -> Self {
        Self(vec![(Standing::Open, Work::default()); count])
    }

    pub fn with(mut self, index: usize, standing: Standing) -> Self {
        self.0[index].0 = standing;
        self
    }
}

impl Fleet for Given {
    fn standing(&self, candidate: usize) -> Standing {
        self.0[candidate].0
    }

    fn work(&self, candidate: usize) -> Work {
        self.0[candidate].1
    }
}

/// So many providers at one address each.
pub fn arms(count: usize) -> Vec<super::Arm> {
    (0..count)
        .map(|n| super::Arm::listed(&format!("default/p{n}"), &[&format!("http://10.0.0.{n}:8000")], n))
        .collect()
}

/// Everyone that is chosen, one after the other, until none is left.
pub fn all_chosen(plan: &Plan, fleet: &impl Fleet, key: Option<u64>, seed: u64) -> Vec<usize> {
    let (mut untried, mut next, mut chosen) = (plan.candidates().clone(), numbers(seed), Vec::new());
    while let Some(index) = plan.pick(&untried, fleet, key, &mut next) {
        untried.remove(index);
        chosen.push(index);
    }
    chosen
}
