//! Health, status and version.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use proto_shared::feed::{BusyAddress, GatewayId, GatewayReport, OutAddress};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply;
use crate::Registry;

/// The release of the platform whose API this is; clients compare it.
const PLATFORM_VERSION: &str = "0.3.0";
const SERVICES: [&str; 5] = ["entities", "secrets", "files", "models", "inference-gateway"];

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(status))
        .routes(routes!(cluster_info))
        .routes(routes!(auth_discovery))
}

#[derive(Serialize, ToSchema)]
struct Health {
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct PlatformStatus {
    /// `healthy` or `unhealthy`
    status: &'static str,
    services: Services,
    controllers: Controllers,
    /// Ours. What deployments run on
    runtimes: Vec<RuntimeStatus>,
    /// Ours. The gateways that follow this registry
    gateways: Vec<GatewayStatus>,
    /// Ours. What runs and is not in the database: it is left alone, and waits for a person
    unrecorded_instances: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct RuntimeStatus {
    /// `docker` or `process`
    name: &'static str,
    available: bool,
    /// Why it can't be asked
    message: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct GatewayStatus {
    /// Of its process
    id: String,
    /// The generation of routes that it serves; null until it has said so
    generation: Option<u64>,
    /// Addresses that are in no route any more, and that its requests still use
    draining: Vec<DrainingAddress>,
    /// Addresses of its routes that it does not use now; null until it has looked for a while
    out_of_use: Option<Vec<AddressOutOfUse>>,
}

#[derive(Serialize, ToSchema)]
struct AddressOutOfUse {
    /// `workspace/name`
    provider: String,
    url: String,
    reason: String,
}

#[derive(Serialize, ToSchema)]
struct DrainingAddress {
    url: String,
    in_flight: u64,
}

impl GatewayStatus {
    fn of((id, report): (GatewayId, Option<GatewayReport>)) -> Self {
        let address =
            |busy: BusyAddress| DrainingAddress { url: busy.url.to_string(), in_flight: busy.in_flight };
        let report = report.unwrap_or_default();
        let out = |out: OutAddress| AddressOutOfUse {
            provider: out.provider,
            url: out.url.to_string(),
            reason: out.why,
        };
        Self {
            id: id.to_string(),
            generation: (report.generation > 0).then_some(report.generation),
            draining: report.busy.into_iter().map(address).collect(),
            out_of_use: report.out.map(|outs| outs.into_iter().map(out).collect()),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Services {
    ready: Vec<&'static str>,
    not_ready: Vec<NotReady>,
}

#[derive(Serialize, ToSchema)]
struct NotReady {
    name: &'static str,
    message: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Controllers {
    healthy: bool,
    status: ControllerStatus,
}

#[derive(Serialize, ToSchema)]
struct ControllerStatus {
    workspace_cleanup: bool,
    models_controller: bool,
}

#[derive(Serialize, ToSchema)]
struct ClusterInfo {
    platform_version: &'static str,
    revision: &'static str,
}

#[derive(Serialize, ToSchema)]
struct AuthDiscovery {
    auth_enabled: bool,
    #[schema(value_type = Option<Object>)]
    oidc: Option<Value>,
}

#[utoipa::path(get, path = "/health/live", tag = "system", responses((status = 200, body = Health)))]
async fn live() -> Response {
    reply::object(StatusCode::OK, Health { status: "live" })
}

/// Ready means that writes are taken; what was read once goes on being served without.
#[utoipa::path(
    get, path = "/health/ready", tag = "system",
    responses((status = 200, body = Health), (status = 503, body = Health)),
)]
async fn ready(State(registry): State<Registry>) -> Response {
    if registry.inner.store.is_writable() {
        return reply::object(StatusCode::OK, Health { status: "ready" });
    }
    reply::object(StatusCode::SERVICE_UNAVAILABLE, Health { status: "not ready" })
}

#[utoipa::path(get, path = "/status", tag = "system", responses((status = 200, body = PlatformStatus)))]
async fn status(State(registry): State<Registry>) -> Response {
    let works = registry.inner.store.is_writable();
    let all = SERVICES.iter().copied();
    let (ready, not_ready) = if works {
        (all.collect(), Vec::new())
    } else {
        (Vec::new(), all.map(|name| NotReady { name, message: "the store takes no writes" }).collect())
    };
    let runtimes = registry.inner.runtimes.summary();
    let status = PlatformStatus {
        status: if works { "healthy" } else { "unhealthy" },
        services: Services { ready, not_ready },
        controllers: Controllers {
            healthy: works,
            status: ControllerStatus { workspace_cleanup: works, models_controller: works },
        },
        runtimes: runtimes
            .runtimes
            .into_iter()
            .map(|(name, message)| RuntimeStatus { name, available: message.is_none(), message })
            .collect(),
        gateways: registry.inner.gateways.list().into_iter().map(GatewayStatus::of).collect(),
        unrecorded_instances: runtimes.strays,
    };
    reply::object(StatusCode::OK, status)
}

#[utoipa::path(get, path = "/cluster-info", tag = "system", responses((status = 200, body = ClusterInfo)))]
async fn cluster_info() -> Response {
    let revision = concat!("nimgate-", env!("CARGO_PKG_VERSION"));
    reply::object(StatusCode::OK, ClusterInfo { platform_version: PLATFORM_VERSION, revision })
}

#[utoipa::path(
    get, path = "/apis/auth/discovery", tag = "system",
    responses((status = 200, body = AuthDiscovery)),
)]
async fn auth_discovery() -> Response {
    reply::object(StatusCode::OK, AuthDiscovery { auth_enabled: false, oidc: None })
}
