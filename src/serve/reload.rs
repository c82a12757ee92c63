//! What SIGHUP does: the certificate and the master keys are read again. What can't be used is told, and
//! leaves things as they are.

use std::sync::Arc;

use proto_shared::{KeyRing, Keys};
use registry::WeakRegistry;

use super::Start;
use crate::master_key::{self, Origin};

/// Everything of a process that can be read again.
#[derive(Clone)]
pub struct Reload {
    gateway: Option<gateway::Handle>,
    registry: Option<WeakRegistry>,
    keys: Arc<KeyRing>,
    origin: Origin,
}

impl Reload {
    pub fn new(start: &Start, gateway: Option<gateway::Handle>, registry: Option<WeakRegistry>) -> Self {
        Self { gateway, registry, keys: start.key.clone(), origin: start.origin.clone() }
    }

    pub fn run(&self) {
        if let Some(gateway) = &self.gateway {
            match gateway.reload_certificate() {
                Ok(()) => tracing::info!("certificate read again"),
                Err(error) => tracing::error!(%error, "the certificate stays as it was"),
            }
        }
        let reload = self.clone();
        tokio::spawn(async move { reload.keys().await });
    }

    async fn keys(&self) {
        let Some(path) = self.origin.file() else {
            tracing::warn!("the master keys do not come from a file; they stay as they are until a restart");
            return;
        };
        let told = match master_key::read(path) {
            Ok(keys) => self.replace(keys).await,
            Err(error) => Err(error.to_string()),
        };
        match told {
            Ok(ids) => tracing::info!(path = %path.display(), keys = ids, "master keys read again"),
            Err(why) => tracing::error!(path = %path.display(), why, "the master keys stay as they were"),
        }
    }

    /// Gives the ids of the keys that are in use now.
    async fn replace(&self, keys: Keys) -> Result<String, String> {
        if let Some(registry) = self.registry.as_ref().and_then(WeakRegistry::upgrade) {
            match registry.key_missing_from(&keys).await {
                Ok(None) => {}
                Ok(Some(id)) => {
                    return Err(format!(
                        "secrets are sealed with key {id}, which is not in the file; put it back, run \
                         `nimgate registry rotate`, then take it out"
                    ));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        let ids = keys.ids().collect::<Vec<_>>().join(", ");
        self.keys.replace(keys);
        if let Some(gateway) = &self.gateway {
            gateway.keys_changed();
        }
        Ok(ids)
    }
}
