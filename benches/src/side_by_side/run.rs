//! One run: one load on one peer, in one piece or in slices, with the clocks of everybody read at both
//! ends of each.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::peer::Peer;
use super::scenario::{Load, Scenario};
use crate::error::BenchError;
use crate::load::{ClosedPlan, Edge, OpenPlan, Report, Target, closed, open};
use crate::process::{self, CpuClock, Memory};
use crate::stats::Percentiles;

/// What one run gave, as it is stored.
#[derive(Debug, Clone, Serialize)]
pub struct RunRecord {
    pub scenario: &'static str,
    pub peer: &'static str,
    pub repetition: usize,
    pub requests: f64,
    pub errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    pub requests_per_s: f64,
    /// CPU time of the peer's process tree for each request.
    pub cpu_us: f64,
    pub user_share: f64,
    pub upstream_cpu_us: f64,
    pub generator_cpu_us: f64,
    /// Cores that others on this machine kept busy meanwhile: the noise.
    pub other_cores: f64,
    pub latency: Percentiles,
    pub first_byte: Percentiles,
    /// At the end of the run, connections still open.
    pub memory: Memory,
}

/// A run under way; [`Run::slice`] may be called again and again, other runs in between.
pub struct Run<'a> {
    scenario: &'a Scenario,
    peer: &'a Peer,
    target: Target,
    upstream: u32,
    report: Report,
    used: Used,
    memory: Memory,
}

#[derive(Default)]
struct Used {
    elapsed: Duration,
    peer: Duration,
    peer_user: Duration,
    upstream: Duration,
    generator: Duration,
    others: Duration,
}

struct Reading {
    at: Instant,
    machine: Duration,
    peer: CpuClock,
    upstream: CpuClock,
    own: CpuClock,
}

impl Reading {
    fn take(peer: &Peer, upstream: u32) -> Self {
        Self {
            at: Instant::now(),
            machine: process::machine_busy(),
            peer: CpuClock::read(&peer.pids),
            upstream: CpuClock::read(&[upstream]),
            own: CpuClock::read(&[std::process::id()]),
        }
    }
}

impl<'a> Run<'a> {
    pub fn new(scenario: &'a Scenario, peer: &'a Peer, upstream: u32) -> Result<Self, BenchError> {
        Ok(Self::on(scenario, peer, peer.target(scenario.prompt)?, upstream))
    }

    /// With a target of one's own.
    pub fn on(scenario: &'a Scenario, peer: &'a Peer, target: Target, upstream: u32) -> Self {
        let (report, used, memory) = (Report::default(), Used::default(), Memory::default());
        Self { scenario, peer, target, upstream, report, used, memory }
    }

    pub fn slice(&mut self, window: Duration) -> Result<(), BenchError> {
        self.slice_after(self.scenario.warm_up(), self.scenario.spread(), window)
    }

    /// A slice with a warm-up and a spread of its own.
    pub fn slice_after(
        &mut self,
        warm_up: Duration,
        spread: Duration,
        window: Duration,
    ) -> Result<(), BenchError> {
        let (peer, upstream) = (self.peer, self.upstream);
        let (mut begin, mut end) = (None, None);
        let mut memory = Memory::default();
        let on_edge = |edge| match edge {
            Edge::Begin => begin = Some(Reading::take(peer, upstream)),
            Edge::End => {
                end = Some(Reading::take(peer, upstream));
                memory = Memory::read(&peer.pids);
            }
        };
        let report = match self.scenario.load {
            Load::Closed { connections } => {
                closed(&self.target, &ClosedPlan { connections, warm_up, window, spread }, on_edge)?
            }
            Load::Open { rate_per_s, connections } => {
                open(&self.target, &OpenPlan { rate_per_s, connections, window }, on_edge)?
            }
        };
        self.memory = memory;
        self.report.add(report);
        if let (Some(begin), Some(end)) = (begin, end) {
            // Without a gateway, peer and upstream are the same process.
            self.used.add(&begin, &end, peer.pids.contains(&upstream));
        }
        Ok(())
    }

    pub fn finish(mut self, repetition: usize) -> RunRecord {
        let requests = self.report.requests;
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / requests.max(1.0);
        RunRecord {
            scenario: self.scenario.name,
            peer: self.peer.name,
            repetition,
            requests,
            errors: self.report.errors,
            first_error: self.report.first_error,
            requests_per_s: requests / self.report.window.as_secs_f64(),
            cpu_us: per_request(self.used.peer),
            user_share: self.used.peer_user.as_secs_f64() / self.used.peer.as_secs_f64(),
            upstream_cpu_us: per_request(self.used.upstream),
            generator_cpu_us: per_request(self.used.generator),
            other_cores: self.used.others.as_secs_f64() / self.used.elapsed.as_secs_f64(),
            latency: Percentiles::of(&mut self.report.latencies),
            first_byte: Percentiles::of(&mut self.report.first_bytes),
            memory: self.memory,
        }
    }
}

impl Used {
    fn add(&mut self, begin: &Reading, end: &Reading, peer_is_upstream: bool) {
        let peer = end.peer.since(&begin.peer);
        let upstream = end.upstream.since(&begin.upstream).total;
        let generator = end.own.since(&begin.own).total;
        let ours = peer.total + generator + if peer_is_upstream { Duration::ZERO } else { upstream };
        self.elapsed += end.at - begin.at;
        self.peer += peer.total;
        self.peer_user += peer.total.mul_f64(peer.user_share);
        self.upstream += upstream;
        self.generator += generator;
        self.others += (end.machine - begin.machine).saturating_sub(ours);
    }
}
