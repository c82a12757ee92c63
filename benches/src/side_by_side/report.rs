//! The tables: medians over the repetitions, and ratios of runs that were made one after the other.

use std::fmt::Write as _;

use super::memory::MemoryRecord;
use super::run::RunRecord;
use super::scenario::{ADDED_LATENCY_GOAL, ALL, Scenario};
use super::start::StartRecord;
use crate::stats::median;

/// The peer that is 1.0.
pub const MEASURE: &str = "nginx";
pub const DIRECT: &str = "direct";
pub const NIMGATE: &str = "nimgate";
pub const BASELINE: &str = "baseline";

const IDLE_GOAL_MIB: f64 = 15.0;
const BUSY_GOAL_MIB: f64 = 40.0;
const STREAM_GOAL_KIB: f64 = 100.0;
const IDLE_CONNECTION_GOAL_KIB: f64 = 24.0;
const START_GOAL_MS: f64 = 200.0;
/// Latency added by the measure is compared with when it is at least this share of the latency without it.
const ADDED_SHARE_MIN: f64 = 0.1;

pub struct Tables<'a> {
    pub runs: &'a [RunRecord],
    pub memory: &'a [MemoryRecord],
    pub starts: &'a [StartRecord],
}

impl Tables<'_> {
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = self.cpu(&mut out);
        let _ = self.latency(&mut out);
        let _ = self.memory(&mut out);
        let _ = self.start(&mut out);
        let _ = self.noise(&mut out);
        out
    }

    /// The gateways in the order in which they ran first, without the upstream itself.
    fn gateways(&self) -> Vec<&'static str> {
        let ran = self.runs.iter().map(|run| run.peer).chain(self.memory.iter().map(|record| record.peer));
        let mut names = Vec::new();
        for name in ran.filter(|&name| name != DIRECT) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn of<'b>(&'b self, scenario: &'b Scenario, peer: &'b str) -> impl Iterator<Item = &'b RunRecord> {
        self.runs.iter().filter(move |run| run.scenario == scenario.name && run.peer == peer)
    }

    fn median(&self, scenario: &Scenario, peer: &str, value: fn(&RunRecord) -> f64) -> Option<f64> {
        median(self.of(scenario, peer).map(value))
    }

    /// Median of the ratios within each repetition: what drifts on the machine drifts for both.
    fn ratio(
        &self,
        scenario: &Scenario,
        peer: &str,
        to: &str,
        value: impl Fn(&RunRecord) -> f64,
    ) -> Option<f64> {
        median(self.of(scenario, peer).filter_map(|run| {
            let other = self.of(scenario, to).find(|other| other.repetition == run.repetition)?;
            Some(value(run) / value(other))
        }))
    }

    fn cpu(&self, out: &mut String) -> std::fmt::Result {
        let shown: Vec<_> =
            ALL.iter().filter(|scenario| self.runs.iter().any(|run| run.scenario == scenario.name)).collect();
        if shown.is_empty() {
            return Ok(());
        }
        let gateways = self.gateways();
        let mut pairs: Vec<_> =
            gateways.iter().filter(|&&name| name != MEASURE).map(|&name| (name, MEASURE)).collect();
        if gateways.contains(&BASELINE) {
            pairs.push((NIMGATE, BASELINE));
        }
        write!(out, "\n**CPU time for each request, µs ({MEASURE} = 1.0)**\n\n| load |")?;
        gateways.iter().try_for_each(|name| write!(out, " {name} |"))?;
        pairs.iter().try_for_each(|(name, to)| write!(out, " {name} / {to} |"))?;
        write!(out, " goal |")?;
        gateways.iter().try_for_each(|name| write!(out, " {name} req/s |"))?;
        writeln!(out, "\n|---|{}", "---:|".repeat(2 * gateways.len() + pairs.len() + 1))?;
        for scenario in shown {
            let unit = if scenario.is_paced() { ", each event" } else { "" };
            write!(out, "| {}{unit} |", scenario.name)?;
            for name in &gateways {
                let value = self.median(scenario, name, |run| run.cpu_us);
                write!(out, " {} |", number(value.map(|us| us / scenario.parts()), 1))?;
            }
            for (name, to) in &pairs {
                write!(out, " **{}** |", number(self.ratio(scenario, name, to, |run| run.cpu_us), 2))?;
            }
            write!(out, " {} |", scenario.goal.map_or_else(String::new, |goal| format!("≤ {goal}")))?;
            for name in &gateways {
                write!(out, " {} |", number(self.median(scenario, name, |run| run.requests_per_s), 0))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn latency(&self, out: &mut String) -> std::fmt::Result {
        for scenario in ALL.iter().filter(|scenario| scenario.is_open()) {
            if self.of(scenario, DIRECT).next().is_none() {
                continue;
            }
            writeln!(
                out,
                "\n**Latency at 500 requests a second, µs, from the moment a request was due**\n\n\
                 | to | p50 | p99 | added p50 | added p99 | added p50 / {MEASURE} | added p99 / {MEASURE} |\n\
                 |---|---:|---:|---:|---:|---:|---:|"
            )?;
            for name in std::iter::once(DIRECT).chain(self.gateways()) {
                let p50 = |run: &RunRecord| run.latency.p50_us;
                let p99 = |run: &RunRecord| run.latency.p99_us;
                let (added50, added99) = (self.added(scenario, name, p50), self.added(scenario, name, p99));
                let beside = |added: Option<f64>, value: fn(&RunRecord) -> f64| {
                    let direct = self.median(scenario, DIRECT, value).unwrap_or_default();
                    // Nothing is a multiple of what can't be told from noise.
                    let base = self.added(scenario, MEASURE, value);
                    let base = base.filter(|base| *base >= direct * ADDED_SHARE_MIN);
                    let ratio = added.zip(base).map(|(a, b)| a / b).filter(|_| name != DIRECT);
                    let goal = if ![DIRECT, MEASURE].contains(&name) {
                        format!(" (≤ {ADDED_LATENCY_GOAL})")
                    } else {
                        String::new()
                    };
                    format!("{}{goal}", number(ratio, 2))
                };
                writeln!(
                    out,
                    "| {name} | {} | {} | {} | {} | {} | {} |",
                    number(self.median(scenario, name, p50), 0),
                    number(self.median(scenario, name, p99), 0),
                    number(added50, 0),
                    number(added99, 0),
                    beside(added50, p50),
                    beside(added99, p99),
                )?;
            }
        }
        Ok(())
    }

    /// What a gateway adds to the latency without one, in the same repetition.
    fn added(&self, scenario: &Scenario, peer: &str, value: fn(&RunRecord) -> f64) -> Option<f64> {
        if peer == DIRECT {
            return None;
        }
        median(self.of(scenario, peer).filter_map(|run| {
            let direct = self.of(scenario, DIRECT).find(|other| other.repetition == run.repetition)?;
            Some(value(run) - value(direct))
        }))
    }

    fn memory(&self, out: &mut String) -> std::fmt::Result {
        if self.memory.is_empty() {
            return Ok(());
        }
        type Row = (&'static str, f64, fn(&MemoryRecord) -> f64, usize);
        let rows: [Row; 4] = [
            ("idle, RSS MiB", IDLE_GOAL_MIB, |r| r.idle.rss_kib as f64 / 1024.0, 1),
            ("under load on 256 connections, RSS MiB", BUSY_GOAL_MIB, at_256_mib, 1),
            ("each of 1,000 open streams, KiB", STREAM_GOAL_KIB, |r| r.per_stream_kib, 1),
            (
                "each of 2,000 idle connections, KiB",
                IDLE_CONNECTION_GOAL_KIB,
                |r| r.per_idle_connection_kib,
                1,
            ),
        ];
        let gateways = self.gateways();
        write!(out, "\n**Memory**\n\n| |")?;
        gateways.iter().try_for_each(|name| write!(out, " {name} |"))?;
        writeln!(out, " goal |\n|---|{}", "---:|".repeat(gateways.len() + 1))?;
        for (label, goal, value, digits) in rows {
            write!(out, "| {label} |")?;
            for name in &gateways {
                let values = self.memory.iter().filter(|record| record.peer == *name).map(value);
                write!(out, " {} |", number(median(values), digits))?;
            }
            writeln!(out, " ≤ {goal} |")?;
        }
        Ok(())
    }

    fn start(&self, out: &mut String) -> std::fmt::Result {
        for record in self.starts {
            writeln!(
                out,
                "\n{}: start to first proxied request with {} providers: {} ms, median of {} (goal: ≤ {START_GOAL_MS})",
                record.peer,
                record.providers,
                number(median(record.first_request_ms.iter().copied()), 0),
                record.first_request_ms.len(),
            )?;
        }
        Ok(())
    }

    fn noise(&self, out: &mut String) -> std::fmt::Result {
        if let Some(others) = median(self.runs.iter().map(|run| run.other_cores)) {
            writeln!(out, "\nOthers on this machine kept {others:.2} cores busy meanwhile (median).")?;
        }
        for run in self.runs.iter().filter(|run| run.errors > 0) {
            let why = run.first_error.as_deref().unwrap_or("unknown");
            writeln!(
                out,
                "ERRORS: {} {}: {} of {:.0}: {why}",
                run.peer, run.scenario, run.errors, run.requests
            )?;
        }
        Ok(())
    }
}

fn at_256_mib(record: &MemoryRecord) -> f64 {
    record.at_256_connections.rss_kib as f64 / 1024.0
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Memory;
    use crate::stats::Percentiles;

    fn run(peer: &'static str, repetition: usize, cpu_us: f64) -> RunRecord {
        RunRecord {
            scenario: "plain1k-c64",
            peer,
            repetition,
            requests: 1.0,
            errors: 0,
            first_error: None,
            requests_per_s: 1.0,
            cpu_us,
            user_share: 0.5,
            upstream_cpu_us: 0.0,
            generator_cpu_us: 0.0,
            other_cores: 0.0,
            latency: Percentiles::default(),
            first_byte: Percentiles::default(),
            memory: Memory::default(),
        }
    }

    #[test]
    fn a_ratio_is_of_runs_of_the_same_repetition() {
        // A machine that slows down: the medians alone would say 3.0.
        let runs = [
            run("nginx", 0, 10.0),
            run("nimgate", 0, 15.0),
            run("nginx", 1, 10.0),
            run("nimgate", 1, 30.0),
            run("nginx", 2, 20.0),
            run("nimgate", 2, 30.0),
        ];
        let text = Tables { runs: &runs, memory: &[], starts: &[] }.render();
        assert!(text.contains("| plain1k-c64 | 10.0 | 30.0 | **1.50** | ≤ 1.6 | 1 | 1 |"), "{text}");
    }

    #[test]
    fn failed_requests_are_told() {
        let mut failed = run("nimgate", 0, 1.0);
        failed.errors = 3;
        failed.first_error = Some("status 502".to_owned());
        let text = Tables { runs: &[failed], memory: &[], starts: &[] }.render();
        assert!(text.contains("ERRORS: nimgate plain1k-c64: 3 of 1: status 502"), "{text}");
    }
}
