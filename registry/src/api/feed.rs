//! The feed: one line for each generation a gateway is fast enough to take, and heartbeats between.
//!
//! Nothing is queued for a gateway: the next line is chosen when the last one was taken, and it is
//! the newest then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use proto_shared::feed::{FeedMessage, HEARTBEAT_INTERVAL_MS};
use tokio::sync::watch;

use crate::Registry;
use crate::publish::Published;
use crate::server::{Stop, stopped};

pub async fn feed(State(registry): State<Registry>, Extension(stop): Extension<Stop>) -> Response {
    let mut published = registry.snapshots();
    // The first line is the present snapshot, whatever was seen before.
    published.mark_changed();
    let lines = stream::unfold(Reader { published, stop: stop.0 }, |mut reader| async move {
        let line = reader.next_line().await?;
        Some((Ok::<Bytes, Infallible>(line), reader))
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines)).into_response()
}

struct Reader {
    published: watch::Receiver<Arc<Published>>,
    stop: watch::Receiver<bool>,
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
