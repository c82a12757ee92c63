//! Shows of each provider what gateways see of it.
//!
//! What must stay true:
//! - No route depends on it: nothing is published, and gateways decide by themselves whom they ask.
//! - A row is written only when what is shown changes. Gateways tell calmly; what they tell at once is written at once.
//! - What a gateway said that is gone is forgotten. A registry that starts waits for those that were there before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::Registry;
use crate::domain::sight::{Reports, Sight};
use crate::error::Error;
use crate::publish::Published;
use crate::server::stopped;
use crate::store::providers;

/// What changes in so long a time is written together.
const GATHERING_TIME: Duration = Duration::from_millis(200);
/// After a write that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

pub async fn run(registry: Registry, mut stop: watch::Receiver<bool>) {
    let (mut told, mut published) = (registry.inner.gateways.sights(), registry.snapshots());
    loop {
        told.borrow_and_update();
        let providers = Arc::clone(&published.borrow_and_update());
        let retry = match show(&registry, &providers).await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, "what gateways see of providers could not be stored");
                Some(RETRY_PAUSE)
            }
        };
        tokio::select! {
            () = stopped(&mut stop) => return,
            Ok(()) = told.changed() => {}
            changed = published.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(retry.unwrap_or_default()), if retry.is_some() => {}
        }
        tokio::time::sleep(GATHERING_TIME).await;
    }
}

async fn show(registry: &Registry, published: &Published) -> Result<(), Error> {
    let Some(all) = registry.inner.gateways.told_out() else { return Ok(()) };
    let wanted = wanted(&Reports::new(all.iter().map(Vec::as_slice)), published);
    let store = &registry.inner.store;
    let shown = store.read(providers::seen).await?;
    if shown == wanted {
        return Ok(());
    }
    let back: Vec<i64> = shown.keys().copied().filter(|seq| !wanted.contains_key(seq)).collect();
    store
        .write(move |write| {
            let shown = providers::seen(write)?;
            for seq in shown.keys().filter(|seq| !wanted.contains_key(seq)) {
                providers::set_seen(write, *seq, None)?;
            }
            for (seq, sight) in wanted.iter().filter(|(seq, sight)| shown.get(seq) != Some(sight)) {
                providers::set_seen(write, *seq, Some(sight))?;
            }
            Ok(())
        })
        .await?;
    // Discovery may have found the same wrong with it, and would look again only later.
    back.into_iter().for_each(|seq| registry.inner.hurry.look_at(seq));
    Ok(())
}

/// By the number of the provider.
fn wanted(reports: &Reports<'_>, published: &Published) -> BTreeMap<i64, Sight> {
    let sights = published.providers.iter().filter_map(|keyed| {
        let provider = &keyed.provider;
        let sight = reports.of(&provider.label(), provider.addresses())?;
        Some((provider.seq, sight))
    });
    sights.collect()
}
