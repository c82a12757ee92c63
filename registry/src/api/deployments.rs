//! `/apis/models/v2/workspaces/{ws}/deployments`.

mod body;
mod logs;
mod view;

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::names::EntityName;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{CreateDeployment, ScaleDeployment, UpdateDeployment, UpdateDeploymentStatus};
use self::view::{Deployment, DeploymentModel, DeploymentModels};
use super::body::Valid;
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{ListParams, PageView};
use crate::Registry;
use crate::domain::DeploymentStatus;
use crate::error::Error;
use crate::store::deployments::{self, Versions};
use crate::store::{providers, routes, workspaces};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, update, scale, delete))
        .routes(routes!(versions))
        .routes(routes!(read_version, delete_version))
        .routes(routes!(report_status))
        .routes(routes!(models))
        .routes(routes!(logs::read))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; the query is read as pairs")]
struct AllVersions {
    /// Every version of each deployment, not only the latest
    all_versions: Option<bool>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfVersion {
    /// Which version; the latest when left out
    version: Option<String>,
}

/// Stores version 1, and has it started.
#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/deployments", tag = "deployments",
    request_body = CreateDeployment, responses((status = 201, body = Deployment)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(deployment): Valid<CreateDeployment>,
) -> Reply {
    let (name, order) = deployment.accept();
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        deployments::insert(write, &workspace, &name, &order)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, Deployment::from))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployments", tag = "deployments",
    params(ListParams, AllVersions), responses((status = 200, body = PageView<Deployment>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let versions = if query::switch(&pairs, "all_versions")? { Versions::All } else { Versions::Latest };
    let request = query::page_request(&pairs, &deployments::LIST)?;
    let asked = request.clone();
    let page = registry.inner.store.read(move |connection| {
        let workspace = workspaces::listed(connection, &workspace)?;
        deployments::list(connection, workspace, versions, &asked)
    });
    Ok(reply::page(page.await?, &request, &deployments::LIST, Nulls::Omit, |found| {
        Deployment::now(found, &registry.inner.runtimes)
    }))
}

/// The latest version.
#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}", tag = "deployments",
    responses((status = 200, body = Deployment)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    version_of(&registry, workspace, name, None).await
}

/// Stores the next version, and has it started in place of this one.
#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}", tag = "deployments",
    request_body = UpdateDeployment, responses((status = 201, body = Deployment)),
)]
async fn update(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(deployment): Valid<UpdateDeployment>,
) -> Reply {
    let name = EntityName::new(name).map_err(|reason| Error::refused("name", reason))?;
    let order = deployment.accept();
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        deployments::insert_version(write, &workspace, &name, order)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, Deployment::from))
}

/// Has more or fewer instances of the latest version run; it stays the same version. Those that are too many are
/// stopped when no request is under way there.
#[utoipa::path(
    patch, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}", tag = "deployments",
    request_body = ScaleDeployment, responses((status = 200, body = Deployment)),
)]
async fn scale(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(scale): Valid<ScaleDeployment>,
) -> Reply {
    let scaled = registry
        .inner
        .store
        .write(move |write| deployments::scale(write, &workspace, &name, scale.replicas))
        .await?;
    Ok(reply::written(StatusCode::OK, scaled, Deployment::from))
}

/// Has all versions stopped and removed. For one that is DELETED, removes its record at once.
#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}", tag = "deployments",
    responses((status = 202, description = "It is on its way out, or its record is gone")),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    delete_versions(&registry, workspace, name, None).await
}

/// All versions, newest first.
#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}/versions", tag = "deployments",
    responses((status = 200, body = Vec<Deployment>)),
)]
async fn versions(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
) -> Reply {
    let found = registry
        .inner
        .store
        .read(move |connection| deployments::versions(connection, &workspace, &name))
        .await?;
    let found: Vec<_> = found.into_iter().map(Deployment::from).collect();
    Ok(reply::object(StatusCode::OK, found))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}/versions/{version}",
    tag = "deployments", responses((status = 200, body = Deployment)),
)]
async fn read_version(
    State(registry): State<Registry>,
    Path((workspace, name, version)): Path<(String, String, String)>,
) -> Reply {
    let version = query::version(&version)?;
    version_of(&registry, workspace, name, Some(version)).await
}

#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}/versions/{version}",
    tag = "deployments",
    responses((status = 202, description = "It is on its way out, or its record is gone")),
)]
async fn delete_version(
    State(registry): State<Registry>,
    Path((workspace, name, version)): Path<(String, String, String)>,
) -> Reply {
    let version = query::version(&version)?;
    delete_versions(&registry, workspace, name, Some(version)).await
}

/// What a controller has seen of a deployment.
#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}/status", tag = "deployments",
    params(OfVersion), request_body = UpdateDeploymentStatus,
    responses((status = 200, body = Deployment)),
)]
async fn report_status(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Query(OfVersion { version }): Query<OfVersion>,
    Valid(report): Valid<UpdateDeploymentStatus>,
) -> Reply {
    let version = version.filter(|text| !text.is_empty()).map(|text| query::version(&text)).transpose()?;
    report.check()?;
    let stored = registry.inner.store.write(move |write| {
        let mut deployment = deployments::get(write, &workspace, &name, version)?;
        deployments::change(write, &mut deployment, |lifecycle, now| {
            lifecycle.report(report.status, &report.status_message, now)
        })?;
        if let Some(provider) = &report.model_provider_id {
            deployments::set_provider(write, &deployment, provider)?;
        }
        deployments::get(write, &workspace, &name, version)
    });
    Ok(reply::written(StatusCode::OK, stored.await?, Deployment::from))
}

/// The models that its provider serves.
#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/deployments/{name}/models", tag = "deployments",
    responses((status = 200, body = DeploymentModels)),
)]
async fn models(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let found = registry.inner.store.read(move |connection| {
        let deployment = deployments::get(connection, &workspace, &name, None)?;
        let id = deployment.model_provider_id.as_deref().and_then(|id| id.split_once('/'));
        let provider = match id {
            Some((workspace, provider)) => providers::find(connection, workspace, provider)?,
            None => None,
        };
        let models = provider.map(DeploymentModel::all_of).unwrap_or_default();
        Ok(DeploymentModels { workspace, name, models })
    });
    Ok(reply::object(StatusCode::OK, found.await?))
}

/// The gateway that passes the answer on first applies the routes that were there when it was read: what is said to
/// be READY can be used.
async fn version_of(registry: &Registry, workspace: String, name: String, version: Option<i64>) -> Reply {
    let found = registry.inner.store.read(move |connection| {
        let found = deployments::get(connection, &workspace, &name, version)?;
        let is_ready = found.lifecycle.status() == DeploymentStatus::Ready;
        let generation = if is_ready { Some(routes::generation(connection)?) } else { None };
        Ok((found, generation))
    });
    let (found, generation) = found.await?;
    Ok(reply::with_generation(
        reply::object(StatusCode::OK, Deployment::now(found, &registry.inner.runtimes)),
        generation,
    ))
}

/// The answer has a body, `null`: the platform's SDK reads one.
async fn delete_versions(
    registry: &Registry,
    workspace: String,
    name: String,
    version: Option<i64>,
) -> Reply {
    let deletion = registry
        .inner
        .store
        .write(move |write| deployments::delete(write, &workspace, &name, version))
        .await?;
    Ok(reply::written(StatusCode::ACCEPTED, deletion, |()| ()))
}
