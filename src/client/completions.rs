//! `nimgate completions`.

use clap::CommandFactory as _;

use super::error::ClientError;
use super::output;
use crate::cli::{Cli, CompletionsArgs};

pub fn run(args: &CompletionsArgs) -> Result<(), ClientError> {
    // Through a buffer: the generator panics when its writer fails, as a pipe may.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nimgate", &mut script);
    output::push(&String::from_utf8_lossy(&script))
}
