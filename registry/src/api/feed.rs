//! The feed: one line for each generation a gateway is fast enough to take, and heartbeats between.
//!
//! Nothing is queued for a gateway: the next line is chosen when the last one was taken, and it is
//! the newest then. And what gateways say of themselves, for as long as they follow.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use proto_shared::feed::{
    FeedMessage, GATEWAY_HEADER, GatewayId, GatewayIdError, HEARTBEAT_INTERVAL_MS, REPORT_BYTES_MAX,
};
use tokio::sync::watch;

use super::reply::Reply;
use crate::Registry;
use crate::error::Error;
use crate::gateways::{Following, NotFollowing, TooManyGateways};
use crate::publish::Published;
use crate::server::{Stop, stopped};

pub async fn feed(
    State(registry): State<Registry>,
    Extension(stop): Extension<Stop>,
    headers: HeaderMap,
) -> Reply {
    let following = match headers.get(GATEWAY_HEADER) {
        Some(id) => Some(registry.inner.gateways.follow(gateway_id(id.to_str().unwrap_or_default())?)?),
        // Nobody waits for who has no name, such as a person who looks.
        None => None,
    };
    let mut published = registry.snapshots();
    // The first line is the present snapshot, whatever was seen before.
    published.mark_changed();
    let lines =
        stream::unfold(Reader { published, stop: stop.0, _following: following }, |mut reader| async move {
            let line = reader.next_line().await?;
            Some((Ok::<Bytes, Infallible>(line), reader))
        });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// What a gateway that follows has applied, and what it still uses.
pub async fn report(State(registry): State<Registry>, Path(id): Path<String>, body: Body) -> Reply {
    let id = gateway_id(&id)?;
    let body = axum::body::to_bytes(body, REPORT_BYTES_MAX);
    let body = body.await.map_err(|_| Error::BodyTooLong(REPORT_BYTES_MAX))?;
    let report = serde_json::from_slice(&body)
        .map_err(|error| Error::Refused { field: "body".into(), reason: error.to_string() })?;
    registry.inner.gateways.report(id, report)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn gateway_id(text: &str) -> Result<GatewayId, Error> {
    let refused =
        |error: GatewayIdError| Error::Refused { field: "gateway".into(), reason: error.to_string() };
    text.parse().map_err(refused)
}

impl From<TooManyGateways> for Error {
    fn from(error: TooManyGateways) -> Self {
        Self::Conflict(error.to_string())
    }
}

impl From<NotFollowing> for Error {
    fn from(error: NotFollowing) -> Self {
        Self::NotFound(error.to_string())
    }
}

struct Reader {
    published: watch::Receiver<Arc<Published>>,
    stop: watch::Receiver<bool>,
    _following: Option<Following>,
}

impl Reader {
    /// `None` when the registry stops.
    async fn next_line(&mut self) -> Option<Bytes> {
        tokio::select! {
            () = stopped(&mut self.stop) => None,
            changed = self.published.changed() => {
                changed.ok()?;
                Some(self.published.borrow_and_update().line.clone())
            }
            () = tokio::time::sleep(Duration::from_millis(HEARTBEAT_INTERVAL_MS)) => {
                let generation = self.published.borrow().generation;
                heartbeat(generation)
            }
        }
    }
}

fn heartbeat(generation: u64) -> Option<Bytes> {
    let mut line = serde_json::to_vec(&FeedMessage::Heartbeat { generation }).ok()?;
    line.push(b'\n');
    Some(Bytes::from(line))
}
