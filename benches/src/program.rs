//! What the programs of this package have in common.

use std::process::ExitCode;

use clap::Parser;

use crate::error::BenchError;
use crate::fleet::replica::{self, ReplicaArgs};
use crate::gateways::{AS_REPLICA, AS_UPSTREAM};
use crate::upstream::{self, UpstreamArgs};

#[derive(Parser)]
struct UpstreamCommand {
    #[command(flatten)]
    args: UpstreamArgs,
}

#[derive(Parser)]
struct ReplicaCommand {
    #[command(flatten)]
    args: ReplicaArgs,
}

/// Runs a bench; or the mock upstream or a simulated model server, when the bench has started itself as one.
pub fn main<O: Parser>(bench: impl FnOnce(&O) -> Result<(), BenchError>) -> ExitCode {
    let mut words = std::env::args_os();
    let done = match words.nth(1) {
        Some(word) if word == AS_UPSTREAM => {
            upstream::run(&UpstreamCommand::parse_from([word].into_iter().chain(words)).args)
        }
        Some(word) if word == AS_REPLICA => {
            replica::run(&ReplicaCommand::parse_from([word].into_iter().chain(words)).args)
        }
        _ => bench(&O::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
