//! What translating the Responses API costs. See benches/README.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    benches::program::main(benches::translate::main)
}
