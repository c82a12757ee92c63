use proptest::prelude::*;
use proto_shared::routing::Strategy;

use super::super::{Arm, CANDIDATES_MAX, Plan, Set, Standing, choose};
use super::{Given, all_chosen, arms, numbers};

const ALL: [Strategy; 5] = [
    Strategy::LeastBusy,
    Strategy::RoundRobin,
    Strategy::Weighted,
    Strategy::Priority,
    Strategy::PrefixAffinity,
];

#[test]
fn a_single_candidate_costs_no_random_number_and_no_look() {
    struct Unasked;
    impl super::Fleet for Unasked {
        fn standing(&self, _: usize) -> Standing {
            panic!("nothing to choose")
        }
        fn work(&self, _: usize) -> super::Work {
            panic!("nothing to compare")
        }
    }
    let unasked = || panic!("nothing to choose");
    for strategy in ALL {
        let plan = Plan::new(strategy, &arms(1));
        assert_eq!(plan.pick(plan.candidates(), &Unasked, Some(7), unasked), Some(0));
    }
    assert_eq!(choose(&Set::all(1), unasked, |_| panic!("nothing to compare")), Some(0));
    assert_eq!(choose(&Set::default(), unasked, |_| 0), None);
}

#[test]
fn equally_busy_addresses_get_equal_shares() {
    for count in [2, 3, 7, 64] {
        let (mut next, mut hits) = (numbers(7), vec![0u32; count]);
        for _ in 0..2_000 * count {
            hits[choose(&Set::all(count), &mut next, |_| 4).unwrap()] += 1;
        }
        // Six standard deviations of a fair share of 2,000.
        assert!(hits.iter().all(|&hits| hits.abs_diff(2_000) < 270), "{count}: {hits:?}");
    }
}

#[test]
fn the_busier_of_two_gets_nothing_and_the_busiest_of_many_neither() {
    let mut next = numbers(7);
    for _ in 0..1_000 {
        assert_eq!(choose(&Set::all(2), &mut next, |index| [5, 4][index]), Some(1));
        assert_ne!(choose(&Set::all(5), &mut next, |index| [1, 2, 3, 4, 9][index]), Some(4));
    }
}

#[test]
fn load_stays_even_where_chance_alone_would_not_keep_it() {
    let (mut next, mut in_flight) = (numbers(7), [0usize; 10]);
    for _ in 0..10_000 {
        let index = choose(&Set::all(10), &mut next, |index| in_flight[index]).unwrap();
        in_flight[index] += 1;
    }
    let (least, most) = (in_flight.iter().min().unwrap(), in_flight.iter().max().unwrap());
    assert!(most - least <= 8, "{in_flight:?}");
}

#[test]
fn in_turn_means_that_all_get_the_same() {
    let plan = Plan::new(Strategy::RoundRobin, &arms(5));
    let mut hits = [0; 5];
    for _ in 0..500 {
        hits[plan.pick(plan.candidates(), &Given::idle(5), None, || 0).unwrap()] += 1;
    }
    assert_eq!(hits, [100; 5]);
}

#[test]
fn a_tier_is_used_when_the_one_before_has_nobody_left() {
    let mut arms = arms(4);
    for (arm, tier) in arms.iter_mut().zip([2, 1, 1, 9]) {
        arm.tier = tier;
    }
    let plan = Plan::new(Strategy::Priority, &arms);
    for seed in 0..20 {
        let chosen = all_chosen(&plan, &Given::idle(4), None, seed);
        assert!(matches!(chosen[..], [1, 2, 0, 3] | [2, 1, 0, 3]), "{chosen:?}");
        let full = Given::idle(4).with(1, Standing::Full).with(2, Standing::Full);
        assert_eq!(all_chosen(&plan, &full, None, seed)[2..], [0, 3], "a full tier keeps its requests");
        let one_out = Given::idle(4).with(1, Standing::Out).with(0, Standing::Busy);
        assert_eq!(all_chosen(&plan, &one_out, None, seed), [2, 3, 0, 1]);
    }
}

#[test]
fn the_order_of_the_list_holds_where_nothing_else_was_said() {
    let plan = Plan::new(Strategy::Priority, &arms(4));
    assert_eq!(all_chosen(&plan, &Given::idle(4), None, 3), [0, 1, 2, 3]);
}

