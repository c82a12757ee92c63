//! Arguments of `nimgate deploy`, `nimgate deployment-config` and `nimgate deployment`.

use clap::{Args, Subcommand, ValueEnum};

use super::fields::{Image, ModelPath};
use super::parse::{Pair, pair, seconds};
use super::shared::{Connection, Create, Listing, Named, Source, Update};

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Describe a model server: its image, model and GPUs.
    #[command(after_help = "\
Examples:
  nimgate deployment-config create llama --image nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.5 \\
      --model meta/llama-3.1-8b-instruct --gpus 1
  nimgate dc create qwen --engine vllm --model qwen-3 --gpus 2 --arg=--max-model-len=8192
  nimgate dc create --file config.yaml")]
    Create(Box<Create<ConfigFields>>),
    /// The latest version of each config.
    #[command(after_help = "Example:\n  nimgate deployment-config list --filter name~llama")]
    List(Listing),
    /// A config: its latest version, or the one that is named.
    #[command(after_help = "Example:\n  nimgate deployment-config get llama --version 2 -o yaml")]
    Get(VersionNamed),
    /// Make a new version with what is named changed; the rest stays. With --file everything is replaced.
    #[command(after_help = "\
Examples:
  nimgate deployment-config update llama --gpus 2
  nimgate deployment update llama --config llama        (run the new version)")]
    Update(Box<Update<ConfigFields>>),
    /// Delete a config with all its versions, or one version. What runs can't be deleted.
    #[command(after_help = "Example:\n  nimgate deployment-config delete llama --version 1")]
    Delete(VersionNamed),
    /// All versions of a config, the newest first.
    #[command(after_help = "Example:\n  nimgate deployment-config versions llama")]
    Versions(Named),
}

/// A thing with versions.
#[derive(Debug, Args)]
pub struct VersionNamed {
    /// Its name
    pub name: String,
    /// Number of the version
    #[arg(long, value_name = "N")]
    pub version: Option<u64>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Default, Args)]
pub struct ConfigFields {
    /// Container image [default: the engine's own]
    #[arg(long, value_name = "IMAGE[:TAG]")]
    pub image: Option<Image>,
    /// Model to serve, alone or with its namespace
    #[arg(long, value_name = "[NAMESPACE/]MODEL")]
    pub model: Option<ModelPath>,
    /// GPUs it gets
    #[arg(long, visible_alias = "gpu", value_name = "N")]
    pub gpus: Option<u32>,
    /// How many run side by side [default: 1]
    #[arg(long, value_name = "N")]
    pub replicas: Option<u32>,
    /// What runs it: nim, vllm or generic [default: nim]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Environment variable of the container; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    pub envs: Vec<Pair>,
    /// Argument of the server (vllm); may be repeated
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub args: Vec<String>,
    /// Room for the model's files [default: 50Gi]
    #[arg(long, value_name = "SIZE")]
    pub disk_size: Option<String>,
    /// Secret with the password for the image's registry
    #[arg(long, value_name = "[WORKSPACE/]NAME")]
    pub pull_secret: Option<String>,
    /// User of the image's registry [default: $oauthtoken, as nvcr.io has it]
    #[arg(long, value_name = "USER", requires = "pull_secret")]
    pub pull_username: Option<String>,
    /// Path that answers 200 once it is ready [default: the engine's own]
    #[arg(long, value_name = "PATH")]
    pub health_path: Option<String>,
    /// llm, embed or other
    #[arg(long, value_name = "TYPE")]
    pub model_type: Option<String>,
    /// Revision of the model's files
    #[arg(long, value_name = "REVISION")]
    pub model_revision: Option<String>,
    /// Serve adapters too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub lora: Option<bool>,
    /// Parser of the tool calls the model makes
    #[arg(long, value_name = "PARSER")]
    pub tool_call_parser: Option<String>,
    /// Let the model decide when to call tools
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub auto_tool_choice: Option<bool>,
    /// Model entity it serves
    #[arg(long, value_name = "MODEL")]
    pub model_entity_id: Option<String>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum DeploymentCommand {
    /// Run a config.
    #[command(after_help = "\
Examples:
  nimgate deployment create llama --config llama --wait
  nimgate deployment create llama --config llama --config-version 2")]
    Create(Waiting<Create<DeploymentFields>>),
    /// All deployments of the workspace.
    #[command(after_help = "\
Examples:
  nimgate deployment list
  nimgate deployment list --all-workspaces --filter status=ERROR")]
    List(DeploymentListing),
    /// A deployment with its status history.
    #[command(after_help = "Example:\n  nimgate deployment get llama")]
    Get(VersionNamed),
    /// Run another config, or another version of it.
    #[command(after_help = "Example:\n  nimgate deployment update llama --config llama --wait")]
    Update(Waiting<Update<DeploymentFields>>),
    /// Have more or fewer instances of it run; those that run go on running.
    #[command(after_help = "\
Examples:
  nimgate deployment scale llama 3 --wait
  nimgate deployment scale llama 1")]
    Scale(Waiting<Scale>),
    /// Stop a deployment: its routes go first, then its container.
    #[command(after_help = "Example:\n  nimgate deployment delete llama --wait")]
    Delete(Waiting<VersionNamed>),
    /// All versions of a deployment, the newest first.
    #[command(after_help = "Example:\n  nimgate deployment versions llama")]
    Versions(Named),
    /// What a deployment prints. Known secrets are blotted out.
    #[command(after_help = "\
Examples:
  nimgate deployment logs llama
  nimgate deployment logs llama -f --tail 20
  nimgate deployment logs llama --since 10m > llama.log")]
    Logs(LogsArgs),
    /// Wait until a deployment is ready or gone, and show each step. Fails when it fails.
    #[command(after_help = "\
Examples:
  nimgate deployment wait llama
  nimgate deployment wait llama --status deleted --timeout-s 120")]
    Wait(WaitArgs),
}

#[derive(Debug, Args)]
pub struct Scale {
    /// Its name
    pub name: String,
    /// How many are to run side by side
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub replicas: u32,
    #[command(flatten)]
    pub connection: Connection,
}

/// A command whose end can be waited for.
#[derive(Debug, Args)]
pub struct Waiting<T: Args> {
    #[command(flatten)]
    pub args: T,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Args)]
