//! `/apis/models/v2/workspaces/{ws}/models`, read only: discovery makes the entities.

use axum::extract::{Path, Query, State};
use http::StatusCode;

use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::views::ModelView;
use crate::Registry;
use crate::store::{models, workspaces};

pub async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &query::MODELS)?;
    let page = registry.inner.store.read(move |connection| {
        let workspace = (workspace != "-").then_some(workspace.as_str());
        workspace.map_or(Ok(()), |name| workspaces::require_listed(connection, name))?;
        models::list(connection, workspace, &request)
    });
    Ok(reply::page(page.await?, &request, Nulls::Omit, ModelView::from))
}

pub async fn read(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
) -> Reply {
    let model =
        registry.inner.store.read(move |connection| models::get(connection, &workspace, &name)).await?;
    Ok(reply::object(StatusCode::OK, ModelView::from(model)))
}
