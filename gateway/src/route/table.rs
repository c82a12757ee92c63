//! The routing table: all routes of one generation, ready to serve.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto_shared::secret::SecretError;
use proto_shared::{Keys, LocalOnly, ModelRoute, RequestLimits, RouteSnapshot, Routing};

use super::provider::{self, Provider, ProviderError, arm, json_string};
use crate::balance::{Arm, CANDIDATES_MAX, Plan, Sought};
use crate::body::ModelRewrite;
use crate::limit::{Hold, RetryBudget};
use crate::metrics::ModelTokens;
use crate::resume::Resume;
use crate::upstream::endpoint::Endpoints;
use crate::upstream::quota::Quota;

/// Immutable once built.
#[derive(Default)]
pub struct RouteTable {
    pub generation: u64,
    pub installation: Box<str>,
    workspaces: HashMap<Box<str>, Workspace>,
}

#[derive(Default)]
struct Workspace {
    /// No request of it goes to a provider that is not local.
    local_only: bool,
    providers: HashMap<Box<str>, TableProvider>,
    models: HashMap<Box<str>, Arc<ModelEntry>>,
    /// The same, newest first.
    listed: Vec<Arc<ModelEntry>>,
    /// Upstream ids that are not model names, such as `meta/llama-3.1-8b-instruct`: what clients
    /// wrote before they pointed at this gateway keeps working.
    aliases: HashMap<Box<str>, Arc<ModelEntry>>,
}

/// One routable model.
pub struct ModelEntry {
    pub name: Box<str>,
    /// `workspace/name`: the id clients see.
    pub public_id: Arc<str>,
    pub created: u64,
    pub candidates: Vec<CandidateRoute>,
    /// Of the candidates that were left out the first, and why.
    pub unusable: Option<Unusable>,
    /// Plugins it wants and that are not there; with one it has no candidates.
    pub middleware: Box<[String]>,
    /// Why none of its candidates is hosted.
    pub local_only: Option<LocalOnly>,
    /// A stream whose server died goes on at another address.
    pub resume: Resume,
    /// How often the client of a stream hears something while nobody says anything yet.
    pub comment_interval: Option<Duration>,
    pub limits: RequestLimits,
    /// How much may be asked of it, and who waits for room at its servers: outlives tables. None: nothing limits it.
    pub quota: Option<Arc<Quota>>,
    /// Which address of which candidate is next.
    pub plan: Plan,
    /// What that depends on, beside the candidates.
    pub sought: Sought,
    /// What its requests may be tried again out of.
    pub retries: RetryBudget,
}

/// A provider that should serve a model and can't be used.
#[derive(Clone)]
pub struct Unusable {
    pub workspace: Box<str>,
    pub provider: Box<str>,
    pub why: ProviderError,
}

/// A provider of the table, or why it can't be used.
pub type TableProvider = Result<Arc<Provider>, ProviderError>;

/// One workspace, sorted by name: for the route dump.
pub struct WorkspaceView<'t> {
    pub name: &'t str,
    pub providers: Vec<(&'t str, &'t TableProvider)>,
    pub models: Vec<&'t Arc<ModelEntry>>,
}

/// One provider that may serve a model, with everything the body needs prepared.
pub struct CandidateRoute {
    pub provider: Arc<Provider>,
    /// `workspace/provider:model`, where the provider is asked for several models: each is a candidate.
    pub label: Option<Arc<str>>,
    /// The served name, or the model that the provider pins, as a JSON string, quotes included.
    pub served_json: Bytes,
    /// How replies get the public id back; none when both names are equal.
    pub rewrite: Option<Arc<ModelRewrite>>,
    pub tokens: Arc<ModelTokens>,
}