#[test]
fn who_is_out_or_busy_comes_after_the_others_and_nobody_is_refused() {
    for strategy in ALL {
        let plan = Plan::new(strategy, &arms(4));
        let fleet = Given::idle(4).with(0, Standing::Out).with(1, Standing::Busy);
        for seed in 0..50 {
            for key in [None, Some(seed)] {
                let chosen = all_chosen(&plan, &fleet, key, seed);
                let place = |index| chosen.iter().position(|at| *at == index).unwrap();
                assert_eq!(place(0), 3, "{strategy:?}: {chosen:?}");
                assert!(strategy == Strategy::Weighted || place(1) == 2, "{strategy:?}: {chosen:?}");
            }
        }
        let all_out = (0..4).fold(Given::idle(4), |fleet, index| fleet.with(index, Standing::Out));
        assert_eq!(all_chosen(&plan, &all_out, Some(1), 1).len(), 4);
    }
}

/// So many providers at 60 addresses each.
fn large(arms: usize) -> Vec<Arm> {
    let urls: Vec<_> = (0..60).map(|n| format!("http://10.0.0.{n}")).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    (0..arms).map(|n| Arm::listed(&format!("default/p{n}"), &urls, n % 3)).collect()
}

#[test]
fn candidates_beyond_the_bound_are_left_out() {
    for strategy in ALL {
        let plan = Plan::new(strategy, &large(CANDIDATES_MAX / 60 + 1));
        assert_eq!(plan.candidates().count() as usize, CANDIDATES_MAX);
        let last = CANDIDATES_MAX - 1;
        assert!(plan.seat(last).is_some() && plan.seat(last + 1).is_none());
        let fleet =
            (0..last).fold(Given::idle(CANDIDATES_MAX), |fleet, index| fleet.with(index, Standing::Out));
        assert_eq!(plan.pick(plan.candidates(), &fleet, Some(4), || 4), Some(last), "{strategy:?}");
    }
}

#[test]
fn of_hundreds_each_is_chosen_once_and_all_as_often_as_the_others() {
    const COUNT: usize = 300;
    for strategy in ALL {
        let plan = Plan::new(strategy, &large(COUNT / 60));
        let mut chosen = all_chosen(&plan, &Given::idle(COUNT), Some(4), 4);
        assert_eq!(chosen.len(), COUNT, "{strategy:?}");
        let first_tier = |index: &usize| (index / 60).is_multiple_of(3);
        let place = chosen.iter().position(|index| !first_tier(index)).unwrap();
        assert!(strategy != Strategy::Priority || place == 120, "{place}");
        chosen.sort_unstable();
        assert!(chosen.into_iter().eq(0..COUNT), "{strategy:?}");

        let (mut next, mut hits) = (numbers(7), vec![0u32; COUNT]);
        for n in 0..50 * COUNT as u64 {
            let key = (strategy == Strategy::PrefixAffinity).then_some(n);
            hits[plan.pick(plan.candidates(), &Given::idle(COUNT), key, &mut next).unwrap()] += 1;
        }
        let (share, of) = if strategy == Strategy::Priority { (125, 120) } else { (50, COUNT) };
        let hit: Vec<_> = hits.into_iter().filter(|hits| *hits > 0).collect();
        // Six standard deviations.
        let slack = 6.0 * f64::from(share).sqrt();
        assert_eq!(hit.len(), of, "{strategy:?}");
        assert!(hit.iter().all(|hits| f64::from(hits.abs_diff(share)) < slack), "{strategy:?}: {hit:?}");
    }
}

proptest! {
    #[test]
    fn each_is_chosen_once_until_none_is_left(
        strategy in prop::sample::select(ALL.to_vec()),
        seed: u64,
        key: Option<u64>,
        given in prop::collection::vec((0..4u8, 0..9u32, prop::option::of(1..90u32)), 0..9),
        weights in prop::collection::vec(0..4u32, 9),
    ) {
        let mut arms = arms(given.len());
        arms.iter_mut().zip(&weights).for_each(|(arm, weight)| arm.weight = *weight);
        let standing = |n| [Standing::Open, Standing::Full, Standing::Busy, Standing::Out][usize::from(n)];
        let fleet = Given(given.iter().map(|(n, in_flight, first_byte_us)| {
            (standing(*n), super::Work { in_flight: *in_flight, waiting: 0, first_byte_us: *first_byte_us })
        }).collect());
        let plan = Plan::new(strategy, &arms);
        let mut chosen = all_chosen(&plan, &fleet, key, seed);
        chosen.sort_unstable();
        let resting = |index: &usize| strategy == Strategy::Weighted && weights[*index] == 0;
        prop_assert_eq!(chosen, (0..given.len()).filter(|index| !resting(index)).collect::<Vec<_>>());
    }
}
