//! The admin listener: metrics, the route dump, explain, health. Never on the public address.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use proto_shared::backend::BackendFormat;
use proto_shared::feed::BusyAddress;
use serde::{Deserialize, Serialize};

use crate::engine::app::App;
use crate::explain::explain;
use crate::recent::Shown;
use crate::request_id::RequestId;
use crate::route::table::TableProvider;
use crate::route::{ModelEntry, Replica};
use crate::upstream::Seen;
use crate::uptime::now_ms;

pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/routes", get(routes))
        .route("/explain", get(explain_one))
        .route("/health/live", get(|| async { Json(Health { status: "live", ..Health::default() }) }))
        .route("/health/ready", get(ready))
        .with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([("content-type", "text/plain; version=0.0.4")], app.metrics.render()).into_response()
}

#[derive(Default, Serialize)]
struct Health {
    status: &'static str,
    generation: u64,
    /// Seconds since the registry was last heard; null: never.
    registry_silent_s: Option<u64>,
    connections: usize,
    /// What the ids begin with that it gives to requests.
    request_ids: String,
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let served = !app.routes.load().installation.is_empty();
    let (code, status) = match () {
        () if app.is_leaving() => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        () if !served => (StatusCode::SERVICE_UNAVAILABLE, "no routes yet: waiting for the registry"),
        () => (StatusCode::OK, "ready"),
    };
    let health = Health {
        status,
        generation: app.routes.generation(),
        registry_silent_s: app.metrics.table_age_s(),
        connections: app.open_connections(),
        request_ids: RequestId::prefix(),
    };
    (code, Json(health)).into_response()
}

#[derive(Serialize)]
struct Dump {
    generation: u64,
    installation: String,
    workspaces: Vec<DumpedWorkspace>,
    /// Addresses that have left the table and that requests still use.
    departed: Vec<BusyAddress>,
}

#[derive(Serialize)]
struct DumpedWorkspace {
    name: String,
    providers: Vec<DumpedProvider>,
    models: Vec<DumpedModel>,
}

#[derive(Serialize)]
struct DumpedProvider {
    name: String,
    host_url: Option<String>,
    ready: bool,
    sends_key: bool,
    /// In flight at all its addresses.
    in_flight: usize,
    /// Waiting for one of its places, of which it has so many.
    waiting: u32,
    places: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    speaks: Option<BackendFormat>,
    replicas: Vec<DumpedReplica>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable: Option<String>,
}

#[derive(Serialize)]
struct DumpedReplica {
    url: String,
    #[serde(flatten)]
    seen: Seen,
    idle_connections: usize,
}

#[derive(Serialize)]
struct DumpedModel {
    id: String,
    providers: Vec<String>,
}

async fn routes(State(app): State<Arc<App>>) -> Json<Dump> {
    let table = app.routes.load_full();
    let workspaces = table.workspaces().into_iter().map(|view| DumpedWorkspace {
        name: view.name.into(),
        providers: view.providers.into_iter().map(|(name, provider)| dump_provider(name, provider)).collect(),
        models: view.models.into_iter().map(|model| dump_model(model)).collect(),
    });
    Json(Dump {
        generation: table.generation,
        installation: table.installation.to_string(),
        workspaces: workspaces.collect(),
        departed: app.endpoints.report().busy,
    })
}

fn dump_model(model: &ModelEntry) -> DumpedModel {
    DumpedModel {
        id: model.public_id.to_string(),
        providers: model.candidates.iter().map(|c| c.provider.label.to_string()).collect(),
    }
}

fn dump_provider(name: &str, provider: &TableProvider) -> DumpedProvider {
    let usable = provider.as_ref().ok();
    let replicas =
        usable.map(|p| p.replicas.iter().map(dump_replica).collect::<Vec<_>>()).unwrap_or_default();
    DumpedProvider {
        name: name.into(),
        host_url: usable.map(|p| p.host_url.to_string()),
        ready: usable.is_some_and(|p| p.ready),
        sends_key: usable.is_some_and(|p| !p.key.is_empty()),
        in_flight: replicas.iter().map(|replica| replica.seen.in_flight).sum(),
        waiting: usable.map_or(0, |p| p.quota.places.waiting()),
        places: usable.map_or(0, |p| p.quota.places.limit()),
        speaks: usable.map(|p| p.backend.format),
        replicas,
        unusable: provider.as_ref().err().map(ToString::to_string),
    }
}

fn dump_replica(replica: &Replica) -> DumpedReplica {
    DumpedReplica {
        url: replica.url().to_string(),
        seen: replica.endpoint.load.seen(now_ms()),
        idle_connections: replica.endpoint.pool.idle_connections(),
    }
}

#[derive(Deserialize)]
struct ExplainQuery {
    path: Option<String>,
    model: Option<String>,
    /// The id of a request that is under way, or ended lately: then nothing else is asked for.
    request: Option<String>,
}

/// Why there is nothing to explain.
#[derive(Serialize)]
struct Unexplained {
    detail: String,
}

async fn explain_one(State(app): State<Arc<App>>, Query(query): Query<ExplainQuery>) -> Response {
    let unexplained = |status, detail| (status, Json(Unexplained { detail })).into_response();
    match (query.request, query.path) {
        (Some(id), _) => match app.recent.find(&id) {
            Ok(requests) => Json(Explained { requests }).into_response(),
            Err(why) => unexplained(StatusCode::NOT_FOUND, why.to_string()),
        },
        (None, Some(path)) => {
            let table = app.routes.load_full();
            Json(explain(&table, &path, query.model.as_deref())).into_response()
        }
        (None, None) => {
            unexplained(StatusCode::BAD_REQUEST, "name a request's id (request=…) or a path (path=…)".into())
        }
    }
}

#[derive(Serialize)]
struct Explained {
    requests: Vec<Shown>,
}
