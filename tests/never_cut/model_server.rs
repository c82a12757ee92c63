//! A simulated model server in a process of its own, with file descriptors enough.

use std::net::SocketAddr;

use integration_tests::{Process, binary};
use tokio::process::Command;

/// Raises what a process may open as far as it goes, and becomes the command that follows.
pub const WITH_DESCRIPTORS: &str = "ulimit -n $(ulimit -Hn); exec \"$@\"";

pub struct ModelServer {
    address: SocketAddr,
    _process: Process,
}

impl ModelServer {
    /// Serves the model `m`.
    pub async fn start() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", WITH_DESCRIPTORS, "sh"]).arg(binary("nim-sim"));
        shell.args(["--listen", "127.0.0.1:0", "--model", "m"]);
        let mut process = Process::start(shell);
        let listening = |text: &str| text.split("http://").nth(1)?.split_whitespace().next()?.parse().ok();
        let address = process.prints("its address", listening).await;
        Self { address, _process: process }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
