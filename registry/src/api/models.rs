//! `/apis/models/v2/workspaces/{ws}/models`, read only: discovery makes the entities.

use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{ListParams, PageView};
use crate::Registry;
use crate::store::{models, workspaces};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(read))
}

#[derive(Serialize, ToSchema)]
struct ApiEndpoint {
    url: String,
    model_id: String,
    api_key: Option<String>,
    format: String,
}

#[derive(Serialize, ToSchema)]
pub struct Model {
    id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    created_at: String,
    updated_at: String,
    description: Option<String>,
    #[schema(value_type = Option<Object>)]
    spec: Option<Value>,
    finetuning_type: Option<String>,
    fileset: Option<String>,
    trust_remote_code: bool,
    base_model: Option<String>,
    api_endpoint: Option<ApiEndpoint>,
    backend_format: Option<String>,
    #[schema(value_type = Vec<Object>)]
    adapters: Vec<Value>,
    #[schema(value_type = Option<Object>)]
    prompt: Option<Value>,
    #[schema(value_type = Object)]
    custom_fields: Map<String, Value>,
    #[schema(value_type = Option<Object>)]
    ownership: Option<Value>,
    model_providers: Vec<String>,
}

impl From<crate::domain::Model> for Model {
    fn from(model: crate::domain::Model) -> Self {
        let first = model.served_by.first();
        let is_anthropic = |id: &str| id.starts_with("claude-") || id.starts_with("anthropic.");
        let format = |id: &str| if is_anthropic(id) { "ANTHROPIC_MESSAGES" } else { "OPENAI_CHAT" };
        Self {
            id: model.id.to_string(),
            workspace: model.workspace.into(),
            project: None,
            created_at: model.created.to_wire(),
            updated_at: model.updated.to_wire(),
            description: model.description,
            spec: None,
            finetuning_type: None,
            fileset: None,
            trust_remote_code: false,
            base_model: None,
            api_endpoint: first.map(|by| ApiEndpoint {
                url: by.host_url.clone(),
                model_id: model.name.to_string(),
                api_key: None,
                format: "openai".into(),
            }),
            backend_format: first.map(|by| format(&by.served_name).to_owned()),
            adapters: Vec::new(),
            prompt: None,
            custom_fields: Map::new(),
            ownership: None,
            model_providers: model.served_by.into_iter().map(|by| by.provider).collect(),
            name: model.name.into(),
        }
    }
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/models", tag = "models",
    params(ListParams), responses((status = 200, body = PageView<Model>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &models::LIST)?;
    let asked = request.clone();
    let page = registry.inner.store.read(move |connection| {
        let workspace = workspaces::listed(connection, &workspace)?;
        models::list(connection, workspace, &asked)
    });
    Ok(reply::page(page.await?, &request, &models::LIST, Nulls::Omit, Model::from))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/models/{name}", tag = "models",
    responses((status = 200, body = Model)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let model =
        registry.inner.store.read(move |connection| models::get(connection, &workspace, &name)).await?;
    Ok(reply::object(StatusCode::OK, Model::from(model)))
}
