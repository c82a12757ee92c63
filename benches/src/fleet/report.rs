//! The table, as it goes into the README: a row for each peer, those that could not be measured too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::peer::Kind;
use super::run::RunRecord;
use super::scenario::Scenario;

pub struct Report<'a> {
    pub runs: &'a [RunRecord],
    /// Why a peer is not there at all, by its name.
    pub absent: &'a BTreeMap<String, String>,
    pub scenarios: &'a [Scenario],
    pub peers: &'a [Kind],
}

const NOTHING: &str = "–";

impl Report<'_> {
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = self.table(&mut out);
        let _ = self.notes(&mut out);
        out
    }

    fn table(&self, out: &mut String) -> std::fmt::Result {
        let headings: Vec<_> = self.scenarios.iter().flat_map(|scenario| headings(*scenario)).collect();
        writeln!(out, "\n| | {} |", headings.join(" | "))?;
        writeln!(out, "|---|{}", "---:|".repeat(headings.len()))?;
        for kind in self.peers {
            let name = kind.name();
            let cells = match self.absent.get(&name) {
                Some(why) => [format!("not measured: {why}")]
                    .into_iter()
                    .chain(std::iter::repeat_n(String::new(), headings.len() - 1))
                    .collect(),
                None => self
                    .scenarios
                    .iter()
                    .flat_map(|scenario| self.cells(*scenario, *kind))
                    .collect::<Vec<_>>(),
            };
            writeln!(out, "| {name} | {} |", cells.join(" | "))?;
        }
        Ok(())
    }

    fn cells(&self, scenario: Scenario, kind: Kind) -> Vec<String> {
        let runs: Vec<_> = self.of(scenario, kind).filter(|run| run.requests > 0).collect();
        if runs.is_empty() {
            let cell = if kind.takes(scenario) { "not measured" } else { NOTHING };
            return headings(scenario).iter().map(|_| cell.to_owned()).collect();
        }
        let median = |value: &dyn Fn(&RunRecord) -> Option<f64>, digits: usize| {
            spread(runs.iter().filter_map(|run| value(run)).collect(), digits)
        };
        let times = format!(
            "{} / {}",
            median(&|run| Some(run.first_byte_mean_ms), 0),
            median(&|run| Some(run.first_byte.p99_us / 1e3), 0)
        );
        match scenario {
            Scenario::Slow => vec![times],
            Scenario::Prefixes => {
                let hits = median(&|run| run.prefix_hit_rate.map(|rate| rate * 100.0), 0);
                vec![times, format!("{hits} %, {}", median(&|run| run.busiest_over_mean, 2))]
            }
            Scenario::Kill => vec![times, median(&|run| Some(run.failed as f64), 0)],
        }
    }

    fn of(&self, scenario: Scenario, kind: Kind) -> impl Iterator<Item = &RunRecord> {
        let name = kind.name();
        self.runs.iter().filter(move |run| run.scenario == scenario.name() && run.peer == name)
    }

    /// What was asked, and what failed first where something did.
    fn notes(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\nFirst byte in ms, mean / p99; medians of the repetitions (lowest – highest).\n")?;
        for &scenario in self.scenarios {
            writeln!(out, "- {}", scenario.title())?;
            let failures = self.peers.iter().filter_map(|kind| {
                let failed: u64 = self.of(scenario, *kind).map(|run| run.failed).sum();
                let first = self.of(scenario, *kind).find_map(|run| run.first_error.as_ref())?;
                Some(format!("{}: {failed}, the first: {first}", kind.name()))
            });
            for failure in failures {
                writeln!(out, "  - failed at {failure}")?;
            }
        }
        Ok(())
    }
}

fn headings(scenario: Scenario) -> Vec<String> {
    match scenario {
        Scenario::Slow => vec!["one of 4 is 5 × slower".to_owned()],
        Scenario::Prefixes => vec!["200 shared prefixes".to_owned(), "… hits, busiest / mean".to_owned()],
        Scenario::Kill => vec!["one is killed".to_owned(), "failed".to_owned()],
    }
}

/// The median, and with several values the lowest and the highest.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(lowest), Some(highest)) = (values.first(), values.last()) else { return NOTHING.to_owned() };
    let middle = |at: usize| values.get(at).copied().unwrap_or_default();
    let median = (middle((values.len() - 1) / 2) + middle(values.len() / 2)) / 2.0;
    match values.len() {
        1 => format!("{median:.digits$}"),
        _ => format!("{median:.digits$} ({lowest:.digits$} – {highest:.digits$})"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer;
    use super::*;
    use crate::stats::Percentiles;

    fn run(scenario: Scenario, peer: Kind, ms: f64, failed: u64) -> RunRecord {
        RunRecord {
            scenario: scenario.name(),
            peer: peer.name(),
            requests: 10,
            failed,
            first_error: (failed > 0).then(|| "not answered in time".to_owned()),
            first_byte_mean_ms: ms,
            first_byte: Percentiles { p99_us: ms * 2e3, ..Percentiles::default() },
            prefix_hit_rate: Some(0.5),
            busiest_over_mean: Some(1.25),
            ..RunRecord::default()
        }
    }

    #[test]
    fn repetitions_are_shown_by_their_median_and_nobody_is_left_out() {
        let [ours, resuming] = [peer::ALL[0], peer::ALL[1]];
        let runs = [
            run(Scenario::Slow, ours, 100.0, 0),
            run(Scenario::Slow, ours, 300.0, 0),
            run(Scenario::Slow, ours, 120.0, 0),
            run(Scenario::Prefixes, ours, 60.0, 0),
            run(Scenario::Kill, ours, 90.0, 4),
            run(Scenario::Kill, ours, 92.0, 1),
            run(Scenario::Kill, resuming, 90.0, 0),
        ];
        let absent = BTreeMap::from([(Kind::Haproxy.name(), "not installed".to_owned())]);
        let peers = [ours, resuming, Kind::Nginx, Kind::Haproxy];
        let report =
            Report { runs: &runs, absent: &absent, scenarios: &super::super::scenario::ALL, peers: &peers };
        let text = report.render();
        for line in [
            "| nimgate `least_busy` | 120 (100 – 300) / 240 (200 – 600) | 60 / 120 | 50 %, 1.25 | 91 (90 – 92) / 182 (180 – 184) | 2 (1 – 4) |",
            "| nimgate `least_busy`, `resume` | – | – | – | 90 / 180 | 0 |",
            "| nginx `least_conn` | not measured | not measured | not measured | not measured | not measured |",
            "| HAProxy `leastconn` | not measured: not installed |  |  |  |  |",
            "  - failed at nimgate `least_busy`: 5, the first: not answered in time",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }

    #[test]
    fn a_median_of_two_is_between_them() {
        assert_eq!(spread(vec![3.0, 1.0], 1), "2.0 (1.0 – 3.0)");
        assert_eq!((spread(vec![7.0], 0), spread(vec![], 0)), ("7".to_owned(), NOTHING.to_owned()));
    }
}
