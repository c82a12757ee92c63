//! nimgate's control plane: workspaces, secrets, providers and models in SQLite, and the routes that
//! follow from them, pushed to gateways.
//!
//! Layers: `api` (thin handlers) and `discovery` call `store`; `store` and `publish` know `domain`;
//! `domain` knows no SQL, no HTTP and no clock.
//!
//! Absent on purpose: authentication of callers (the gateway's public listener decides who gets
//! here), and any answer that holds a secret's value.

mod api;
pub mod config;
mod discovery;
mod domain;
mod error;
mod publish;
mod server;
mod store;
#[cfg(test)]
mod test_values;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

pub use config::{DiscoveryConfig, RegistryConfig};
pub use publish::Published;
pub use store::OpenError;

/// An open registry. Clones share it; the data folder is let go when the last one is dropped.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    config: RegistryConfig,
    store: store::Store,
    published: watch::Receiver<Arc<Published>>,
    client: discovery::Client,
}

impl Registry {
    /// Opens the store in `config.data_dir`, making it when it is not there.
    pub async fn open(config: RegistryConfig) -> Result<Self, OpenError> {
        let client = discovery::Client::new(&config)?;
        let folder = config.data_dir.clone();
        let key = Arc::clone(&config.master_key);
        let opening = tokio::task::spawn_blocking(move || {
            let opened = store::open(&folder, &key)?;
            publish::start(opened)
                .map_err(|error| OpenError::Corrupt { path: folder, reason: error.to_string() })
        });
        let (store, published) = opening.await.map_err(|error| OpenError::DataDir {
            path: config.data_dir.clone(),
            source: io::Error::other(error),
        })??;
        Ok(Self { inner: Arc::new(Inner { config, store, published, client }) })
    }

    /// Serves API and feed on a Unix socket with mode 0600 until told to stop.
    pub async fn serve_unix(&self, path: PathBuf, stop: watch::Receiver<bool>) -> io::Result<()> {
        server::serve_unix(api::router(self), path, stop).await
    }

    /// Serves API and feed on a TCP listener until told to stop.
    pub async fn serve_tcp(&self, listener: TcpListener, stop: watch::Receiver<bool>) -> io::Result<()> {
        server::serve_tcp(api::router(self), listener, stop).await
    }

    /// Looks after all providers until told to stop.
    pub fn run_discovery(&self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + use<> {
        discovery::run(self.clone(), stop)
    }

    /// The present snapshot, and each later one.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Published>> {
        self.inner.published.clone()
    }
}
