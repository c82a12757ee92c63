//! From a target to the model or provider that serves it: pure, so that tests and `explain` need no request.

use std::sync::Arc;

use proto_shared::LocalOnly;

use super::provider::Provider;
use super::table::{ModelEntry, RouteTable, Unusable};
use crate::refusal::{Named, Refusal};

/// How a request names its model.
#[derive(Debug, Clone, Copy)]
pub enum ModelQuery<'a> {
    /// By the URL (model route).
    Url(&'a str),
    /// By the body's `model` (OpenAI route): a name, `{url workspace}/name`, or an upstream's id.
    Body(Option<&'a str>),
}

pub fn resolve_model(
    table: &RouteTable,
    workspace: &str,
    query: ModelQuery<'_>,
) -> Result<Arc<ModelEntry>, Refusal> {
    let asked = match query {
        ModelQuery::Url(name) => name,
        ModelQuery::Body(Some(name)) if !name.is_empty() => name,
        ModelQuery::Body(Some(_)) => return Err(Refusal::ModelEmpty),
        ModelQuery::Body(None) => return Err(Refusal::ModelMissing),
    };
    let bare = || asked.strip_prefix(workspace)?.strip_prefix('/');
    match table.model(workspace, asked).or_else(|| table.model(workspace, bare()?)) {
        Some(entry) if entry.candidates.is_empty() => Err(not_served(entry)),
        Some(entry) => Ok(Arc::clone(entry)),
        None => {
            let name = bare().unwrap_or(asked);
            let unknown = Refusal::ModelUnknown { workspace: workspace.into(), name: name.into() };
            Err(Refusal::of_unknown(Named::Model, workspace, name, unknown))
        }
    }
}

pub fn resolve_provider<'t>(
    table: &'t RouteTable,
    workspace: &str,
    name: &str,
) -> Result<&'t Arc<Provider>, Refusal> {
    let named = || (workspace.to_owned(), name.to_owned());
    match table.provider(workspace, name) {
        Some(Ok(provider)) if !provider.local && table.is_local_only(workspace) => Err(Refusal::LocalOnly {
            rule: format!("workspace {workspace}"),
            hosted: provider.label.to_string(),
        }),
        Some(Ok(provider)) => Ok(provider),
        Some(Err(why)) => {
            let (workspace, name) = named();
            Err(Refusal::ProviderUnusable { workspace, name, why: why.to_string() })
        }
        None => Err(provider_unknown(workspace, name)),
    }
}

pub fn provider_unknown(workspace: &str, name: &str) -> Refusal {
    let unknown = Refusal::ProviderUnknown { workspace: workspace.into(), name: name.into() };
    Refusal::of_unknown(Named::Provider, workspace, name, unknown)
}

fn not_served(entry: &ModelEntry) -> Refusal {
    let id = entry.public_id.to_string();
    match &entry.unusable {
        _ if !entry.middleware.is_empty() => {
            Refusal::MiddlewareUnsupported { id, plugins: entry.middleware.join(", ") }
        }
        Some(Unusable { workspace, provider, why }) => Refusal::ProviderUnusable {
            workspace: workspace.to_string(),
            name: provider.to_string(),
            why: why.to_string(),
        },
        None => match &entry.local_only {
            Some(LocalOnly { by, left_out }) if !left_out.is_empty() => {
                Refusal::LocalOnly { rule: by.to_string(), hosted: left_out.join(", ") }
            }
            _ => Refusal::ModelNotServed { id },
        },
    }
}
