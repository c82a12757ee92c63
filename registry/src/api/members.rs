//! `/apis/entities/v2/workspaces/{ws}/members`.
//!
//! Roles mean something only with authentication, which does not exist yet: everyone who reaches the
//! address may do everything. So the list is empty, and adding to it is refused rather than ignored.

use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{self, Reply};
use crate::Registry;
use crate::error::Error;
use crate::store::workspaces;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(change, remove))
}

#[derive(Serialize, ToSchema)]
pub struct Members {
    data: Vec<Member>,
}

#[derive(Serialize, ToSchema)]
pub struct Member {
    principal: String,
    roles: Vec<String>,
}

async fn require(registry: &Registry, workspace: String) -> Result<(), Error> {
    registry.inner.store.read(move |connection| workspaces::get(connection, &workspace).map(drop)).await
}

async fn refuse(registry: &Registry, workspace: String) -> Reply {
    require(registry, workspace).await?;
    Err(Error::Forbidden(
        "Authentication is off: everyone may do everything, and roles can't be given".into(),
    ))
}

#[utoipa::path(
    get, path = "/apis/entities/v2/workspaces/{workspace}/members", tag = "workspaces",
    responses((status = 200, body = Members)),
)]
async fn list(State(registry): State<Registry>, Path(workspace): Path<String>) -> Reply {
    require(&registry, workspace).await?;
    Ok(reply::object(StatusCode::OK, Members { data: Vec::new() }))
}

#[utoipa::path(
    post, path = "/apis/entities/v2/workspaces/{workspace}/members", tag = "workspaces",
    responses((status = 403)),
)]
async fn add(State(registry): State<Registry>, Path(workspace): Path<String>) -> Reply {
    refuse(&registry, workspace).await
}

#[utoipa::path(
    put, path = "/apis/entities/v2/workspaces/{workspace}/members/{principal_id}", tag = "workspaces",
    responses((status = 403)),
)]
async fn change(
    State(registry): State<Registry>,
    Path((workspace, _principal_id)): Path<(String, String)>,
) -> Reply {
    refuse(&registry, workspace).await
}

#[utoipa::path(
    delete, path = "/apis/entities/v2/workspaces/{workspace}/members/{principal_id}", tag = "workspaces",
    responses((status = 403)),
)]
async fn remove(
    State(registry): State<Registry>,
    Path((workspace, _principal_id)): Path<(String, String)>,
) -> Reply {
    refuse(&registry, workspace).await
}
