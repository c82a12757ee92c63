//! From a target to the model that serves it: pure, so that tests and `explain` need no request.

use std::sync::Arc;

use super::table::{ModelEntry, RouteTable};
use crate::refusal::Refusal;

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
    let by_name = table.model(workspace, asked);
    let entry = by_name.or_else(|| {
        let name = asked.strip_prefix(workspace)?.strip_prefix('/')?;
        table.model(workspace, name)
    });
    match entry {
        Some(entry) if entry.candidates.is_empty() => {
            Err(Refusal::ModelNotServed { id: entry.public_id.to_string() })
        }
        Some(entry) => Ok(Arc::clone(entry)),
        None => Err(Refusal::ModelUnknown { workspace: workspace.into(), name: asked.into() }),
    }
}
