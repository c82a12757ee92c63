//! `/apis/secrets/v2/workspaces/{ws}/secrets`. Values go in and never come out.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use http::StatusCode;
use proto_shared::SecretName;
use proto_shared::secret::SecretString;

use super::fields::{DESCRIPTION_CHARS_MAX, Echo, Fields};
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::views::SecretView;
use crate::Registry;
use crate::store::secrets::{self, SecretChange};
use crate::store::workspaces;

const NAME_CHARS_MAX: usize = 255;
/// Longest secret, in characters.
pub const SECRET_CHARS_MAX: usize = 64 * 1024;

pub async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    request: Request,
) -> Reply {
    let mut fields = Fields::read(request, Echo::Nothing).await?;
    let name = fields
        .required_text("name", NAME_CHARS_MAX)
        .and_then(|text| fields.parse("name", &text, |text| text.parse::<SecretName>()));
    let value = match fields.required_text("value", SECRET_CHARS_MAX) {
        Some(text) => not_empty(&mut fields, text),
        None => None,
    };
    let description = fields.text("description", DESCRIPTION_CHARS_MAX);
    let (name, value) = fields.finish(name.zip(value))?;
    let key = Arc::clone(&registry.inner.config.master_key);
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        secrets::insert(write, &key, &workspace, &name, &value, description.as_deref())
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, SecretView::from))
}

fn not_empty(fields: &mut Fields, text: String) -> Option<SecretString> {
    if text.is_empty() {
        fields.issue("value", "string_too_short", "String should have at least 1 character");
        return None;
    }
    Some(SecretString::from(text))
}

pub async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &query::SECRETS)?;
    let page = registry.inner.store.read(move |connection| {
        let workspace = (workspace != "-").then_some(workspace.as_str());
        workspace.map_or(Ok(()), |name| workspaces::require_listed(connection, name))?;
        secrets::list(connection, workspace, &request)
    });
    Ok(reply::page(page.await?, &request, Nulls::Omit, SecretView::from))
}

pub async fn read(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
) -> Reply {
    let secret =
        registry.inner.store.read(move |connection| secrets::get(connection, &workspace, &name)).await?;
    Ok(reply::object(StatusCode::OK, SecretView::from(secret)))
}

pub async fn update(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    request: Request,
) -> Reply {
    let mut fields = Fields::read(request, Echo::Nothing).await?;
    let value = match fields.text("value", SECRET_CHARS_MAX) {
        Some(text) => not_empty(&mut fields, text),
        None => None,
    };
    let description = fields.text("description", DESCRIPTION_CHARS_MAX);
    let description = fields.has("description").then_some(description);
    let change = fields.finish(Some(SecretChange { value, description }))?;
    let key = Arc::clone(&registry.inner.config.master_key);
    let updated = registry
        .inner
        .store
        .write(move |write| secrets::update(write, &key, &workspace, &name, &change))
        .await?;
    Ok(reply::written(StatusCode::OK, updated, SecretView::from))
}

pub async fn delete(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
) -> Reply {
    let deleted = registry.inner.store.write(move |write| secrets::delete(write, &workspace, &name)).await?;
    Ok(reply::deleted(&deleted))
}
