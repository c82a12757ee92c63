//! What servers are shown, brought in step with what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Told;
use crate::Registry;
use crate::domain::EntityId;
use crate::domain::adapter::placement::{Change, Chosen, LeftOut, changes};
use crate::error::Error;
use crate::files::FileError;
use crate::store::adapters::Wanted;

/// What is shown at a place, and what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub folders: BTreeSet<String>,
    pub left_out: BTreeMap<String, LeftOut>,
}

pub struct Placed {
    pub shown: Shown,
    /// When something comes back that was taken away.
    pub rests_for: Option<Duration>,
}

impl Shown {
    pub fn tell_left_out(&self) {
        for (adapter, why) in &self.left_out {
            tracing::warn!(adapter, %why, "an adapter is not shown to the servers of its model");
        }
    }
}

/// Until when what was taken away stays away, by place and folder. What is over is forgotten.
#[derive(Debug, Default)]
pub struct Resting(BTreeMap<(String, String), Instant>);

impl Resting {
    /// At this place, with the shortest time that one of them still rests.
    fn at(&mut self, place: &str) -> (BTreeSet<String>, Option<Duration>) {
        let now = Instant::now();
        self.0.retain(|_, until| *until > now);
        let here = self.0.iter().filter(|((at, _), _)| at == place);
        let (folders, until): (BTreeSet<_>, Vec<_>) =
            here.map(|((_, folder), until)| (folder.clone(), *until)).unzip();
        (folders, until.into_iter().min().map(|until| until.saturating_duration_since(now)))
    }
}

/// `wanted`: the oldest first. What is taken away does not come back within `rest`.
pub async fn bring(
    registry: &Registry,
    place: &str,
    wanted: Vec<Wanted>,
    rest: Duration,
) -> Result<Placed, Error> {
    let files = &registry.inner.files;
    let mut resting = registry.inner.adapters.resting.lock().await;
    let (chosen, filesets) = choose(registry, wanted).await?;
    let mut there = files.placed(place).await?;
    for change in changes(&chosen.wanted, &there, &resting.at(place).0) {
        match change {
            Change::TakeAway(folder) => {
                files.take_adapter_away(place, &folder).await?;
                tracing::info!(place, adapter = folder, "an adapter is not shown any more");
                there.remove(&folder);
                resting.0.insert((place.to_owned(), folder), Instant::now() + rest);
            }
            Change::Place(folder) => {
                let (Some(content), Some(id)) = (chosen.wanted.get(&folder), filesets.get(&folder)) else {
                    continue;
                };
                match files.place_adapter(place, &folder, id, content).await {
                    Ok(()) => {
                        tracing::info!(place, adapter = folder, "an adapter is shown");
                        there.insert(folder, content.clone());
                    }
                    // Its files changed just now: the next look sees what they are.
                    Err(FileError::NotFound) => registry.inner.adapters.wake(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    let is_back = |folder: &String| chosen.wanted.contains_key(folder) && !there.contains_key(folder);
    let (folders, rests_for) = resting.at(place);
    let rests_for = rests_for.filter(|_| folders.iter().any(is_back));
    let shown = Shown { folders: there.into_keys().collect(), left_out: chosen.left_out };
    Ok(Placed { shown, rests_for })
}

async fn choose(
    registry: &Registry,
    wanted: Vec<Wanted>,
) -> Result<(Chosen, BTreeMap<String, EntityId>), Error> {
    let (mut chosen, mut filesets) = (Chosen::default(), BTreeMap::new());
    for Wanted { folder, fileset } in wanted {
        let content = match fileset {
            None => Err(LeftOut::NoFiles),
            Some(_) if chosen.is_full() => Err(LeftOut::TooMany),
            Some(id) => {
                let content = registry.inner.files.content(&id).await?;
                filesets.insert(folder.clone(), id);
                Ok(content)
            }
        };
        chosen.consider(folder, content);
    }
    Ok((chosen, filesets))
}

/// Removes the places of servers that are gone for good.
pub async fn sweep(registry: &Registry, told: &watch::Receiver<Told>) -> Result<(), Error> {
    // A server is told of before its place is made, and that waits for this.
    let _alone = registry.inner.adapters.resting.lock().await;
    let known = told.borrow().places.clone().unwrap_or_default();
    for place in registry.inner.files.places_of_adapters().await? {
        if !known.contains(&place) {
            registry.inner.files.remove_place_of_adapters(&place).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rests_elsewhere_or_rested_long_enough_holds_nothing_back() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let key = |place: &str, folder: &str| (place.to_owned(), folder.to_owned());
        let mut resting = Resting(BTreeMap::from([
            (key("here", "over"), now),
            (key("here", "long"), now + 2 * hour),
            (key("here", "short"), now + hour),
            (key("there", "other"), now + hour),
        ]));
        let (folders, shortest) = resting.at("here");
        assert_eq!(folders, BTreeSet::from(["long".to_owned(), "short".to_owned()]));
        assert!(shortest.is_some_and(|left| left <= hour && left > hour / 2), "{shortest:?}");
        assert_eq!(resting.0.len(), 3, "what is over is forgotten");
        assert_eq!(resting.at("nowhere"), (BTreeSet::new(), None));
    }
}
