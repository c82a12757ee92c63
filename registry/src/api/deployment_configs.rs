//! `/apis/models/v2/workspaces/{ws}/deployment-configs`.

pub mod body;
mod view;

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::names::EntityName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{CreateDeploymentConfig, UpdateDeploymentConfig};
use self::view::DeploymentConfig;
use super::body::Valid;
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{ListParams, PageView};
use crate::Registry;
use crate::error::Error;
use crate::store::{deployment_configs, workspaces};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, update, delete))
        .routes(routes!(versions))
        .routes(routes!(read_version, delete_version))
}

/// Stores version 1.
#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/deployment-configs", tag = "deployment configs",
    request_body = CreateDeploymentConfig, responses((status = 201, body = DeploymentConfig)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(config): Valid<CreateDeploymentConfig>,
) -> Reply {
    let (draft, spec) = config.accept(registry.inner.config.deployments.tool_call_plugins)?;
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        deployment_configs::insert(write, &workspace, draft, &spec)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, DeploymentConfig::from))
}

/// The latest version of each.
#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployment-configs", tag = "deployment configs",
    params(ListParams), responses((status = 200, body = PageView<DeploymentConfig>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &deployment_configs::LIST)?;
    let asked = request.clone();
    let page = registry.inner.store.read(move |connection| {
        let workspace = workspaces::listed(connection, &workspace)?;
        deployment_configs::list(connection, workspace, &asked)
    });
    Ok(reply::page(page.await?, &request, &deployment_configs::LIST, Nulls::Omit, DeploymentConfig::from))
}

/// The latest version.
#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployment-configs/{name}", tag = "deployment configs",
    responses((status = 200, body = DeploymentConfig)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    version_of(&registry, workspace, name, None).await
}

/// Stores the next version; deployments stay with theirs.
#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/deployment-configs/{name}", tag = "deployment configs",
    request_body = UpdateDeploymentConfig, responses((status = 201, body = DeploymentConfig)),
)]
async fn update(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(config): Valid<UpdateDeploymentConfig>,
) -> Reply {
    let name = EntityName::new(name).map_err(|reason| Error::refused("name", reason))?;
    let (draft, spec) = config.accept(name, registry.inner.config.deployments.tool_call_plugins)?;
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        deployment_configs::insert_version(write, &workspace, draft, &spec)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, DeploymentConfig::from))
}

/// Deletes all versions.
#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/deployment-configs/{name}",
    tag = "deployment configs", responses((status = 204)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    delete_versions(&registry, workspace, name, None).await
}

/// All versions, newest first.
#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployment-configs/{name}/versions",
    tag = "deployment configs", responses((status = 200, body = Vec<DeploymentConfig>)),
)]
async fn versions(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
) -> Reply {
    let found = registry
        .inner
        .store
        .read(move |connection| deployment_configs::versions(connection, &workspace, &name))
        .await?;
    let found: Vec<_> = found.into_iter().map(DeploymentConfig::from).collect();
    Ok(reply::object(StatusCode::OK, found))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployment-configs/{name}/versions/{version}",
    tag = "deployment configs", responses((status = 200, body = DeploymentConfig)),
)]
async fn read_version(
    State(registry): State<Registry>,
    Path((workspace, name, version)): Path<(String, String, String)>,
) -> Reply {
    let version = query::version(&version)?;
    version_of(&registry, workspace, name, Some(version)).await
}

#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/deployment-configs/{name}/versions/{version}",
    tag = "deployment configs", responses((status = 204)),
)]
async fn delete_version(
    State(registry): State<Registry>,
    Path((workspace, name, version)): Path<(String, String, String)>,
) -> Reply {
    let version = query::version(&version)?;
    delete_versions(&registry, workspace, name, Some(version)).await
}

async fn version_of(registry: &Registry, workspace: String, name: String, version: Option<i64>) -> Reply {
    let found = registry
        .inner
        .store
        .read(move |connection| deployment_configs::get(connection, &workspace, &name, version))
        .await?;
    Ok(reply::object(StatusCode::OK, DeploymentConfig::from(found)))
}

async fn delete_versions(
    registry: &Registry,
    workspace: String,
    name: String,
    version: Option<i64>,
) -> Reply {
    let deleted = registry
        .inner
        .store
        .write(move |write| deployment_configs::delete(write, &workspace, &name, version))
        .await?;
    Ok(reply::deleted(&deleted))
}
