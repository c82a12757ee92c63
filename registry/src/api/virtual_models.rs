//! `/apis/inference-gateway/v2/workspaces/{ws}/virtual-models`.

use std::collections::HashSet;

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::names::EntityName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RequestBody, Valid, given};
use super::documents;
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{self, ListParams, PageView};
use crate::Registry;
use crate::domain::document::Draft;
use crate::domain::provider::is_upstream_id;
use crate::domain::routing::RoutingWish;
use crate::domain::virtual_model::{
    LimitsWish, MiddlewareCall, ResumeWish, ResumeWord, VirtualModelBody, VirtualModelInferenceConfig,
};
use crate::domain::{Document, Reference};
use crate::error::Issue;
use crate::store::documents as stored;
use crate::store::virtual_models::{self, LIST, VirtualModels};
use crate::store::workspaces;

/// Who is said to have made and changed what nobody wrote.
const PLATFORM: &str = "service:platform";

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update, delete))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateVirtualModel {
    #[schema(value_type = schema::Name)]
    pub name: EntityName,
    #[serde(flatten)]
    pub body: VirtualModelBody,
}

/// What is left out stays as it is. An automatic one that is changed becomes its owner's.
#[derive(Deserialize, ToSchema)]
pub struct UpdateVirtualModel {
    /// Null: the model of its own name
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 255)]
    default_model_entity: Option<Option<String>>,
    /// True: it goes when nobody serves the model of its name any more
    #[serde(default)]
    autoprovisioned: bool,
    #[schema(max_items = 1000)]
    models: Option<Vec<VirtualModelInferenceConfig>>,
    #[schema(max_items = 100)]
    request_middleware: Option<Vec<MiddlewareCall>>,
    #[schema(max_items = 100)]
    response_middleware: Option<Vec<MiddlewareCall>>,
    #[schema(max_items = 100)]
    post_response_middleware: Option<Vec<MiddlewareCall>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 255)]
    override_proxy: Option<Option<String>>,
    /// Ours. Null: as if nobody had written one
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<RoutingWish>)]
    routing: Option<Option<RoutingWish>>,
    /// Ours. Whether its requests never go to a hosted provider
    local_only: Option<bool>,
    /// Ours. Whether a chat stream goes on at another address when its server dies: `true` where all servers know
    /// `continue_final_message`, `auto` at those that say so
    #[schema(value_type = Option<ResumeWord>)]
    resume: Option<ResumeWish>,
    /// Ours. How often the client of a stream gets a comment while nobody says anything yet; null: as the providers say
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 100, maximum = 600_000)]
    stream_comment_interval_ms: Option<Option<u32>>,
    /// Ours. Null: none; what is left out of it stays as it is
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<LimitsWish>)]
    limits: Option<Option<LimitsWish>>,
}

impl RequestBody for CreateVirtualModel {
    fn further_faults(body: &Value) -> Vec<Issue> {
        routing_faults(body)
    }
}

impl RequestBody for UpdateVirtualModel {
    fn further_faults(body: &Value) -> Vec<Issue> {
        routing_faults(body)
    }
}

