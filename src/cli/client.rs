//! Arguments of the commands that talk to a running gateway.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};

pub const URL_DEFAULT: &str = "http://127.0.0.1:8080";
const WORKSPACE_DEFAULT: &str = "default";
pub const ADMIN_URL_DEFAULT: &str = "http://127.0.0.1:9080";

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Secrets: the keys of providers.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Providers: where models are served.
    #[command(subcommand)]
    Provider(ProviderCommand),
    /// Models that can be called.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Ask a model, and see the answer as it comes.
    Chat(ChatArgs),
    /// Is it running, and what does it serve?
    Status(StatusArgs),
    /// Where would a request go, and why?
    Explain(ExplainArgs),
    /// The gateway's routing table.
    Routes(RoutesArgs),
}

// No docs on the variants: they would make every help text twice as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// Which gateway, which workspace, and how to show the answer.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Address of the gateway
    #[arg(long, visible_alias = "gateway-url", value_name = "URL", env = "NIMGATE_URL", default_value = URL_DEFAULT)]
    pub url: String,
    #[command(flatten)]
    pub view: View,
}

/// The same for commands whose own `--url` means something else.
#[derive(Debug, Clone, Args)]
pub struct FarConnection {
    /// Address of the gateway
    #[arg(long, value_name = "URL", env = "NIMGATE_URL", default_value = URL_DEFAULT)]
    pub gateway_url: String,
    #[command(flatten)]
    pub view: View,
}

#[derive(Debug, Clone, Args)]
pub struct View {
    /// Workspace
    #[arg(long, short = 'w', value_name = "NAME", env = "NIMGATE_WORKSPACE", default_value = WORKSPACE_DEFAULT)]
    pub workspace: String,
    /// Form of the answer
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Output,
    /// Further root for a gateway that speaks TLS (PEM)
    #[arg(long, value_name = "FILE", env = "NIMGATE_CA")]
    pub ca: Option<PathBuf>,
}

impl From<FarConnection> for Connection {
    fn from(far: FarConnection) -> Self {
        Self { url: far.gateway_url, view: far.view }
    }
}

impl Connection {
    /// What to add to a further command so that it means the same gateway and workspace.
    pub fn repeated(&self) -> String {
        let mut out = String::new();
        if self.url != URL_DEFAULT {
            out.push_str(&format!(" --gateway-url {}", self.url));
        }
        if self.view.workspace != WORKSPACE_DEFAULT {
            out.push_str(&format!(" --workspace {}", self.view.workspace));
        }
        out
    }
}

#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Store a secret. Without a flag its value is read from standard input.
    Create(SecretCreateArgs),
    /// Names of the secrets; never their values.
    #[command(after_help = "Example:\n  nimgate secret list")]
    List(Listing),
    /// Delete a secret.
    #[command(after_help = "Example:\n  nimgate secret delete build-key")]
    Delete(Named),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate secret create build-key --from-env NVIDIA_API_KEY
  nimgate secret create build-key --from-file key.txt
  pass show build | nimgate secret create build-key")]
pub struct SecretCreateArgs {
    /// Name of the secret, as providers refer to it
    pub name: String,
    /// The value itself; others on this machine may see it while the command runs
    #[arg(long, group = "from")]
    pub value: Option<String>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE", group = "from")]
    pub from_file: Option<PathBuf>,
    /// Read the value from an environment variable
    #[arg(long, value_name = "VARIABLE", group = "from")]
    pub from_env: Option<String>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

/// A command about one named thing.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct Listing {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Add a provider and wait until its models are known.
    Create(Box<ProviderCreateArgs>),
    /// All providers of the workspace.
    #[command(after_help = "Example:\n  nimgate provider list")]
    List(Listing),
    /// One provider, with the models it serves.
    #[command(after_help = "Example:\n  nimgate provider get build")]
    Get(Named),
    /// Delete a provider; its routes go at once.
    #[command(after_help = "Example:\n  nimgate provider delete build")]
    Delete(Named),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate provider create build --url https://integrate.api.nvidia.com/v1 --key-env NVIDIA_API_KEY
  nimgate provider create local --url http://127.0.0.1:8000
  nimgate provider create team --url https://llm.example --secret team-key \\
      --auth-header-format 'X-Api-Key: {{ auth_secret }}' --enabled-models llama-3,qwen-3")]
pub struct ProviderCreateArgs {
    /// Name of the provider, as its route and the lists show it
    pub name: String,
    /// Base URL of the provider, with or without /v1
    #[arg(long, visible_alias = "host-url", value_name = "URL")]
    pub url: String,
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
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Seconds to wait until the provider's models are known; 0 waits not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub wait_s: u64,
    #[command(flatten)]
    pub connection: FarConnection,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Models that can be called, as clients see them.
    #[command(after_help = "Example:\n  nimgate model list --output json")]
    List(Listing),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate chat meta-llama-3-1-8b-instruct \"Why is the sky blue?\"
  nimgate chat meta/llama-3.1-8b-instruct \"Hello\" --provider build
  echo \"Summarise: …\" | nimgate chat MODEL -")]
pub struct ChatArgs {
    /// Name of the model; with --provider the provider's own id
    pub model: String,
    /// What to say; - reads standard input
    pub prompt: String,
    /// Send it to this provider, past the model routes
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// System message
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// 0 for the likeliest answer, higher for more variety
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate status
  nimgate status --output json")]
pub struct StatusArgs {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub admin: Admin,
}

#[derive(Debug, Clone, Args)]
pub struct Admin {
    /// Address of the gateway's admin listener
    #[arg(long, value_name = "URL", env = "NIMGATE_ADMIN_URL", default_value = ADMIN_URL_DEFAULT)]
    pub admin_url: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate explain /v1/chat/completions --model tiny
  nimgate explain /apis/inference-gateway/v2/workspaces/default/provider/build/-/v1/models")]
pub struct ExplainArgs {
    /// Path of the request, with its query if it has one
    pub path: String,
    /// The model its body would name
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    #[command(flatten)]
    pub admin: Admin,
    /// Form of the answer
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate routes
  nimgate routes --output json")]
pub struct RoutesArgs {
    #[command(flatten)]
    pub admin: Admin,
    /// Form of the answer
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Output,
}

fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))
}
