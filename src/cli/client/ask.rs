//! Arguments of the commands that ask: a model, the gateway, or the command itself.

use clap::Args;

use super::shared::{Connection, Output};

pub const ADMIN_URL_DEFAULT: &str = "http://127.0.0.1:9080";

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

/// What the admin listener tells, and in which form.
#[derive(Debug, Args)]
pub struct AdminView {
    #[command(flatten)]
    pub admin: Admin,
    /// Form of the answer
    #[arg(long, short = 'o', value_enum, default_value = "table")]
    pub output: Output,
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
  nimgate explain req_0123abcd0000000042        # an answer's x-request-id, an id of the access log
  nimgate explain /apis/inference-gateway/v2/workspaces/default/provider/build/-/v1/models")]
pub struct ExplainArgs {
    /// Path that a request would have, or the id of one that is under way or ended lately
    #[arg(value_name = "PATH|ID")]
    pub target: String,
    /// With a path: the model its body would name
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    #[command(flatten)]
    pub view: AdminView,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate routes
  nimgate routes --output json")]
pub struct RoutesArgs {
    #[command(flatten)]
    pub view: AdminView,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(nimgate completions bash)
  nimgate completions bash > ~/.local/share/bash-completion/completions/nimgate
  nimgate completions zsh > \"${fpath[1]}/_nimgate\"
  nimgate completions fish > ~/.config/fish/completions/nimgate.fish")]
pub struct CompletionsArgs {
    /// The shell they are for
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}
