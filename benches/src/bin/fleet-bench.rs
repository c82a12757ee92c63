//! A simulated fleet behind nimgate and behind other balancers. See benches/README.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    benches::program::main(benches::fleet::main)
}
