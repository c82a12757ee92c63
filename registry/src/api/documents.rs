//! What all kinds of documents have in common: one call into the store, a view out.

use http::StatusCode;
use serde::Serialize;

use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use crate::Registry;
use crate::domain::document::Draft;
use crate::domain::{Document, ListRules};
use crate::error::Error;
use crate::store::documents::{self, Kind};
use crate::store::{Committed, workspaces};

pub async fn create<K, V>(registry: &Registry, workspace: String, draft: Draft<K::Body>) -> Reply
where
    K: Kind<Body: Send + 'static> + 'static,
    V: From<Document<K::Body>> + Serialize,
{
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        documents::insert::<K>(write, &workspace, &draft)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, V::from))
}

pub async fn list<K, V>(registry: &Registry, workspace: String, pairs: &Pairs, rules: &ListRules) -> Reply
where
    K: Kind<Body: Send + 'static> + 'static,
    V: From<Document<K::Body>> + Serialize,
{
    let request = query::page_request(pairs, rules)?;
    let asked = request.clone();
    let page = registry.inner.store.read(move |connection| {
        let workspace = workspaces::listed(connection, &workspace)?;
        documents::list::<K>(connection, workspace, &asked)
    });
    Ok(reply::page(page.await?, &request, rules, Nulls::Omit, V::from))
}

pub async fn read<K, V>(registry: &Registry, workspace: String, name: String) -> Reply
where
    K: Kind<Body: Send + 'static> + 'static,
    V: From<Document<K::Body>> + Serialize,
{
    let document =
        registry.inner.store.read(move |connection| documents::get::<K>(connection, &workspace, &name));
    Ok(reply::object(StatusCode::OK, V::from(document.await?)))
}

/// Changes a stored document; `change` sees it as it is.
pub async fn update<K, V>(
    registry: &Registry,
    workspace: String,
    name: String,
    change: impl FnOnce(&mut Document<K::Body>) + Send + 'static,
) -> Reply
where
    K: Kind<Body: Send + 'static> + 'static,
    V: From<Document<K::Body>> + Serialize,
{
    let updated = registry.inner.store.write(move |write| {
        let mut document = documents::get::<K>(write, &workspace, &name)?;
        change(&mut document);
        documents::update::<K>(write, &document)
    });
    Ok(reply::written(StatusCode::OK, updated.await?, V::from))
}

pub async fn delete<K>(registry: &Registry, workspace: String, name: String) -> Reply
where
    K: Kind<Body: Send + 'static> + 'static,
{
    Ok(reply::deleted(&take::<K>(registry, workspace, name).await?))
}

/// Deletes a document, and gives what it was.
pub async fn take<K>(
    registry: &Registry,
    workspace: String,
    name: String,
) -> Result<Committed<Document<K::Body>>, Error>
where
    K: Kind<Body: Send + 'static> + 'static,
{
    registry.inner.store.write(move |write| documents::delete::<K>(write, &workspace, &name)).await
}
