//! What it costs to translate Responses, beside the same answers passed as they are: the same nimgate, the same
//! upstream, one load right after the other.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;

use crate::child;
use crate::error::BenchError;
use crate::gateways::Upstream;
use crate::process::{self, Memory};
use crate::prompts::Prompt;
use crate::results::{self, Circumstances};
use crate::side_by_side::peer::{Kind, Peer, PeerSpec};
use crate::side_by_side::run::{Run, RunRecord};
use crate::side_by_side::scenario::{Load, Scenario, closed};
use crate::side_by_side::seconds;
use crate::stats::median;
use crate::subject::Subject;

const PASSED: &str = "passed";
const TRANSLATED: &str = "translated";
/// Highest accepted CPU time of a translated answer, with the one that is passed = 1.0.
const LOADS: [Scenario; 3] = [
    closed("1k-c64", Prompt::Small, 64, Some(3.0)),
    closed("burst-c16", Prompt::Burst, 16, Some(2.5)),
    closed("paced-c64", Prompt::Paced { pause_ms: 10 }, 64, Some(2.5)),
];
/// 1,000 streams at 20 events a second each.
const CROWD: usize = 1_000;
const CROWD_PAUSE_MS: u64 = 50;
const CROWD_STREAM: Duration = Duration::from_millis(CROWD_PAUSE_MS * 51);
const CROWD_WINDOW: Duration = Duration::from_secs(8);
const CROWD_GOAL_KIB: f64 = 64.0;

/// What translating the Responses API costs, beside the same answers in Chat Completions.
#[derive(Debug, Parser)]
pub struct Options {
    /// Repetitions of each load; medians are shown
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// Length of each run
    #[arg(long, default_value_t = 1.5, value_parser = seconds)]
    secs: f64,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Serialize)]
struct Results<'a> {
    circumstances: Circumstances,
    repetitions: usize,
    secs: f64,
    prefer: bool,
    runs: &'a [RunRecord],
    crowd: &'a [CrowdRecord],
}

/// Many slow streams at a time.
#[derive(Debug, Clone, Serialize)]
struct CrowdRecord {
    mode: &'static str,
    streams: usize,
    requests: f64,
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    cores: f64,
    /// Growth of the proportional memory over an idle gateway, for each stream.
    per_stream_kib: f64,
}

pub fn main(options: &Options) -> Result<(), BenchError> {
    process::require_open_files()?;
    let program = options.subject.program()?;
    let folder = tempfile::Builder::new()
        .prefix("nimgate-bench-")
        .tempdir()
        .map_err(BenchError::io("can't make a temporary folder"))?;
    let _preferred = options.subject.preferred()?;
    let upstream = Upstream::start(1, 1, folder.path())?;
    let copy = child::copy_program(&program, &folder.path().join("nimgate-program"))?;
    let spec = PeerSpec { name: "nimgate", kind: Kind::Nimgate(copy) };
    let peer = spec.start(&upstream, folder.path())?;
    let mut runs = Vec::new();
    for repetition in 0..options.reps {
        for load in &LOADS {
            eprint!("\r{} of {}: {}\x1b[K", repetition + 1, options.reps, load.name);
            runs.extend(options.run_beside(load, &peer, upstream.running.pid(), repetition)?);
        }
    }
    eprintln!("\r{CROWD} streams\x1b[K");
    drop(peer);
    let crowd = [
        crowd(&spec, &upstream, folder.path(), PASSED)?,
        crowd(&spec, &upstream, folder.path(), TRANSLATED)?,
    ];
    println!("{}", render(&runs, &crowd));
    let path = options.subject.results("translate");
    let circumstances = Circumstances::now(&program);
    let (repetitions, secs, prefer) = (options.reps, options.secs, options.subject.prefer);
    results::save(&path, &Results { circumstances, repetitions, secs, prefer, runs: &runs, crowd: &crowd })?;
    println!("raw results: {}", path.display());
    Ok(())
}

