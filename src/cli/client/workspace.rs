//! Arguments of `nimgate workspace`.

use clap::{Args, Subcommand};

use super::shared::{Connection, Create, Named, Order, Update};

#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// Make a workspace.
    #[command(after_help = "\
Examples:
  nimgate workspace create team-a --description 'Models of team A'
  nimgate provider create build --workspace team-a --url https://integrate.api.nvidia.com/v1 \\
      --key-env NVIDIA_API_KEY")]
    Create(Create<WorkspaceFields>),
    /// All workspaces.
    #[command(
        after_help = "Examples:\n  nimgate workspace list\n  nimgate workspace list --filter name~team"
    )]
    List(WorkspaceListing),
    /// One workspace.
    #[command(after_help = "Example:\n  nimgate workspace get team-a")]
    Get(Named),
    /// Change what is named; the rest stays.
    #[command(after_help = "\
Examples:
  nimgate workspace update team-a --description 'Models of team A'
  nimgate workspace update team-a --local-only")]
    Update(Update<WorkspaceFields>),
    /// Delete a workspace and everything in it.
    #[command(after_help = "Example:\n  nimgate workspace delete team-a")]
    Delete(Named),
}

#[derive(Debug, Default, Args)]
pub struct WorkspaceFields {
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Never send its requests to a hosted provider
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub local_only: Option<bool>,
}

#[derive(Debug, Args)]
pub struct WorkspaceListing {
    #[command(flatten)]
    pub order: Order,
    #[command(flatten)]
    pub connection: Connection,
}
