//! `/apis/models/v2/workspaces/{ws}/providers`.

mod backend;
pub mod body;
mod view;

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::ProviderName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::backend::BackendFields;
use self::body::{CreateProvider, ReplaceProvider, UpdateProviderStatus};
pub use self::view::Provider;
use super::body::Valid;
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{ListParams, PageView};
use crate::Registry;
use crate::error::Error;
use crate::store::{providers, workspaces};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, replace, delete))
        .routes(routes!(set_status))
}

#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/providers", tag = "providers",
    request_body = CreateProvider, responses((status = 201, body = Provider)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(provider): Valid<CreateProvider>,
) -> Reply {
    let name = provider.name;
    let (spec, given) = provider.rest.accept(&registry.inner.config.egress)?;
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        providers::insert(write, &workspace, &name, &spec, &given)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, Provider::from))
}

/// Creates, or replaces the whole configuration.
#[utoipa::path(
    put, path = "/apis/models/v2/workspaces/{workspace}/providers/{name}", tag = "providers",
    request_body = ReplaceProvider, responses((status = 200, body = Provider)),
)]
async fn replace(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(provider): Valid<ReplaceProvider>,
) -> Reply {
    let (spec, given) = provider.accept(&registry.inner.config.egress)?;
    let name: ProviderName = name.parse().map_err(|reason| Error::invalid_path("name", reason))?;
    let stored = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        match providers::find(write, workspace.as_str(), name.as_str())? {
            Some(provider) => providers::replace(write, &provider, &spec, &given),
            None => providers::insert(write, &workspace, &name, &spec, &given),
        }
    });
    Ok(reply::written(StatusCode::OK, stored.await?, Provider::from))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/providers", tag = "providers",
    params(ListParams), responses((status = 200, body = PageView<Provider>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &providers::LIST)?;
    let asked = request.clone();
    let page = registry.inner.store.read(move |connection| {
        let workspace = workspaces::listed(connection, &workspace)?;
        providers::list(connection, workspace, &asked)
    });
    Ok(reply::page(page.await?, &request, &providers::LIST, Nulls::Omit, Provider::from))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/providers/{name}", tag = "providers",
    responses((status = 200, body = Provider)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let provider =
        registry.inner.store.read(move |connection| providers::get(connection, &workspace, &name)).await?;
    Ok(reply::object(StatusCode::OK, Provider::from(provider)))
}

#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/providers/{name}", tag = "providers",
    responses((status = 204)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let deleted =
        registry.inner.store.write(move |write| providers::delete(write, &workspace, &name)).await?;
    Ok(reply::deleted(&deleted))
}

/// What a controller found out about a provider.
#[utoipa::path(
    put, path = "/apis/models/v2/workspaces/{workspace}/providers/{name}/status", tag = "providers",
    request_body = UpdateProviderStatus, responses((status = 200, body = Provider)),
)]
async fn set_status(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(status): Valid<UpdateProviderStatus>,
) -> Reply {
    let finding = status.accept(&workspace)?;
    let stored = registry.inner.store.write(move |write| {
        let provider = providers::find(write, &workspace, &name)?
            .ok_or_else(|| Error::NotFound(format!("Model provider {workspace}/{name} not found")))?;
        providers::record(write, &provider, &finding)
    });
    Ok(reply::written(StatusCode::OK, stored.await?, Provider::from))
}
