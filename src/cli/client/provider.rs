//! Arguments of `nimgate provider`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::fields::About;
use super::parse::json_object;
use super::shared::{Connection, Create, FarConnection, Listing, Named, Update};

#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Add a provider and wait until its models are known.
    #[command(after_help = "\
Examples:
  nimgate provider create build --url https://integrate.api.nvidia.com/v1 --key-env NVIDIA_API_KEY
  nimgate provider create together --url https://api.together.xyz/v1 --key-env TOGETHER_API_KEY
  nimgate provider create local --url http://127.0.0.1:8000
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
    /// One provider, with the models it serves.
    #[command(after_help = "Example:\n  nimgate provider get build")]
    Get(Named),
    /// Change what is named; the rest stays. With --file everything is replaced.
    #[command(after_help = "\
Examples:
  nimgate provider update build --key-env NVIDIA_API_KEY
  nimgate provider update build --enabled-models meta/llama-3.1-8b-instruct
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

#[derive(Debug, Default, Args)]
pub struct ProviderFields {
    /// Base URL of the provider, with or without /v1
    #[arg(long, visible_alias = "host-url", value_name = "URL")]
    pub url: Option<String>,
    /// Name of the secret that holds the provider's key
    #[arg(long, visible_alias = "api-key-secret-name", value_name = "NAME")]
    pub secret: Option<String>,
    /// Store the key from this environment variable first, as --secret or under the provider's name
    #[arg(long, value_name = "VARIABLE")]
    pub key_env: Option<String>,
    /// How the key is sent [default: Authorization: Bearer {{ auth_secret }}]
    #[arg(long, value_name = "TEMPLATE")]
    pub auth_header_format: Option<String>,
    /// Serve only these models of the provider; may be repeated
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub enabled_models: Vec<String>,
    /// JSON object: fields for bodies that don't have them
    #[arg(long, value_name = "JSON", value_parser = json_object)]
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
    #[command(flatten)]
    pub about: About,
}
