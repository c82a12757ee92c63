//! `…/secrets/{name}/access`: the one answer that holds a secret's value. Each is logged, without it.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use proto_shared::Caller;
use proto_shared::caller::CALLER_HEADER;
use proto_shared::secret::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{self, Reply};
use crate::Registry;
use crate::domain::access::{Peer, refusal};
use crate::error::Error;
use crate::store::secrets;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(access))
}

/// A secret with its value.
#[derive(Serialize, ToSchema)]
struct OpenSecret<'s> {
    name: &'s str,
    workspace: &'s str,
    #[schema(format = Password)]
    value: &'s str,
}

/// For programs on the gateway's own machine; for others 403.
#[utoipa::path(
    get, path = "/apis/secrets/v2/workspaces/{workspace}/secrets/{name}/access", tag = "secrets",
    responses((status = 200, body = OpenSecret)),
)]
async fn access(
    State(registry): State<Registry>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Path((workspace, name)): Path<(String, String)>,
) -> Reply {
    let caller = Caller::of_header(headers.get(CALLER_HEADER).map(|value| value.as_bytes()));
    if let Some(why) = refusal(registry.inner.config.secret_access, peer, caller) {
        tracing::info!(workspace, secret = name, "a secret's value was asked for and refused");
        return Err(Error::Forbidden(why.into()));
    }
    let asked = (workspace.clone(), name.clone());
    let found = registry.inner.store.read(move |connection| secrets::sealed(connection, &asked.0, &asked.1));
    let Some(sealed) = found.await? else {
        return Err(Error::NotFound(format!("Secret {workspace}/{name} not found")));
    };
    let value = registry.inner.config.master_key.open(&sealed)?;
    tracing::info!(workspace, secret = name, "a secret's value was read");
    let opened = OpenSecret { name: &name, workspace: &workspace, value: value.expose_secret() };
    Ok(([(CACHE_CONTROL, "no-store")], reply::object(StatusCode::OK, opened)).into_response())
}
