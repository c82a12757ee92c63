//! The HTTP API: thin handlers, typed values in, one call into the store, a view out.
//!
//! Invariants:
//! - Every error body has `error` and `detail`; statuses are given in `reply` and nowhere else.
//! - An answer to a call that changed routes carries the generation that holds the change.
//! - No view has a place for a secret's value, and no error repeats one.

mod feed;
mod fields;
mod models;
mod providers;
mod query;
mod reply;
mod secrets;
mod system;
mod views;
mod workspaces;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use http::Method;
use proto_shared::feed::FEED_PATH;

use crate::Registry;
use crate::config::REQUEST_TIMEOUT;

const WORKSPACES: &str = "/apis/entities/v2/workspaces";
const SECRETS: &str = "/apis/secrets/v2/workspaces/{workspace}/secrets";
const PROVIDERS: &str = "/apis/models/v2/workspaces/{workspace}/providers";
const MODELS: &str = "/apis/models/v2/workspaces/{workspace}/models";

pub fn router(registry: &Registry) -> Router {
    Router::new()
        .route(WORKSPACES, post(workspaces::create).get(workspaces::list))
        .route(&format!("{WORKSPACES}/{{name}}"), get(workspaces::read))
        .route(SECRETS, post(secrets::create).get(secrets::list))
        .route(
            &format!("{SECRETS}/{{name}}"),
            get(secrets::read).patch(secrets::update).delete(secrets::delete),
        )
        .route(PROVIDERS, post(providers::create).get(providers::list))
        .route(
            &format!("{PROVIDERS}/{{name}}"),
            get(providers::read).put(providers::replace).delete(providers::delete),
        )
        .route(&format!("{PROVIDERS}/{{name}}/status"), put(providers::set_status))
        .route(MODELS, get(models::list))
        .route(&format!("{MODELS}/{{name}}"), get(models::read))
        .route("/health/live", get(system::live))
        .route("/health/ready", get(system::ready))
        .route("/status", get(system::status))
        .route("/cluster-info", get(system::cluster_info))
        .route("/apis/auth/discovery", get(system::auth_discovery))
        .route(FEED_PATH, get(feed::feed))
        .layer(middleware::from_fn(finish))
        .with_state(registry.clone())
}

/// Limits the time of every call, and gives a JSON body to every error that has none.
async fn finish(request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => reply::with_error_body(response),
        Err(_) => reply::timed_out(changes),
    }
}
