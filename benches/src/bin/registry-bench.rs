//! What the registry's API costs with a full store. See benches/README.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    benches::program::main(benches::registry::main)
}
