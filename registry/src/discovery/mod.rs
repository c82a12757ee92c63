//! Discovery: which models does each provider serve, and does it live?
//!
//! Every provider is looked at right after it was made or changed, then again and again: at a
//! steady pace while it works, sooner (with a back-off) while it does not. What a look means is
//! decided in `verdict`, when to look in `schedule`; both are pure.
//!
//! Invariants:
//! - One hung provider delays no other: new, working and failing ones have lanes of their own, and
//!   every probe ends within its time limit.
//! - A result counts only for the configuration and key it was made with.
//! - Nothing is written when nothing changed.

mod address;
mod hurry;
mod own;
mod probe;
mod schedule;
mod tls;
mod verdict;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Registry;
use crate::domain::routes::KeyedProvider;
use crate::error::Error;
use crate::server::stopped;
use crate::store::providers;
pub use hurry::Hurry;
pub use own::{call, get_models};
pub use probe::{Client, get_status};
use schedule::{Due, Lane, Outcome, Schedule};
use verdict::Probed;
pub use verdict::{Failure, listed};

/// With nothing due, the loop still looks around this often.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// One finished look.
struct Finished {
    seq: i64,
    revision: i64,
    outcome: Outcome,
}

pub async fn run(registry: Registry, mut stop: watch::Receiver<bool>) {
    let mut published = registry.snapshots();
    let lanes = Lanes::new(registry.inner.config.discovery.concurrency);
    let mut schedule = Schedule::new(registry.inner.config.discovery.interval);
    let mut looks: JoinSet<Finished> = JoinSet::new();
    loop {
        let providers = Arc::clone(&published.borrow_and_update());
        schedule.observe(providers.providers.iter().map(|p| (p.provider.seq, p.provider.revision)), now());
        for due in schedule.take_due(now()) {
            // The list is in order of creation, which is the order of `seq`.
            let index = providers.providers.binary_search_by_key(&due.seq, |p| p.provider.seq);
            let Some(provider) = index.ok().and_then(|index| providers.providers.get(index)) else {
                continue;
            };
            looks.spawn(look(registry.clone(), lanes.of(due.lane), Arc::clone(provider), due));
        }
        let wake = schedule.next_due().map_or_else(|| now() + IDLE_WAIT, |at| at.min(now() + IDLE_WAIT));
        tokio::select! {
            () = stopped(&mut stop) => return,
            changed = published.changed() => if changed.is_err() { return },
            Some(Ok(finished)) = looks.join_next() => {
                schedule.finished(finished.seq, finished.revision, finished.outcome, now());
            }
            taken = registry.inner.hurry.taken() => {
                taken.into_iter().for_each(|seq| schedule.hurry(seq, now()));
            }
            () = tokio::time::sleep_until(Instant::from_std(wake)) => {}
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// As many looks at a time as configured, for each kind of provider.
struct Lanes {
    fresh: Arc<Semaphore>,
    working: Arc<Semaphore>,
    failing: Arc<Semaphore>,
}

impl Lanes {
    fn new(concurrency: usize) -> Self {
        let lane = || Arc::new(Semaphore::new(concurrency.max(1)));
        Self { fresh: lane(), working: lane(), failing: lane() }
    }

    fn of(&self, lane: Lane) -> Arc<Semaphore> {
        Arc::clone(match lane {
            Lane::Fresh => &self.fresh,
            Lane::Working => &self.working,
            Lane::Failing => &self.failing,
        })
    }
}

async fn look(registry: Registry, lane: Arc<Semaphore>, provider: Arc<KeyedProvider>, due: Due) -> Finished {
    let _permit = lane.acquire_owned().await;
    let looked = AssertUnwindSafe(probe_and_record(&registry, &provider, due.failures)).catch_unwind().await;
    let outcome = match looked {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a probe's result could not be stored");
            Outcome::Failing
        }
        Err(_) => {
            tracing::error!(provider = %provider.provider.id, "a probe panicked");
            Outcome::Failing
        }
    };
    Finished { seq: due.seq, revision: provider.provider.revision, outcome }
}

async fn probe_and_record(
    registry: &Registry,
    provider: &Arc<KeyedProvider>,
    failures: u32,
) -> Result<Outcome, Error> {
    let probed = registry.inner.client.probe(provider).await;
    let outcome = if matches!(probed, Probed::Failed(_)) { Outcome::Failing } else { Outcome::Working };
    let (seq, revision) = (provider.provider.seq, provider.provider.revision);
    let store = &registry.inner.store;
    let stored = store.read(move |connection| providers::by_seq(connection, seq)).await?;
    let Some(stored) = stored.filter(|stored| stored.revision == revision) else { return Ok(outcome) };
    let verdict = verdict::judge(&stored, &probed, failures);
    if verdict.is_nothing_new() {
        return Ok(verdict.outcome(outcome));
    }
    let outcome = verdict.outcome(outcome);
    store
        .write(move |write| {
            let stored = providers::by_seq(write, seq)?.filter(|stored| stored.revision == revision);
            let Some(stored) = stored else { return Ok(()) };
            let verdict = verdict::judge(&stored, &probed, failures);
            if verdict.is_nothing_new() {
                return Ok(());
            }
            providers::record(write, &stored, &verdict.finding()).map(drop)
        })
        .await?;
    Ok(outcome)
}
