//! How fast a change is served, and whether anybody notices: 1,000 providers, 10,000 models, one
//! registry and one gateway as processes of their own.
//!
//! 1. Quiet: provider updates one after the other, through the gateway (it answers when it has applied
//!    the change) and straight to the registry (then asking the gateway for its generation).
//! 2. Storm: hundreds of updates a second, each pointing a provider elsewhere, while requests for
//!    models of all providers go through at a fixed rate. None may fail.
//! 3. Start: the gateway again, with the registry dead, from its saved snapshot.

mod changes;

use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use serde::Serialize;

use crate::child::{self, Running, eventually};
use crate::control::Client;
use crate::error::BenchError;
use crate::gateways::{Nimgate, Role, Upstream};
use crate::load::{OpenPlan, Report, Target, open};
use crate::process::{self};
use crate::prompts::Prompt;
use crate::results::{self, Circumstances};
use crate::side_by_side::PATH;
use crate::side_by_side::start::{fill, first_request, provider};
use crate::stats::{Percentiles, median};
use crate::subject::Subject;
use crate::wire;
use changes::{Direct, Storm};

pub const PROVIDERS: usize = 1_000;
const MODELS_EACH: usize = 10;
/// Two addresses of the mock upstream, so that an update really moves a provider.
const UPSTREAM_PORTS: usize = 2;
const CONNECTIONS: usize = 64;
const STARTS: usize = 5;
const START_LIMIT: Duration = Duration::from_secs(20);
const START_PAUSE: Duration = Duration::from_millis(20);

/// Measures how fast changes of routes are served, and that no request notices them.
#[derive(Debug, Parser)]
pub struct Options {
    /// Updates one after the other, of each kind
    #[arg(long, default_value_t = 300)]
    updates: usize,
    /// Length of the storm, and of the same load without one
    #[arg(long, default_value_t = 10.0)]
    secs: f64,
    /// Requests a second meanwhile
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Updates under way at a time in the storm
    #[arg(long, default_value_t = 16)]
    callers: usize,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Debug, Serialize)]
struct Results {
    circumstances: Circumstances,
    providers: usize,
    models: usize,
    /// Call through the gateway, until it answers.
    through_gateway: Percentiles,
    direct: Direct,
    calm: Loaded,
    storm: Loaded,
    updates: Storm,
    start_from_snapshot_ms: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Loaded {
    requests: f64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    latency: Percentiles,
}

impl From<Report> for Loaded {
    fn from(mut report: Report) -> Self {
        Self {
            requests: report.requests,
            failed: report.errors,
            first_error: report.first_error.take(),
            latency: Percentiles::of(&mut report.latencies),
        }
    }
}

/// The processes of one installation.
struct Installation {
    nimgate: Nimgate,
    upstream: Upstream,
    registry: Running,
    gateway: Running,
    /// Holds the files of the processes, so it goes last.
    _folder: tempfile::TempDir,
}

pub fn main(options: &Options) -> Result<(), BenchError> {
    process::require_open_files()?;
    let program = options.subject.program()?;
    let _preferred = options.subject.preferred()?;
    let mut all = Installation::start(&program)?;
    eprintln!("updates one after the other");
    let through_gateway = changes::through_gateway(&all.nimgate, &all.upstream, options.updates)?;
    let direct = changes::direct(&all.nimgate, &all.upstream, options.updates)?;
    let target = all.target()?;
    let window = Duration::from_secs_f64(options.secs);
    let plan = OpenPlan { rate_per_s: options.rate, connections: CONNECTIONS, window };
    eprintln!("load without updates");
    let calm = open(&target, &plan, |_| {})?.into();
    eprintln!("load with a storm of updates");
    let (storm, updates) = std::thread::scope(|scope| {
        let storming = changes::storm(scope, &all.nimgate, &all.upstream, options.callers);
        let loaded = open(&target, &plan, |_| {});
        (loaded, storming.end())
    });
    eprintln!("starts without the registry");
    let results = Results {
        circumstances: Circumstances::now(&program),
        providers: PROVIDERS,
        models: PROVIDERS * MODELS_EACH,
        through_gateway,
        direct,
        calm,
        storm: storm?.into(),
        updates: updates?,
        start_from_snapshot_ms: all.starts_from_snapshot()?,
    };
    results.print();
    let path = options.subject.results("swap");
    results::save(&path, &results)?;
    println!("raw results: {}", path.display());
    Ok(())
}

impl Installation {
    fn start(program: &std::path::Path) -> Result<Self, BenchError> {
        let folder = tempfile::Builder::new()
            .prefix("nimgate-swap-")
            .tempdir()
            .map_err(BenchError::io("can't make a temporary folder"))?;
        let upstream = Upstream::start(UPSTREAM_PORTS, MODELS_EACH, folder.path())?;
        let program = child::copy_program(program, &folder.path().join("nimgate-program"))?;
        let nimgate = Nimgate::prepare(&program, &folder.path().join("nimgate"))?;
        let registry = nimgate.start(Role::Registry)?;
        let gateway = nimgate.start(Role::Gateway(nimgate.registry_address()))?;
        eventually(START_LIMIT, START_PAUSE, || Client::new(nimgate.admin_address()).generation())?;
        eprintln!("making {PROVIDERS} providers");
        fill(
            nimgate.registry_address(),
            nimgate.admin_address(),
            upstream.address()?,
            PROVIDERS,
            PROVIDERS * MODELS_EACH,
        )?;
        Ok(Self { nimgate, upstream, registry, gateway, _folder: folder })
    }

