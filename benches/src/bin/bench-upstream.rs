//! The mock upstream alone: `bench-upstream --port 22001`.

use std::process::ExitCode;

use benches::upstream::{self, UpstreamArgs};
use clap::Parser;

/// A mock OpenAI upstream that costs less than any gateway in front of it.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: UpstreamArgs,
}

fn main() -> ExitCode {
    benches::program::main(|command: &Command| upstream::run(&command.args))
}
