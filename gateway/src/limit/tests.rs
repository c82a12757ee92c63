mod held_back;

use proptest::prelude::*;

use super::*;
use crate::balance::tests::fleet::{MEAN_US, Replica, Simulation, arrivals};

const KNEE: usize = 32;

/// Sends more than it can take to an address with a knee; what is above the limit is refused. Gives answers in
/// time (within twice the least time) a second, and the mean of the limit after it has settled.
fn overload(load: f64, limit: impl Fn(&Concurrency) -> u32) -> (f64, f64) {
    let mut fleet = Simulation::new(vec![Replica::new(KNEE, 1.0)]);
    let (concurrency, requests) = (Concurrency::default(), 60_000);
    let per_second = KNEE as f64 * 1e6 / MEAN_US as f64 * load;
    let (mut seen, mut limits, mut in_time) = (0, vec![], 0u32);
    for (n, (at_us, size_us)) in arrivals(requests, per_second, 23).into_iter().enumerate() {
        fleet.run_until(at_us);
        for us in fleet.first_bytes_us.split_off(seen) {
            // Each was there itself, too.
            concurrency.saw(us, fleet.replicas[0].in_flight() as u32 + 1, at_us / 1_000);
            in_time += u32::from(us <= 2 * MEAN_US && n > requests / 5);
        }
        seen = fleet.first_bytes_us.len();
        if n > requests / 5 {
            limits.push(f64::from(concurrency.limit()));
        }
        if fleet.replicas[0].in_flight() < limit(&concurrency) as usize {
            fleet.send(0, size_us);
        }
    }
    let seconds = requests as f64 * 0.8 / per_second;
    (f64::from(in_time) / seconds, limits.iter().sum::<f64>() / limits.len() as f64)
}

#[test]
fn the_limit_finds_the_knee_and_loses_no_goodput_by_it() {
    for load in [1.2, 2.0] {
        let fixed = (8..=128).step_by(4).map(|limit| (overload(load, |_| limit).0, limit));
        let (best, at) = fixed.max_by(|one, other| one.0.total_cmp(&other.0)).unwrap();
        let (ours, limit) = overload(load, Concurrency::limit);
        println!(
            "load {load}: {ours:.1}/s in time with a limit of {limit:.1}; at best {best:.1}/s with {at}"
        );
        assert!((limit - KNEE as f64).abs() <= 0.2 * KNEE as f64, "{limit}");
        assert!(ours >= 0.95 * best, "{ours}, {best} at best");
    }
}

#[test]
fn a_limit_that_is_not_used_up_does_not_rise() {
    let concurrency = Concurrency::default();
    (0..10_000).for_each(|_| concurrency.saw(1_000, 2, 0));
    assert!(concurrency.limit() <= LIMIT_INITIAL);
    (0..100_000).for_each(|_| concurrency.saw(1_000, concurrency.limit(), 0));
    assert!(concurrency.limit() > 200, "{}", concurrency.limit());
}

#[test]
fn an_address_that_becomes_slower_for_good_is_not_taken_for_overloaded_for_ever() {
    let concurrency = Concurrency::default();
    (0..20_000).for_each(|_| concurrency.saw(1_000, concurrency.limit().min(64), 0));
    let before = concurrency.limit();
    (0..100_000).for_each(|_| concurrency.saw(5_000, concurrency.limit().min(64), 0));
    assert!(concurrency.limit() >= 48.min(before), "{before}, {}", concurrency.limit());
}

#[test]
fn who_says_it_is_busy_gets_less_once_a_second_and_is_left_alone_as_long_as_it_asks() {
    let concurrency = Concurrency::default();
    (0..50).for_each(|_| concurrency.busy(None, 9, 5));
    assert_eq!(concurrency.limit(), LIMIT_INITIAL * 3 / 4);
    assert!(concurrency.rests(4 + REST_MS_DEFAULT) && !concurrency.rests(5 + REST_MS_DEFAULT));
    concurrency.busy(Some(7_000), 9, 10);
    assert!(concurrency.rests(7_009) && !concurrency.rests(7_010));
    concurrency.busy(Some(u64::MAX), 9, 8_000);
    assert!(!concurrency.rests(8_000 + REST_MAX_MS));
    (0..100).for_each(|n| concurrency.busy(None, 9, n * LOWERED_AGAIN_MS + 10_000));
    assert_eq!(concurrency.limit(), LIMIT_MIN);
}