    /// Requests for one model of each provider.
    fn target(&self) -> Result<Target, BenchError> {
        let request = |number: usize| {
            let model = format!("default/{}-m{}", provider(number), number % MODELS_EACH);
            wire::request("POST", PATH, Some(&Prompt::Small.body(&model)))
        };
        let requests: Vec<Bytes> = (0..PROVIDERS).map(request).collect();
        let first = Client::new(self.nimgate.address()).send(&request(0))?;
        if first.status != 200 {
            return Err(BenchError::wrong("nimgate", format!("status {}", first.status)));
        }
        Ok(Target {
            address: self.nimgate.address(),
            requests: requests.into(),
            body_bytes: first.body_bytes,
        })
    }

    fn starts_from_snapshot(&mut self) -> Result<Vec<f64>, BenchError> {
        let model = format!("{}-m0", provider(PROVIDERS / 2));
        self.registry.kill();
        let mut starts_ms = Vec::new();
        for _ in 0..STARTS {
            self.gateway.stop();
            let role = Role::Gateway(self.nimgate.registry_address());
            let (took, running) = first_request(|| self.nimgate.start(role), self.nimgate.address(), &model)?;
            self.gateway = running;
            starts_ms.push(took.as_secs_f64() * 1e3);
        }
        Ok(starts_ms)
    }
}

impl Results {
    fn print(&self) {
        let row = |what: &str, p: &Percentiles| {
            println!(
                "| {what} | {} | {:.1} | {:.1} | {:.1} |",
                p.count,
                p.p50_us / 1e3,
                p.p99_us / 1e3,
                p.max_us / 1e3
            );
        };
        println!("\n**Changes of routes: {} providers, {} models, ms**\n", self.providers, self.models);
        println!("| | count | p50 | p99 | max |\n|---|---:|---:|---:|---:|");
        row("update through the gateway, until it answers (goal: p99 ≤ 50)", &self.through_gateway);
        row("update at the registry: sent to live (goal: p99 ≤ 50)", &self.direct.sent_to_live);
        row("update at the registry: sent to answered", &self.direct.sent_to_answered);
        row("update at the registry: answered to live", &self.direct.answered_to_live);
        row("update through the gateway, in the storm", &self.updates.latency);
        row("request without a storm", &self.calm.latency);
        row("request in the storm", &self.storm.latency);
        println!(
            "\nStorm: {:.0} updates a second, {} tables served in turn, {} updates failed; requests: {:.0}, \
             **{} failed** (goal: 0).",
            self.updates.per_s,
            self.updates.tables,
            self.updates.failed,
            self.storm.requests,
            self.storm.failed
        );
        let errors = [&self.updates.first_error, &self.storm.first_error, &self.calm.first_error];
        for error in errors.into_iter().flatten() {
            println!("First error: {error}");
        }
        let start = median(self.start_from_snapshot_ms.iter().copied()).unwrap_or_default();
        println!(
            "Start of the gateway from its snapshot, registry dead, to the first request: {start:.0} ms.\n"
        );
    }
}
