//! The commands that talk to a running gateway: plain clients of its HTTP API.
//!
//! Invariants: every wait has a limit; what an upstream or a server wrote is printed without its
//! control characters; an error says what to do next. Absent on purpose: any state of its own.

pub mod admin;
mod advice;
pub mod api;
pub mod chat;
mod completions;
pub mod deployment;
pub mod error;
mod explained;
mod file;
mod fileset;
pub mod http;
mod import;
mod model;
mod noun;
pub mod output;
mod prompt;
pub mod provider;
mod routing;
pub mod secret;
mod sse;
pub mod status;
#[cfg(test)]
mod testing;
mod virtual_model;
mod workspace;

use crate::cli::ClientCommand;

pub use error::ClientError;

/// Runs a client command to its end.
pub fn run(command: ClientCommand) -> Result<(), ClientError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
    runtime.block_on(dispatch(command))
}

async fn dispatch(command: ClientCommand) -> Result<(), ClientError> {
    match command {
        ClientCommand::Workspace(command) => workspace::run(command).await,
        ClientCommand::Secret(command) => secret::run(command).await,
        ClientCommand::Provider(command) => provider::run(*command).await,
        ClientCommand::Model(command) => model::run(*command).await,
        ClientCommand::Adapter(command) => model::run_adapter(command).await,
        ClientCommand::VirtualModel(command) => virtual_model::run(command).await,
        ClientCommand::Prompt(command) => prompt::run(*command).await,
        ClientCommand::Fileset(command) => fileset::run(*command).await,
        ClientCommand::File(command) => file::run(command).await,
        ClientCommand::Deploy(args) => deployment::deploy(*args).await,
        ClientCommand::DeploymentConfig(command) => deployment::config::run(*command).await,
        ClientCommand::Deployment(command) => deployment::run(command).await,
        ClientCommand::Import(command) => import::run(command).await,
        ClientCommand::Chat(args) => chat::run(args).await,
        ClientCommand::Status(args) => status::run(args).await,
        ClientCommand::Explain(args) => admin::explain(args).await,
        ClientCommand::Routes(args) => admin::routes(args).await,
        ClientCommand::Completions(args) => completions::run(&args),
    }
}
