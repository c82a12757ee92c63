//! One load on one peer, with a fleet and a peer that were started for it: nothing is known from before.

use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::peer::{Kind, Programs};
use super::scenario::Scenario;
use super::servers::{Fleet, Tokens};
use crate::error::BenchError;
use crate::load::{OpenPlan, Target, open};
use crate::stats::{Percentiles, mean_ms};

/// At most so many requests in the air.
const CONNECTIONS: usize = 400;

/// Raw results of one run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RunRecord {
    pub repetition: usize,
    pub scenario: &'static str,
    pub peer: String,
    pub rate_per_s: f64,
    /// That were due, the failed ones too.
    pub requests: usize,
    pub failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    pub first_byte_mean_ms: f64,
    pub first_byte: Percentiles,
    pub answered: Percentiles,
    /// Tokens of prompts that the servers' caches knew; not told of servers that were killed.
    pub prefix_hit_rate: Option<f64>,
    /// Tokens of prompts that the server with most of them got, against the mean.
    pub busiest_over_mean: Option<f64>,
}

impl RunRecord {
    /// A run that could not begin.
    pub fn missing(scenario: Scenario, kind: Kind, repetition: usize, error: &BenchError) -> Self {
        Self {
            repetition,
            scenario: scenario.name(),
            peer: kind.name(),
            first_error: Some(error.to_string()),
            ..Self::default()
        }
    }
}

/// Starts all, loads it, stops all.
pub fn run(
    scenario: Scenario,
    kind: Kind,
    programs: &Programs,
    window: Duration,
    repetition: usize,
) -> Result<RunRecord, BenchError> {
    let folder = tempfile::Builder::new()
        .prefix("nimgate-fleet-")
        .tempdir()
        .map_err(BenchError::io("can't make a temporary folder"))?;
    let mut fleet = Fleet::start(&scenario.slow(), programs.late_head, folder.path())?;
    let mut peer = kind.start(programs, &fleet.addresses, &folder.path().join("peer"))?;
    let target = peer.target(scenario)?;
    let rate_per_s = scenario.rate_per_s();
    let load = |seed: u64, window: Duration| {
        let count = (rate_per_s * window.as_secs_f64()).ceil() as usize;
        let requests = scenario.requests(peer.model, seed, count).into();
        let plan = OpenPlan { rate_per_s, connections: CONNECTIONS, window };
        open(&Target { requests, ..target.clone() }, &plan, |_| {})
    };
    let seed = 2 * repetition as u64;
    load(seed, scenario.warm_up())?;
    let before = fleet.tokens();
    let victim = (scenario == Scenario::Kill).then(|| fleet.take_last()).flatten();
    let killing = victim.map(|mut victim| {
        thread::spawn(move || {
            thread::sleep(window / 2);
            victim.kill();
        })
    });
    let mut report = load(seed + 1, window)?;
    let was_killed = killing.map(thread::JoinHandle::join).is_some();
    let counted = (!was_killed).then(|| Spent::between(&before, &fleet.tokens()));
    Ok(RunRecord {
        repetition,
        scenario: scenario.name(),
        peer: kind.name(),
        rate_per_s,
        requests: (rate_per_s * window.as_secs_f64()) as usize,
        failed: report.errors,
        first_error: report.first_error.take(),
        first_byte_mean_ms: mean_ms(&report.first_bytes),
        first_byte: Percentiles::of(&mut report.first_bytes),
        answered: Percentiles::of(&mut report.latencies),
        prefix_hit_rate: counted.as_ref().map(|spent| spent.hit_rate),
        busiest_over_mean: counted.as_ref().map(|spent| spent.busiest_over_mean),
    })
}

/// What the servers did between two readings.
#[derive(Debug, PartialEq)]
struct Spent {
    hit_rate: f64,
    busiest_over_mean: f64,
}

impl Spent {
    fn between(before: &[Tokens], after: &[Tokens]) -> Self {
        let spent = before.iter().zip(after).map(|(before, after)| Tokens {
            asked: after.asked - before.asked,
            known: after.known - before.known,
        });
        let spent: Vec<Tokens> = spent.collect();
        let asked: f64 = spent.iter().map(|tokens| tokens.asked).sum();
        let known: f64 = spent.iter().map(|tokens| tokens.known).sum();
        let most = spent.iter().map(|tokens| tokens.asked).fold(0.0, f64::max);
        let asked = asked.max(1.0);
        Self { hit_rate: known / asked, busiest_over_mean: most * spent.len() as f64 / asked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_in_the_window_counts() {
        let tokens = |asked, known| Tokens { asked, known };
        let before = [tokens(100.0, 0.0), tokens(100.0, 50.0)];
        let after = [tokens(400.0, 150.0), tokens(200.0, 100.0)];
        let spent = Spent::between(&before, &after);
        assert_eq!(spent, Spent { hit_rate: 0.5, busiest_over_mean: 1.5 });
    }

    #[test]
    fn nothing_asked_is_nothing_known() {
        let idle = [Tokens::default(); 2];
        assert_eq!(Spent::between(&idle, &idle), Spent { hit_rate: 0.0, busiest_over_mean: 0.0 });
    }
}
