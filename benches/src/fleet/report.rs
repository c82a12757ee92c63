//! The tables: for each load a row for each peer, those that could not be measured too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::peer::{self, Kind};
use super::run::RunRecord;
use super::scenario::Scenario;
use crate::stats::{Percentiles, mean_ms};

pub struct Tables<'a> {
    pub runs: &'a [RunRecord],
    /// Why a peer is not there at all, by its name.
    pub absent: &'a BTreeMap<String, String>,
    pub scenarios: &'a [Scenario],
    pub peers: &'a [Kind],
}

/// What all repetitions of one load on one peer gave.
#[derive(Default)]
struct Sum {
    first_bytes: Vec<Duration>,
    requests: usize,
    failed: u64,
    hit_rates: Vec<f64>,
    busiest: Vec<f64>,
    problem: Option<String>,
}

impl Tables<'_> {
    pub fn render(&self) -> String {
        let mut out = String::new();
        for &scenario in self.scenarios {
            // Writing to a string can't fail.
            let _ = self.table(&mut out, scenario);
        }
        out
    }

    fn table(&self, out: &mut String, scenario: Scenario) -> std::fmt::Result {
        writeln!(out, "\n**{}**\n", scenario.title())?;
        writeln!(out, "| | first byte, mean ms | p99 ms | failed | prefix hits | busiest / mean |")?;
        writeln!(out, "|---|---:|---:|---:|---:|---:|")?;
        let known = peer::ALL.iter().filter(|kind| self.peers.contains(kind));
        let mut problems = Vec::new();
        for kind in known {
            let name = kind.name();
            if let Some(why) = self.absent.get(&name) {
                writeln!(out, "| {name} | not measured: {why} | | | | |")?;
                continue;
            }
            let mut sum = self.sum(scenario, &name);
            if let Some(problem) = sum.problem.take() {
                problems.push(format!("{name}: {problem}"));
            }
            if sum.requests == 0 {
                writeln!(out, "| {name} | not measured, see below | | | | |")?;
            } else {
                writeln!(out, "| {name} | {} |", sum.cells())?;
            }
        }
        if !problems.is_empty() {
            writeln!(out, "\nFirst failures: {}.", problems.join("; "))?;
        }
        Ok(())
    }

    fn sum(&self, scenario: Scenario, peer: &str) -> Sum {
        let mut sum = Sum::default();
        let runs = self.runs.iter().filter(|run| run.scenario == scenario.name() && run.peer == peer);
        for run in runs {
            sum.first_bytes.extend(&run.first_bytes);
            sum.requests += run.requests;
            sum.failed += run.failed;
            sum.hit_rates.extend(run.prefix_hit_rate);
            sum.busiest.extend(run.busiest_over_mean);
            sum.problem = sum.problem.or_else(|| run.first_error.clone());
        }
        sum
    }
}

impl Sum {
    fn cells(&mut self) -> String {
        let mean =
            |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        format!(
            "{:.0} | {:.0} | {} of {} | {} | {}",
            mean_ms(&self.first_bytes),
            Percentiles::of(&mut self.first_bytes).p99_us / 1e3,
            self.failed,
            self.requests,
            or_dash(mean(&self.hit_rates).map(|rate| format!("{:.0} %", rate * 100.0))),
            or_dash(mean(&self.busiest).map(|times| format!("{times:.2}"))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(peer: Kind, ms: u64, failed: u64) -> RunRecord {
        RunRecord {
            scenario: Scenario::Slow.name(),
            peer: peer.name(),
            requests: 10,
            failed,
            first_bytes: vec![Duration::from_millis(ms); 10],
            prefix_hit_rate: Some(0.5),
            ..RunRecord::default()
        }
    }

    #[test]
    fn repetitions_are_taken_together_and_nobody_is_left_out() {
        let runs = [run(peer::ALL[0], 100, 1), run(peer::ALL[0], 200, 2)];
        let absent = BTreeMap::from([(peer::ALL[3].name(), "not installed".to_owned())]);
        let tables = Tables { runs: &runs, absent: &absent, scenarios: &[Scenario::Slow], peers: &peer::ALL };
        let text = tables.render();
        assert!(text.contains("| nimgate `least_busy` | 150 | 200 | 3 of 20 | 50 % | – |"), "{text}");
        assert!(text.contains("| HAProxy `leastconn` | not measured: not installed |"), "{text}");
        assert!(text.contains("| nginx `least_conn` | not measured, see below |"), "{text}");
    }
}
