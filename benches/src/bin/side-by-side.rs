//! nginx and nimgate side by side. See benches/README.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    benches::program::main(benches::side_by_side::main)
}
