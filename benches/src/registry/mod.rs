//! What a call of the registry's API costs, by CPU time of its process, with a store of 10,000 models,
//! 1,000 providers and 5,000 versions of deployments.

mod fill;

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use serde::Serialize;

use crate::child::{self, Running, eventually};
use crate::control::Client;
use crate::error::BenchError;
use crate::gateways::{Nimgate, Role, Upstream};
use crate::process::{self, CpuClock, Memory};
use crate::results::{self, Circumstances};
use crate::stats::Percentiles;
use crate::subject::Subject;
use crate::wire;

const PROVIDERS: usize = 1_000;
const MODELS: usize = 10_000;
const DEPLOYMENTS: usize = 500;
const VERSIONS_EACH: usize = 10;
const START_LIMIT: Duration = Duration::from_secs(20);
const START_PAUSE: Duration = Duration::from_millis(20);

/// Measures what calls of the registry's API cost with a full store.
#[derive(Debug, Parser)]
pub struct Options {
    /// Calls of each kind
    #[arg(long, default_value_t = 300)]
    calls: usize,
    #[command(flatten)]
    subject: Subject,
}

/// One kind of call.
struct Case {
    name: &'static str,
    /// The most CPU time it should take, in milliseconds; none: bounded by the disk.
    goal_ms: Option<f64>,
    status: u16,
    call: Call,
}

enum Call {
    /// Always the same.
    Get(&'static str),
    /// By number.
    Write(fn(usize) -> Bytes),
}

/// Paths stand in the request as they are: they need no escapes.
const fn get(name: &'static str, path: &'static str) -> Case {
    Case { name, goal_ms: Some(0.3), status: 200, call: Call::Get(path) }
}

const fn page(name: &'static str, path: &'static str) -> Case {
    Case { name, goal_ms: Some(5.0), status: 200, call: Call::Get(path) }
}

const CASES: &[Case] = &[
    get("get a model", "/apis/models/v2/workspaces/default/models/p0500-m5"),
    get("get a provider", "/apis/models/v2/workspaces/default/providers/p0500"),
    get("get a deployment", "/apis/models/v2/workspaces/default/deployments/d0250"),
    page("page of 100 models", "/apis/models/v2/workspaces/default/models"),
    page("the last of 100 pages", "/apis/models/v2/workspaces/default/models?page=100"),
    page("models by their last update", "/apis/models/v2/workspaces/default/models?sort=-updated_at"),
    page(
        "models with a part of a name",
        "/apis/models/v2/workspaces/default/models?filter[name][$like]=p0500",
    ),
    page("page of 100 providers", "/apis/models/v2/workspaces/default/providers"),
    page("providers that are READY", "/apis/models/v2/workspaces/default/providers?filter[status]=READY"),
    page("page of 100 deployments", "/apis/models/v2/workspaces/default/deployments"),
    page("page of 100 versions", "/apis/models/v2/workspaces/default/deployments?all_versions=true"),
    page("virtual models", "/apis/inference-gateway/v2/workspaces/default/virtual-models?page_size=100"),
    Case { name: "create a prompt", goal_ms: None, status: 201, call: Call::Write(fill::prompt) },
    Case {
        name: "replace a provider",
        goal_ms: None,
        status: 200,
        call: Call::Write(fill::provider_replaced),
    },
];

#[derive(Debug, Serialize)]
struct Results {
    circumstances: Circumstances,
    providers: usize,
    models: usize,
    deployment_versions: usize,
    calls: Vec<Measured>,
    rss_kib: u64,
}

#[derive(Debug, Serialize)]
struct Measured {
    call: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal_cpu_ms: Option<f64>,
    cpu_ms: f64,
    answer_bytes: u64,
    latency: Percentiles,
}

pub fn main(options: &Options) -> Result<(), BenchError> {
    process::require_open_files()?;
    let program = options.subject.program()?;
    let _preferred = options.subject.preferred()?;
    let folder = tempfile::Builder::new()
        .prefix("nimgate-registry-")
        .tempdir()
        .map_err(BenchError::io("can't make a temporary folder"))?;
    let upstream = Upstream::start(1, MODELS / PROVIDERS, folder.path())?;
    let copy = child::copy_program(&program, &folder.path().join("nimgate-program"))?;
    let nimgate = Nimgate::prepare(&copy, &folder.path().join("nimgate"))?;
    let registry = nimgate.start(Role::Registry)?;
    let gateway = nimgate.start(Role::Gateway(nimgate.registry_address()))?;
    eventually(START_LIMIT, START_PAUSE, || Client::new(nimgate.admin_address()).generation())?;
    eprintln!("making {PROVIDERS} providers and {} versions of deployments", DEPLOYMENTS * VERSIONS_EACH);
    fill::fill(&nimgate, &upstream)?;
    drop(gateway);
    let calls = CASES
        .iter()
        .map(|case| case.measure(&nimgate, &registry, options.calls))
        .collect::<Result<_, _>>()?;
    let results = Results {
        circumstances: Circumstances::now(&program),
        providers: PROVIDERS,
        models: MODELS,
        deployment_versions: DEPLOYMENTS * VERSIONS_EACH,
        calls,
        rss_kib: Memory::read(&[registry.pid()]).rss_kib,
    };
    results.print();
    let path = options.subject.results("registry");
    results::save(&path, &results)?;
    println!("raw results: {}", path.display());
    Ok(())
}

impl Case {
    /// One call after the other on one connection.
    fn measure(&self, nimgate: &Nimgate, registry: &Running, calls: usize) -> Result<Measured, BenchError> {
        eprintln!("{}", self.name);
        let mut client = Client::new(nimgate.registry_address());
        let request = |number| match self.call {
            Call::Get(path) => wire::request("GET", path, None),
            Call::Write(request) => request(number),
        };
        let mut send = |number| {
            let reply = client.send(&request(number))?;
            if reply.status != self.status {
                let text: String = String::from_utf8_lossy(reply.body()).chars().take(300).collect();
                return Err(BenchError::wrong(self.name, format!("status {}: {text}", reply.status)));
            }
            Ok(reply.body_bytes)
        };
        // The first call compiles its statements.
        let answer_bytes = send(calls)?;
        let mut took = Vec::with_capacity(calls);
        let before = CpuClock::read(&[registry.pid()]);
        for number in 0..calls {
            let begin = Instant::now();
            send(number)?;
            took.push(begin.elapsed());
        }
        let used = CpuClock::read(&[registry.pid()]).since(&before);
        Ok(Measured {
            call: self.name,
            goal_cpu_ms: self.goal_ms,
            cpu_ms: used.total.as_secs_f64() * 1e3 / calls as f64,
            answer_bytes,
            latency: Percentiles::of(&mut took),
        })
    }
}

impl Results {
    fn print(&self) {
        println!(
            "\n**The registry's API: {} models, {} providers, {} versions of deployments**\n",
            self.models, self.providers, self.deployment_versions
        );
        println!("| call | CPU ms | goal | p50 ms | p99 ms | answer KiB |\n|---|---:|---:|---:|---:|---:|");
        for call in &self.calls {
            let goal = call.goal_cpu_ms.map_or_else(|| "disk".to_owned(), |goal| format!("{goal}"));
            println!(
                "| {} | {:.2} | {goal} | {:.2} | {:.2} | {:.0} |",
                call.call,
                call.cpu_ms,
                call.latency.p50_us / 1e3,
                call.latency.p99_us / 1e3,
                call.answer_bytes as f64 / 1024.0
            );
        }
        println!("\nMemory of the registry (RSS): {:.1} MiB (goal: 60).\n", self.rss_kib as f64 / 1024.0);
    }
}
