//! Arguments of `nimgate provider`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use proto_shared::HoldBack;
use proto_shared::backend::{
    BackendFormat, CONCURRENT_REQUESTS_MAX, LeavingClients, ReasoningReplay, STREAM_COMMENT_INTERVAL_MAX_MS,
};
use proto_shared::limits::REQUESTS_PER_MINUTE_MAX;
use serde_json::{Map, Value};

use super::fields::About;
use super::parse::{backend_format, hold_back, json_object, leaving_clients, reasoning_replay};
use super::shared::{Connection, Create, FarConnection, Listing, Named, Update};

#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Add a provider and wait until its models are known.
    #[command(after_help = "\
Examples:
  nimgate provider create build --preset nvidia --key-env NVIDIA_API_KEY
  nimgate provider create together --preset together --key-env TOGETHER_API_KEY \\
      --model meta-llama/Llama-3.3-70B-Instruct-Turbo
  nimgate provider create local --url http://127.0.0.1:8000 --uses-reasoning-parser
  nimgate provider create team --url https://llm.example --secret team-key \\
      --auth-header-format 'X-Api-Key: {{ auth_secret }}' --enabled-models llama-3,qwen-3
  nimgate provider create --file provider.yaml")]
    Create(ProviderCreateArgs),
    /// All providers of the workspace.
    #[command(after_help = "\
Examples:
  nimgate provider list
  nimgate provider list --all-workspaces --filter status=ERROR
  nimgate provider list --filter name~build --sort -updated_at -o yaml")]
    List(Listing),
    /// Providers that are known by name: where they are, and how they are spoken to.
    #[command(after_help = "\
Examples:
  nimgate provider presets
  nimgate provider presets -o yaml                             (with all settings)")]
    Presets(PresetsArgs),
    /// One provider, with the models it serves.
    #[command(after_help = "Example:\n  nimgate provider get build")]
    Get(Named),
    /// Change what is named; the rest stays. With --file everything is replaced.
    #[command(after_help = "\
Examples:
  nimgate provider update build --key-env NVIDIA_API_KEY
  nimgate provider update build --enabled-models meta/llama-3.1-8b-instruct
  nimgate provider update together --num-concurrent-requests 16 --extra-body '{\"top_p\": 0.9}'
  nimgate provider update together --model ''                  (serve all of its models)
  nimgate provider update build --secret ''                    (send no key)")]
    Update(Update<ProviderFields, FarConnection>),
    /// Delete a provider; its routes go at once.
    #[command(after_help = "Example:\n  nimgate provider delete build")]
    Delete(Named),
    /// Wait until a provider's models are known and routed.
    #[command(after_help = "Example:\n  nimgate provider wait build --timeout-s 60")]
    Wait(ProviderWaitArgs),
}

#[derive(Debug, Args)]
pub struct ProviderCreateArgs {
    #[command(flatten)]
    pub create: Create<ProviderFields, FarConnection>,
    /// Seconds to wait until the provider's models are known; 0 waits not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub wait_s: u64,
}

#[derive(Debug, Args)]
pub struct ProviderWaitArgs {
    /// Its name
    pub name: String,
    /// Seconds to wait at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout_s: u64,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct PresetsArgs {
    #[command(flatten)]
    pub connection: Connection,
}

/// Where the key of a provider comes from, when it is stored in the same go.
#[derive(Debug, Default, Args)]
pub struct KeySource {
    /// Store the key from this environment variable first, as --secret or under the provider's name
    #[arg(long, value_name = "VARIABLE", group = "key")]
    pub key_env: Option<String>,
    /// The same with the key from a file; - is standard input
    #[arg(long, value_name = "FILE", group = "key")]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub struct ProviderFields {
    /// A provider known by name (see: nimgate provider presets); its settings take the place of present ones
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Base URL of the provider, with or without /v1
    #[arg(long, visible_aliases = ["base-url", "host-url"], value_name = "URL")]
    pub url: Option<String>,
    /// Name of the secret that holds the provider's key
    #[arg(long, visible_alias = "api-key-secret-name", value_name = "NAME")]
    pub secret: Option<String>,
    #[command(flatten)]
    pub key: KeySource,
    /// The one model it serves: sent whatever model a client names, and routed without being listed
    #[arg(long, visible_alias = "pinned-model", value_name = "ID")]
    pub model: Option<String>,
    /// How the key is sent [default: Authorization: Bearer {{ auth_secret }}]
    #[arg(long, value_name = "TEMPLATE")]
    pub auth_header_format: Option<String>,
    /// Serve only these models of the provider; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub enabled_models: Vec<String>,
    /// JSON object: fields for bodies that don't have them
    #[arg(long, visible_alias = "extra-body", value_name = "JSON", value_parser = json_object)]
    pub default_extra_body: Option<Map<String, Value>>,
    /// JSON object: fields that every body gets
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub required_extra_body: Option<Map<String, Value>>,
    /// JSON object: headers for requests that don't have them
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub default_extra_headers: Option<Map<String, Value>>,
    /// JSON object: headers that every request gets
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub required_extra_headers: Option<Map<String, Value>>,
    /// Most requests under way at once; further ones wait [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(CONCURRENT_REQUESTS_MAX)))]
    pub num_concurrent_requests: Option<u32>,
    /// Send the client of a stream a comment this often while the provider says nothing yet; 0 ends it
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=i64::from(STREAM_COMMENT_INTERVAL_MAX_MS)))]
    pub stream_comment_interval_ms: Option<u32>,
    /// What becomes of a hosted provider's answer whose client has left: cancel it, or drain it to learn its usage
    #[arg(long, value_name = "cancel|drain", value_parser = leaving_clients)]
    pub leaving_clients: Option<LeavingClients>,
    /// Most requests a minute; further ones go elsewhere, or are refused; 0: any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(REQUESTS_PER_MINUTE_MAX)))]
    pub requests_per_minute: Option<u32>,
    /// When requests wait because its servers have too much to do: auto, always or never
    #[arg(long, value_name = "auto|always|never", value_parser = hold_back)]
    pub hold_back: Option<HoldBack>,
    /// Take <think> tags and reasoning fields for reasoning
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub uses_reasoning_parser: Option<bool>,
    /// What it speaks: openai-chat, openai-responses or anthropic-messages
    #[arg(long, value_name = "FORMAT", value_parser = backend_format)]
    pub backend_format: Option<BackendFormat>,
    /// How reasoning goes back to it: auto, drop, think-tags, reasoning-content or reasoning
    #[arg(long, value_name = "MODE", value_parser = reasoning_replay)]
    pub reasoning_replay: Option<ReasoningReplay>,
    /// JSON object: where its Chat Completions stray from the rest, such as {"omit_fields": ["user"]}
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub chat_traits: Option<Map<String, Value>>,
    /// Whether what it is sent stays here, local or hosted; else its URL tells [default: local on private addresses]
    #[arg(long, value_name = "local|hosted")]
    pub locality: Option<String>,
    /// Whether it may be asked again for what it may have begun: safe or never. Safe where that costs nobody anything [default: never]
    #[arg(long, value_name = "safe|never")]
    pub replay: Option<String>,
    /// Where its servers say that they take requests, such as /health; else the usual paths are tried
    #[arg(long, value_name = "PATH")]
    pub health_path: Option<String>,
    /// Where its servers have a page of metrics; else the usual paths are tried
    #[arg(long, value_name = "PATH")]
    pub metrics_path: Option<String>,
    #[command(flatten)]
    pub about: About,
}