impl RouteTable {
    /// Builds a table. A provider that can't be used stays in it with the reason; a candidate that
    /// names no usable provider is left out.
    pub fn build(snapshot: &RouteSnapshot, endpoints: &Endpoints, keys: &Keys) -> Self {
        let mut workspaces: HashMap<Box<str>, Workspace> =
            snapshot.workspaces.iter().map(|name| (name.as_str().into(), Workspace::default())).collect();
        for name in &snapshot.local_only {
            workspaces.entry(name.as_str().into()).or_default().local_only = true;
        }
        for route in &snapshot.providers {
            let provider = Provider::build(route, endpoints, keys).map(Arc::new);
            if let Err(error) = &provider {
                tracing::error!(workspace = %route.workspace, provider = %route.name, %error, "provider not usable");
            }
            let workspace = workspaces.entry(route.workspace.as_str().into()).or_default();
            workspace.providers.insert(route.name.as_str().into(), provider);
        }
        for route in &snapshot.models {
            let public_id: Arc<str> = format!("{}/{}", route.workspace, route.name).into();
            let mut unusable = None;
            let candidates = route.candidates.iter().filter_map(|candidate| {
                let workspace = workspaces.get(candidate.workspace.as_str())?;
                let provider = match workspace.providers.get(candidate.provider.as_str())? {
                    Ok(provider) => provider,
                    Err(why) => {
                        unusable.get_or_insert_with(|| Unusable {
                            workspace: candidate.workspace.as_str().into(),
                            provider: candidate.provider.as_str().into(),
                            why: why.clone(),
                        });
                        return None;
                    }
                };
                // The registry left them out; this is the last place where one could come back.
                if route.local_only.is_some() && !provider.local {
                    return None;
                }
                let name = provider.pinned.as_ref().map_or(&*candidate.served_name, |pinned| &pinned.name);
                let built = CandidateRoute {
                    provider: Arc::clone(provider),
                    label: None,
                    served_json: json_string(name),
                    rewrite: ModelRewrite::new(name, &public_id).map(Arc::new),
                    tokens: provider.metrics.tokens(&public_id),
                };
                Some((built, &*candidate.served_name))
            });
            let usable: Vec<_> = if route.middleware.is_empty() { candidates.collect() } else { Vec::new() };
            let Routing { strategy, sticky, .. } = route.routing;
            let arms = arms(&usable, &route.routing);
            let count: usize = arms.iter().map(|arm| arm.addresses.len()).sum();
            if count > CANDIDATES_MAX {
                tracing::warn!(model = %public_id, count, "only {CANDIDATES_MAX} addresses of a model are used");
            }
            let usable = told_apart(usable);
            let entry = Arc::new(ModelEntry {
                comment_interval: comment_interval(route, &usable),
                limits: route.limits,
                quota: quota(route, &usable, endpoints),
                plan: Plan::new(strategy, &arms),
                retries: RetryBudget::default(),
                sought: Sought::by(strategy, sticky),
                name: route.name.as_str().into(),
                candidates: usable,
                unusable,
                public_id,
                created: route.created,
                middleware: route.middleware.clone().into(),
                local_only: route.local_only.clone(),
                resume: Resume::told(route.resume, route.resume_where_known),
            });
            let workspace = workspaces.entry(route.workspace.as_str().into()).or_default();
            // Of two that claim an id, the older has it: it comes later.
            for alias in aliases(route) {
                workspace.aliases.insert(alias.into(), Arc::clone(&entry));
            }
            workspace.listed.push(Arc::clone(&entry));
            workspace.models.insert(route.name.as_str().into(), entry);
        }
        Self {
            generation: snapshot.generation,
            installation: snapshot.installation.as_str().into(),
            workspaces,
        }
    }

    /// Whether a provider is unusable because a master key is not loaded here.
    pub fn lacks_keys(&self) -> bool {
        let mut providers = self.workspaces.values().flat_map(|workspace| workspace.providers.values());
        providers.any(|p| matches!(p, Err(ProviderError::Key(SecretError::WrongKey { .. }))))
    }

    pub fn has_workspace(&self, workspace: &str) -> bool {
        self.workspaces.contains_key(workspace)
    }

    /// Whether the workspace keeps its requests from hosted providers.
    pub fn is_local_only(&self, workspace: &str) -> bool {
        self.workspaces.get(workspace).is_some_and(|workspace| workspace.local_only)
    }

    /// A model by its name, or else by an upstream's id for it.
    pub fn model(&self, workspace: &str, name: &str) -> Option<&Arc<ModelEntry>> {
        let workspace = self.workspaces.get(workspace)?;
        workspace.models.get(name).or_else(|| workspace.aliases.get(name))
    }

