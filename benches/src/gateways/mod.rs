//! The servers a bench starts: the mock upstream, nginx, nimgate, and other balancers.

mod haproxy;
mod nginx;
mod nimgate;
mod python_router;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

pub use haproxy::Haproxy;
pub use nginx::{Nginx, Spread};
pub use nimgate::{Nimgate, Role};
pub use python_router::PythonRouter;

use crate::child::{Running, free_port};
use crate::error::BenchError;

/// First argument of a bench program that makes it the mock upstream.
pub const AS_UPSTREAM: &str = "upstream";

/// First argument of a bench program that makes it a simulated model server.
pub const AS_REPLICA: &str = "replica";

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The mock upstream, in a process of its own: this very program under another role.
pub struct Upstream {
    pub running: Running,
    pub addresses: Vec<SocketAddr>,
}

impl Upstream {
    pub fn start(ports: usize, models: usize, folder: &Path) -> Result<Self, BenchError> {
        let own = std::env::current_exe().map_err(BenchError::io("can't find this program"))?;
        let mut command = Command::new(own);
        command.args([AS_UPSTREAM, "--until-stdin-ends", "--models", &models.to_string()]);
        let mut addresses = Vec::new();
        for _ in 0..ports {
            let port = free_port()?;
            command.args(["--port", &port.to_string()]);
            addresses.push(local(port));
        }
        let running = Running::start("upstream", &mut command, folder)?;
        Ok(Self { running, addresses })
    }

    /// The first address.
    pub fn address(&self) -> Result<SocketAddr, BenchError> {
        self.addresses
            .first()
            .copied()
            .ok_or_else(|| BenchError::Setup("the upstream has no port".to_owned()))
    }
}
