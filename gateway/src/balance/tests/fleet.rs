//! A simulated fleet: events in order of time, no clock, no chance that is not repeatable.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::super::{Fleet, Pace, Standing, Work};
use super::numbers;
use crate::limit::Concurrency;

/// One address: so many requests at once, the others wait in it.
pub struct Replica {
    pub slots: usize,
    /// A request of one second takes so many here.
    pub slowness: f64,
    /// What the first request that comes takes longer, and everything with it: kernels are compiled.
    pub warm_up_us: u64,
    warm_at_us: Option<u64>,
    pub running: usize,
    queue: VecDeque<Job>,
    pub pace: Pace,
    pub concurrency: Concurrency,
}

impl Replica {
    pub fn new(slots: usize, slowness: f64) -> Self {
        Self {
            slots,
            slowness,
            warm_up_us: 0,
            warm_at_us: None,
            running: 0,
            queue: VecDeque::new(),
            pace: Pace::default(),
            concurrency: Concurrency::default(),
        }
    }

    pub fn in_flight(&self) -> usize {
        self.running + self.queue.len()
    }
}

#[derive(Clone, Copy)]
struct Job {
    arrived_us: u64,
    size_us: u64,
}

pub struct Simulation {
    pub replicas: Vec<Replica>,
    pub now_us: u64,
    /// When, where, and which request is done then.
    ends: BinaryHeap<Reverse<(u64, usize, u64)>>,
    pub first_bytes_us: Vec<u64>,
}

impl Fleet for Simulation {
    fn standing(&self, candidate: usize) -> Standing {
        let replica = &self.replicas[candidate];
        let is_full = replica.in_flight() >= replica.concurrency.limit() as usize;
        if is_full { Standing::Full } else { Standing::Open }
    }

    fn work(&self, candidate: usize) -> Work {
        let replica = &self.replicas[candidate];
        Work {
            in_flight: replica.in_flight() as u32,
            waiting: 0,
            first_byte_us: replica.pace.first_byte_us(self.now_us / 1_000),
        }
    }
}

impl Simulation {
    pub fn new(replicas: Vec<Replica>) -> Self {
        Self { replicas, now_us: 0, ends: BinaryHeap::new(), first_bytes_us: Vec::new() }
    }

    /// Lets everything happen that is due until then.
    pub fn run_until(&mut self, until_us: u64) {
        while let Some(Reverse((end, at, arrived_us))) = self.ends.peek().copied()
            && end <= until_us
        {
            self.ends.pop();
            self.now_us = end;
            let replica = &mut self.replicas[at];
            replica.pace.saw(end - arrived_us, end / 1_000);
            replica.concurrency.saw(end - arrived_us, replica.in_flight() as u32, end / 1_000);
            replica.running -= 1;
            self.first_bytes_us.push(end - arrived_us);
            if let Some(job) = replica.queue.pop_front() {
                self.start(at, job);
            }
        }
        self.now_us = until_us;
    }

    /// When the next request is done, if that is by then.
    pub fn next_end_us(&self, until_us: u64) -> Option<u64> {
        self.ends.peek().map(|Reverse((end, ..))| *end).filter(|end| *end <= until_us)
    }

    pub fn send(&mut self, at: usize, size_us: u64) {
        let job = Job { arrived_us: self.now_us, size_us };
        self.replicas[at].pace.asked(self.now_us / 1_000);
        if self.replicas[at].running < self.replicas[at].slots {
            self.start(at, job);
        } else {
            self.replicas[at].queue.push_back(job);
        }
    }

    fn start(&mut self, at: usize, job: Job) {
        let replica = &mut self.replicas[at];
        replica.running += 1;
        let took_us = (job.size_us as f64 * replica.slowness) as u64;
        let warm_at_us = *replica.warm_at_us.get_or_insert(self.now_us + replica.warm_up_us);
        self.ends.push(Reverse((self.now_us.max(warm_at_us) + took_us, at, job.arrived_us)));
    }

    /// When a request that is sent there now would be done, by who knows everything.
    pub fn expected_us(&self, at: usize, size_us: u64) -> f64 {
        let replica = &self.replicas[at];
        let own = size_us as f64 * replica.slowness;
        let before = (replica.in_flight() + 1).saturating_sub(replica.slots);
        own + before as f64 * MEAN_US as f64 * replica.slowness / replica.slots as f64
    }

    pub fn percentile_us(&self, percent: usize) -> u64 {
        let mut sorted = self.first_bytes_us.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
    }
}

/// The mean of the requests' sizes.
pub const MEAN_US: u64 = 200_000;

/// Gaps between arrivals (exponential) and sizes (0.5 to 1.5 of the mean) of so many requests.
pub fn arrivals(count: usize, per_second: f64, seed: u64) -> Vec<(u64, u64)> {
    let mut next = numbers(seed);
    let mut unit = move || super::hash::unit(next());
    let mut now = 0.0;
    let request = |_| {
        now += -unit().ln() * 1e6 / per_second;
        (now as u64, (MEAN_US as f64 * (0.5 + unit())) as u64)
    };
    (0..count).map(request).collect()
}