impl Options {
    /// One load passed and translated, slice by slice.
    fn run_beside(
        &self,
        load: &Scenario,
        peer: &Peer,
        upstream: u32,
        repetition: usize,
    ) -> Result<Vec<RunRecord>, BenchError> {
        let mut passed = Run::new(load, peer, upstream)?;
        let mut translated = Run::on(load, peer, peer.translated_target(load.prompt)?, upstream);
        let window = Duration::from_secs_f64(self.secs) / load.slices();
        for slice in 0..load.slices() {
            let mut order = [&mut passed, &mut translated];
            if (slice as usize + repetition) % 2 == 1 {
                order.reverse();
            }
            order.into_iter().try_for_each(|run| run.slice(window))?;
        }
        Ok(vec![
            RunRecord { peer: PASSED, ..passed.finish(repetition) },
            RunRecord { peer: TRANSLATED, ..translated.finish(repetition) },
        ])
    }
}

/// A thousand slow streams on a gateway that was just started.
fn crowd(
    spec: &PeerSpec,
    upstream: &Upstream,
    folder: &Path,
    mode: &'static str,
) -> Result<CrowdRecord, BenchError> {
    let peer = spec.start(upstream, &folder.join(format!("crowd-{mode}")))?;
    let prompt = Prompt::Paced { pause_ms: CROWD_PAUSE_MS };
    let scenario = Scenario { name: "crowd", prompt, load: Load::Closed { connections: CROWD }, goal: None };
    let target = if mode == TRANSLATED { peer.translated_target(prompt)? } else { peer.target(prompt)? };
    let before = Memory::read(&peer.pids);
    let mut run = Run::on(&scenario, &peer, target, upstream.running.pid());
    run.slice_after(CROWD_STREAM + CROWD_STREAM, CROWD_STREAM, CROWD_WINDOW)?;
    let record = run.finish(0);
    Ok(CrowdRecord {
        mode,
        streams: CROWD,
        requests: record.requests,
        errors: record.errors,
        cores: record.cpu_us * record.requests_per_s / 1e6,
        per_stream_kib: (record.memory.pss_kib as f64 - before.pss_kib as f64) / CROWD as f64,
        first_error: record.first_error,
    })
}

fn render(runs: &[RunRecord], crowd: &[CrowdRecord]) -> String {
    let mut out = String::from(
        "\n**CPU time for each request, µs**\n\n| load | passed | translated | ratio | goal |\n|---|---:|---:|---:|---:|\n",
    );
    let of = |load: &Scenario, mode: &str| -> Vec<&RunRecord> {
        runs.iter().filter(|run| run.scenario == load.name && run.peer == mode).collect()
    };
    for load in &LOADS {
        let (passed, translated) = (of(load, PASSED), of(load, TRANSLATED));
        let each = |runs: &[&RunRecord]| {
            median(runs.iter().map(|run| run.cpu_us / load.parts())).unwrap_or_default()
        };
        let ratio = median(
            passed.iter().zip(&translated).map(|(passed, translated)| translated.cpu_us / passed.cpu_us),
        );
        let unit = if load.is_paced() { ", each event" } else { "" };
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "| {}{unit} | {:.1} | {:.1} | **{:.2}** | ≤ {} |",
            load.name,
            each(&passed),
            each(&translated),
            ratio.unwrap_or_default(),
            load.goal.unwrap_or_default()
        );
    }
    for record in crowd {
        let _ = writeln!(
            out,
            "\n{} {} streams at {} events a second: {:.2} cores, {:.0} KiB each (goal: ≤ {CROWD_GOAL_KIB}), {:.0} answers, {} failed{}",
            record.streams,
            record.mode,
            1000 / CROWD_PAUSE_MS,
            record.cores,
            record.per_stream_kib,
            record.requests,
            record.errors,
            record.first_error.as_ref().map_or_else(String::new, |error| format!(" ({error})")),
        );
    }
    for run in runs.iter().filter(|run| run.errors > 0) {
        let why = run.first_error.as_deref().unwrap_or("unknown");
        let _ = writeln!(out, "ERRORS: {} {}: {}: {why}", run.peer, run.scenario, run.errors);
    }
    out
}
