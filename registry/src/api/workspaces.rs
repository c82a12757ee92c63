//! `/apis/entities/v2/workspaces`.

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::WorkspaceName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RequestBody, Valid};
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{self, ListParams, PageView};
use crate::Registry;
use crate::store::workspaces;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read))
}

#[derive(Deserialize, ToSchema)]
pub struct CreateWorkspace {
    #[schema(value_type = schema::Name)]
    name: WorkspaceName,
    #[schema(max_length = 1000)]
    description: Option<String>,
}

impl RequestBody for CreateWorkspace {}

#[derive(Serialize, ToSchema)]
pub struct Workspace {
    id: String,
    name: String,
    description: Option<String>,
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
            created_at: workspace.created.to_wire(),
            created_by: String::new(),
            updated_at: workspace.updated.to_wire(),
            updated_by: String::new(),
        }
    }
}

#[utoipa::path(
    post, path = "/apis/entities/v2/workspaces", tag = "workspaces",
    request_body = CreateWorkspace, responses((status = 201, body = Workspace)),
)]
async fn create(State(registry): State<Registry>, Valid(workspace): Valid<CreateWorkspace>) -> Reply {
    let CreateWorkspace { name, description } = workspace;
    let made = registry
        .inner
        .store
        .write(move |write| workspaces::insert(write, &name, description.as_deref()))
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
