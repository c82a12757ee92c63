//! Providers of the configuration file, brought into the registry at start.
//!
//! One that can't be had is told and left as it is: the others, and the process, do not wait for it.

use registry::{Applied, Registry};

use crate::config::ProviderEntry;

pub async fn apply(registry: &Registry, entries: &[ProviderEntry]) {
    for entry in entries {
        let provider = format!("{}/{}", entry.provider.workspace, entry.provider.name);
        let key = match entry.key.as_ref().map(|from| from.read()).transpose() {
            Ok(key) => key,
            Err(why) => {
                tracing::warn!(provider, %why, "the key of a declared provider can't be read; a stored one stays");
                None
            }
        };
        match registry.declare(&entry.provider, key).await {
            Ok(Applied::Created) => tracing::info!(provider, "created from the configuration file"),
            Ok(Applied::Updated) => tracing::info!(provider, "updated from the configuration file"),
            Ok(Applied::Unchanged) => tracing::info!(provider, "is as the configuration file says"),
            Err(error) => tracing::error!(provider, %error, "a declared provider was not applied"),
        }
    }
}
