//! `/apis/entities/v2/workspaces/{ws}/entities/{type}`: objects of types that others define.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::names::EntityName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RequestBody, Valid};
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{self, Deleted, ListParams, PageView};
use crate::Registry;
use crate::domain::entity::{self, EntityChange, EntityKey, EntityType};
use crate::error::Error;
use crate::store::entities::{self, EntityDraft};
use crate::store::workspaces;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, update, delete))
        .routes(routes!(by_id))
}

/// What kind of thing it is.
#[derive(ToSchema)]
#[schema(pattern = "^[a-z][a-z0-9_-]{0,62}$")]
#[expect(dead_code, reason = "a schema; values are entity types")]
pub struct EntityTypeName(String);

#[derive(Deserialize, ToSchema)]
pub struct CreateEntity {
    /// Absent: it gets a name of its own
    #[schema(value_type = Option<schema::Name>)]
    name: Option<EntityName>,
    /// The id of another entity
    #[schema(max_length = 255)]
    parent: Option<String>,
    #[schema(value_type = Option<schema::ProjectLabel>)]
    project: Option<String>,
    #[schema(value_type = Object)]
    data: Map<String, Value>,
}

#[derive(Deserialize, ToSchema)]
pub struct UpdateEntity {
    #[schema(value_type = Option<schema::Name>)]
    new_name: Option<EntityName>,
    #[schema(value_type = Option<schema::ProjectLabel>)]
    project: Option<String>,
    #[schema(value_type = Object)]
    data: Map<String, Value>,
    /// The change is refused (409) when the entity has another version
    expected_db_version: Option<i64>,
}

impl RequestBody for CreateEntity {}
impl RequestBody for UpdateEntity {}

#[derive(Serialize, ToSchema)]
pub struct Entity {
    entity_type: String,
    id: String,
    workspace: String,
    parent: Option<String>,
    project: Option<String>,
    name: String,
    #[schema(value_type = Object)]
    data: Map<String, Value>,
    created_at: String,
    created_by: Option<String>,
    updated_at: String,
    updated_by: Option<String>,
    db_version: i64,
}

impl From<entity::Entity> for Entity {
    fn from(entity: entity::Entity) -> Self {
        Self {
            entity_type: entity.kind.to_string(),
            id: entity.id.to_string(),
            workspace: entity.workspace.into(),
            parent: Some(entity.parent).filter(|parent| !parent.is_empty()),
            project: entity.project,
            name: entity.name.into(),
            data: entity.data,
            created_at: entity.created.to_wire(),
            created_by: Some(String::new()),
            updated_at: entity.updated.to_wire(),
            updated_by: Some(String::new()),
            db_version: entity.version,
        }
    }
}

/// A page, and how often each text of the member `count_by` occurs.
#[derive(Serialize, ToSchema)]
pub struct WithCounts<P> {
    #[serde(flatten)]
    page: P,
    group_counts: Option<BTreeMap<String, u64>>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Parent {
    /// The id of the entity it belongs to; absent at the top
    #[serde(default)]
    parent: String,
}

fn kind(text: &str) -> Result<EntityType, Error> {
    text.parse().map_err(|reason| Error::invalid_path("entity_type", reason))
}

fn key(
    (workspace, kind_text, name): (String, String, String),
    Parent { parent }: Parent,
) -> Result<EntityKey, Error> {
    Ok(EntityKey { workspace, kind: kind(&kind_text)?, parent, name })
}

#[utoipa::path(
    post, path = "/apis/entities/v2/workspaces/{workspace}/entities/{entity_type}", tag = "entities",
    request_body = CreateEntity, responses((status = 201, body = Entity)),
)]
async fn create(
    State(registry): State<Registry>,
    Path((workspace, entity_type)): Path<(String, String)>,
    Valid(entity): Valid<CreateEntity>,
) -> Reply {
    let CreateEntity { name, parent, project, data } = entity;
    let parent = parent.unwrap_or_default();
    let draft = EntityDraft { kind: kind(&entity_type)?, name, parent, project, data };
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        entities::insert(write, &workspace, &draft)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, Entity::from))
}

