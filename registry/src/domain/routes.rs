//! From providers and virtual models to the routes of one generation.
//!
//! A virtual model leads to a model, and a model to those who serve it.

use std::collections::HashMap;
use std::sync::Arc;

use proto_shared::snapshot::{Origin, SNAPSHOT_FORMAT};
use proto_shared::{
    Candidate, ModelName, ModelRoute, ProviderRoute, RouteSnapshot, Routing, SealedSecret, SecretName,
    WorkspaceName,
};

use super::model::prefer;
use super::virtual_model::{Target, VirtualRoute};
use super::{Provider, ProviderStatus, Reference};

/// A provider with the key it uses.
#[derive(Debug)]
pub struct KeyedProvider {
    pub provider: Provider,
    pub key: Option<SealedSecret>,
}

impl KeyedProvider {
    /// The secret that it names and that nobody has stored.
    pub fn missing_secret(&self) -> Option<&SecretName> {
        self.provider.spec.api_key_secret_name.as_ref().filter(|_| self.key.is_none())
    }

    /// Only whoever runs instances writes where they are, and what its owner points elsewhere loses them.
    pub fn origin(&self) -> Origin {
        let Provider { spec, instances, .. } = &self.provider;
        if instances.contains(&spec.host_url) { Origin::Deployment } else { Origin::Owner }
    }

    pub fn route(&self) -> ProviderRoute {
        let Provider { workspace, name, spec, status, instances, .. } = &self.provider;
        ProviderRoute {
            workspace: workspace.clone(),
            name: name.clone(),
            host_url: spec.host_url.clone(),
            replicas: if instances.len() > 1 { instances.clone() } else { Vec::new() },
            origin: self.origin(),
            api_key: self.key.clone(),
            missing_secret: self.missing_secret().cloned(),
            auth_header_format: spec.auth_header_format.clone().unwrap_or_default(),
            default_extra_headers: spec.default_extra_headers.clone().unwrap_or_default(),
            required_extra_headers: spec.required_extra_headers.clone().unwrap_or_default(),
            default_extra_body: spec.default_extra_body.clone().unwrap_or_default(),
            required_extra_body: spec.required_extra_body.clone().unwrap_or_default(),
            timeouts: spec.timeouts,
            replay: spec.replay,
            backend: spec.backend.clone(),
            ready: *status == ProviderStatus::Ready && !self.provider.withheld,
        }
    }
}

/// What is routable beside providers: changes more seldom than they do.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Newest first.
    pub virtual_models: Vec<VirtualRoute>,
    pub orders: Vec<ProviderOrder>,
    /// By the id under which servers list them.
    pub adapters: HashMap<String, AdapterNames>,
}

/// An adapter and the model that it changes: what it may be called beside the id under which servers list it.
#[derive(Debug)]
pub struct AdapterNames {
    pub adapter: Reference,
    pub base: Reference,
}

impl AdapterNames {
    /// In requests to this workspace: as clients of the platform put it together, and by its own name.
    fn within(&self, workspace: &WorkspaceName) -> impl Iterator<Item = String> {
        let Self { adapter, base } = self;
        let is_own = |named: &Reference| named.workspace(workspace) == workspace;
        let base_name =
            if is_own(base) { base.name().to_string() } else { base.within(workspace).to_string() };
        let composite = format!("{base_name}&adapters/{}", adapter.within(workspace));
        [Some(composite), is_own(adapter).then(|| adapter.name().to_string())].into_iter().flatten()
    }
}

/// A model whose owner wants some of its providers to come first.
#[derive(Debug)]
pub struct ProviderOrder {
    pub workspace: WorkspaceName,
    pub model: ModelName,
    /// `workspace/provider`.
    pub providers: Vec<String>,
}

/// Builds the snapshot. `providers` are in order of creation; so are the candidates of each model,
/// unless its owner wants another order.
pub fn snapshot(
    installation: &str,
    generation: u64,
    workspaces: Vec<WorkspaceName>,
    providers: &[Arc<KeyedProvider>],
    catalogue: &Catalogue,
) -> RouteSnapshot {
    let served = Served::new(providers, catalogue);
    RouteSnapshot {
        format: SNAPSHOT_FORMAT,
        installation: installation.to_owned(),
        generation,
        workspaces,
        providers: providers.iter().map(|keyed| keyed.route()).collect(),
        models: catalogue.virtual_models.iter().map(|model| served.route(model)).collect(),
    }
}

/// Who serves each model, in the order in which they are tried.
struct Served<'p> {
    adapters: &'p HashMap<String, AdapterNames>,
    models: HashMap<(&'p str, &'p str), Vec<Server<'p>>>,
}

struct Server<'p> {
    provider: &'p Provider,
    served_name: &'p str,
}

impl<'p> Served<'p> {
    fn new(providers: &'p [Arc<KeyedProvider>], catalogue: &'p Catalogue) -> Self {
        let Catalogue { virtual_models: _, orders, adapters } = catalogue;
        let mut models: HashMap<_, Vec<Server<'p>>> = HashMap::with_capacity(providers.len());
        for keyed in providers.iter().filter(|keyed| !keyed.provider.withheld) {
            let provider = &keyed.provider;
            for served in &provider.served {
                models
                    .entry((provider.workspace.as_str(), served.name.as_str()))
                    .or_default()
                    .push(Server { provider, served_name: &served.served_name });
            }
        }
        for ProviderOrder { workspace, model, providers } in orders {
            if let Some(servers) = models.get_mut(&(workspace.as_str(), model.as_str())) {
                prefer(servers, providers, |by| (&by.provider.workspace, by.provider.name.as_str()));
            }
        }
        Self { adapters, models }
    }

    fn of(&self, workspace: &'p WorkspaceName, model: &'p str) -> &[Server<'p>] {
        self.models.get(&(workspace.as_str(), model)).map(Vec::as_slice).unwrap_or_default()
    }

    fn route(&self, model: &'p VirtualRoute) -> ModelRoute {
        let VirtualRoute { workspace, name, target, created, middleware } = model;
        let own = self.of(workspace, name.as_str());
        let servers = match target {
            // A gateway that knows no middleware must not serve it either.
            _ if !middleware.is_empty() => &[],
            Target::Own => own,
            Target::Other(model) => self.of(model.workspace(workspace), model.name().as_str()),
            Target::Nothing => &[],
        };
        let candidates = servers.iter().map(|by| Candidate {
            workspace: by.provider.workspace.clone(),
            provider: by.provider.name.clone(),
            served_name: by.served_name.to_owned(),
        });
        // Upstream ids belong to the name they normalise to, wherever that leads.
        let is_plain = *target == Target::Own && middleware.is_empty();
        let adapters = own.iter().filter_map(|by| self.adapters.get(by.served_name));
        let more: Vec<_> = adapters.flat_map(|names| names.within(workspace)).collect();
        let ids = own.iter().map(|by| by.served_name.to_owned());
        let aliases = (!is_plain || !more.is_empty()).then(|| ids.chain(more).collect());
        ModelRoute {
            workspace: workspace.clone(),
            name: name.clone(),
            created: *created,
            candidates: candidates.collect(),
            aliases,
            middleware: middleware.clone(),
            routing: Routing::default(),
        }
    }
}

#[cfg(test)]
mod tests;
