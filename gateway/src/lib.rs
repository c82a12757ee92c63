//! nimgate's data plane.

pub mod body;
pub mod config;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use proto_shared::MasterKey;
use tokio::sync::watch;

pub use config::{AccessLog, GatewayConfig, Limits, RegistryAddress, TlsFiles};

/// A gateway whose listeners are bound and that has not begun to accept.
pub struct Gateway {}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("can't listen on {address}: {source}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Config(String),
}

/// How the process is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Serve.
    Run,
    /// Finish what is in flight, take nothing new.
    Drain,
    /// End now.
    Now,
}

impl Gateway {
    /// Binds the listeners, or takes them over from the process that listens on `take_over_from`.
    pub async fn bind(
        config: GatewayConfig,
        master_key: Arc<MasterKey>,
        take_over_from: Option<PathBuf>,
    ) -> Result<Self, StartError> {
        let _ = (config, master_key, take_over_from);
        Ok(Self {})
    }

    /// The addresses of the public listeners.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// Serves until told to stop; returns when nothing is in flight any more.
    pub async fn run(self, stop: watch::Receiver<Stop>) {
        let _ = stop;
    }
}
