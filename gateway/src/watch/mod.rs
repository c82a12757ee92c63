//! Looks at back ends beside the requests: whether they live, and how much they have to do.
//!
//! What must stay true:
//! - No request waits for any of it: what is found goes into atomic numbers of the address ([`crate::upstream`]).
//! - Only free paths are asked: health, metrics, the list of models, and what the API is. Hosted providers are asked
//!   nothing.
//! - One that hangs delays no other: each question ends in time, and what fails has places of its own.
//! - What was found outlives tables; when nobody looks at an address any more, it is forgotten.
//!
//! [`report`](read), `schema`, `trail` and `targets` are pure.

mod ask;
mod looks;
mod report;
mod schema;
mod shown;
mod targets;
mod trail;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::engine::app::App;
use crate::feed::SightLimits;
use looks::Looks;
pub use report::{Report, read};
pub use schema::Continues;
pub use shown::Shown;
use targets::{Key, Target};

/// Limits of looking, with their defaults.
#[derive(Debug, Clone)]
pub struct WatchLimits {
    /// Between two probes of an address that is up.
    pub probe_interval: Duration,
    /// Between two probes of one that is down, or may be.
    pub doubt_interval: Duration,
    /// Between two probes of one that is up and the only one: where requests go does not depend on it.
    pub lone_interval: Duration,
    /// One probe, from connecting to the end of its answer.
    pub probe_timeout: Duration,
    /// Between two reports of an address.
    pub report_interval: Duration,
    pub report_timeout: Duration,
    /// Longest report that is read.
    pub report_bytes_max: usize,
    /// Longest description of an API that is read.
    pub schema_bytes_max: usize,
    /// The longest pause between two questions to an address that has no path for them.
    pub rest_max: Duration,
    /// The longest pause between two reports of one that did not give the last.
    pub failed_rest_max: Duration,
    /// Questions under way at once, of each kind: probes of what is up, of what is not, and reports.
    pub concurrent_max: usize,
    /// Questions of a kind in a second: beyond, the intervals grow.
    pub asked_per_second_max: u32,
    /// Addresses that are looked at; zero: nobody looks.
    pub addresses_max: usize,
    /// Between two looks at which addresses there are.
    pub table_interval: Duration,
    /// What the registry is told of it.
    pub sight: SightLimits,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(2),
            doubt_interval: Duration::from_millis(500),
            lone_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            report_interval: Duration::from_secs(1),
            report_timeout: Duration::from_secs(1),
            report_bytes_max: 1024 * 1024,
            schema_bytes_max: 4 * 1024 * 1024,
            rest_max: Duration::from_secs(300),
            failed_rest_max: Duration::from_secs(5),
            concurrent_max: 64,
            asked_per_second_max: 500,
            addresses_max: 4096,
            table_interval: Duration::from_millis(500),
            sight: SightLimits::default(),
        }
    }
}

/// A table that was built again, with other keys, is announced to nobody: it is looked at this often.
const UNANNOUNCED_INTERVAL: Duration = Duration::from_secs(60);

/// Looks at the addresses of the served table for as long as the process runs.
pub async fn run(app: Arc<App>) {
    let mut served = app.endpoints.served();
    let mut watching = Watching { looks: Arc::new(Looks::new(Arc::clone(&app))), under_way: BTreeMap::new() };
    let limits = &app.limits.watch;
    loop {
        served.borrow_and_update();
        watching.sync(targets::of(&app.routes.load_full(), limits.addresses_max)).await;
        // Of tables that follow each other soon, the newest.
        tokio::time::sleep(limits.table_interval).await;
        if let Ok(Err(_)) = tokio::time::timeout(UNANNOUNCED_INTERVAL, served.changed()).await {
            return;
        }
    }
}

struct Watching {
    looks: Arc<Looks>,
    under_way: BTreeMap<Key, Watched>,
}

/// Its tasks end with it.
struct Watched {
    target: Arc<Target>,
    tasks: JoinSet<()>,
}

impl Watching {
    /// Looks at exactly these from now on.
    async fn sync(&mut self, mut wanted: BTreeMap<Key, Target>) {
        self.looks.asked(wanted.len());
        let (stays, mut gone) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(key, now)| wanted.get(key).is_some_and(|target| target.is_same(&now.target)));
        self.under_way = stays;
        wanted.retain(|key, _| !self.under_way.contains_key(key));
        for (key, watched) in &mut gone {
            // Waited for: what ends later could write what is forgotten here.
            watched.tasks.shutdown().await;
            if !wanted.contains_key(key) {
                watched.target.endpoint.load.watched.forget();
            }
        }
        for (key, target) in wanted {
            let (target, mut tasks) = (Arc::new(target), JoinSet::new());
            tasks.spawn(Arc::clone(&self.looks).probe(Arc::clone(&target)));
            if target.has_others {
                tasks.spawn(Arc::clone(&self.looks).follow_load(Arc::clone(&target)));
            }
            if target.is_to_learn {
                tasks.spawn(Arc::clone(&self.looks).learn(Arc::clone(&target)));
            }
            self.under_way.insert(key, Watched { target, tasks });
        }
    }
}
