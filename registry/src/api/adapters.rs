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
use crate::domain::fileset::Storage;
use crate::domain::model::FinetuningType;
use crate::domain::{Document, Reference};
use crate::error::Error;
use crate::store::adapters::{self, Adapters};
use crate::store::filesets::{self, Fileset};
use crate::store::{documents as stored, models, workspaces};

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

impl UpdateAdapter {
    fn apply(self, adapter: &mut Document<AdapterBody>) {
        if let Some(description) = self.description {
            adapter.description = description;
        }
        if let Some(enabled) = self.enabled {
            adapter.body.enabled = enabled;
        }
        if let Some(fileset) = self.fileset {
            adapter.body.fileset = fileset;
        }
    }
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
    let CreateModelAdapter { name, description, fileset, finetuning_type, enabled, lora_config } = adapter;
    let store = &registry.inner.store;
    let (base, files) = (model.clone(), fileset.clone());
    let (workspace, found) = store
        .read(move |connection| {
            let workspace = workspaces::require_target(connection, &workspace)?;
            models::document(connection, base.workspace(&workspace).as_str(), base.name().as_str())?;
            let found = filesets::referred(connection, &workspace, &files)?;
            Ok((workspace, found))
        })
        .await?;
    require_files(registry, &found).await?;
    let body = AdapterBody {
        fileset,
        finetuning_type,
        enabled: enabled.unwrap_or(true),
        lora_config,
        model: model.within(&workspace),
    };
    let made = store.write(move |write| {
        let workspace = workspaces::require_target(write, workspace.as_str())?;
        adapters::insert(write, &workspace, &Draft { name, project: None, description, body })
    });
    let made = made.await?;
    registry.inner.adapters.wake();
    Ok(reply::written(StatusCode::CREATED, made, Adapter::from))
}

/// An adapter without files is of no use. What lies elsewhere can't be looked at.
async fn require_files(registry: &Registry, fileset: &Fileset) -> Result<(), Error> {
    let is_local = matches!(fileset.body.storage, Storage::Local(_));
    if !is_local || !registry.inner.files.is_empty(&fileset.id).await? {
        return Ok(());
    }
    let (workspace, name) = (&fileset.workspace, &fileset.name);
    let reason =
        format!("Fileset '{name}' in workspace '{workspace}' is empty; upload the adapter's files first");
    Err(Error::refused("fileset", reason))
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
    let store = &registry.inner.store;
    if let Some(fileset) = change.fileset.clone() {
        let (workspace, model, name) = (workspace.clone(), model.clone(), name.clone());
        let found = store.read(move |connection| {
            let adapter = adapters::get(connection, &workspace, model.as_deref(), &name)?;
            filesets::referred(connection, &adapter.workspace, &fileset)
        });
        require_files(registry, &found.await?).await?;
    }
    let updated = store.write(move |write| {
        let mut adapter = adapters::get(write, &workspace, model.as_deref(), &name)?;
        change.apply(&mut adapter);
        stored::update::<Adapters>(write, &adapter)
    });
    let updated = updated.await?;
    registry.inner.adapters.wake();
    Ok(reply::written(StatusCode::OK, updated, Adapter::from))
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
    registry.inner.adapters.wake();
    Ok(reply::deleted(&deleted))
}
