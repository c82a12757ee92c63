//! How fast a change of routes is served, and whether any request notices. See benches/README.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    benches::program::main(benches::swap::main)
}
