//! Arguments of `nimgate secret`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::shared::{Create, Named, Scope, Update};

#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Store a secret. Without a flag its value is read from standard input.
    #[command(after_help = "\
Examples:
  nimgate secret create build-key --from-env NVIDIA_API_KEY
  nimgate secret create build-key --from-file key.txt
  pass show build | nimgate secret create build-key")]
    Create(Create<SecretFields>),
    /// Names of the secrets; never their values.
    #[command(after_help = "Examples:\n  nimgate secret list\n  nimgate secret list -A -o yaml")]
    List(Scope),
    /// What is known about a secret; not its value.
    #[command(after_help = "Example:\n  nimgate secret get build-key")]
    Get(Named),
    /// Replace a secret's value or its description.
    #[command(after_help = "\
Examples:
  nimgate secret update build-key --from-env NVIDIA_API_KEY
  pass show build | nimgate secret update build-key --from-file -
  nimgate secret update build-key --description 'renewed in May'")]
    Update(Update<SecretFields>),
    /// Delete a secret; providers that name it stop sending it.
    #[command(after_help = "Example:\n  nimgate secret delete build-key")]
    Delete(Named),
    /// Print the value of a secret and nothing else.
    #[command(after_help = "\
Examples:
  export NVIDIA_API_KEY=$(nimgate secret access build-key)
  nimgate secret access build-key > key.txt")]
    Access(Named),
}

/// Where the value of a secret comes from.
#[derive(Debug, Default, Args)]
pub struct SecretValue {
    /// The value itself; others on this machine may see it while the command runs
    #[arg(long, group = "from")]
    pub value: Option<String>,
    /// Read the value from a file; - is standard input
    #[arg(long, value_name = "FILE", group = "from")]
    pub from_file: Option<PathBuf>,
    /// Read the value from an environment variable
    #[arg(long, value_name = "VARIABLE", group = "from")]
    pub from_env: Option<String>,
}

#[derive(Debug, Default, Args)]
pub struct SecretFields {
    #[command(flatten)]
    pub value: SecretValue,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}
