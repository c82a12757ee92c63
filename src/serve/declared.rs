//! What the configuration file declares, brought into the registry at start.
//!
//! What can't be had is told and left as it is: the rest, and the process, do not wait for it.

use registry::{Applied, Error, Registry};

use crate::config::{Declared, ProviderEntry, VirtualModelEntry};

pub async fn apply(registry: &Registry, declared: &Declared) {
    for entry in &declared.providers {
        provider(registry, entry).await;
    }
    for VirtualModelEntry { virtual_model, .. } in &declared.virtual_models {
        let name = format!("{}/{}", virtual_model.workspace, virtual_model.name);
        tell("virtual model", &name, registry.declare_virtual_model(virtual_model).await);
    }
}

async fn provider(registry: &Registry, entry: &ProviderEntry) {
    let provider = format!("{}/{}", entry.provider.workspace, entry.provider.name);
    let key = match entry.key.as_ref().map(|from| from.read()).transpose() {
        Ok(key) => key,
        Err(why) => {
            tracing::warn!(provider, %why, "the key of a declared provider can't be read; a stored one stays");
            None
        }
    };
    tell("provider", &provider, registry.declare(&entry.provider, key).await);
}

fn tell(kind: &'static str, name: &str, applied: Result<Applied, Error>) {
    match applied {
        Ok(Applied::Created) => tracing::info!(kind, name, "created from the configuration file"),
        Ok(Applied::Updated) => tracing::info!(kind, name, "updated from the configuration file"),
        Ok(Applied::Unchanged) => tracing::info!(kind, name, "is as the configuration file says"),
        Err(error) => tracing::error!(kind, name, %error, "what is declared was not applied"),
    }
}
