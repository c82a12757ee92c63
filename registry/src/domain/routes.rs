//! From providers and virtual models to the routes of one generation.
//!
//! A virtual model leads to a model, and a model to those who serve it. What is marked as local only on the way
//! leaves out the hosted ones of them; nothing a gateway could fail over to is left in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proto_shared::snapshot::{Origin, SNAPSHOT_FORMAT, Watch};
use proto_shared::{
    Candidate, LocalOnly, LocalRule, ModelName, ModelRoute, ProviderRoute, RouteSnapshot, SealedSecret,
    SecretName, WorkspaceName,
};

use super::model::prefer;
use super::provider::is_enabled;
use super::routing::{RoutingWish, unwritten};
use super::virtual_model::{LimitsWish, ResumeWish, Target, VirtualRoute};
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

    /// Servers of one's own may be asked how they are, and so may what is spoken to in plain text, unless its
    /// owner says that it is hosted: who is hosted counts every question.
    fn watch(&self) -> Option<Watch> {
        let Provider { spec, .. } = &self.provider;
        let is_own = self.provider.is_local() || (spec.locality.is_none() && !spec.host_url.is_https());
        let of_instances = Watch::default();
        let of_instances = match self.origin() {
            Origin::Deployment => &self.provider.instances_watch,
            Origin::Owner => &of_instances,
        };
        is_own.then(|| spec.watch.clone().or(of_instances))
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
            local: self.provider.is_local(),
            watch: self.watch(),
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
    /// Of what no request goes to a hosted provider.
    pub local_workspaces: HashSet<WorkspaceName>,
    pub local_models: HashSet<(WorkspaceName, ModelName)>,
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
    let is_local_only = |workspace: &&WorkspaceName| catalogue.local_workspaces.contains(*workspace);
    RouteSnapshot {
        format: SNAPSHOT_FORMAT,
        installation: installation.to_owned(),
        generation,
        local_only: workspaces.iter().filter(is_local_only).cloned().collect(),
        workspaces,
        providers: providers.iter().map(|keyed| keyed.route()).collect(),
        models: catalogue.virtual_models.iter().map(|model| served.route(model)).collect(),
    }
}

/// Who serves each model, in the order in which they are tried.
struct Served<'p> {
    catalogue: &'p Catalogue,
    models: HashMap<Key<'p>, Servers<'p>>,
    /// Those that may be asked for what a routing names.
    providers: HashMap<Key<'p>, &'p Provider>,
}

/// Workspace and name.
type Key<'p> = (&'p str, &'p str);

#[derive(Default)]
struct Servers<'p> {
    all: Vec<Server<'p>>,
    /// Whether the owner of the model said who comes first.
    has_order: bool,
}

#[derive(Clone, Copy)]
struct Server<'p> {
    provider: &'p Provider,
    served_name: &'p str,
}

impl Server<'_> {
    fn candidate(&self) -> Candidate {
        Candidate {
            workspace: self.provider.workspace.clone(),
            provider: self.provider.name.clone(),
            served_name: self.served_name.to_owned(),
        }
    }

    fn label(&self) -> String {
        format!("{}/{}", self.provider.workspace, self.provider.name)
    }
}

