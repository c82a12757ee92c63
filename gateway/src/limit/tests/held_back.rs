//! One server, and a line in front of it that requests stand in while there is evidence that it has too much to do.

use std::collections::VecDeque;

use super::super::{Concurrency, Hold, Room};
use crate::balance::tests::fleet::{MEAN_US, Replica, Simulation, arrivals};
use crate::balance::tests::numbers;

const LINE_MAX: usize = 1_000;
/// What is counted comes after this.
const SETTLED_US: u64 = 30_000_000;

/// How much slower than usual the server is at a second, and how much longer than usual a request, by a number
/// from 0 to 99.
type Nature = fn(u64, u64) -> (f64, f64);

const USUAL: Nature = |_, _| (1.0, 1.0);

struct Run {
    fleet: Simulation,
    /// By what requests are held back.
    room: fn(&Concurrency, usize, u64) -> bool,
    line: VecDeque<u64>,
    limits: Vec<f64>,
    answers: u32,
    in_time: u32,
    most_in_flight: usize,
}

impl Run {
    fn of(
        slots: usize,
        per_second: f64,
        seconds: u64,
        nature: Nature,
        room: fn(&Concurrency, usize, u64) -> bool,
    ) -> Self {
        let fleet = Simulation::new(vec![Replica::new(slots, 1.0)]);
        let mut run = Self {
            fleet,
            room,
            line: VecDeque::new(),
            limits: vec![],
            answers: 0,
            in_time: 0,
            most_in_flight: 0,
        };
        let mut random = numbers(77);
        for (at_us, size_us) in arrivals(seconds as usize * per_second as usize, per_second, 41) {
            while let Some(end_us) = run.fleet.next_end_us(at_us) {
                run.go_on_until(end_us);
            }
            run.go_on_until(at_us);
            let (slowness, length) = nature(at_us / 1_000_000, random() % 100);
            run.fleet.replicas[0].slowness = slowness;
            run.line.push_back((size_us as f64 * length) as u64);
            run.line.truncate(LINE_MAX);
            run.let_in();
        }
        run
    }

    fn go_on_until(&mut self, at_us: u64) {
        let seen = self.fleet.first_bytes_us.len();
        self.fleet.run_until(at_us);
        for us in self.fleet.first_bytes_us.get(seen..).into_iter().flatten().filter(|_| at_us > SETTLED_US) {
            self.answers += 1;
            self.in_time += u32::from(*us <= 2 * MEAN_US);
        }
        self.let_in();
    }

    fn let_in(&mut self) {
        let now_ms = self.fleet.now_us / 1_000;
        while let Some(size_us) = self.line.front().copied() {
            let replica = &self.fleet.replicas[0];
            if !(self.room)(&replica.concurrency, replica.in_flight(), now_ms) {
                break;
            }
            self.line.pop_front();
            self.fleet.send(0, size_us);
        }
        let replica = &self.fleet.replicas[0];
        self.most_in_flight = self.most_in_flight.max(replica.in_flight());
        if let Some(limit) = replica.concurrency.evidence(now_ms).seen
            && self.fleet.now_us > SETTLED_US
        {
            self.limits.push(f64::from(limit));
        }
    }

    fn mean_limit(&self) -> f64 {
        self.limits.iter().sum::<f64>() / self.limits.len().max(1) as f64
    }
}

/// As it is when the owner wants it.
fn on_evidence(concurrency: &Concurrency, in_flight: usize, now_ms: u64) -> bool {
    concurrency.evidence(now_ms).room(Hold::Seen, in_flight) == Room::Free
}

fn never(_: &Concurrency, _: usize, _: u64) -> bool {
    true
}

#[test]
fn a_knee_is_found_and_held_and_costs_no_goodput() {
    let at_most: [fn(&Concurrency, usize, u64) -> bool; 6] = [
        |_, there, _| there < 28,
        |_, there, _| there < 32,
        |_, there, _| there < 36,
        |_, there, _| there < 40,
        |_, there, _| there < 48,
        |_, there, _| there < 64,
    ];
    for per_second in [190.0, 320.0] {
        let best = at_most.map(|fixed| Run::of(32, per_second, 120, USUAL, fixed).in_time);
        let best = best.into_iter().max().unwrap();
        let ours = Run::of(32, per_second, 120, USUAL, on_evidence);
        let limit = ours.mean_limit();
        println!("{per_second}/s: {} in time at a limit of {limit:.1}, {best} at best", ours.in_time);
        assert!((limit - 32.0).abs() <= 0.2 * 32.0, "{limit}");
        assert!(f64::from(ours.in_time) >= 0.95 * f64::from(best), "{}, {best} at best", ours.in_time);
        let flooded = Run::of(32, per_second, 120, USUAL, never);
        assert!(flooded.in_time * 10 < ours.in_time, "without it: {}", flooded.in_time);
    }
}

#[test]
fn a_crowd_at_a_server_that_nothing_is_known_of_goes_through_at_once() {
    let concurrency = Concurrency::default();
    assert!((0..300).all(|there| on_evidence(&concurrency, there, 5)));
    // And at one that was slowly learned to be able to take little.
    (0..1_000).for_each(|n| concurrency.saw(1_000 + n % 7, 2, 5));
    assert!((0..300).all(|there| on_evidence(&concurrency, there, 5)));
}

#[test]
fn prompts_of_very_different_lengths_are_no_queue() {
    let lengths: [Nature; 3] = [
        |_, random| (1.0, if random < 10 { 20.0 } else { 1.0 }),
        |_, random| (1.0, if random < 50 { 5.0 } else { 0.2 }),
        // By turns half a minute of short ones, and half a minute of long ones.
        |second, _| (1.0, if second % 60 < 30 { 0.3 } else { 3.0 }),
    ];
    for nature in lengths {
        let free = Run::of(10_000, 100.0, 240, nature, never);
        let held = Run::of(10_000, 100.0, 240, nature, on_evidence);
        println!("{} answers, {} when never held back", held.answers, free.answers);
        assert!(
            f64::from(held.answers) >= 0.95 * f64::from(free.answers),
            "{}, {}",
            held.answers,
            free.answers
        );
    }
}

#[test]
fn a_server_that_is_slow_for_a_while_recovers() {
    let nature: Nature = |second, _| (if (60..90).contains(&second) { 5.0 } else { 1.0 }, 1.0);
    for slots in [32, 10_000] {
        let run = Run::of(slots, 140.0, 200, nature, on_evidence);
        let after = run.fleet.first_bytes_us.iter().rev().take(140 * 40);
        let late = after.filter(|us| **us > 2 * MEAN_US).count();
        println!("{slots} slots: {late} late, {} in line, limit {:?}", run.line.len(), run.limits.last());
        assert!(run.line.len() < 20 && late < 140, "{} wait, {late} late", run.line.len());
    }
}
