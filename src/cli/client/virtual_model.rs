//! Arguments of `nimgate virtual-model`.

use clap::{Args, Subcommand};
use proto_shared::backend::STREAM_COMMENT_INTERVAL_MAX_MS;

use proto_shared::backend::CONCURRENT_REQUESTS_MAX;
use proto_shared::limits::REQUESTS_PER_MINUTE_MAX;
use serde_json::Value;

use super::parse::resume;
use super::shared::{Create, Listing, Named, Update};

#[derive(Debug, Subcommand)]
pub enum VirtualModelCommand {
    /// Give models a name that requests may use.
    #[command(after_help = "\
Examples:
  nimgate virtual-model create chat --default-model default/meta-llama-3-1-8b-instruct
  nimgate chat chat \"Hello\"")]
    Create(Create<VirtualModelFields>),
    /// All virtual models of the workspace. Each served model has one of its own.
    #[command(after_help = "\
Examples:
  nimgate virtual-model list
  nimgate vm list --exclude-autoprovisioned --all-workspaces")]
    List(VirtualModelListing),
    /// One virtual model, and how its requests are spread.
    #[command(after_help = "Example:\n  nimgate virtual-model get chat")]
    Get(Named),
    /// Change what is named; the rest stays.
    #[command(after_help = "\
Examples:
  nimgate virtual-model update chat --default-model default/qwen-3
  nimgate virtual-model update chat --concurrency 32 --requests-per-minute 600")]
    Update(Update<VirtualModelFields>),
    /// Delete a virtual model.
    #[command(after_help = "Example:\n  nimgate virtual-model delete chat")]
    Delete(Named),
}

#[derive(Debug, Default, Args)]
pub struct VirtualModelFields {
    /// The model that requests go to, as workspace/name
    #[arg(long, visible_alias = "default-model-entity", value_name = "MODEL")]
    pub default_model: Option<String>,
    /// Models it stands for; may be repeated
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    pub models: Vec<String>,
    /// Never send its requests to a hosted provider
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub local_only: Option<bool>,
    /// Let chat streams go on at another address when their server dies: true says that all servers know
    /// `continue_final_message`; auto asks those of one's own, and goes on at those that do
    #[arg(long, value_name = "true|false|auto", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = resume)]
    pub resume: Option<Value>,
    /// Send the client of a stream a comment this often while nobody says anything yet; 0: as the providers say
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=i64::from(STREAM_COMMENT_INTERVAL_MAX_MS)))]
    pub stream_comment_interval_ms: Option<u32>,
    /// Most requests under way at once, in each gateway; further ones wait; 0: any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(CONCURRENT_REQUESTS_MAX)))]
    pub concurrency: Option<u32>,
    /// Most requests a minute; further ones are refused; 0: any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(REQUESTS_PER_MINUTE_MAX)))]
    pub requests_per_minute: Option<u32>,
}

#[derive(Debug, Args)]
pub struct VirtualModelListing {
    /// Leave out those that were made for served models
    #[arg(long)]
    pub exclude_autoprovisioned: bool,
    #[command(flatten)]
    pub listing: Listing,
}
