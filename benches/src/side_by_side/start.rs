//! Start: from the start of the process to the first proxied request, with 1,000 providers stored.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::child::{Running, eventually};
use crate::control::Client;
use crate::error::BenchError;
use crate::gateways::{Nimgate, Role, Upstream};
use crate::prompts::Prompt;
use crate::wire;

const PROVIDERS: usize = 1_000;
/// Callers at a time while the providers are made.
const CALLERS: usize = 8;
const SETUP_LIMIT: Duration = Duration::from_secs(120);
const SETUP_PAUSE: Duration = Duration::from_millis(250);
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often a client tries while the process starts.
const TRY_PAUSE: Duration = Duration::from_micros(500);

#[derive(Debug, Clone, Serialize)]
pub struct StartRecord {
    pub peer: &'static str,
    pub providers: usize,
    pub models: usize,
    pub first_request_ms: Vec<f64>,
}

/// Name of a provider, and of its path on the mock upstream.
pub fn provider(number: usize) -> String {
    format!("p{number:04}")
}

/// Makes `count` providers, each on a path of its own, and waits until all their models are routed.
pub fn fill(
    control: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
    count: usize,
    models: usize,
) -> Result<(), BenchError> {
    let results = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                scope.spawn(move || {
                    let mut client = Client::new(control);
                    (caller..count).step_by(CALLERS).try_for_each(|number| {
                        let name = provider(number);
                        client.create_provider(&name, &format!("http://{upstream}/{name}"))
                    })
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join()).collect::<Vec<_>>()
    });
    for result in results {
        result.unwrap_or_else(|_| Err(BenchError::Setup("a caller panicked".to_owned())))?;
    }
    let mut client = Client::new(admin);
    eventually(SETUP_LIMIT, SETUP_PAUSE, || match client.routed_models()? {
        routed if routed == models => Ok(()),
        routed => Err(BenchError::Setup(format!("{routed} of {models} models are routed"))),
    })
}

/// Starts the process and asks for `model` until it answers.
pub fn first_request(
    start: impl FnOnce() -> Result<Running, BenchError>,
    address: SocketAddr,
    model: &str,
) -> Result<(Duration, Running), BenchError> {
    let request = wire::request("POST", super::peer::PATH, Some(&Prompt::Small.body(model)));
    let begin = Instant::now();
    let running = start()?;
    eventually(START_LIMIT, TRY_PAUSE, || match Client::new(address).send(&request)?.status {
        200 => Ok(()),
        status => Err(BenchError::wrong(address.to_string(), format!("status {status} after a start"))),
    })?;
    Ok((begin.elapsed(), running))
}

pub fn measure(
    peer: &'static str,
    program: &Path,
    upstream: &Upstream,
    folder: &Path,
    repetitions: usize,
) -> Result<StartRecord, BenchError> {
    let nimgate = Nimgate::prepare(program, &folder.join(format!("start-{peer}")))?;
    let mut running = nimgate.start(Role::Up)?;
    eventually(START_LIMIT, SETUP_PAUSE, || Client::new(nimgate.admin_address()).generation())?;
    fill(nimgate.address(), nimgate.admin_address(), upstream.address()?, PROVIDERS, PROVIDERS)?;
    running.stop();
    let mut first_request_ms = Vec::new();
    let model = format!("{}-m0", provider(PROVIDERS / 2));
    for _ in 0..repetitions {
        let (took, mut running) = first_request(|| nimgate.start(Role::Up), nimgate.address(), &model)?;
        first_request_ms.push(took.as_secs_f64() * 1e3);
        running.stop();
    }
    Ok(StartRecord { peer, providers: PROVIDERS, models: PROVIDERS, first_request_ms })
}
