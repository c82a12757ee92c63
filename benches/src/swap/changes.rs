//! Updates of providers, and the clocks on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::PROVIDERS;
use crate::control::Client;
use crate::error::BenchError;
use crate::gateways::{Nimgate, Upstream};
use crate::side_by_side::start::provider;
use crate::stats::Percentiles;

/// A change that is not served after this is not served.
const LIVE_LIMIT: Duration = Duration::from_secs(10);
/// Asking without a pause would take the time from the work it waits for.
const ASK_PAUSE: Duration = Duration::from_millis(1);

/// The `number`th update: all providers in turn, each moved to the upstream's next address.
fn update(upstream: &Upstream, number: usize) -> (String, String) {
    let name = provider(number % PROVIDERS);
    let turn = (number / PROVIDERS + 1) % upstream.addresses.len().max(1);
    let address = upstream.addresses.get(turn).map_or_else(String::new, ToString::to_string);
    let url = format!("http://{address}/{name}");
    (name, url)
}

/// Round trips of updates through the gateway, which answers when it has applied the change.
pub fn through_gateway(
    nimgate: &Nimgate,
    upstream: &Upstream,
    count: usize,
) -> Result<Percentiles, BenchError> {
    let mut client = Client::new(nimgate.address());
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        let (name, url) = update(upstream, number);
        let start = Instant::now();
        client.replace_provider(&name, &url)?;
        took.push(start.elapsed());
    }
    Ok(Percentiles::of(&mut took))
}

/// Updates sent to the registry itself, while the gateway is asked what it serves.
#[derive(Debug, Serialize)]
pub struct Direct {
    pub sent_to_answered: Percentiles,
    /// From the registry's answer (the change is committed) until the gateway serves it; zero when it
    /// was faster than the answer.
    pub answered_to_live: Percentiles,
    pub sent_to_live: Percentiles,
}

pub fn direct(nimgate: &Nimgate, upstream: &Upstream, count: usize) -> Result<Direct, BenchError> {
    let mut registry = Client::new(nimgate.registry_address());
    let mut admin = Client::new(nimgate.admin_address());
    let (mut answered, mut after, mut live) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        // Behind those that went through the gateway.
        let (name, url) = update(upstream, PROVIDERS / 2 + number);
        let start = Instant::now();
        let generation = registry.replace_provider(&name, &url)?.ok_or_else(|| {
            BenchError::wrong("the registry", "a change without the generation that holds it")
        })?;
        let committed = start.elapsed();
        while admin.generation()? < generation {
            if start.elapsed() > LIVE_LIMIT {
                return Err(BenchError::wrong("the gateway", format!("generation {generation} never came")));
            }
            std::thread::sleep(ASK_PAUSE);
        }
        let served = start.elapsed();
        answered.push(committed);
        after.push(served - committed);
        live.push(served);
    }
    Ok(Direct {
        sent_to_answered: Percentiles::of(&mut answered),
        answered_to_live: Percentiles::of(&mut after),
        sent_to_live: Percentiles::of(&mut live),
    })
}

/// What a storm of updates gave.
#[derive(Debug, Serialize)]
pub struct Storm {
    pub per_s: f64,
    pub failed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_error: Option<String>,
    /// Tables that the gateway served one after the other: of many changes at once, it takes the newest.
    pub tables: u64,
    pub latency: Percentiles,
}

/// A storm under way.
pub struct Storming<'scope> {
    begin: Instant,
    before: Result<u64, BenchError>,
    admin: Client,
    ending: Arc<AtomicBool>,
    callers: Vec<ScopedJoinHandle<'scope, Calls>>,
}

#[derive(Default)]
struct Calls {
    took: Vec<Duration>,
    failed: usize,
    first_error: Option<String>,
}

/// Begins a storm: `callers` at a time update providers through the gateway, without a pause.
pub fn storm<'scope>(
    scope: &'scope Scope<'scope, '_>,
    nimgate: &'scope Nimgate,
    upstream: &'scope Upstream,
    callers: usize,
) -> Storming<'scope> {
    let ending = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicUsize::new(0));
    let mut admin = Client::new(nimgate.admin_address());
    let before = admin.tables_applied();
    let call = |_| {
        let (ending, next) = (Arc::clone(&ending), Arc::clone(&next));
        scope.spawn(move || {
            let mut client = Client::new(nimgate.address());
            let mut calls = Calls::default();
            while !ending.load(Ordering::Relaxed) {
                let (name, url) = update(upstream, next.fetch_add(1, Ordering::Relaxed));
                let start = Instant::now();
                match client.replace_provider(&name, &url) {
                    Ok(_) => calls.took.push(start.elapsed()),
                    Err(error) => {
                        calls.failed += 1;
                        calls.first_error.get_or_insert_with(|| error.to_string());
                    }
                }
            }
            calls
        })
    };
    let callers = (0..callers).map(call).collect();
    Storming { begin: Instant::now(), before, admin, ending, callers }
}

impl Storming<'_> {
    pub fn end(mut self) -> Result<Storm, BenchError> {
        self.ending.store(true, Ordering::Relaxed);
        let mut all = Calls::default();
        for caller in self.callers {
            let calls =
                caller.join().map_err(|_| BenchError::Setup("a caller of the storm panicked".to_owned()))?;
            all.took.extend(calls.took);
            all.failed += calls.failed;
            all.first_error = all.first_error.or(calls.first_error);
        }
        let per_s = all.took.len() as f64 / self.begin.elapsed().as_secs_f64();
        Ok(Storm {
            per_s,
            failed: all.failed,
            first_error: all.first_error,
            tables: self.admin.tables_applied()?.saturating_sub(self.before?),
            latency: Percentiles::of(&mut all.took),
        })
    }
}