/// Each provider that is named has a name and is named once, or once for each model, and somebody has a share.
fn routing_faults(body: &Value) -> Vec<Issue> {
    let place = |rest: &[Value]| [&[json!("body"), json!("routing"), json!("providers")], rest].concat();
    let parts = body["routing"]["providers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut issues = Vec::new();
    let mut seen = HashSet::new();
    for (index, part) in parts.iter().enumerate() {
        let Some(text) = part["provider"].as_str() else { continue };
        let loc = || place(&[json!(index), json!("provider")]);
        match Reference::try_from(text.to_owned()) {
            Err(reason) => issues.push(Issue::value(loc(), reason)),
            Ok(_) if !seen.insert((text, part["model"].as_str())) => {
                let asked = part["model"].as_str().map(|model| format!(" with model {model}"));
                let asked = asked.unwrap_or_default();
                issues.push(Issue::value(loc(), format!("provider {text} is named twice{asked}")));
            }
            Ok(_) => {}
        }
        if part["model"].as_str().is_some_and(|id| !is_upstream_id(id)) {
            let loc = place(&[json!(index), json!("model")]);
            issues.push(Issue::value(loc, "a model id has 1 to 255 bytes and no control characters"));
        }
    }
    let is_split = body["routing"]["strategy"] == "weighted";
    if is_split && !parts.is_empty() && parts.iter().all(|part| part["weight"] == 0) {
        issues.push(Issue::value(place(&[]), "nobody has a share: one weight must be above 0"));
    }
    issues
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; the query is read by `query`")]
struct Exclusion {
    /// Leave out those that were made for served models and that no owner changed
    exclude_autoprovisioned: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub struct VirtualModel {
    id: String,
    /// The same as `id`.
    entity_id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    /// Always empty: it stands at the top.
    parent: &'static str,
    created_at: String,
    created_by: &'static str,
    updated_at: String,
    updated_by: &'static str,
    #[serde(flatten)]
    body: VirtualModelBody,
}

impl From<Document<VirtualModelBody>> for VirtualModel {
    fn from(document: Document<VirtualModelBody>) -> Self {
        let by = if document.body.autoprovisioned { PLATFORM } else { "" };
        Self {
            id: document.id.to_string(),
            entity_id: document.id.to_string(),
            name: document.name.into(),
            workspace: document.workspace.into(),
            project: document.project,
            parent: "",
            created_at: document.created.to_wire(),
            created_by: by,
            updated_at: document.updated.to_wire(),
            updated_by: by,
            body: document.body,
        }
    }
}

impl UpdateVirtualModel {
    fn apply(self, body: &mut VirtualModelBody) {
        body.autoprovisioned = self.autoprovisioned;
        if let Some(entity) = self.default_model_entity {
            body.default_model_entity = entity;
        }
        if let Some(proxy) = self.override_proxy {
            body.override_proxy = proxy;
        }
        if let Some(routing) = self.routing {
            body.routing = routing;
        }
        if let Some(local_only) = self.local_only {
            body.local_only = local_only;
        }
        if let Some(resume) = self.resume {
            body.resume = resume;
        }
        if let Some(interval_ms) = self.stream_comment_interval_ms {
            body.stream_comment_interval_ms = interval_ms;
        }
        if let Some(limits) = self.limits {
            body.limits = limits.and_then(|limits| limits.over(body.limits));
        }
        if let Some(models) = self.models {
            body.models = models;
        }
        for (list, given) in [
            (&mut body.request_middleware, self.request_middleware),
            (&mut body.response_middleware, self.response_middleware),
            (&mut body.post_response_middleware, self.post_response_middleware),
        ] {
            if let Some(given) = given {
                *list = given;
            }
        }
    }
}

#[utoipa::path(
    post, path = "/apis/inference-gateway/v2/workspaces/{workspace}/virtual-models", tag = "virtual-models",
    request_body = CreateVirtualModel, responses((status = 201, body = VirtualModel)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(model): Valid<CreateVirtualModel>,
) -> Reply {
    let CreateVirtualModel { name, body } = model;
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        let draft = Draft { name, project: None, description: None, body };
        virtual_models::insert(write, &workspace, &draft)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, VirtualModel::from))
}

#[utoipa::path(
    get, path = "/apis/inference-gateway/v2/workspaces/{workspace}/virtual-models", tag = "virtual-models",
    params(ListParams, Exclusion), responses((status = 200, body = PageView<VirtualModel>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &LIST)?;
    let mut asked = request.clone();
    if query::switch(&pairs, "exclude_autoprovisioned")? {
        asked.also(virtual_models::made_by_owners());
    }
    let page = registry.inner.store.read(move |connection| {
        let workspace = workspaces::listed(connection, &workspace)?;
        stored::list::<VirtualModels>(connection, workspace, &asked)
    });
    Ok(reply::page(page.await?, &request, &LIST, Nulls::Omit, VirtualModel::from))
}

#[utoipa::path(
    get, path = "/apis/inference-gateway/v2/workspaces/{workspace}/virtual-models/{name}",
    tag = "virtual-models", responses((status = 200, body = VirtualModel)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    documents::read::<VirtualModels, VirtualModel>(&registry, workspace, name).await
}

#[utoipa::path(
    patch, path = "/apis/inference-gateway/v2/workspaces/{workspace}/virtual-models/{name}",
    tag = "virtual-models", request_body = UpdateVirtualModel,
    responses((status = 200, body = VirtualModel)),
)]
async fn update(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(change): Valid<UpdateVirtualModel>,
) -> Reply {
    let updated = registry.inner.store.write(move |write| {
        let mut model = stored::get::<VirtualModels>(write, &workspace, &name)?;
        change.apply(&mut model.body);
        virtual_models::update(write, &model)
    });
    Ok(reply::written(StatusCode::OK, updated.await?, VirtualModel::from))
}

/// Deletes it. Of a served model, the automatic one takes its place.
#[utoipa::path(
    delete, path = "/apis/inference-gateway/v2/workspaces/{workspace}/virtual-models/{name}",
    tag = "virtual-models", responses((status = 204)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let deleted =
        registry.inner.store.write(move |write| virtual_models::delete(write, &workspace, &name)).await?;
    Ok(reply::deleted(&deleted))
}
