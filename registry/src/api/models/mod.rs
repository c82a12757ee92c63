//! `/apis/models/v2/workspaces/{ws}/models`.

mod body;
mod view;

use axum::extract::{Path, Query, State};
use http::StatusCode;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{CreateModel, UpdateModel};
use self::view::ModelEntity;
use super::body::Valid;
use super::query::{self, Pairs};
use super::reply::{self, Nulls, Reply};
use super::schema::{ListParams, PageView};
use crate::Registry;
use crate::store::{models, workspaces};

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update, delete))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; the query is read by `query`")]
struct Verbose {
    /// Also show `spec.linear_layers`
    verbose: Option<bool>,
}

fn verbose(pairs: &Pairs) -> Result<bool, crate::error::Error> {
    query::switch(pairs, "verbose")
}

#[utoipa::path(
    post, path = "/apis/models/v2/workspaces/{workspace}/models", tag = "models",
    request_body = CreateModel, responses((status = 201, body = ModelEntity)),
)]
async fn create(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Valid(model): Valid<CreateModel>,
) -> Reply {
    let draft = model.accept()?;
    let made = registry.inner.store.write(move |write| {
        let workspace = workspaces::require_target(write, &workspace)?;
        models::insert(write, &workspace, &draft)
    });
    Ok(reply::written(StatusCode::CREATED, made.await?, |model| ModelEntity::new(model, true)))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/models", tag = "models",
    params(ListParams, Verbose), responses((status = 200, body = PageView<ModelEntity>)),
)]
async fn list(
    State(registry): State<Registry>,
    Path(workspace): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let request = query::page_request(&pairs, &models::LIST)?;
    let verbose = verbose(&pairs)?;
    let asked = request.clone();
    let page = registry.inner.store.read(move |connection| {
        let workspace = workspaces::listed(connection, &workspace)?;
        models::list(connection, workspace, &asked)
    });
    let view = |model| ModelEntity::new(model, verbose);
    Ok(reply::page(page.await?, &request, &models::LIST, Nulls::Omit, view))
}

#[utoipa::path(
    get, path = "/apis/models/v2/workspaces/{workspace}/models/{name}", tag = "models",
    params(Verbose), responses((status = 200, body = ModelEntity)),
)]
async fn read(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Query(pairs): Query<Pairs>,
) -> Reply {
    let verbose = verbose(&pairs)?;
    let model =
        registry.inner.store.read(move |connection| models::get(connection, &workspace, &name)).await?;
    Ok(reply::object(StatusCode::OK, ModelEntity::new(model, verbose)))
}

/// Changes what is sent; `spec` is replaced whole.
#[utoipa::path(
    patch, path = "/apis/models/v2/workspaces/{workspace}/models/{name}", tag = "models",
    params(Verbose), request_body = UpdateModel, responses((status = 200, body = ModelEntity)),
)]
async fn update(
    State(registry): State<Registry>,
    Path((workspace, name)): Path<(String, String)>,
    Query(pairs): Query<Pairs>,
    Valid(change): Valid<UpdateModel>,
) -> Reply {
    let verbose = verbose(&pairs)?;
    change.check()?;
    let updated = registry.inner.store.write(move |write| {
        let before = models::document(write, &workspace, &name)?;
        let mut model = before.clone();
        change.apply(&mut model);
        models::update(write, &before, &model)
    });
    Ok(reply::written(StatusCode::OK, updated.await?, |model| ModelEntity::new(model, verbose)))
}

/// Deletes the entity. While a provider serves it, discovery makes it again when it looks next.
#[utoipa::path(
    delete, path = "/apis/models/v2/workspaces/{workspace}/models/{name}", tag = "models",
    responses((status = 204)),
)]
async fn delete(State(registry): State<Registry>, Path((workspace, name)): Path<(String, String)>) -> Reply {
    let deleted = registry.inner.store.write(move |write| models::delete(write, &workspace, &name)).await?;
    Ok(reply::deleted(&deleted))
}
