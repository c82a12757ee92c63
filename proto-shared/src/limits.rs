//! How much may be asked of a model or a provider, and when its servers are spared.
//!
//! What must stay true: each gateway counts for itself, and what is not said is no limit.

use serde::{Deserialize, Serialize};

/// The highest rate that can be written: beyond what one gateway serves.
pub const REQUESTS_PER_MINUTE_MAX: u32 = 10_000_000;

/// Limits of one model. The default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestLimits {
    /// Most requests under way at once; further ones wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Further ones are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
}

impl RequestLimits {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// When requests wait in the gateway because a provider's servers have too much to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldBack {
    /// Servers of one's own: when they say so. Hosted providers: never, because what they refuse is counted by
    /// key and model, and says little about the next request.
    #[default]
    Auto,
    /// When they say so, and when their time to the first byte shows that requests wait in them.
    Always,
    Never,
}

impl HoldBack {
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}
