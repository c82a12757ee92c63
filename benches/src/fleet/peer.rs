//! Who stands in front of the fleet.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::replica::MODEL;
use super::scenario::Scenario;
use crate::child::{Running, eventually};
use crate::control::Client;
use crate::error::BenchError;
use crate::gateways::{Haproxy, Nginx, Nimgate, PythonRouter, Role, Spread};
use crate::load::Target;

/// What nimgate's clients call the model.
const PUBLIC: &str = "default/bench-model";
const UP_LIMIT: Duration = Duration::from_secs(30);
const UP_PAUSE: Duration = Duration::from_millis(50);
/// Requests before a run, to see that all is well.
const FIRST_REQUESTS: usize = 4;
/// Of these requests, whose numbers no run uses.
const FIRST_SEED: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With this strategy of the virtual model.
    Nimgate(&'static str),
    /// The same, and streams go on elsewhere when their server dies.
    NimgateResuming(&'static str),
    Nginx,
    Haproxy,
    /// With this policy.
    Router(PythonRouter, &'static str),
}

/// In the order of the tables.
pub const ALL: [Kind; 9] = [
    Kind::Nimgate("least_busy"),
    Kind::NimgateResuming("least_busy"),
    Kind::Nimgate("prefix_affinity"),
    Kind::Nginx,
    Kind::Haproxy,
    Kind::Router(PythonRouter::Sglang, "cache_aware"),
    Kind::Router(PythonRouter::Sglang, "power_of_two"),
    Kind::Router(PythonRouter::Vllm, "cache_aware"),
    Kind::Router(PythonRouter::Vllm, "power_of_two"),
];

/// Where the programs are, and how the servers behave.
#[derive(Debug, Clone)]
pub struct Programs {
    pub nimgate: PathBuf,
    pub nginx: PathBuf,
    pub haproxy: PathBuf,
    pub venv: PathBuf,
    /// Heads of answers come with the first event.
    pub late_head: bool,
}

/// A peer that runs and answers.
pub struct Peer {
    pub address: SocketAddr,
    pub model: &'static str,
    kind: Kind,
    running: Running,
}

impl Kind {
    pub fn name(self) -> String {
        match self {
            Self::Nimgate(strategy) => format!("nimgate `{strategy}`"),
            Self::NimgateResuming(strategy) => format!("nimgate `{strategy}`, `resume`"),
            Self::Nginx => "nginx `least_conn`".to_owned(),
            Self::Haproxy => "HAProxy `leastconn`".to_owned(),
            Self::Router(router, policy) => format!("{} `{policy}`", router.name()),
        }
    }

    /// Whether it has something to show there. What a stream does when its server dies counts where one dies.
    pub fn takes(self, scenario: Scenario) -> bool {
        !matches!(self, Self::NimgateResuming(_)) || scenario == Scenario::Kill
    }

    /// What the program says of itself; an error when it can't be run.
    pub fn version(self, programs: &Programs) -> Result<String, BenchError> {
        match self {
            Self::Nimgate(_) | Self::NimgateResuming(_) => first_line(&programs.nimgate, "--version"),
            Self::Nginx => Nginx::version(&programs.nginx),
            Self::Haproxy => first_line(&programs.haproxy, "-v"),
            Self::Router(router, _) => router.version(&programs.venv).ok_or_else(|| {
                let (name, venv) = (router.name(), programs.venv.display());
                BenchError::Setup(format!(
                    "not installed: python3 -m venv {venv} && {venv}/bin/pip install {name}"
                ))
            }),
        }
    }

    /// Starts it in front of these servers and waits until it answers.
    pub fn start(
        self,
        programs: &Programs,
        servers: &[SocketAddr],
        folder: &Path,
    ) -> Result<Peer, BenchError> {
        let (running, address, model) = match self {
            Self::Nimgate(strategy) | Self::NimgateResuming(strategy) => {
                let routing = (strategy, matches!(self, Self::NimgateResuming(_)));
                let (running, address) = start_nimgate(&programs.nimgate, routing, servers, folder)?;
                (running, address, PUBLIC)
            }
            Self::Nginx => {
                let nginx = Nginx::start(&programs.nginx, Spread::LeastConn(servers), folder)?;
                (nginx.running, nginx.address, MODEL)
            }
            Self::Haproxy => {
                let haproxy = Haproxy::start(&programs.haproxy, servers, folder)?;
                (haproxy.running, haproxy.address, MODEL)
            }
            Self::Router(router, policy) => {
                let (running, address) = router.start(&programs.venv, policy, servers, folder)?;
                (running, address, MODEL)
            }
        };
        Ok(Peer { address, model, kind: self, running })
    }
}

fn first_line(program: &Path, option: &str) -> Result<String, BenchError> {
    let output = Command::new(program).arg(option).output();
    let output = output.map_err(|error| BenchError::Setup(format!("{}: {error}", program.display())))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// A provider for each server, and the strategy on the model that all of them serve.
fn start_nimgate(
    program: &Path,
    (strategy, resume): (&str, bool),
    servers: &[SocketAddr],
    folder: &Path,
) -> Result<(Running, SocketAddr), BenchError> {
    let nimgate = Nimgate::prepare(program, folder)?;
    let running = nimgate.start(Role::Up)?;
    let mut client = Client::new(nimgate.address());
    for (number, server) in servers.iter().enumerate() {
        let url = format!("http://{server}");
        eventually(UP_LIMIT, UP_PAUSE, || client.create_provider(&format!("replica-{number}"), &url))?;
    }
    eventually(UP_LIMIT, UP_PAUSE, || {
        let routed = Client::new(nimgate.admin_address()).candidates_of(MODEL)?;
        let wrong = || BenchError::wrong("nimgate", format!("it routes to {routed} of {}", servers.len()));
        (routed == servers.len()).then_some(()).ok_or_else(wrong)
    })?;
    client.set_routing(MODEL, strategy, resume)?;
    Ok((running, nimgate.address()))
}

impl Peer {
    /// Some requests one after the other, until all are answered in a row; gives what a right answer looks like.
    pub fn target(&mut self, scenario: Scenario) -> Result<Target, BenchError> {
        let requests = scenario.requests(self.model, FIRST_SEED, FIRST_REQUESTS);
        let body_bytes = eventually(UP_LIMIT, UP_PAUSE, || {
            let mut lengths = Vec::new();
            for request in &requests {
                let reply = Client::new(self.address).send(request)?;
                let text = String::from_utf8_lossy(reply.body());
                if reply.status != 200 || !text.ends_with("data: [DONE]\n\n") {
                    let start: String = text.chars().take(200).collect();
                    return Err(BenchError::wrong(self.kind.name(), format!("{} {start}", reply.status)));
                }
                lengths.push(reply.body_bytes);
            }
            lengths.dedup();
            let differ = || BenchError::wrong(self.kind.name(), format!("answers of lengths {lengths:?}"));
            match *lengths {
                [length] => Ok(length),
                _ => Err(differ()),
            }
        })?;
        Ok(Target { address: self.address, requests: requests.into(), body_bytes })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // These wait for minutes, or for nobody knows what.
        if let Kind::Router(..) = self.kind {
            self.running.kill();
        }
    }
}
