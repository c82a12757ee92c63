//! `/apis/models/v2/workspaces/{ws}/prompts`. Stored only; routing does not use them.

use axum::extract::{Path, Query, State};
use proto_shared::names::EntityName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RequestBody, Valid};
use super::documents;
use super::query::Pairs;
use super::reply::Reply;
use super::schema::{self, ListParams, PageView};
use crate::Registry;
use crate::domain::Document;
use crate::domain::document::Draft;
use crate::domain::prompt::PromptBody;
use crate::store::prompts::{self, Prompts};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, replace, delete))
}

#[derive(Deserialize, ToSchema)]
pub struct CreatePrompt {
    #[schema(value_type = schema::Name)]
    name: EntityName,
    #[serde(flatten)]
    rest: UpdatePrompt,
}

/// Replaces the whole prompt.
#[derive(Deserialize, ToSchema)]
pub struct UpdatePrompt {
    #[schema(value_type = Option<schema::ProjectLabel>)]
    project: Option<String>,
    #[schema(max_length = 1000)]
    description: Option<String>,
    #[serde(flatten)]
    body: PromptBody,
}

impl RequestBody for CreatePrompt {}
impl RequestBody for UpdatePrompt {}

/// A stored prompt.
#[derive(Serialize, ToSchema)]
pub struct Prompt {
    id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    created_at: String,
    updated_at: String,
    description: Option<String>,
    #[serde(flatten)]
    body: PromptBody,
}

impl From<Document<PromptBody>> for Prompt {
    fn from(document: Document<PromptBody>) -> Self {
        Self {
            id: document.id.to_string(),
            name: document.name.into(),
            workspace: document.workspace.into(),
            project: document.project,
            created_at: document.created.to_wire(),
            updated_at: document.updated.to_wire(),
            description: document.description,
            body: document.body,
        }
    }
}

#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/prompts", tag = "prompts",
    request_body = CreatePrompt, responses((status = 201, body = Prompt)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(prompt): Valid<CreatePrompt>,
) -> Reply {
    let CreatePrompt { name, rest: UpdatePrompt { project, description, body } } = prompt;
    let draft = Draft { name, project, description, body };
    documents::create::<Prompts, Prompt>(&registry, workspace, draft).await
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/prompts", tag = "prompts",
    params(ListParams), responses((status = 200, body = PageView<Prompt>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    documents::list::<Prompts, Prompt>(&registry, workspace, &pairs, &prompts::LIST).await
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/prompts/{name}", tag = "prompts",
    responses((status = 200, body = Prompt)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    documents::read::<Prompts, Prompt>(&registry, workspace, name).await
}

#[utoipa::path(
    put, path = "/apis/models/v2/workspaces/{workspace}/prompts/{name}", tag = "prompts",
    request_body = UpdatePrompt, responses((status = 200, body = Prompt)),
)]
async fn replace(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(prompt): Valid<UpdatePrompt>,
) -> Reply {
    documents::update::<Prompts, Prompt>(&registry, workspace, name, |document| {
        document.project = prompt.project;
        document.description = prompt.description;
        document.body = prompt.body;
    })
    .await
}

#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/prompts/{name}", tag = "prompts",
    responses((status = 204)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    documents::delete::<Prompts>(&registry, workspace, name).await
}
