//! The reconciler: observe, plan, apply, until what is there is what is asked for.
//!
//! Woken by every commit that leaves something to do, and now and then without one. What is to be done
//! is decided in `plan`, which is pure; each step is one small transaction that looks again whether it
//! still applies. So it may be cut off anywhere: the next look finds what is left.
//!
//! Absent on purpose: a memory of what was planned.

mod adapters;
mod apply;
mod deployments;
mod instance_spec;
mod plan;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::Registry;
use crate::domain::DeploymentStatus;
use crate::domain::observed::Observed;
use crate::error::Error;
use crate::server::stopped;
use crate::store::reconciling;
pub use adapters::Adapters;
use deployments::Daemon;
pub use deployments::{Runtimes, logs};
use plan::{Records, Runtime};

/// It looks around this often even if nobody wakes it.
const TICK: Duration = Duration::from_secs(60);
/// After a look or a step that failed, the next look comes this much later.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub async fn run(registry: Registry, mut stop: watch::Receiver<bool>) {
    let to_reconcile = registry.inner.store.to_reconcile();
    let mut records = DeletedRecords::new(registry.inner.config.deployments.deleted_kept);
    let mut daemon = Daemon::new(registry.clone(), registry.inner.runtimes.clone());
    loop {
        let wait = look_around(&registry, &mut records, &mut daemon).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "can't look at deployments and workspaces; trying again");
            RETRY_AFTER
        });
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            () = to_reconcile.notified(), if !wait.is_zero() => {}
            () = daemon.changed(), if !wait.is_zero() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn look_around(
    registry: &Registry,
    records: &mut DeletedRecords,
    daemon: &mut Daemon,
) -> Result<Duration, Error> {
    let wait = pass(registry, records).await?;
    if registry.inner.runtimes.is_empty() && !daemon.has_work().await? {
        return Ok(wait);
    }
    Ok(daemon.pass().await?.map_or(wait, |due| due.min(wait)))
}

/// One look and what follows from it; says when the next look is due, at once while something changes.
async fn pass(registry: &Registry, records: &mut DeletedRecords) -> Result<Duration, Error> {
    let observed = registry.inner.store.read(reconciling::observe).await?;
    records.observe(&observed);
    let runtime = if registry.inner.runtimes.is_empty() { Runtime::None } else { Runtime::Some };
    let plan = plan::plan(&observed, runtime, records);
    let mut wait = plan.look_again_in.map_or(TICK, |due| due.min(TICK));
    for step in plan.steps {
        match apply::apply(registry, step.clone()).await {
            Ok(true) => wait = Duration::ZERO,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, ?step, "a step failed; trying again");
                wait = wait.min(RETRY_AFTER);
            }
        }
    }
    Ok(wait)
}

/// Since when deployments were seen DELETED: by a clock that is never set.
struct DeletedRecords {
    kept: Duration,
    since: HashMap<i64, Instant>,
    now: Instant,
}

impl DeletedRecords {
    fn new(kept: Duration) -> Self {
        Self { kept, since: HashMap::new(), now: Instant::now() }
    }

    fn observe(&mut self, observed: &Observed) {
        self.now = Instant::now();
        let deleted = observed.deployments.iter().map(|deployment| deployment.state);
        let deleted: HashSet<i64> = deleted
            .filter(|state| state.status == DeploymentStatus::Deleted)
            .map(|state| state.seq)
            .collect();
        self.since.retain(|seq, _| deleted.contains(seq));
        for seq in deleted {
            self.since.entry(seq).or_insert(self.now);
        }
    }
}

impl Records for DeletedRecords {
    fn kept(&self) -> Duration {
        self.kept
    }

    fn deleted_for(&self, seq: i64) -> Duration {
        self.since.get(&seq).map_or(Duration::ZERO, |since| self.now - *since)
    }
}
