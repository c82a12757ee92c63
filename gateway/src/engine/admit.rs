//! Turns in lines: for a place at a provider or of a model, and for room at servers that have too much to do.
//!
//! Nothing here looks at the client: whoever waits does ([`watched`], or `silence`).

use std::pin::Pin;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::app::App;
use super::choice::Choice;
use super::down::Down;
use super::seats::{Seat, Seats};
use crate::limit::REST_WAITED_FOR_MAX_MS;
use crate::metrics::Waiting;
use crate::refusal::Refusal;
use crate::route::{ModelEntry, Provider};
use crate::upstream::Visit;
use crate::upstream::line::Line;
use crate::upstream::places::{Entry, Place};
use crate::upstream::quota::Quota;

/// How often a client is looked at that can't be heard leaving, because it still sends its body.
const CLIENT_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the first in a line looks for room that nobody told it of: evidence fades, and servers come back.
const ROOM_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Why a request has no place.
pub enum NotAdmitted {
    ClientGone,
    Busy(Refusal),
}

/// What is waited for, unless the client leaves first.
pub async fn watched<T>(
    down: &mut Down<'_>,
    waiting: impl Future<Output = Result<T, NotAdmitted>>,
) -> Result<T, NotAdmitted> {
    tokio::select! {
        biased;
        found = waiting => found,
        () = gone(down) => Err(NotAdmitted::ClientGone),
    }
}

/// A place at `provider`, once it is this request's turn.
pub async fn place_at<'p>(app: &App, provider: &'p Provider) -> Result<Place<'p>, NotAdmitted> {
    let limits = &app.limits;
    let busy = |why| {
        provider.metrics.busy.inc();
        NotAdmitted::Busy(Refusal::ProviderBusy { provider: provider.label.to_string(), why })
    };
    let turn = match provider.quota.places.enter(limits.waiting_per_provider_max) {
        Entry::Place(place) => return Ok(place),
        Entry::Turn(turn) => turn,
        Entry::Full => return Err(busy("too many requests wait for it")),
    };
    let _counted = Waiting::of(&provider.metrics.waiting);
    let place = tokio::time::timeout(limits.waiting_timeout, turn.place()).await;
    place.map_err(|_| busy("no place at it became free in time"))
}

/// A place of a model that is answered `limit` times at once, once it is this request's turn.
pub async fn place_of<'m>(
    app: &App,
    entry: &ModelEntry,
    quota: &'m Quota,
    limit: u32,
) -> Result<Place<'m>, NotAdmitted> {
    let busy = |why| {
        let model = entry.public_id.to_string();
        NotAdmitted::Busy(Refusal::ModelBusy { model, limit, why })
    };
    let turn = match quota.places.enter(app.limits.waiting_per_model_max) {
        Entry::Place(place) => return Ok(place),
        Entry::Turn(turn) => turn,
        Entry::Full => return Err(busy("too many requests wait for it")),
    };
    let _counted = Waiting::of(&app.metrics.waiting_for_model);
    let place = tokio::time::timeout(app.limits.waiting_timeout, turn.place()).await;
    place.map_err(|_| busy("none of those under way ended in time"))
}

/// A seat where there is room, once it is this request's turn, and its visit there: whoever is next in line sees it.
/// None: nobody is left to go to.
pub async fn room_at<'c>(
    app: &App,
    choice: &'c Choice,
    line: &'c Line,
    seats: &mut Seats<'c>,
) -> Result<Option<(Seat<'c>, Option<Visit>)>, NotAdmitted> {
    let deadline = Instant::now() + app.limits.waiting_timeout;
    let none = |why, wait_ms| NotAdmitted::Busy(Refusal::NoRoom { asked: choice.asked(), why, wait_ms });
    let late = || none("none of them had room in time", line.expected_ms());
    let _counted = Waiting::of(&app.metrics.waiting_for_room);
    let head = match line.enter(app.limits.waiting_per_model_max) {
        Entry::Place(head) => head,
        Entry::Full => return Err(none("too many requests wait for them", line.expected_ms())),
        Entry::Turn(turn) => tokio::time::timeout_at(deadline, turn.place()).await.map_err(|_| late())?,
    };
    loop {
        let awaited = seats.awaited();
        let mut left: Vec<_> = awaited.iter().map(|leaving| Box::pin(leaving.next())).collect();
        // From here on nobody leaves unseen.
        left.iter_mut().for_each(|left| _ = left.as_mut().enable());
        let Some(seat) = seats.next() else {
            line.leave(head);
            return Ok(None);
        };
        if seats.has_room(&seat) {
            let visit = seat.replica.endpoint.load.enter();
            line.leave(head);
            return Ok(Some((seat, visit)));
        }
        seats.put_back(&seat);
        let (now, rest_ms) = (Instant::now(), seats.rest_ms().unwrap_or_default());
        if rest_ms > REST_WAITED_FOR_MAX_MS || now + Duration::from_millis(rest_ms) > deadline {
            return Err(none("they asked to be left alone for longer than requests wait here", rest_ms));
        }
        if now >= deadline {
            return Err(late());
        }
        let look = (now + ROOM_LOOK_INTERVAL).min(deadline);
        let _ = tokio::time::timeout_at(look, any_of(left)).await;
    }
}

/// Ready when one of them is; never without any.
async fn any_of(left: Vec<Pin<Box<Notified<'_>>>>) {
    if left.is_empty() {
        std::future::pending().await
    }
    select_all(left).await;
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
