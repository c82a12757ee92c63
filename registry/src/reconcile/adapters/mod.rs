//! Adapters of the models that deployments serve: their servers are shown those that there are, while they run.
//!
//! A task of its own looks at what is to be shown, what is, and what the servers list; it changes the difference, and asks
//! for discovery when the routes are behind. It looks when an adapter or a file changes, when a server comes or goes, and
//! often for as long as a server does not list yet what it is shown.
//!
//! What must stay true:
//! - What a server is shown before it starts is complete: [`prepare`] comes before its start.
//! - A place into which a server may look stays; one that is left goes.
//! - One change at a time, whoever makes it.
//!
//! Absent on purpose: a record of what was placed. The folders say it.

mod placing;
mod servers;
mod told;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::told::Target;
pub use self::told::Told;
use crate::Registry;
use crate::error::Error;
use crate::reconcile::deployments::launching::Asked;
use crate::reconcile::deployments::seen;
use crate::runtime::InstanceId;
use crate::store::{self, adapters::Wanted};

/// How often a server is asked that is about to list something else.
const SOON: Duration = Duration::from_millis(500);
/// How long that is expected, beyond two looks of its own.
const PATIENCE: Duration = Duration::from_secs(10);
/// Without any news. What nobody tells of is seen then: a fileset that was deleted, say.
const TICK: Duration = Duration::from_secs(30);
/// How often discovery is asked for the same difference.
const HURRIES_MAX: u32 = 5;

/// What is shared with whoever changes adapters, or starts servers.
#[derive(Debug, Default)]
pub struct Adapters {
    changed: Notify,
    resting: tokio::sync::Mutex<placing::Resting>,
}

impl Adapters {
    /// An adapter, or a file that may be one's, is another now.
    pub fn wake(&self) {
        self.changed.notify_one();
    }
}

/// The folder that a server is to look into, below that of all files, with everything in it that is to be there.
pub async fn prepare(registry: &Registry, id: &InstanceId, model: Option<&str>) -> Result<PathBuf, Error> {
    let place = told::place(&id.deployment, id.version);
    let folder = registry.inner.files.place_of_adapters(&place).await?;
    let wanted = wanted(registry, model).await?;
    placing::bring(registry, &place, wanted, Duration::ZERO).await?;
    Ok(folder)
}

async fn wanted(registry: &Registry, model: Option<&str>) -> Result<Vec<Wanted>, Error> {
    let Some(model) = model.map(str::to_owned) else { return Ok(Vec::new()) };
    registry.inner.store.read(move |connection| store::adapters::wanted(connection, &model)).await
}

/// Passes on what the daemon saw, if that is new.
pub fn tell(registry: &Registry, to: &watch::Sender<Told>, seen: &seen::Seen, asked: &BTreeMap<i64, Asked>) {
    let told = told::told(seen, asked, registry.inner.files.root());
    to.send_if_modified(|before| {
        let is_new = *before != told;
        *before = told;
        is_new
    });
}

/// Never ends by itself.
pub async fn keep(registry: Registry, mut told: watch::Receiver<Told>) {
    let mut watched = BTreeMap::new();
    loop {
        let now = told.borrow_and_update().clone();
        let wait = look(&registry, &told, &now, &mut watched).await;
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            () = registry.inner.adapters.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Says when to look again if nothing happens before.
async fn look(
    registry: &Registry,
    told: &watch::Receiver<Told>,
    now: &Told,
    watched: &mut BTreeMap<String, Watched>,
) -> Duration {
    if now.is_known()
        && let Err(error) = placing::sweep(registry, told).await
    {
        tracing::warn!(%error, "what is left of adapters of deployments that went can't be removed; trying again");
    }
    watched.retain(|place, _| now.targets.iter().any(|target| target.place == *place));
    let mut wait = TICK;
    for target in &now.targets {
        let watched = watched.entry(target.place.clone()).or_default();
        let due = tend(registry, target, watched).await.unwrap_or_else(|error| {
            tracing::warn!(place = target.place, %error, "adapters can't be brought in step; trying again");
            PATIENCE
        });
        wait = wait.min(due);
    }
    wait
}

/// What was seen of a place and its servers when it last changed.
#[derive(Debug, Default)]
struct Watched {
    picture: Option<Picture>,
    since: Option<Instant>,
    hurries: u32,
    has_complained: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Picture {
    shown: placing::Shown,
    listed: Vec<servers::Listed>,
}

impl Watched {
    /// Says how long it looks like that.
    fn looks(&mut self, picture: Picture) -> Duration {
        if self.picture.as_ref() != Some(&picture) {
            let said = self.picture.as_ref().map(|before| &before.shown.left_out);
            if said != Some(&picture.shown.left_out) {
                picture.shown.tell_left_out();
            }
            *self = Self { picture: Some(picture), since: Some(Instant::now()), ..Self::default() };
        }
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

async fn tend(registry: &Registry, target: &Target, watched: &mut Watched) -> Result<Duration, Error> {
    let wanted = wanted(registry, target.model.as_deref()).await?;
    let rest = target.rest();
    let placed = placing::bring(registry, &target.place, wanted, rest).await?;
    let listed = servers::bring(target, &placed.shown.folders).await;
    let is_settled = listed.iter().all(|listed| listed.as_ref() == Some(&placed.shown.folders));
    let resting = placed.rests_for;
    let first = listed.first().cloned().flatten();
    let elapsed = watched.looks(Picture { shown: placed.shown, listed });
    let wait = if is_settled {
        follow(registry, target, first.as_ref(), watched).await?
    } else if elapsed < rest + PATIENCE {
        SOON
    } else {
        if !std::mem::replace(&mut watched.has_complained, true) {
            tracing::warn!(
                place = target.place,
                "a server does not list the adapters that it is shown: look at its log"
            );
        }
        TICK
    };
    Ok(resting.map_or(wait, |resting| resting.min(wait)))
}

/// Has the routes follow what the servers list.
async fn follow(
    registry: &Registry,
    target: &Target,
    listed: Option<&std::collections::BTreeSet<String>>,
    watched: &mut Watched,
) -> Result<Duration, Error> {
    let Some(listed) = listed else { return Ok(TICK) };
    let (workspace, name) =
        (target.deployment.workspace().to_owned(), target.deployment.deployment().to_owned());
    let reading =
        registry.inner.store.read(move |read| store::providers::of_deployment(read, &workspace, &name));
    let led_here = |url: &str| target.servers.iter().any(|endpoint| seen::host_url(*endpoint) == url);
    for provider in reading.await?.iter().filter(|provider| led_here(provider.spec.host_url.as_str())) {
        let served = provider.served.iter().map(|served| served.served_name.as_str());
        if servers::adapters_of(served) != *listed && watched.hurries < HURRIES_MAX {
            watched.hurries += 1;
            registry.inner.hurry.look_at(provider.seq);
            return Ok(SOON);
        }
    }
    Ok(TICK)
}
