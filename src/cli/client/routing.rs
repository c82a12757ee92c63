//! Arguments of `nimgate model split` and `nimgate model route`.

use clap::Args;
use proto_shared::routing::{StickyKey, Strategy};

use super::parse::{self, Number};
use super::shared::Connection;

#[derive(Debug, Args)]
pub struct SplitArgs {
    /// Its name, as requests use it
    pub model: String,
    /// What each provider or model gets, in proportion to the others; PROVIDER:MODEL=SHARE asks a provider for one of
    /// its models
    #[arg(value_name = "PROVIDER=SHARE", value_parser = parse::share, required_unless_present = "off", conflicts_with = "off")]
    pub shares: Vec<Number>,
    /// What keeps requests at one provider: auto, user, session or nothing
    #[arg(long, value_name = "KEY", value_parser = parse::sticky_key, conflicts_with = "off")]
    pub sticky: Option<StickyKey>,
    /// Spread requests as if nothing had been said about it
    #[arg(long)]
    pub off: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct RouteArgs {
    /// Its name, as requests use it
    pub model: String,
    /// Who gets a request: least-busy, round-robin, weighted, priority or prefix-affinity
    #[arg(long, value_name = "STRATEGY", value_parser = parse::strategy, conflicts_with = "off")]
    pub strategy: Option<Strategy>,
    /// For priority: the providers of the lowest tier go first; may be repeated
    #[arg(long = "tier", value_name = "PROVIDER=TIER", value_parser = parse::tier, value_delimiter = ',', conflicts_with = "off")]
    pub tiers: Vec<Number>,
    /// What makes requests belong together: auto, user, session or nothing
    #[arg(long, value_name = "KEY", value_parser = parse::sticky_key, conflicts_with = "off")]
    pub sticky: Option<StickyKey>,
    /// Spread requests as if nothing had been said about it
    #[arg(long)]
    pub off: bool,
    #[command(flatten)]
    pub connection: Connection,
}

impl RouteArgs {
    /// Whether it only asks.
    pub fn asks(&self) -> bool {
        self.strategy.is_none() && self.tiers.is_empty() && self.sticky.is_none() && !self.off
    }
}