/// Budgets of so many models, and everybody's.
fn budgets<const N: usize>() -> ([RetryBudget; N], RetryBudget) {
    (std::array::from_fn(|_| RetryBudget::default()), RetryBudget::default())
}

#[test]
fn when_everything_fails_attempts_stay_within_a_fifth_more_than_requests() {
    let (own, all) = budgets::<7>();
    let (mut requests, mut attempts) = (0u32, 0u32);
    for now_ms in 0..60_000 {
        let retries = Retries { own: &own[now_ms as usize % own.len()], all: &all };
        retries.came(now_ms);
        requests += 1;
        attempts += 1;
        for _ in 1..3 {
            attempts += u32::from(retries.try_retry(now_ms));
        }
    }
    println!("{attempts} attempts for {requests} requests");
    assert!(attempts <= requests + requests / 5, "{attempts} for {requests}");
    assert!(attempts > requests + requests / 6, "{attempts} for {requests}");
}

#[test]
fn a_model_that_fails_leaves_the_others_what_they_may_retry() {
    for (of_ten, least) in [(1, 0.4), (5, 0.19), (9, 0.19)] {
        let (own, all) = budgets::<2>();
        let [failing, shaky] = own.each_ref().map(|own| Retries { own, all: &all });
        let (mut failures, mut bettered, mut others, mut refused) = (0u32, 0u32, 0u32, 0u32);
        for now_ms in 0..60_000 {
            if now_ms % 10 < of_ten {
                failing.came(now_ms);
                failures += 1;
                bettered += u32::from((0..2).filter(|_| failing.try_retry(now_ms)).count() > 0);
            } else {
                shaky.came(now_ms);
                others += 1;
                // A quarter of what it may. Of the first few retries there may be, all have the same part.
                let is_refused = others % 20 == 0 && !shaky.try_retry(now_ms);
                refused += u32::from(is_refused && now_ms >= WINDOW_MS);
            }
        }
        let part = f64::from(bettered) / f64::from(failures);
        println!("{of_ten} of ten fail: {part:.2} of them bettered, {refused} of the others not");
        assert_eq!(refused, 0, "{of_ten} of ten");
        assert!(part >= least, "{of_ten} of ten: {part}");
    }
}

#[test]
fn a_quiet_gateway_may_retry_a_little_and_old_traffic_counts_no_more() {
    let ([own], all) = budgets();
    let budget = Retries { own: &own, all: &all };
    let retries = |now_ms| (0..1_000).filter(|_| budget.try_retry(now_ms)).count() as u64;
    budget.came(0);
    assert_eq!((retries(0), retries(1)), (RETRIES_FLOOR, 0));
    assert_eq!(retries(2 * WINDOW_MS), RETRIES_FLOOR);
    (0..1_000).for_each(|_| budget.came(4 * WINDOW_MS));
    assert_eq!(retries(4 * WINDOW_MS), 200);
    assert_eq!(retries(7 * WINDOW_MS), RETRIES_FLOOR);
}

#[test]
fn many_at_once_take_no_more_than_there_is() {
    let ([own], all) = budgets();
    let budget = Retries { own: &own, all: &all };
    (0..500).for_each(|_| budget.came(0));
    let taken: usize = std::thread::scope(|scope| {
        let take = || (0..200).filter(|_| budget.try_retry(0)).count();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 100);
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds(steps in prop::collection::vec((any::<u64>(), any::<u32>(), any::<bool>()), 0..400)) {
        let concurrency = Concurrency::default();
        for (n, (us, there, busy)) in steps.into_iter().enumerate() {
            concurrency.saw(us, there, n as u64);
            if busy {
                concurrency.busy(Some(us), there, n as u64 * 500);
            }
            prop_assert!((LIMIT_MIN..=LIMIT_MAX).contains(&concurrency.limit()));
        }
    }
}
