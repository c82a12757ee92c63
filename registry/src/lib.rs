//! nimgate's control plane: workspaces, secrets, providers and models in SQLite, and the routes that
//! follow from them, pushed to gateways.
//!
//! Layers: `api` (thin handlers), `discovery` and `reconcile` call `store`; `store` and `publish` know `domain`;
//! `domain` knows no SQL, no HTTP and no clock.
//!
//! Absent on purpose: authentication of callers (the gateway's public listener decides who gets
//! here).

mod api;
pub mod config;
mod declared;
mod discovery;
mod domain;
mod error;
mod files;
mod gateways;
mod keys;
mod offline;
mod publish;
mod reconcile;
pub mod runtime;
mod server;
mod sights;
mod store;
#[cfg(test)]
mod test_values;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use proto_shared::HostUrl;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

pub use config::{
    DeploymentConfig, DiscoveryConfig, FilesConfig, RegistryConfig, RegistryLogin, RuntimeChoice,
    SecretAccess, ToolCallPlugins,
};
pub use declared::{Applied, DeclarationFault, DeclaredProvider, DeclaredVirtualModel};
pub use domain::presets::at as preset_at;
pub use error::Error;
pub use gateways::Drain;
pub use keys::Rotation;
pub use offline::{Backup, BackupError, back_up, is_in_use, verify};
pub use publish::Published;
pub use store::OpenError;
pub use store::rotation::{KeyProgress, SecretFault, Verified};

/// An open registry. Clones share it; the data folder is let go when the last one is dropped.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    config: RegistryConfig,
    store: store::Store,
    files: files::FileStore,
    /// Held while it is found out what files say about a model.
    finding: tokio::sync::Mutex<()>,
    published: watch::Receiver<Arc<Published>>,
    gateways: Arc<gateways::Gateways>,
    client: discovery::Client,
    runtimes: reconcile::Runtimes,
    /// One for each log that is being read.
    log_readers: Arc<Semaphore>,
    adapters: reconcile::Adapters,
    hurry: discovery::Hurry,
    /// Held by a rotation: there is one at a time.
    rotating: tokio::sync::Mutex<()>,
}

fn corrupt(config: &RegistryConfig, reason: String) -> OpenError {
    OpenError::Corrupt { path: config.data_dir.clone(), reason }
}

/// A registry as long as somebody serves it: does not keep the data folder.
#[derive(Clone)]
pub struct WeakRegistry(Weak<Inner>);

impl WeakRegistry {
    pub fn upgrade(&self) -> Option<Registry> {
        self.0.upgrade().map(|inner| Registry { inner })
    }
}

impl Registry {
    pub fn downgrade(&self) -> WeakRegistry {
        WeakRegistry(Arc::downgrade(&self.inner))
    }

    /// Opens the store in `config.data_dir`, making it when it is not there. Needs a Tokio runtime.
    pub async fn open(config: RegistryConfig) -> Result<Self, OpenError> {
        Self::open_on(config, reconcile::Runtimes::open).await
    }

    /// The same, with runtimes that `open_runtimes` gives for the configuration and the installation.
    async fn open_on(
        config: RegistryConfig,
        open_runtimes: impl FnOnce(&RegistryConfig, &str) -> Result<reconcile::Runtimes, runtime::Fault>,
    ) -> Result<Self, OpenError> {
        let client = discovery::Client::new(&config)?;
        let folder = config.data_dir.clone();
        let key = Arc::clone(&config.master_key);
        let file_limits = config.files.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let opened = store::open(&folder, &key.keys())?;
            let corrupt = |reason: String| OpenError::Corrupt { path: folder.clone(), reason };
            let filesets =
                store::filesets::ids(&opened.reader).map_err(|error| corrupt(error.to_string()))?;
            let files = files::FileStore::open(&folder, &file_limits, &filesets)
                .map_err(|source| OpenError::DataDir { path: folder.join("files"), source })?;
            let (store, published) = publish::start(opened).map_err(|error| corrupt(error.to_string()))?;
            Ok((store, files, published))
        });
        let (store, files, published) = opening.await.map_err(|error| OpenError::DataDir {
            path: config.data_dir.clone(),
            source: io::Error::other(error),
        })??;
        let (key, ngc_api_key) = (Arc::clone(&config.master_key), config.ngc_api_key.clone());
        let installation = store.read(store::instances::installation).await;
        let installation = installation.map_err(|error| corrupt(&config, error.to_string()))?;
        let runtimes =
            open_runtimes(&config, &installation).map_err(|fault| OpenError::Runtime(fault.to_string()))?;
        let set = store
            .write(move |write| store::secrets::set_ngc_api_key(write, &key, ngc_api_key.as_ref()))
            .await;
        if let Err(error) = set {
            // The disk may be full, and reading goes on.
            tracing::error!(%error, "the secret system/ngc-api-key stays as it was");
        }
        let rotating = tokio::sync::Mutex::default();
        let finding = tokio::sync::Mutex::default();
        let log_readers = Arc::new(Semaphore::new(config::LOG_READERS_MAX));
        let gateways = gateways::Gateways::start();
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                store,
                files,
                finding,
                published,
                gateways,
                client,
                runtimes,
                log_readers,
                adapters: reconcile::Adapters::default(),
                hurry: discovery::Hurry::default(),
                rotating,
            }),
        })
    }

    /// Serves API and feed on a Unix socket with mode 0600 until told to stop.
    pub async fn serve_unix(&self, path: PathBuf, stop: watch::Receiver<bool>) -> io::Result<()> {
        server::serve_unix(api::router(self), path, stop).await
    }

    /// Serves API and feed on a TCP listener until told to stop.
    pub async fn serve_tcp(&self, listener: TcpListener, stop: watch::Receiver<bool>) -> io::Result<()> {
        server::serve_tcp(api::router(self), listener, stop).await
    }

    /// Looks after all providers, and shows what gateways see of them, until told to stop.
    pub fn run_discovery(&self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + use<> {
        let looking = discovery::run(self.clone(), stop.clone());
        let showing = sights::run(self.clone(), stop);
        async move {
            tokio::join!(looking, showing);
        }
    }

    /// Brings deployments to the state that is asked for, and empties workspaces that are to go, until
    /// told to stop.
    pub fn run_reconcile(&self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + use<> {
        reconcile::run(self.clone(), stop)
    }

    /// Whether requests that gateways have begun still use `url`, which is not in the routes from `generation`
    /// on: the generation of the commit that took it out, or any later one.
    pub fn drained(&self, url: &HostUrl, generation: u64) -> Drain {
        self.inner.gateways.drained(url, generation)
    }

    /// Sees a change whenever an answer of [`Self::drained`] may be another one.
    pub fn drain_changes(&self) -> watch::Receiver<()> {
        self.inner.gateways.changes()
    }

    /// The present snapshot, and each later one.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Published>> {
        self.inner.published.clone()
    }
}