#[utoipa::path(
    get, path = "/apis/entities/v2/workspaces/{workspace}/entities/{entity_type}", tag = "entities",
    params(ListParams, ("count_by" = Option<String>, Query, description = "A member of `data` whose texts are counted")),
    responses((status = 200, body = WithCounts<PageView<Entity>>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path((workspace, entity_type)): Path<(String, String)>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &entities::LIST)?;
    let kind = kind(&entity_type)?;
    let asked = request.clone();
    let count_by = query::last(&pairs, "count_by").map(str::to_owned);
    let (page, group_counts) = registry
        .inner
        .store
        .read(move |connection| {
            let workspace = workspaces::listed(connection, &workspace)?;
            let page = entities::list(connection, workspace, &kind, &asked)?;
            let counts = count_by.map(|member| entities::count_by(connection, workspace, &kind, &member));
            Ok((page, counts.transpose()?))
        })
        .await?;
    let page = reply::page_view(page, &request, &entities::LIST, Nulls::Keep, Entity::from);
    Ok(reply::object(StatusCode::OK, WithCounts { page, group_counts }))
}

#[utoipa::path(
    get, path = "/apis/entities/v2/workspaces/{workspace}/entities/{entity_type}/{name}", tag = "entities",
    params(Parent), responses((status = 200, body = Entity)),
)]
async fn read(
    State(registry): State<Registry>,
    Path((workspace, entity_type, name)): Path<(String, String, String)>,
    Query(parent): Query<Parent>,
) -> Reply {
    let key = key((workspace, entity_type, name), parent)?;
    let entity = registry.inner.store.read(move |connection| entities::get(connection, &key)).await?;
    Ok(reply::object(StatusCode::OK, Entity::from(entity)))
}

#[utoipa::path(
    get, path = "/apis/entities/v2/entities/{id}", tag = "entities",
    responses((status = 200, body = Entity)),
)]
async fn by_id(State(registry): State<Registry>, Path(id): Path<String>) -> Reply {
    let entity = registry.inner.store.read(move |connection| entities::by_id(connection, &id)).await?;
    Ok(reply::object(StatusCode::OK, Entity::from(entity)))
}

#[utoipa::path(
    put, path = "/apis/entities/v2/workspaces/{workspace}/entities/{entity_type}/{name}", tag = "entities",
    params(Parent), request_body = UpdateEntity, responses((status = 200, body = Entity)),
)]
async fn update(
    State(registry): State<Registry>,
    Path((workspace, entity_type, name)): Path<(String, String, String)>,
    Query(parent): Query<Parent>,
    Valid(entity): Valid<UpdateEntity>,
) -> Reply {
    let key = key((workspace, entity_type, name), parent)?;
    let UpdateEntity { new_name, project, data, expected_db_version: expected_version } = entity;
    let change = EntityChange { new_name, project, data, expected_version };
    let updated = registry.inner.store.write(move |write| entities::update(write, &key, &change)).await?;
    Ok(reply::written(StatusCode::OK, updated, Entity::from))
}

#[utoipa::path(
    delete, path = "/apis/entities/v2/workspaces/{workspace}/entities/{entity_type}/{name}",
    tag = "entities", params(Parent), responses((status = 200, body = Deleted)),
)]
async fn delete(
    State(registry): State<Registry>,
    Path((workspace, entity_type, name)): Path<(String, String, String)>,
    Query(parent): Query<Parent>,
) -> Reply {
    let key = key((workspace, entity_type, name), parent)?;
    let deleted = registry.inner.store.write(move |write| entities::delete(write, &key)).await?;
    Ok(reply::written(StatusCode::OK, deleted, |entity| Deleted::resource(entity.id.to_string())))
}
