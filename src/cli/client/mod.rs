//! Arguments of the commands that talk to a running gateway: one noun for each kind of object, the same
//! verbs for each noun.

mod ask;
mod deployment;
mod fields;
mod fileset;
mod import;
mod model;
mod parse;
mod prompt;
mod provider;
mod routing;
mod secret;
mod shared;
mod virtual_model;
mod workspace;

use clap::Subcommand;

pub use ask::{ADMIN_URL_DEFAULT, ChatArgs, CompletionsArgs, ExplainArgs, RoutesArgs, StatusArgs};
pub use deployment::{
    ConfigCommand as DeploymentConfigCommand, ConfigFields, DeployArgs, DeploymentCommand, DeploymentFields,
    LogsArgs, Patience, Scale, VersionNamed, WaitArgs, Waiting, Wish,
};
pub use fields::About;
pub use fileset::{
    DownloadArgs, FileCommand, FileList, FileNamed, FilesetCommand, FilesetFields, UploadArgs,
};
pub use import::{ImportCommand, ImportGymArgs};
pub use model::{AdapterCommand, AdapterFields, ModelCommand, ModelFields, ModelListing};
pub use parse::{Comparison, Filter, Number};
pub use prompt::{PromptCommand, PromptFields};
pub use provider::{
    KeySource, PresetsArgs, ProviderCommand, ProviderCreateArgs, ProviderFields, ProviderWaitArgs,
};
pub use routing::{RouteArgs, SplitArgs};
pub use secret::{SecretCommand, SecretFields, SecretValue};
pub use shared::{
    Connection, Create, FarConnection, Listing, Named, Order, Output, Scope, Source, URL_DEFAULT, Update,
    View,
};
pub use virtual_model::{VirtualModelCommand, VirtualModelFields};
pub use workspace::{WorkspaceCommand, WorkspaceFields, WorkspaceListing};

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Workspaces: each has its own secrets, providers and models.
    #[command(subcommand, alias = "workspaces")]
    Workspace(WorkspaceCommand),
    /// Secrets: the keys of providers.
    #[command(subcommand, alias = "secrets")]
    Secret(SecretCommand),
    /// Providers: where models are served.
    #[command(subcommand, alias = "providers")]
    Provider(Box<ProviderCommand>),
    /// Models that can be called, and what is known about them.
    #[command(subcommand, alias = "models")]
    Model(Box<ModelCommand>),
    /// Adapters: LoRA weights on top of a model.
    #[command(subcommand, alias = "adapters")]
    Adapter(AdapterCommand),
    /// Virtual models: names that requests may use, and the models behind them.
    #[command(subcommand, alias = "virtual-models", visible_alias = "vm")]
    VirtualModel(VirtualModelCommand),
    /// Prompts, kept for reuse.
    #[command(subcommand, alias = "prompts")]
    Prompt(Box<PromptCommand>),
    /// Filesets: folders of files, here or at Hugging Face, NGC or S3.
    #[command(subcommand, alias = "filesets")]
    Fileset(Box<FilesetCommand>),
    /// Files of a fileset.
    #[command(subcommand, alias = "files")]
    File(FileCommand),
    /// Start a model server: makes a deployment config and a deployment in one go.
    Deploy(Box<DeployArgs>),
    /// Deployment configs: what to run, in numbered versions.
    #[command(subcommand, alias = "deployment-configs", visible_alias = "dc")]
    DeploymentConfig(Box<DeploymentConfigCommand>),
    /// Deployments: model servers that run.
    #[command(subcommand, alias = "deployments")]
    Deployment(DeploymentCommand),
    /// Providers out of the files of other programs.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Ask a model, and see the answer as it comes.
    Chat(ChatArgs),
    /// Is it running, and what does it serve?
    Status(StatusArgs),
    /// Where would a request go, and what became of one that ran?
    Explain(ExplainArgs),
    /// The gateway's routing table.
    Routes(RoutesArgs),
    /// Completions for a shell.
    Completions(CompletionsArgs),
}
