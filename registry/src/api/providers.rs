//! `/apis/models/v2/workspaces/{ws}/providers`.

mod body;

use axum::extract::{Path, Query, Request, State};
use http::StatusCode;
use proto_shared::ProviderName;
use serde_json::json;

use super::fields::{Echo, Fields};
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::views::ProviderView;
use crate::Registry;
use crate::error::{Error, Issue};
use crate::store::{Committed, providers, workspaces};

pub async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    request: Request,
) -> Reply {
    let mut fields = Fields::read(request, Echo::Input).await?;
    let name = body::name(&mut fields);
    let parsed = body::parse(&mut fields);
    let (name, parsed) = fields.finish(name.zip(parsed))?;
    let (spec, given) = parsed.accept(&registry.inner.config.egress)?;
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        providers::insert(write, &workspace, &name, &spec, &given)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, ProviderView::from))
}

/// Creates, or replaces the whole configuration.
pub async fn replace(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    request: Request,
) -> Reply {
    let mut fields = Fields::read(request, Echo::Input).await?;
    let parsed = body::parse(&mut fields);
    let (spec, given) = fields.finish(parsed)?.accept(&registry.inner.config.egress)?;
    let name = path_name(&name)?;
    let stored = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        match providers::find(write, workspace.as_str(), name.as_str())? {
            Some(provider) => providers::replace(write, &provider, &spec, &given),
            None => providers::insert(write, &workspace, &name, &spec, &given),
        }
    });
    Ok(reply::written(StatusCode::OK, stored.await?, ProviderView::from))
}

fn path_name(text: &str) -> Result<ProviderName, Error> {
    text.parse().map_err(|error| {
        let loc = vec![json!("path"), json!("name")];
        let msg = format!("Value error, {error}");
        Error::Invalid(vec![Issue { kind: "value_error", loc, msg, input: json!(text) }])
    })
}

pub async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &query::PROVIDERS)?;
    let page = registry.inner.store.read(move |connection| {
        let workspace = (workspace != "-").then_some(workspace.as_str());
        workspace.map_or(Ok(()), |name| workspaces::require_listed(connection, name))?;
        providers::list(connection, workspace, &request)
    });
    Ok(reply::page(page.await?, &request, Nulls::Omit, ProviderView::from))
}

pub async fn read(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
) -> Reply {
    let provider =
        registry.inner.store.read(move |connection| providers::get(connection, &workspace, &name)).await?;
    Ok(reply::object(StatusCode::OK, ProviderView::from(provider)))
}

pub async fn delete(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
) -> Reply {
    let deleted: Committed<()> =
        registry.inner.store.write(move |write| providers::delete(write, &workspace, &name)).await?;
    Ok(reply::deleted(&deleted))
}

pub async fn set_status(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    request: Request,
) -> Reply {
    let mut fields = Fields::read(request, Echo::Input).await?;
    let finding = body::finding(&mut fields, &workspace);
    let finding = fields.finish(Some(finding))?;
    let stored = registry.inner.store.write(move |write| {
        let provider = providers::find(write, &workspace, &name)?
            .ok_or_else(|| Error::NotFound(format!("Model provider {workspace}/{name} not found")))?;
        providers::record(write, &provider, &finding)
    });
    Ok(reply::written(StatusCode::OK, stored.await?, ProviderView::from))
}
