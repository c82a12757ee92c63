//! Arguments of `nimgate model` and `nimgate adapter`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::fields::About;
use super::parse::json_object;
use super::routing::{RouteArgs, SplitArgs};
use super::shared::{Create, Listing, Named, Update};

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Models that can be called, as clients see them; with --entities what is known about each.
    #[command(after_help = "\
Examples:
  nimgate model list
  nimgate model list --entities --filter name~llama
  nimgate model list --entities --all-workspaces -o json")]
    List(ModelListing),
    /// Note a model: its files, what it was made from, which providers serve it.
    #[command(after_help = "\
Examples:
  nimgate model create my-llama --fileset my-llama-files --base-model meta-llama-3-1-8b
  nimgate model create --file model.yaml")]
    Create(Create<ModelFields>),
    /// What is known about a model.
    #[command(after_help = "Example:\n  nimgate model get my-llama -o yaml")]
    Get(Named),
    /// Change what is named; the rest stays.
    #[command(after_help = "Example:\n  nimgate model update my-llama --description 'tuned in May'")]
    Update(Update<ModelFields>),
    /// Split its requests over providers, for an A/B test; clients stay with one of them.
    #[command(after_help = "\
Examples:
  nimgate model split my-llama arm-a=90 arm-b=10
  nimgate model split my-llama arm-a=1 arm-b=1 --sticky session
  nimgate model split my-llama my-nim=95 openai:gpt-4o-mini=5  (the latter: another model)
  nimgate model split chat default/llama-8b=90 default/llama-70b=10  (two models under one name)
  nimgate model split my-llama --off                           (undo it)")]
    Split(SplitArgs),
    /// Say which of its providers gets a request; without a flag, show it.
    #[command(after_help = "\
Examples:
  nimgate model route my-llama
  nimgate model route my-llama --strategy prefix-affinity
  nimgate model route my-llama --tier my-nim=0 --tier build=1  (build only when my-nim can't)
  nimgate model route my-llama --off")]
    Route(RouteArgs),
    /// Delete what is known about a model; providers go on serving it.
    #[command(after_help = "Example:\n  nimgate model delete my-llama")]
    Delete(Named),
}

#[derive(Debug, Args)]
pub struct ModelListing {
    /// What is known about each model, also of those that can't be called; --filter and --sort ask for it too
    #[arg(long)]
    pub entities: bool,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Default, Args)]
pub struct ModelFields {
    /// Fileset with its files
    #[arg(long, value_name = "NAME")]
    pub fileset: Option<String>,
    /// Model it was made from
    #[arg(long, value_name = "MODEL")]
    pub base_model: Option<String>,
    /// How it was tuned: lora, all_weights, dpo, …
    #[arg(long, value_name = "TYPE")]
    pub finetuning_type: Option<String>,
    /// What its backend speaks: OPENAI_CHAT or ANTHROPIC_MESSAGES
    #[arg(long, value_name = "FORMAT")]
    pub backend_format: Option<String>,
    /// Providers that serve it, as workspace/name; may be repeated
    #[arg(long, value_name = "PROVIDER", value_delimiter = ',')]
    pub model_providers: Vec<String>,
    /// JSON object: its architecture, replaced as a whole
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub spec: Option<Map<String, Value>>,
    /// JSON object: fields of your own
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub custom_fields: Option<Map<String, Value>>,
    /// Allow code that comes with its files to run
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub trust_remote_code: Option<bool>,
    /// Never send a request for it to a hosted provider
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub local_only: Option<bool>,
    #[command(flatten)]
    pub about: About,
}

#[derive(Debug, Subcommand)]
pub enum AdapterCommand {
    /// Add an adapter to a model.
    #[command(after_help = "\
Example:
  nimgate adapter create poems --model my-llama --fileset poems-lora --lora-rank 16")]
    Create(Create<AdapterFields>),
    /// All adapters of the workspace.
    #[command(after_help = "\
Examples:
  nimgate adapter list
  nimgate adapter list --filter model=my-llama --filter enabled=true")]
    List(Listing),
    /// One adapter.
    #[command(after_help = "Example:\n  nimgate adapter get poems")]
    Get(Named),
    /// Change an adapter's description, files, or whether it is in use.
    #[command(after_help = "Example:\n  nimgate adapter update poems --enabled=false")]
    Update(Update<AdapterFields>),
    /// Delete an adapter.
    #[command(after_help = "Example:\n  nimgate adapter delete poems")]
    Delete(Named),
}

#[derive(Debug, Default, Args)]
pub struct AdapterFields {
    /// The model it belongs to; can't be changed later
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Fileset with its weights
    #[arg(long, value_name = "NAME")]
    pub fileset: Option<String>,
    /// How it was tuned [default: lora]
    #[arg(long, value_name = "TYPE")]
    pub finetuning_type: Option<String>,
    /// Rank of its matrices
    #[arg(long, value_name = "N")]
    pub lora_rank: Option<u32>,
    /// Scale of its matrices
    #[arg(long, value_name = "N")]
    pub lora_alpha: Option<u32>,
    /// Whether it is in use
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enabled: Option<bool>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}
