//! `/apis/secrets/v2/workspaces/{ws}/secrets`. Values go in and do not come out here.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use http::StatusCode;
use proto_shared::SecretName;
use proto_shared::secret::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Echo, RequestBody, Valid, given};
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{self, ListParams, PageView};
use crate::Registry;
use crate::error::Error;
use crate::store::secrets::{self, NGC_API_KEY, SecretChange};
use crate::store::workspaces;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update, delete))
}

/// A value of 1 to 65,536 characters.
#[derive(ToSchema)]
#[schema(format = Password, min_length = 1, max_length = 65536)]
#[expect(dead_code, reason = "a schema; values are secret strings")]
pub struct SecretValue(String);

#[derive(Deserialize, ToSchema)]
pub struct CreateSecret {
    #[schema(value_type = schema::Name)]
    name: SecretName,
    #[schema(value_type = SecretValue)]
    value: SecretString,
    #[schema(max_length = 1000)]
    description: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub struct UpdateSecret {
    #[schema(value_type = Option<SecretValue>)]
    value: Option<SecretString>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 1000)]
    description: Option<Option<String>>,
}

impl RequestBody for CreateSecret {
    const ECHO: Echo = Echo::Nothing;
}
impl RequestBody for UpdateSecret {
    const ECHO: Echo = Echo::Nothing;
}

/// What may be told about a secret.
#[derive(Serialize, ToSchema)]
pub struct Secret {
    name: String,
    workspace: String,
    description: Option<String>,
    created_at: String,
    updated_at: String,
}

impl From<crate::domain::Secret> for Secret {
    fn from(secret: crate::domain::Secret) -> Self {
        Self {
            name: secret.name.into(),
            workspace: secret.workspace.into(),
            description: secret.description,
            created_at: secret.created.to_wire(),
            updated_at: secret.updated.to_wire(),
        }
    }
}

#[utoipa::path(
    post, path = "/apis/secrets/v2/workspaces/{workspace}/secrets", tag = "secrets",
    request_body = CreateSecret, responses((status = 201, body = Secret)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(secret): Valid<CreateSecret>,
) -> Reply {
    let CreateSecret { name, value, description } = secret;
    not_built_in(&workspace, name.as_str(), "overwrite")?;
    let key = Arc::clone(&registry.inner.config.master_key);
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        secrets::insert(write, &key, &workspace, &name, &value, description.as_deref())
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, Secret::from))
}

#[utoipa::path(
    get, path = "/apis/secrets/v2/workspaces/{workspace}/secrets", tag = "secrets",
    params(ListParams), responses((status = 200, body = PageView<Secret>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &secrets::LIST)?;
    let asked = request.clone();
    let page = registry.inner.store.read(move |connection| {
        let workspace = workspaces::listed(connection, &workspace)?;
        secrets::list(connection, workspace, &asked)
    });
    Ok(reply::page(page.await?, &request, &secrets::LIST, Nulls::Omit, Secret::from))
}

#[utoipa::path(
    get, path = "/apis/secrets/v2/workspaces/{workspace}/secrets/{name}", tag = "secrets",
    responses((status = 200, body = Secret)),
)]
async fn read(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let secret =
        registry.inner.store.read(move |connection| secrets::get(connection, &workspace, &name)).await?;
    Ok(reply::object(StatusCode::OK, Secret::from(secret)))
}

#[utoipa::path(
    patch, path = "/apis/secrets/v2/workspaces/{workspace}/secrets/{name}", tag = "secrets",
    request_body = UpdateSecret, responses((status = 200, body = Secret)),
)]
async fn update(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Valid(secret): Valid<UpdateSecret>,
) -> Reply {
    not_built_in(&workspace, &name, "update")?;
    let change = SecretChange { value: secret.value, description: secret.description };
    let key = Arc::clone(&registry.inner.config.master_key);
    let updated = registry
        .inner
        .store
        .write(move |write| secrets::update(write, &key, &workspace, &name, &change))
        .await?;
    Ok(reply::written(StatusCode::OK, updated, Secret::from))
}

#[utoipa::path(
    delete, path = "/apis/secrets/v2/workspaces/{workspace}/secrets/{name}", tag = "secrets",
    responses((status = 204)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    not_built_in(&workspace, &name, "delete")?;
    let deleted = registry.inner.store.write(move |write| secrets::delete(write, &workspace, &name)).await?;
    Ok(reply::deleted(&deleted))
}

/// One secret comes from the environment, and changes there only.
fn not_built_in(workspace: &str, name: &str, what: &str) -> Result<(), Error> {
    if (workspace, name) != NGC_API_KEY {
        return Ok(());
    }
    Err(Error::Forbidden(format!(
        "Cannot {what} the default NGC API key secret: it is what NGC_API_KEY held when the registry started"
    )))
}
