//! The commands that talk to a running gateway: plain clients of its HTTP API.
//!
//! Invariants: every wait has a limit; what an upstream or a server wrote is printed without its
//! control characters; an error says what to do next. Absent on purpose: any state of its own.

pub mod admin;
pub mod api;
pub mod chat;
pub mod error;
pub mod http;
pub mod output;
pub mod provider;
pub mod secret;
mod sse;
pub mod status;
#[cfg(test)]
mod testing;

use crate::cli::{ClientCommand, ModelCommand};

pub use error::ClientError;

/// Runs a client command to its end.
pub fn run(command: ClientCommand) -> Result<(), ClientError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
    runtime.block_on(dispatch(command))
}

async fn dispatch(command: ClientCommand) -> Result<(), ClientError> {
    match command {
        ClientCommand::Secret(command) => secret::run(command).await,
        ClientCommand::Provider(command) => provider::run(command).await,
        ClientCommand::Model(ModelCommand::List(args)) => provider::list_models(args).await,
        ClientCommand::Chat(args) => chat::run(args).await,
        ClientCommand::Status(args) => status::run(args).await,
        ClientCommand::Explain(args) => admin::explain(args).await,
        ClientCommand::Routes(args) => admin::routes(args).await,
    }
}
