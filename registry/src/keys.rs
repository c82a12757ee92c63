//! The registry's master keys while it serves: rotation, and the change of keys.

use proto_shared::Keys;

use crate::Registry;
use crate::error::Error;
use crate::store::rotation::{self, KeyProgress};

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    pub current_key: String,
    /// Secrets that were sealed again. Those a former, interrupted run has done are not among them.
    pub rotated: u64,
    /// `workspace/name` of secrets that open with no key that is loaded.
    pub failed: Vec<String>,
    /// Nothing is sealed under another key any more.
    pub complete: bool,
    /// The last generation of routes that came of it.
    pub generation: Option<u64>,
}

impl Registry {
    /// Seals every secret under the current key, a few in each transaction, while all else goes on. It
    /// may be interrupted anywhere (dropped, killed) and called again.
    pub async fn rotate_keys(&self) -> Result<Rotation, Error> {
        let _alone = self.inner.rotating.lock().await;
        let keys = self.inner.config.master_key.keys();
        let mut rotation = Rotation {
            current_key: keys.current().id().to_owned(),
            rotated: 0,
            failed: Vec::new(),
            complete: false,
            generation: None,
        };
        let mut next = Some(0);
        while let Some(after) = next {
            let with = keys.clone();
            let batch =
                self.inner.store.write(move |write| rotation::reseal_batch(write, &with, after)).await?;
            rotation.generation = batch.generation.or(rotation.generation);
            rotation.rotated += batch.value.resealed;
            rotation.failed.extend(batch.value.failed);
            next = batch.value.next;
        }
        rotation.complete = self.inner.store.write(move |write| rotation::finish(write, &keys)).await?.value;
        tracing::info!(
            key = rotation.current_key, rotated = rotation.rotated, failed = ?rotation.failed,
            complete = rotation.complete, "master key rotation"
        );
        Ok(rotation)
    }

    /// How many secrets the current key has sealed.
    pub async fn key_progress(&self) -> Result<KeyProgress, Error> {
        let keys = self.inner.config.master_key.keys();
        self.inner.store.read(move |connection| rotation::progress(connection, &keys)).await
    }

    /// The first key that something here is sealed with and that `keys` lacks. Such keys must not
    /// replace those that are loaded.
    pub async fn key_missing_from(&self, keys: &Keys) -> Result<Option<String>, Error> {
        let in_use = self.inner.store.read(|connection| Ok(rotation::keys_in_use(connection)?)).await?;
        Ok(in_use.into_iter().find(|id| keys.find(id).is_none()))
    }
}
