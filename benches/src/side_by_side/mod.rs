//! nginx and nimgate side by side: the same load on each, one right after the other, again and again.

mod memory;
pub mod peer;
mod report;
pub mod run;
pub mod scenario;
pub mod start;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;

use crate::child;
use crate::error::BenchError;
use crate::gateways::{Nginx, Upstream};
use crate::process;
use crate::results::{self, Circumstances};
use crate::subject::Subject;
use memory::MemoryRecord;
pub use peer::PATH;
use peer::{Kind, Peer, PeerSpec};
use report::{BASELINE, DIRECT, MEASURE, NIMGATE, Tables};
use run::{Run, RunRecord};
use scenario::Scenario;
use start::StartRecord;

const MEMORY: &str = "memory";
const START: &str = "start";
const STARTS: usize = 7;
/// Models of each provider of the start bench.
const MODELS_EACH: usize = 1;

/// Puts nimgate beside nginx: CPU per request, latency, memory, start.
#[derive(Debug, Parser)]
pub struct Options {
    /// Parts to run, comma-separated: loads (or how their names begin), memory, start [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Repetitions of each load; medians are shown
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// Length of each run
    #[arg(long, default_value_t = 1.5, value_parser = seconds)]
    secs: f64,
    #[command(flatten)]
    subject: Subject,
    /// A second nimgate to compare with
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// nginx's program
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// Real-time priority for everybody in the fixed-rate runs: on a shared machine they then see an idle one (needs root)
    #[arg(long)]
    rt: bool,
}

pub fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number of seconds".to_owned())?;
    if (0.1..=600.0).contains(&value) { Ok(value) } else { Err("must be from 0.1 to 600".to_owned()) }
}

#[derive(Serialize)]
struct Results<'a> {
    circumstances: Circumstances,
    nginx: String,
    repetitions: usize,
    secs: f64,
    rt: bool,
    prefer: bool,
    runs: &'a [RunRecord],
    memory: &'a [MemoryRecord],
    starts: &'a [StartRecord],
}

