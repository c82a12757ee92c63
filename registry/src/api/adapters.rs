//! Adapters, by themselves (`/apis/models/v2/workspaces/{ws}/adapters`) and below their model
//! (`…/models/{model}/adapters`).

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
use super::schema::{self, ListParams, PageView};
use crate::Registry;
use crate::domain::adapter::{AdapterBody, Lora};
use crate::domain::document::Draft;
use crate::domain::model::FinetuningType;
use crate::domain::{Document, Reference};
use crate::error::Error;
use crate::store::adapters::{self, Adapters};
use crate::store::{documents as stored, used_filesets, workspaces};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, update, delete))
        .routes(routes!(create_below))
        .routes(routes!(update_below, delete_below))
}

#[derive(Deserialize, ToSchema)]
pub struct CreateAdapter {
    /// The base model: `name` or `workspace/name`
    #[schema(value_type = String, max_length = 127)]
    model: Reference,
    #[serde(flatten)]
    rest: CreateModelAdapter,
}

#[derive(Deserialize, ToSchema)]
pub struct CreateModelAdapter {
    #[schema(value_type = schema::Name)]
    name: EntityName,
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// `name` or `workspace/name` of a fileset that holds files
    #[schema(value_type = String, max_length = 127)]
    fileset: Reference,
    finetuning_type: FinetuningType,
    #[schema(default = true)]
    enabled: Option<bool>,
    lora_config: Option<Lora>,
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
pub struct UpdateAdapter {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 1000)]
    description: Option<Option<String>>,
    enabled: Option<bool>,
    #[schema(value_type = Option<String>, max_length = 127)]
    fileset: Option<Reference>,
}

impl RequestBody for CreateAdapter {}
impl RequestBody for CreateModelAdapter {}
impl RequestBody for UpdateAdapter {}

#[derive(Serialize, ToSchema)]
pub struct Adapter {
    name: String,
    workspace: String,
    description: Option<String>,
    fileset: String,
    finetuning_type: FinetuningType,
    enabled: bool,
    lora_config: Option<Lora>,
    /// `workspace/name`
    model: String,
    created_at: String,
    updated_at: String,
}

impl From<Document<AdapterBody>> for Adapter {
    fn from(document: Document<AdapterBody>) -> Self {
        let body = document.body;
        Self {
            name: document.name.into(),
            workspace: document.workspace.into(),
            description: document.description,
            fileset: body.fileset.into(),
            finetuning_type: body.finetuning_type,
            enabled: body.enabled,
            lora_config: body.lora_config,
            model: body.model.into(),
            created_at: document.created.to_wire(),
            updated_at: document.updated.to_wire(),
        }
    }
}

#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/adapters", tag = "adapters",
    request_body = CreateAdapter, responses((status = 201, body = Adapter)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(adapter): Valid<CreateAdapter>,
) -> Reply {
    store(&registry, workspace, adapter.model, adapter.rest).await
}

#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/models/{model_name}/adapters", tag = "adapters",
    request_body = CreateModelAdapter, responses((status = 201, body = Adapter)),
)]
async fn create_below(
    State(registry): State<Registry>,
    Path((workspace, model)): Path<(String, String)>,
    Valid(adapter): Valid<CreateModelAdapter>,
) -> Reply {
    let model = Reference::try_from(model).map_err(|reason| Error::invalid_path("model_name", reason))?;
    store(&registry, workspace, model, adapter).await
}

async fn store(
    registry: &Registry,
    workspace: String,
    model: Reference,
    adapter: CreateModelAdapter,
) -> Reply {
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        let CreateModelAdapter { name, description, fileset, finetuning_type, enabled, lora_config } =
            adapter;
        let body = AdapterBody {
            fileset,
            finetuning_type,
            enabled: enabled.unwrap_or(true),
            lora_config,
            model: model.within(&workspace),
        };
        adapters::insert(write, &workspace, &Draft { name, project: None, description, body })
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, Adapter::from))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/adapters", tag = "adapters",
    params(ListParams), responses((status = 200, body = PageView<Adapter>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    documents::list::<Adapters, Adapter>(&registry, workspace, &pairs, &adapters::LIST).await
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/adapters/{name}", tag = "adapters",
    responses((status = 200, body = Adapter)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    documents::read::<Adapters, Adapter>(&registry, workspace, name).await
}

#[utoipa::path(
    patch, path = "/apis/models/v2/workspaces/{workspace}/adapters/{name}", tag = "adapters",
    request_body = UpdateAdapter, responses((status = 200, body = Adapter)),
)]
async fn update(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(change): Valid<UpdateAdapter>,
) -> Reply {
    change_one(&registry, workspace, None, name, change).await
}

#[utoipa::path(
    patch, path = "/apis/models/v2/workspaces/{workspace}/models/{model_name}/adapters/{adapter}",
    tag = "adapters", request_body = UpdateAdapter, responses((status = 200, body = Adapter)),
)]
async fn update_below(
    State(registry): State<Registry>,
    Path((workspace, model, name)): Path<(String, String, String)>,
    Valid(change): Valid<UpdateAdapter>,
) -> Reply {
    change_one(&registry, workspace, Some(model), name, change).await
}

async fn change_one(
    registry: &Registry,
    workspace: String,
    model: Option<String>,
    name: String,
    change: UpdateAdapter,
) -> Reply {
    let updated = registry.inner.store.write(move |write| {
        let mut adapter = adapters::get(write, &workspace, model.as_deref(), &name)?;
        if let Some(description) = change.description {
            adapter.description = description;
        }
        if let Some(enabled) = change.enabled {
            adapter.body.enabled = enabled;
        }
        if let Some(fileset) = change.fileset {
            used_filesets::require(write, &adapter.workspace, &fileset)?;
            adapter.body.fileset = fileset;
        }
        stored::update::<Adapters>(write, &adapter)
    });
    Ok(reply::written(StatusCode::OK, updated.await?, Adapter::from))
}

#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/adapters/{name}", tag = "adapters",
    responses((status = 204)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    delete_one(&registry, workspace, None, name).await
}

#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/models/{model_name}/adapters/{adapter}",
    tag = "adapters", responses((status = 204)),
)]
async fn delete_below(
    State(registry): State<Registry>,
    Path((workspace, model, name)): Path<(String, String, String)>,
) -> Reply {
    delete_one(&registry, workspace, Some(model), name).await
}

async fn delete_one(registry: &Registry, workspace: String, model: Option<String>, name: String) -> Reply {
    let deleted = registry
        .inner
        .store
        .write(move |write| adapters::delete(write, &workspace, model.as_deref(), &name))
        .await?;
    Ok(reply::deleted(&deleted))
}