    pub fn provider(&self, workspace: &str, name: &str) -> Option<&TableProvider> {
        self.workspaces.get(workspace)?.providers.get(name)
    }

    /// The models of one workspace, newest first.
    pub fn models(&self, workspace: &str) -> &[Arc<ModelEntry>] {
        self.workspaces.get(workspace).map(|workspace| workspace.listed.as_slice()).unwrap_or_default()
    }

    fn view<'t>(&'t self, name: &'t str) -> Option<WorkspaceView<'t>> {
        let workspace = self.workspaces.get(name)?;
        let mut providers: Vec<_> = workspace.providers.iter().map(|(name, p)| (&**name, p)).collect();
        providers.sort_by_key(|(name, _)| *name);
        let mut models: Vec<_> = workspace.listed.iter().collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Some(WorkspaceView { name, providers, models })
    }

    /// Every workspace with its providers and models.
    pub fn workspaces(&self) -> Vec<WorkspaceView<'_>> {
        let mut all: Vec<_> = self.workspaces.keys().filter_map(|name| self.view(name)).collect();
        all.sort_by_key(|view| view.name);
        all
    }
}

/// Of most models there is none: requests for them need not look.
fn quota(route: &ModelRoute, candidates: &[CandidateRoute], endpoints: &Endpoints) -> Option<Arc<Quota>> {
    let may_wait = candidates.iter().any(|candidate| candidate.provider.hold != Hold::Never);
    (may_wait || !route.limits.is_none()).then(|| endpoints.quotas.of_model(route))
}

/// The candidates' parts of a model's plan: who is not named comes at its place in the list. What is named with
/// a model has a label of its own, so that two models of one provider are two arms, whatever else is an arm.
fn arms(candidates: &[(CandidateRoute, &str)], routing: &Routing) -> Vec<Arm> {
    let arm = |(place, (candidate, served_name)): (usize, &(CandidateRoute, &str))| {
        let Provider { workspace, name, label, replicas, .. } = &*candidate.provider;
        let listed = Arm { tier: place as u32, ..arm(label, replicas) };
        let Some(share) = routing.share(workspace, name, served_name) else { return listed };
        let label = share.model.as_ref().map_or(listed.label, |model| format!("{label}:{model}").into());
        Arm { label, weight: share.weight, tier: share.tier.unwrap_or(listed.tier), ..listed }
    };
    candidates.iter().enumerate().map(arm).collect()
}

/// With the model in the label of those that are not the only ones of their provider.
fn told_apart(candidates: Vec<(CandidateRoute, &str)>) -> Vec<CandidateRoute> {
    let mut count = HashMap::new();
    for (candidate, _) in &candidates {
        *count.entry(Arc::as_ptr(&candidate.provider)).or_insert(0) += 1;
    }
    let told_apart = |(candidate, served_name): (CandidateRoute, &str)| {
        let is_one_of_several = count.get(&Arc::as_ptr(&candidate.provider)).is_some_and(|count| *count > 1);
        let is_printable = served_name.bytes().all(|byte| byte.is_ascii_graphic());
        let label = (is_one_of_several && is_printable)
            .then(|| format!("{}:{served_name}", candidate.provider.label).into());
        CandidateRoute { label, ..candidate }
    };
    candidates.into_iter().map(told_apart).collect()
}

/// What the model's owner says, else the most often that one of its providers does.
fn comment_interval(route: &ModelRoute, candidates: &[CandidateRoute]) -> Option<Duration> {
    let of_providers = || candidates.iter().filter_map(|candidate| candidate.provider.comment_interval).min();
    route.stream_comment_interval_ms.map(provider::comment_interval).or_else(of_providers)
}

/// The upstream ids that mean this model.
fn aliases(route: &ModelRoute) -> impl Iterator<Item = &str> {
    let served = route.candidates.iter().map(|candidate| candidate.served_name.as_str());
    let served = route.aliases.is_none().then_some(served).into_iter().flatten();
    served.chain(route.aliases.iter().flatten().map(String::as_str))
}
