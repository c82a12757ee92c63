//! `/apis/entities/v2/workspaces`.

use axum::extract::{Path, Query, Request, State};
use http::StatusCode;
use proto_shared::WorkspaceName;

use super::fields::{DESCRIPTION_CHARS_MAX, Echo, Fields};
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::views::WorkspaceView;
use crate::Registry;
use crate::store::workspaces;

const NAME_CHARS_MAX: usize = 255;

pub async fn create(State(registry): State<Registry>, request: Request) -> Reply {
    let mut fields = Fields::read(request, Echo::Input).await?;
    let name = fields
        .required_text("name", NAME_CHARS_MAX)
        .and_then(|text| fields.parse("name", &text, |text| text.parse::<WorkspaceName>()));
    let description = fields.text("description", DESCRIPTION_CHARS_MAX);
    let name = fields.finish(name)?;
    let made = registry
        .inner
        .store
        .write(move |write| workspaces::insert(write, &name, description.as_deref()))
        .await?;
    Ok(reply::written(StatusCode::CREATED, made, WorkspaceView::from))
}

pub async fn list(State(registry): State<Registry>, Query(pairs): Query<Pairs>) -> Reply {
    let request = query::page_request(&pairs, &query::WORKSPACES)?;
    let page = registry.inner.store.read(move |connection| workspaces::list(connection, &request)).await?;
    Ok(reply::page(page, &request, Nulls::Keep, WorkspaceView::from))
}

pub async fn read(State(registry): State<Registry>, Path(name): Path<String>) -> Reply {
    let workspace = registry.inner.store.read(move |connection| workspaces::get(connection, &name)).await?;
    Ok(reply::object(StatusCode::OK, WorkspaceView::from(workspace)))
}
