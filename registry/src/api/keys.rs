//! `/apis/secrets/v2/rotate-encryption-keys`: all secrets under the current master key.

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{self, Reply};
use crate::Registry;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(rotate, progress))
}

/// What a rotation did.
#[derive(Serialize, ToSchema)]
struct KeyRotation {
    /// Secrets that were sealed again
    rotated_secrets: u64,
    /// No secret is sealed under another key any more
    success: bool,
    /// The id of the key that seals now
    current_key: String,
    /// Secrets that no loaded key opens, as `workspace/name`
    failed: Vec<String>,
}

/// How far a rotation has come.
#[derive(Serialize, ToSchema)]
struct KeyRotationProgress {
    /// The id of the key that seals now
    current_key: String,
    secrets: u64,
    /// Secrets that another key has sealed
    waiting: u64,
}

/// Seals every secret again under the current master key, while everything goes on. It may be interrupted
/// and called again.
#[utoipa::path(
    post, path = "/apis/secrets/v2/rotate-encryption-keys", tag = "secrets",
    responses((status = 202, body = KeyRotation)),
)]
async fn rotate(State(registry): State<Registry>) -> Reply {
    let done = registry.rotate_keys().await?;
    let view = KeyRotation {
        rotated_secrets: done.rotated,
        success: done.complete,
        current_key: done.current_key,
        failed: done.failed,
    };
    Ok(reply::with_generation(reply::object(StatusCode::ACCEPTED, view), done.generation))
}

/// How many secrets the current master key has sealed.
#[utoipa::path(
    get, path = "/apis/secrets/v2/rotate-encryption-keys", tag = "secrets",
    responses((status = 200, body = KeyRotationProgress)),
)]
async fn progress(State(registry): State<Registry>) -> Reply {
    let progress = registry.key_progress().await?;
    let view = KeyRotationProgress {
        current_key: progress.current_key,
        secrets: progress.secrets,
        waiting: progress.waiting,
    };
    Ok(reply::object(StatusCode::OK, view))
}