pub struct Patience {
    /// Wait until it is done, and show each step
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub limit: WaitLimit,
}

#[derive(Debug, Args)]
pub struct WaitLimit {
    /// Seconds to wait at most
    #[arg(long, short = 't', value_name = "SECONDS", default_value_t = 1200, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout_s: u64,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    /// Its name
    pub name: String,
    /// What to wait for
    #[arg(long, short = 's', value_enum, default_value = "ready", ignore_case = true)]
    pub status: Wish,
    #[command(flatten)]
    pub limit: WaitLimit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Its name
    pub name: String,
    /// Go on with what comes, until the deployment is gone
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// The last so many lines of each instance
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub tail: u32,
    /// Nothing older than this, as 30s, 10m, 2h or 1d
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub since: Option<u32>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wish {
    Ready,
    Deleted,
}

#[derive(Debug, Default, Args)]
pub struct DeploymentFields {
    /// Name of the config, in the same workspace
    #[arg(long, value_name = "NAME")]
    pub config: Option<String>,
    /// Version of the config [default: the latest]
    #[arg(long, value_name = "N")]
    pub config_version: Option<u64>,
    /// How many run side by side [default: as many as the config says]
    #[arg(long, value_name = "N")]
    pub replicas: Option<u32>,
    /// Project it belongs to
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
}

#[derive(Debug, Args)]
pub struct DeploymentListing {
    /// Older versions too
    #[arg(long)]
    pub all_versions: bool,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate deploy llama --image nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.5 \\
      --model meta/llama-3.1-8b-instruct --gpus 1 --wait
  nimgate deploy qwen --engine vllm --model qwen-3 --gpus 2
  nimgate deploy sim --image nimgate/nim-sim:test --gpus 0 --wait
  nimgate deploy own --image ghcr.io/me/server:1 --pull-secret ghcr --pull-username me --gpus 0
  nimgate chat MODEL \"Hello\"
  nimgate deployment delete llama")]
pub struct DeployArgs {
    /// Name of the config and of the deployment
    pub name: String,
    #[command(flatten)]
    pub fields: ConfigFields,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub connection: Connection,
}
