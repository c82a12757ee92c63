//! `/apis/entities/v2/workspaces/{ws}/projects`: labels that group a workspace's objects.

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::names::EntityName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RequestBody, Valid, given};
use super::documents;
use super::query::Pairs;
use super::reply::{self, Reply};
use super::schema::{self, Deleted, ListParams, PageView};
use crate::Registry;
use crate::domain::Document;
use crate::domain::document::Draft;
use crate::store::projects::{self, Projects};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update, delete))
}

#[derive(Deserialize, ToSchema)]
pub struct CreateProject {
    #[schema(value_type = schema::Name)]
    name: EntityName,
    #[schema(max_length = 1000)]
    description: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub struct UpdateProject {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 1000)]
    description: Option<Option<String>>,
}

impl RequestBody for CreateProject {}
impl RequestBody for UpdateProject {}

#[derive(Serialize, ToSchema)]
pub struct Project {
    id: String,
    name: String,
    workspace: String,
    description: Option<String>,
    created_at: String,
    updated_at: String,
}

impl From<Document<()>> for Project {
    fn from(document: Document<()>) -> Self {
        Self {
            id: document.id.to_string(),
            name: document.name.into(),
            workspace: document.workspace.into(),
            description: document.description,
            created_at: document.created.to_wire(),
            updated_at: document.updated.to_wire(),
        }
    }
}

#[utoipa::path(
    post, path = "/apis/entities/v2/workspaces/{workspace}/projects", tag = "projects",
    request_body = CreateProject, responses((status = 201, body = Project)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(project): Valid<CreateProject>,
) -> Reply {
    let CreateProject { name, description } = project;
    let draft = Draft { name, project: None, description, body: () };
    documents::create::<Projects, Project>(&registry, workspace, draft).await
}

#[utoipa::path(
    get, path = "/apis/entities/v2/workspaces/{workspace}/projects", tag = "projects",
    params(ListParams), responses((status = 200, body = PageView<Project>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    documents::list::<Projects, Project>(&registry, workspace, &pairs, &projects::LIST).await
}

#[utoipa::path(
    get, path = "/apis/entities/v2/workspaces/{workspace}/projects/{name}", tag = "projects",
    responses((status = 200, body = Project)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    documents::read::<Projects, Project>(&registry, workspace, name).await
}

#[utoipa::path(
    put, path = "/apis/entities/v2/workspaces/{workspace}/projects/{name}", tag = "projects",
    request_body = UpdateProject, responses((status = 200, body = Project)),
)]
async fn update(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(project): Valid<UpdateProject>,
) -> Reply {
    documents::update::<Projects, Project>(&registry, workspace, name, |document| {
        if let Some(description) = project.description {
            document.description = description;
        }
    })
    .await
}

/// Objects that carry its name keep it.
#[utoipa::path(
    delete, path = "/apis/entities/v2/workspaces/{workspace}/projects/{name}", tag = "projects",
    responses((status = 200, body = Deleted)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let deleted = documents::take::<Projects>(&registry, workspace, name).await?;
    Ok(reply::written(StatusCode::OK, deleted, |project| Deleted::resource(project.id.to_string())))
}
