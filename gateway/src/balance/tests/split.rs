//! A/B splits: exact, and nobody changes the arm without need.

use proto_shared::routing::Strategy;

use super::super::{Arm, Key, Plan, Sought, Standing};
use super::{Given, arms, numbers};

const USERS: u64 = 100_000;

fn split(weights: &[u32]) -> Plan {
    let mut arms = arms(weights.len());
    arms.iter_mut().zip(weights).for_each(|(arm, weight)| arm.weight = *weight);
    Plan::new(Strategy::Weighted, &arms)
}

/// Which arm each user gets.
fn arms_of_users(plan: &Plan, count: usize) -> Vec<usize> {
    let sought = Sought::by(Strategy::Weighted, Default::default());
    let (fleet, mut random) = (Given::idle(count), numbers(1));
    let arm = |user: u64| {
        let body = format!("{{\"user\":\"user-{user}\"}}");
        let Key(key) = sought.key(None, Some(body.as_bytes())).unwrap();
        plan.pick(plan.candidates(), &fleet, Some(key), &mut random).unwrap()
    };
    (0..USERS).map(arm).collect()
}

/// Percent of users at the first arm.
fn at_first(arms: &[usize]) -> f64 {
    arms.iter().filter(|arm| **arm == 0).count() as f64 * 100.0 / USERS as f64
}

fn moved(before: &[usize], after: &[usize]) -> f64 {
    before.iter().zip(after).filter(|(before, after)| before != after).count() as f64 * 100.0 / USERS as f64
}

#[test]
fn a_split_of_90_to_10_holds_within_half_a_point_and_a_reload_moves_nobody() {
    let before = arms_of_users(&split(&[90, 10]), 2);
    let share = at_first(&before);
    println!("{share:.2} % of {USERS} users at 90");
    assert!((share - 90.0).abs() < 0.5, "{share}");
    assert_eq!(moved(&before, &arms_of_users(&split(&[90, 10]), 2)), 0.0);
    assert_eq!(moved(&before, &arms_of_users(&split(&[900, 100]), 2)), 0.0, "proportions count alone");
}

#[test]
fn other_weights_move_only_whom_they_must_and_to_the_arm_that_grew() {
    let (before, after) = (arms_of_users(&split(&[90, 10]), 2), arms_of_users(&split(&[80, 20]), 2));
    assert!((at_first(&after) - 80.0).abs() < 0.5);
    assert!((moved(&before, &after) - 10.0).abs() < 0.5, "{}", moved(&before, &after));
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 1));
}

#[test]
fn an_arm_that_comes_takes_its_share_and_moves_nobody_else() {
    let (before, after) = (arms_of_users(&split(&[50, 50]), 2), arms_of_users(&split(&[50, 50, 25]), 3));
    assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 2));
    assert!((moved(&before, &after) - 20.0).abs() < 0.5);
}

#[test]
fn while_an_arm_is_out_only_its_users_are_elsewhere() {
    let plan = split(&[60, 30, 10]);
    let (out, idle) = (Given::idle(3).with(1, Standing::Out), Given::idle(3));
    for key in 0..2_000 {
        let at = |fleet| plan.pick(plan.candidates(), fleet, Some(key), || 0).unwrap();
        assert!(at(&idle) == at(&out) || at(&idle) == 1);
        assert_ne!(at(&out), 1);
        let busy = Given::idle(3).with(1, Standing::Busy);
        assert_eq!(at(&idle), at(&busy), "an arm that is busy keeps its users");
    }
}

#[test]
fn requests_without_a_key_are_spread_smoothly() {
    let plan = split(&[90, 10]);
    for _ in 0..10 {
        let run = (0..1_000).map(|_| plan.pick(plan.candidates(), &Given::idle(2), None, || 0).unwrap());
        let first = run.filter(|arm| *arm == 0).count();
        assert!(first.abs_diff(900) <= 3, "{first}");
    }
}

#[test]
fn an_arm_without_weight_gets_nothing_at_all() {
    let plan = split(&[1, 0]);
    assert_eq!(super::all_chosen(&plan, &Given::idle(2), None, 1), [0]);
    assert!(super::all_chosen(&split(&[0, 0]), &Given::idle(2), Some(3), 1).is_empty());
}

#[test]
fn inside_an_arm_the_less_busy_address_is_used() {
    let arms =
        [Arm::listed("default/a", &["http://1", "http://2"], 0), Arm::listed("default/b", &["http://3"], 1)];
    let plan = Plan::new(Strategy::Weighted, &arms);
    let mut fleet = Given::idle(3);
    fleet.0[0].1.in_flight = 3;
    let mut random = numbers(3);
    for key in 0..500 {
        assert_ne!(plan.pick(plan.candidates(), &fleet, Some(key), &mut random), Some(0));
    }
}
