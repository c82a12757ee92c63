//! `/apis/entities/v2/workspaces`.

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::WorkspaceName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RequestBody, Valid};
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{self, ListParams, PageView};
use crate::Registry;
use crate::store::workspaces;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update, delete))
}

#[derive(Deserialize, ToSchema)]
pub struct CreateWorkspace {
    #[schema(value_type = schema::Name)]
    name: WorkspaceName,
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// Ours. Whether its requests never go to a hosted provider
    local_only: Option<bool>,
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
pub struct UpdateWorkspace {
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// Ours. Whether its requests never go to a hosted provider
    local_only: Option<bool>,
}

impl RequestBody for CreateWorkspace {}
impl RequestBody for UpdateWorkspace {}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; without authentication there are no roles to wait for")]
struct CreationParams {
    /// Whether to answer only when the creator's role holds everywhere; it always does
    wait_role_propagation: Option<bool>,
}

#[derive(Serialize, ToSchema)]
struct WorkspaceDeletion {
    message: &'static str,
    id: String,
}

#[derive(Serialize, ToSchema)]
pub struct Workspace {
    id: String,
    name: String,
    description: Option<String>,
    /// Ours; left out where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    local_only: bool,
    created_at: String,
    created_by: String,
    updated_at: String,
    updated_by: String,
}

impl From<crate::domain::Workspace> for Workspace {
    fn from(workspace: crate::domain::Workspace) -> Self {
        Self {
            id: workspace.id.to_string(),
            name: workspace.name.into(),
            description: workspace.description,
            local_only: workspace.local_only,
            created_at: workspace.created.to_wire(),
            created_by: String::new(),
            updated_at: workspace.updated.to_wire(),
            updated_by: String::new(),
        }
    }
}

#[utoipa::path(
    post, path = "/apis/entities/v2/workspaces", tag = "workspaces", params(CreationParams),
    request_body = CreateWorkspace, responses((status = 201, body = Workspace)),
)]
async fn create(State(registry): State<Registry>, Valid(workspace): Valid<CreateWorkspace>) -> Reply {
    let CreateWorkspace { name, description, local_only } = workspace;
    let local_only = local_only.unwrap_or_default();
    let made = registry
        .inner
        .store
        .write(move |write| workspaces::insert(write, &name, description.as_deref(), local_only))
        .await?;
    Ok(reply::written(StatusCode::CREATED, made, Workspace::from))
}

#[utoipa::path(
    get, path = "/apis/entities/v2/workspaces", tag = "workspaces",
    params(ListParams), responses((status = 200, body = PageView<Workspace>)),
)]
async fn list(State(registry): State<Registry>, Query(pairs): Query<Pairs>) -> Reply {
    let request = query::page_request(&pairs, &workspaces::LIST)?;
    let asked = request.clone();
    let page = registry.inner.store.read(move |connection| workspaces::list(connection, &asked)).await?;
    Ok(reply::page(page, &request, &workspaces::LIST, Nulls::Keep, Workspace::from))
}

#[utoipa::path(
    get, path = "/apis/entities/v2/workspaces/{name}", tag = "workspaces",
    responses((status = 200, body = Workspace)),
)]
async fn read(State(registry): State<Registry>, Path(name): Path<String>) -> Reply {
    let workspace = registry.inner.store.read(move |connection| workspaces::get(connection, &name)).await?;
    Ok(reply::object(StatusCode::OK, Workspace::from(workspace)))
}

#[utoipa::path(
    put, path = "/apis/entities/v2/workspaces/{name}", tag = "workspaces",
    request_body = UpdateWorkspace, responses((status = 200, body = Workspace)),
)]
async fn update(
    State(registry): State<Registry>,
    Path(name): Path<String>,
    Valid(change): Valid<UpdateWorkspace>,
) -> Reply {
    let updated = registry
        .inner
        .store
        .write(move |write| {
            workspaces::update(write, &name, change.description.as_deref(), change.local_only)
        })
        .await?;
    Ok(reply::written(StatusCode::OK, updated, Workspace::from))
}

/// Takes its routes away at once; it stays visible until everything in it is removed.
#[utoipa::path(
    delete, path = "/apis/entities/v2/workspaces/{name}", tag = "workspaces",
    responses((status = 200, body = WorkspaceDeletion)),
)]
async fn delete(State(registry): State<Registry>, Path(name): Path<String>) -> Reply {
    let begun = registry.inner.store.write(move |write| workspaces::begin_deletion(write, &name)).await?;
    Ok(reply::written(StatusCode::OK, begun, |workspace| WorkspaceDeletion {
        message: "Workspace marked for deletion",
        id: workspace.name.into(),
    }))
}