/// Wishes name providers as `workspace/provider`.
fn put_first(servers: &mut [Server<'_>], order: &[String]) {
    prefer(servers, order, |by| (&by.provider.workspace, by.provider.name.as_str()));
}

impl<'p> Served<'p> {
    fn new(providers: &'p [Arc<KeyedProvider>], catalogue: &'p Catalogue) -> Self {
        let mut models: HashMap<_, Servers<'p>> = HashMap::with_capacity(providers.len());
        let in_rotation =
            || providers.iter().map(|keyed| &keyed.provider).filter(|provider| !provider.withheld);
        for provider in in_rotation() {
            for served in &provider.served {
                let servers = models.entry((provider.workspace.as_str(), served.name.as_str())).or_default();
                servers.all.push(Server { provider, served_name: &served.served_name });
            }
        }
        for ProviderOrder { workspace, model, providers } in &catalogue.orders {
            if let Some(servers) = models.get_mut(&(workspace.as_str(), model.as_str())) {
                put_first(&mut servers.all, providers);
                servers.has_order = !providers.is_empty();
            }
        }
        let by_name =
            in_rotation().map(|provider| ((provider.workspace.as_str(), provider.name.as_str()), provider));
        Self { catalogue, models, providers: by_name.collect() }
    }

    fn of(&self, (workspace, name): (&'p WorkspaceName, &'p str)) -> Option<&Servers<'p>> {
        self.models.get(&(workspace.as_str(), name))
    }

    fn route(&self, model: &'p VirtualRoute) -> ModelRoute {
        let VirtualRoute { workspace, name, target, created, middleware, routing, resume, .. } = model;
        let own = (workspace, name.as_str());
        let leads_to = match target {
            // A gateway that knows no middleware must not serve it either.
            _ if !middleware.is_empty() => None,
            Target::Own => Some(own),
            Target::Other(model) => Some((model.workspace(workspace), model.name().as_str())),
            Target::Nothing => None,
        };
        let servers = leads_to.and_then(|to| self.of(to));
        let has_order = servers.is_some_and(|servers| servers.has_order);
        let mut all = servers.map(|servers| servers.all.clone()).unwrap_or_default();
        if let Some(wish) = routing {
            if middleware.is_empty() {
                self.add_named(&mut all, wish, workspace);
            }
            all.sort_by_key(|by| {
                let named = (&by.provider.workspace, &by.provider.name);
                wish.place(workspace, named, by.served_name).unwrap_or(usize::MAX)
            });
        }
        let local_only = self.local_rule(model, leads_to, &all).map(|by| LocalOnly {
            by,
            left_out: all.extract_if(.., |by| !by.provider.is_local()).map(|by| by.label()).collect(),
        });
        let routing = match routing {
            Some(wish) => {
                let serving =
                    all.iter().map(|by| (&by.provider.workspace, &by.provider.name, by.served_name));
                wish.published(workspace, serving)
            }
            None => unwritten(all.len(), has_order),
        };
        ModelRoute {
            workspace: workspace.clone(),
            name: name.clone(),
            created: *created,
            candidates: all.iter().map(Server::candidate).collect(),
            aliases: self.aliases(model),
            middleware: middleware.clone(),
            routing,
            local_only,
            resume: *resume == ResumeWish::Promised,
            resume_where_known: *resume == ResumeWish::WhereKnown,
            stream_comment_interval_ms: model.stream_comment_interval_ms,
            limits: LimitsWish::published(model.limits),
        }
    }

    /// Upstream ids belong to the name they normalise to, wherever that leads.
    fn aliases(&self, model: &'p VirtualRoute) -> Option<Vec<String>> {
        let VirtualRoute { workspace, name, target, middleware, routing, .. } = model;
        let own = self.of((workspace, name.as_str())).map(|servers| &*servers.all).unwrap_or_default();
        let adapters = own.iter().filter_map(|by| self.catalogue.adapters.get(by.served_name));
        let more: Vec<_> = adapters.flat_map(|names| names.within(workspace)).collect();
        let ids = own.iter().map(|by| by.served_name.to_owned());
        // What is left out for being hosted goes on meaning this model.
        let is_open = || self.local_rule(model, Some((workspace, name.as_str())), &[]).is_none();
        let names_others = routing.iter().flat_map(|wish| &wish.providers).any(|part| part.model.is_some());
        let is_plain = *target == Target::Own && middleware.is_empty() && !names_others && is_open();
        (!is_plain || !more.is_empty()).then(|| ids.chain(more).collect())
    }

    /// Those that a routing asks for models of their own. Unless it also names a provider without one, they are
    /// in the place of what that serves. What the owner of a provider does not let through is not to be had this way
    /// either.
    fn add_named(&self, all: &mut Vec<Server<'p>>, wish: &'p RoutingWish, own: &'p WorkspaceName) {
        let is_named = |by: &Server<'_>| {
            let named = (&by.provider.workspace, &by.provider.name);
            wish.place(own, named, by.served_name).is_some()
        };
        let mut added = Vec::new();
        for part in &wish.providers {
            let key = (part.provider.workspace(own).as_str(), part.provider.name().as_str());
            let (Some(served_name), Some(provider)) = (&part.model, self.providers.get(&key)) else {
                continue;
            };
            // What it is named with is added below, where it may be.
            all.retain(|by| {
                by.provider.seq != provider.seq || (is_named(by) && by.served_name != served_name)
            });
            if is_enabled(provider.spec.enabled_models.as_deref(), served_name) {
                added.push(Server { provider, served_name });
            }
        }
        all.append(&mut added);
    }

    /// What is marked as local only on the way: the name that is asked for, what it leads to, and where both and
    /// the hosted ones of `servers` are.
    fn local_rule(
        &self,
        model: &VirtualRoute,
        leads_to: Option<(&WorkspaceName, &str)>,
        servers: &[Server<'_>],
    ) -> Option<LocalRule> {
        let Catalogue { local_workspaces, local_models, .. } = self.catalogue;
        let VirtualRoute { workspace, name, .. } = model;
        let marked = |workspace: &WorkspaceName| {
            local_workspaces.contains(workspace).then(|| LocalRule::Workspace(workspace.clone()))
        };
        if model.local_only {
            return Some(LocalRule::VirtualModel(format!("{workspace}/{name}")));
        }
        let of_target = || {
            let (workspace, name) = leads_to?;
            let is_marked = !local_models.is_empty()
                && ModelName::new(name).is_ok_and(|name| local_models.contains(&(workspace.clone(), name)));
            if is_marked { Some(LocalRule::Model(format!("{workspace}/{name}"))) } else { marked(workspace) }
        };
        let of_servers = || {
            let hosted = servers.iter().filter(|by| !by.provider.is_local());
            hosted.map(|by| marked(&by.provider.workspace)).find(Option::is_some).flatten()
        };
        marked(workspace).or_else(of_target).or_else(of_servers)
    }
}

#[cfg(test)]
mod tests;
