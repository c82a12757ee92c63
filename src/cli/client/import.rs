//! Arguments of `nimgate import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::shared::Connection;

#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Make secret and provider from NeMo Gym's env.yaml and its configs of model servers.
    #[command(after_help = "\
Each `inference_provider` of the configs becomes a provider, named like its file; without a config,
policy_base_url, policy_api_key and policy_model_name of env.yaml are one. What has no place here is
told. Calling it again brings the providers up to date.

Examples:
  nimgate import gym env.yaml responses_api_models/inference_provider/configs/together.yaml
  nimgate import gym env.yaml configs/*.yaml --dry-run
  nimgate import gym env.yaml --name policy")]
    Gym(ImportGymArgs),
}

#[derive(Debug, Args)]
pub struct ImportGymArgs {
    /// NeMo Gym's env.yaml: keys, and values that configs refer to
    pub env: PathBuf,
    /// Configs of model servers
    pub configs: Vec<PathBuf>,
    /// Name of the provider, where there is one
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Say what would be made, and make nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Seconds to wait until each provider answers; 0 waits not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub wait_s: u64,
    #[command(flatten)]
    pub connection: Connection,
}
