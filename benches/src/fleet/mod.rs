//! A fleet of simulated model servers behind nimgate, and behind other balancers: the same loads one after the other.
//!
//! What must stay true:
//! - Every run has servers and a peer that were started for it, and the same requests as every other peer's run.
//! - A peer that is not installed, or does not start, has a row that says so.
//! - Requests are due at a fixed rate; a balancer that lets them wait pays for it.

mod peer;
pub mod replica;
mod report;
mod run;
mod scenario;
mod servers;
mod zipf;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;

use crate::child;
use crate::error::BenchError;
use crate::gateways::Nimgate;
use crate::process;
use crate::results::{self, Circumstances};
use crate::side_by_side::seconds;
use peer::{Kind, Programs};
use report::Report;
use run::RunRecord;
use scenario::Scenario;

/// Puts nimgate beside other balancers in front of the same simulated fleet: first-byte times, failed requests.
#[derive(Debug, Parser)]
pub struct Options {
    /// Loads, comma-separated: slow, prefixes, kill [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Peers, comma-separated, or parts of their names, as in the tables [default: all]
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Repetitions; the table has their medians, and between which values they were
    #[arg(long, default_value_t = 3)]
    reps: usize,
    /// Length of each run
    #[arg(long, default_value_t = 15.0, value_parser = seconds)]
    secs: f64,
    /// Where the raw results go [default: benches/results/DATE-fleet.json]
    #[arg(long)]
    out: Option<PathBuf>,
    /// The binary to measure [default: nimgate beside this program]
    #[arg(long)]
    nimgate: Option<PathBuf>,
    /// nginx's program
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// HAProxy's program
    #[arg(long, default_value = "haproxy")]
    haproxy: PathBuf,
    /// The virtual environment with sglang-router and vllm-router
    #[arg(long, default_value = "target/fleet-peers")]
    venv: PathBuf,
    /// Servers send the head of an answer with its first event, instead of at once
    #[arg(long)]
    late_head: bool,
}

#[derive(Serialize)]
struct Results<'a> {
    circumstances: &'a Circumstances,
    repetitions: usize,
    secs: f64,
    late_head: bool,
    versions: &'a BTreeMap<String, String>,
    absent: &'a BTreeMap<String, String>,
    runs: &'a [RunRecord],
}

pub fn main(options: &Options) -> Result<(), BenchError> {
    process::require_open_files()?;
    let scenarios = options.scenarios()?;
    let peers = options.kinds()?;
    let folder = tempfile::Builder::new()
        .prefix("nimgate-fleet-")
        .tempdir()
        .map_err(BenchError::io("can't make a temporary folder"))?;
    let program = options.nimgate.clone().map_or_else(Nimgate::default_program, Ok)?;
    let programs = Programs {
        // A copy, so that a build in the middle of the bench changes nothing.
        nimgate: child::copy_program(&program, &folder.path().join("nimgate"))?,
        nginx: options.nginx.clone(),
        haproxy: options.haproxy.clone(),
        venv: options.venv.clone(),
        late_head: options.late_head,
    };
    let (versions, absent) = versions(&peers, &programs);
    let present: Vec<Kind> =
        peers.iter().filter(|kind| versions.contains_key(&kind.name())).copied().collect();
    let path = results::path(options.out.clone(), "fleet");
    let circumstances = Circumstances::now(&program);
    let mut runs = Vec::new();
    for repetition in 0..options.reps {
        options.repeat(repetition, &scenarios, &present, &programs, &mut runs);
        // After each one: half an hour is easily interrupted.
        let results = Results {
            circumstances: &circumstances,
            repetitions: repetition + 1,
            secs: options.secs,
            late_head: options.late_head,
            versions: &versions,
            absent: &absent,
            runs: &runs,
        };
        results::save(&path, &results)?;
    }
    println!("{}", Report { runs: &runs, absent: &absent, scenarios: &scenarios, peers: &peers }.render());
    println!("raw results: {}", path.display());
    Ok(())
}

/// What each peer says of itself, and why some say nothing.
fn versions(peers: &[Kind], programs: &Programs) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut versions, mut absent) = (BTreeMap::new(), BTreeMap::new());
    for kind in peers {
        match kind.version(programs) {
            Ok(version) => versions.insert(kind.name(), version),
            Err(error) => absent.insert(kind.name(), error.to_string()),
        };
    }
    (versions, absent)
}

impl Options {
    fn scenarios(&self) -> Result<Vec<Scenario>, BenchError> {
        let find = |name: &String| scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
        if let Some(name) = self.only.iter().find(|name| find(name).is_none()) {
            let known = scenario::ALL.map(Scenario::name).join(", ");
            return Err(BenchError::Setup(format!("--only: there is no {name:?}; there are {known}")));
        }
        let wanted =
            |scenario: &Scenario| self.only.is_empty() || self.only.iter().any(|n| n == scenario.name());
        Ok(scenario::ALL.into_iter().filter(wanted).collect())
    }

    fn kinds(&self) -> Result<Vec<Kind>, BenchError> {
        let wanted = |kind: &Kind| {
            self.peers.is_empty() || self.peers.iter().any(|part| kind.name().contains(part.as_str()))
        };
        let kinds: Vec<Kind> = peer::ALL.into_iter().filter(wanted).collect();
        if kinds.is_empty() {
            let known = peer::ALL.map(Kind::name).join(", ");
            return Err(BenchError::Setup(format!("--peers: none is named so; there are {known}")));
        }
        Ok(kinds)
    }

    /// All loads on all peers; the order of the peers turns round with each repetition.
    fn repeat(
        &self,
        repetition: usize,
        scenarios: &[Scenario],
        peers: &[Kind],
        programs: &Programs,
        runs: &mut Vec<RunRecord>,
    ) {
        let window = Duration::from_secs_f64(self.secs);
        let mut order = peers.to_vec();
        if repetition % 2 == 1 {
            order.reverse();
        }
        for &scenario in scenarios {
            for &kind in order.iter().filter(|kind| kind.takes(scenario)) {
                let name = kind.name();
                eprintln!("{} of {}: {}, {name}", repetition + 1, self.reps, scenario.name());
                runs.push(run::run(scenario, kind, programs, window, repetition).unwrap_or_else(|error| {
                    eprintln!("{name}: {error}");
                    RunRecord::missing(scenario, kind, repetition, &error)
                }));
            }
        }
    }
}
