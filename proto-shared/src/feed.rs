//! The feed: how a registry pushes snapshots to gateways.
//!
//! A gateway sends `GET {FEED_PATH}` and reads one JSON document a line for as long as the
//! connection lives: first the current snapshot, then each newer one as it is made (newest wins:
//! a gateway that is behind skips generations), and a heartbeat every [`HEARTBEAT_INTERVAL_MS`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::snapshot::RouteSnapshot;

/// Where the registry serves the feed. Never forwarded by a gateway's public listener.
pub const FEED_PATH: &str = "/internal/feed";

/// Response header of a mutating call: the generation that holds the change. The gateway strips it,
/// after it has waited until it applied that generation itself.
pub const GENERATION_HEADER: &str = "x-nimgate-generation";

/// How often an idle feed says that it is alive.
pub const HEARTBEAT_INTERVAL_MS: u64 = 5_000;

/// A gateway that hears nothing for this long takes the registry for gone and connects again.
pub const FEED_SILENCE_MAX_MS: u64 = 15_000;

/// Longest line a gateway accepts, in bytes: some 20 times a snapshot of 1,000 providers and
/// 10,000 models.
pub const FEED_LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One line of the feed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedMessage {
    Snapshot(Arc<RouteSnapshot>),
    Heartbeat { generation: u64 },
}