pub fn main(options: &Options) -> Result<(), BenchError> {
    process::require_open_files()?;
    let program = options.subject.program()?;
    let nginx_version = Nginx::version(&options.nginx)?;
    let scenarios = options.scenarios()?;
    let folder = tempfile::Builder::new()
        .prefix("nimgate-bench-")
        .tempdir()
        .map_err(BenchError::io("can't make a temporary folder"))?;
    let _preferred = options.subject.preferred()?;
    let upstream = Upstream::start(1, MODELS_EACH, folder.path())?;
    let specs = options.specs(&program, folder.path())?;
    let runs = if scenarios.is_empty() {
        Vec::new()
    } else {
        options.run_all(&scenarios, &specs, &upstream, folder.path())?
    };
    let memory = options.measure_memory(&specs, &upstream, folder.path())?;
    let starts = options.measure_starts(&specs, &upstream, folder.path())?;
    println!("{}", Tables { runs: &runs, memory: &memory, starts: &starts }.render());
    let path = options.subject.results("side-by-side");
    results::save(
        &path,
        &Results {
            circumstances: Circumstances::now(&program),
            nginx: nginx_version,
            repetitions: options.reps,
            secs: options.secs,
            rt: options.rt,
            prefer: options.subject.prefer,
            runs: &runs,
            memory: &memory,
            starts: &starts,
        },
    )?;
    println!("raw results: {}", path.display());
    Ok(())
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.starts_with(part.as_str()))
    }

    fn scenarios(&self) -> Result<Vec<Scenario>, BenchError> {
        let names = || scenario::ALL.iter().map(|scenario| scenario.name).chain([MEMORY, START]);
        if let Some(part) = self.only.iter().find(|part| !names().any(|name| name.starts_with(part.as_str())))
        {
            let known = names().collect::<Vec<_>>().join(", ");
            return Err(BenchError::Setup(format!("--only: there is no {part:?}; there are {known}")));
        }
        Ok(scenario::ALL.into_iter().filter(|scenario| self.wants(scenario.name)).collect())
    }

    fn specs(&self, program: &Path, folder: &Path) -> Result<Vec<PeerSpec>, BenchError> {
        // Copies, so that a build in the middle of the bench changes nothing.
        let copy = |program: &Path, name| child::copy_program(program, &folder.join(name));
        let mut specs = vec![
            PeerSpec { name: DIRECT, kind: Kind::Direct },
            PeerSpec { name: MEASURE, kind: Kind::Nginx(self.nginx.clone()) },
            PeerSpec { name: NIMGATE, kind: Kind::Nimgate(copy(program, "nimgate-program")?) },
        ];
        if let Some(baseline) = &self.baseline {
            let program = copy(baseline, "baseline-program")?;
            specs.push(PeerSpec { name: BASELINE, kind: Kind::Nimgate(program) });
        }
        Ok(specs)
    }

    /// All loads on all peers; the order of the peers turns round with each repetition.
    fn run_all(
        &self,
        scenarios: &[Scenario],
        specs: &[PeerSpec],
        upstream: &Upstream,
        folder: &Path,
    ) -> Result<Vec<RunRecord>, BenchError> {
        let peers = specs.iter().map(|spec| spec.start(upstream, folder)).collect::<Result<Vec<_>, _>>()?;
        let mut runs = Vec::new();
        for repetition in 0..self.reps {
            for scenario in scenarios {
                let mut order: Vec<&Peer> = peers.iter().collect();
                if repetition % 2 == 1 {
                    order.reverse();
                }
                // Without a gateway, only latency is compared with: elsewhere once is enough.
                order.retain(|peer| peer.name != DIRECT || scenario.is_open() || repetition == 0);
                eprint!("\r{} of {}: {}\x1b[K", repetition + 1, self.reps, scenario.name);
                let pids = order.iter().flat_map(|peer| peer.pids.iter().copied());
                let pids: Vec<_> = pids.chain([upstream.running.pid(), std::process::id()]).collect();
                let urgent = self.rt && (scenario.is_open() || scenario.is_paced());
                schedule(&pids, urgent, &["-a", "-r", "-p", "10"])?;
                let records = self.run_beside(scenario, &order, upstream.running.pid(), repetition);
                schedule(&pids, urgent, &["-a", "-o", "-p", "0"])?;
                runs.extend(records?);
            }
        }
        eprintln!();
        Ok(runs)
    }

    /// One load on each peer, slice by slice.
    fn run_beside(
        &self,
        scenario: &Scenario,
        order: &[&Peer],
        upstream: u32,
        repetition: usize,
    ) -> Result<Vec<RunRecord>, BenchError> {
        let runs = order.iter().map(|peer| Run::new(scenario, peer, upstream));
        let mut runs = runs.collect::<Result<Vec<_>, _>>()?;
        let window = Duration::from_secs_f64(self.secs * scenario.stretch()) / scenario.slices();
        for _ in 0..scenario.slices() {
            runs.iter_mut().try_for_each(|run| run.slice(window))?;
        }
        Ok(runs.into_iter().map(|run| run.finish(repetition)).collect())
    }

    fn measure_memory(
        &self,
        specs: &[PeerSpec],
        upstream: &Upstream,
        folder: &Path,
    ) -> Result<Vec<MemoryRecord>, BenchError> {
        if !self.wants(MEMORY) {
            return Ok(Vec::new());
        }
        let gateways = specs.iter().filter(|spec| !matches!(spec.kind, Kind::Direct));
        gateways
            .map(|spec| {
                eprintln!("memory of {}", spec.name);
                memory::measure(spec, upstream, folder)
            })
            .collect()
    }

    fn measure_starts(
        &self,
        specs: &[PeerSpec],
        upstream: &Upstream,
        folder: &Path,
    ) -> Result<Vec<StartRecord>, BenchError> {
        let mut records = Vec::new();
        for spec in specs.iter().filter(|_| self.wants(START)) {
            if let Kind::Nimgate(program) = &spec.kind {
                eprintln!("start of {}", spec.name);
                records.push(start::measure(spec.name, program, upstream, folder, STARTS)?);
            }
        }
        Ok(records)
    }
}

fn schedule(pids: &[u32], wanted: bool, arguments: &[&str]) -> Result<(), BenchError> {
    for pid in pids.iter().filter(|_| wanted) {
        let status = Command::new("chrt").args(arguments).arg(pid.to_string()).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(BenchError::Setup("--rt needs chrt (Debian: util-linux) and root".to_owned()));
        }
    }
    Ok(())
}
