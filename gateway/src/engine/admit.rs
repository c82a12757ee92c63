//! A turn in a provider's line, for a request that finds room nowhere.

use std::time::Duration;

use super::app::App;
use super::down::Down;
use crate::refusal::Refusal;
use crate::route::Provider;
use crate::upstream::places::{Entry, Place};

/// How often a client is looked at that can't be heard leaving, because it still sends its body.
const CLIENT_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Why a request has no place.
pub enum NotAdmitted {
    ClientGone,
    Busy(Refusal),
}

/// A place at `provider`, unless the client leaves first.
pub async fn wait<'p>(
    app: &App,
    down: &mut Down<'_>,
    provider: &'p Provider,
) -> Result<Place<'p>, NotAdmitted> {
    tokio::select! {
        biased;
        place = place_at(app, provider) => place,
        () = gone(down) => Err(NotAdmitted::ClientGone),
    }
}

/// A place at `provider`, once it is this request's turn.
pub async fn place_at<'p>(app: &App, provider: &'p Provider) -> Result<Place<'p>, NotAdmitted> {
    let limits = &app.limits;
    let turn = match provider.places.enter(limits.waiting_per_provider_max) {
        Entry::Place(place) => return Ok(place),
        Entry::Turn(turn) => turn,
        Entry::Full => return Err(busy(provider, "too many requests wait for it")),
    };
    let _counted = provider.metrics.wait();
    let place = tokio::time::timeout(limits.waiting_timeout, turn.place()).await;
    place.map_err(|_| busy(provider, "no place at it became free in time"))
}

fn busy(provider: &Provider, why: &'static str) -> NotAdmitted {
    provider.metrics.busy.inc();
    NotAdmitted::Busy(Refusal::ProviderBusy { provider: provider.label.to_string(), why })
}

/// Ready when the client has left.
async fn gone(down: &mut Down<'_>) {
    loop {
        let heard = std::future::poll_fn(|cx| down.poll_gone(cx));
        if tokio::time::timeout(CLIENT_LOOK_INTERVAL, heard).await.is_ok() || down.has_left() {
            return;
        }
    }
}
