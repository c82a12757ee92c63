//! The command `nimgate`: parses its line, runs one command, maps the end to an exit code.

mod cli;
mod client;
mod config;
mod demo;
mod exit;
mod logging;
mod master_key;
mod process;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::prefer_small_pages();
    let (code, message) = match Cli::parse().command {
        Command::Serve(command) => ended(serve::run(command), serve::ServeError::exit_code),
        Command::Client(command) => ended(client::run(command), client::ClientError::exit_code),
    };
    if code != exit::DONE && code != exit::INTERRUPTED {
        eprintln!("nimgate: {}", client::output::plain(&message));
    }
    ExitCode::from(code)
}

fn ended<E: std::error::Error>(result: Result<(), E>, code: impl Fn(&E) -> u8) -> (u8, String) {
    result.map_or_else(|e| (code(&e), e.to_string()), |()| (exit::DONE, String::new()))
}
