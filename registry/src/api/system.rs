//! Health, status and version.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::Registry;

/// The release of the platform whose API this is; clients compare it.
const PLATFORM_VERSION: &str = "0.3.0";
const SERVICES: [&str; 3] = ["entities", "secrets", "models"];

pub async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// Ready means that writes are taken; what was read once goes on being served without.
pub async fn ready(State(registry): State<Registry>) -> Response {
    if registry.inner.store.is_writable() {
        return Json(json!({ "status": "ready" })).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not ready" }))).into_response()
}

pub async fn status(State(registry): State<Registry>) -> Json<Value> {
    let works = registry.inner.store.is_writable();
    let not_ready: Vec<Value> = if works {
        Vec::new()
    } else {
        SERVICES.iter().map(|name| json!({ "name": name, "message": "the store takes no writes" })).collect()
    };
    Json(json!({
        "status": if works { "healthy" } else { "unhealthy" },
        "services": { "ready": if works { &SERVICES[..] } else { &[] }, "not_ready": not_ready },
        "controllers": {
            "healthy": works,
            "status": { "workspace_cleanup": works, "models_controller": works },
        },
    }))
}

pub async fn cluster_info() -> Json<Value> {
    let revision = concat!("nimgate-", env!("CARGO_PKG_VERSION"));
    Json(json!({ "platform_version": PLATFORM_VERSION, "revision": revision }))
}

pub async fn auth_discovery() -> Json<Value> {
    Json(json!({ "auth_enabled": false, "oidc": null }))
}
