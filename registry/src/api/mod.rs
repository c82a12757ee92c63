//! The HTTP API: thin handlers, typed values in, one call into the store, a view out.
//!
//! Invariants:
//! - A route exists only with its documentation: both come from one `routes!` entry.
//! - Bodies are checked against the documented schema before a handler sees them.
//! - Every error body has `error` and `detail`; statuses are given in `reply` and nowhere else.
//! - An answer to a call that changed routes carries the generation that holds the change.
//! - One view has a place for a secret's value, in `secret_access`; no error repeats one.

mod adapters;
pub mod body;
mod deployment_configs;
mod deployments;
mod documents;
mod entities;
mod feed;
mod files;
mod filesets;
mod hugging_face;
mod keys;
mod members;
mod models;
pub mod openapi;
mod presets;
mod projects;
mod prompts;
pub mod providers;
mod query;
mod reply;
pub mod schema;
mod secret_access;
mod secrets;
mod system;
pub mod virtual_models;
mod workspaces;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use http::Method;
use proto_shared::feed::{FEED_PATH, GATEWAYS_PATH};
use utoipa_axum::router::OpenApiRouter;

use crate::Registry;
use crate::config::REQUEST_TIMEOUT;

/// Every documented route.
fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new()
        .merge(system::routes())
        .merge(workspaces::routes())
        .merge(members::routes())
        .merge(projects::routes())
        .merge(entities::routes())
        .merge(secrets::routes())
        .merge(secret_access::routes())
        .merge(keys::routes())
        .merge(models::routes())
        .merge(adapters::routes())
        .merge(virtual_models::routes())
        .merge(prompts::routes())
        .merge(providers::routes())
        .merge(presets::routes())
        .merge(deployment_configs::routes())
        .merge(deployments::routes())
        .merge(filesets::routes())
        .merge(files::routes())
        .merge(hugging_face::routes())
}

/// Documented routes that carry whole files, and so have limits of their own.
fn transfers() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().merge(files::transfers()).merge(hugging_face::transfers())
}

pub fn router(registry: &Registry) -> Router {
    let (router, _) = routes().split_for_parts();
    let (transfers, _) = transfers().split_for_parts();
    router
        .route(openapi::PATH, get(openapi::serve))
        .route(FEED_PATH, get(feed::feed))
        .route(&format!("{GATEWAYS_PATH}/{{id}}"), post(feed::report))
        .layer(middleware::from_fn(limit_time))
        .merge(transfers)
        .layer(middleware::from_fn(finish))
        .with_state(registry.clone())
}

/// Limits the time of a call.
async fn limit_time(request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => reply::timed_out(changes),
    }
}

/// Gives a JSON body to every error that has none.
async fn finish(request: Request, next: Next) -> Response {
    reply::with_error_body(next.run(request).await)
}
