//! The feed: how a registry pushes snapshots to gateways.
//!
//! A gateway sends `GET {FEED_PATH}` and reads one JSON document a line for as long as the
//! connection lives: first the current snapshot, then each newer one as it is made (newest wins:
//! a gateway that is behind skips generations), and a heartbeat every [`HEARTBEAT_INTERVAL_MS`].
//!
//! A gateway that names itself in [`GATEWAY_HEADER`] reports to `POST {GATEWAYS_PATH}/{id}` what became
//! of what it heard, so that the registry knows when nobody uses an address any more. It reports when it
//! has followed anew, when it has applied a generation, when the addresses change that have left its table and are
//! still in use, and when those change that are out of use there. An idle gateway sends nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host_url::HostUrl;
use crate::snapshot::RouteSnapshot;

/// Where the registry serves the feed. Never forwarded by a gateway's public listener.
pub const FEED_PATH: &str = "/internal/feed";

/// Request header of the feed: the [`GatewayId`] of who follows.
pub const GATEWAY_HEADER: &str = "x-nimgate-gateway";

/// Below it a gateway reports, under its id. Never forwarded by a gateway's public listener.
pub const GATEWAYS_PATH: &str = "/internal/gateways";

/// Longest report, in bytes: some thousand addresses that have left and are in use, and those out of use.
pub const REPORT_BYTES_MAX: usize = 256 * 1024;

/// Longest pause of a gateway before it tries to follow again.
pub const RECONNECT_PAUSE_MAX_MS: u64 = 1_000;

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

/// Names one process of a gateway: random, so that none is taken for the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(u128);

/// Why a text is no gateway's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a gateway's id is 32 hexadecimal digits in lower case")]
pub struct GatewayIdError;

impl GatewayId {
    pub fn new(random: u128) -> Self {
        Self(random)
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for GatewayId {
    type Err = GatewayIdError;
    fn from_str(text: &str) -> Result<Self, GatewayIdError> {
        let plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let value = u128::from_str_radix(text, 16).map_err(|_| GatewayIdError)?;
        plain.then_some(Self(value)).ok_or(GatewayIdError)
    }
}

/// What a gateway says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayReport {
    /// The generation it serves. No request that begins now goes to an address that is not in it.
    pub generation: u64,
    /// Addresses that have left its table and that requests still use.
    #[serde(default)]
    pub busy: Vec<BusyAddress>,
    /// Addresses of its table that it does not use now, while it has others. Absent: it does not say, because it is too
    /// old, or has just begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Vec<OutAddress>>,
}

/// An address that is out of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutAddress {
    /// `workspace/name`
    pub provider: String,
    pub url: HostUrl,
    /// In words.
    pub why: String,
}

/// An address that requests still use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusyAddress {
    pub url: HostUrl,
    pub in_flight: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_id_is_written_in_one_way_only() {
        for id in [GatewayId::new(0), GatewayId::new(0xabc), GatewayId::new(u128::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let bad = [
            "",
            "abc",
            "+0000000000000000000000000000abc",
            &"A".repeat(32),
            &"0".repeat(33),
            &"é".repeat(16),
        ];
        for text in bad {
            assert_eq!(text.parse::<GatewayId>(), Err(GatewayIdError), "{text}");
        }
    }
}
