//! `/apis/models/v2/provider-presets`. Ours: what `preset` of a provider may be.

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::providers::BackendFields;
use super::reply;
use crate::Registry;
use crate::domain::presets;

pub fn routes() -> OpenApiRouter<Registry> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Serialize, ToSchema)]
struct PresetList {
    data: Vec<ProviderPreset>,
}

/// What a provider with this preset has where its owner says nothing.
#[derive(Serialize, ToSchema)]
struct ProviderPreset {
    name: &'static str,
    title: &'static str,
    /// Absent: it has to be given
    host_url: Option<&'static str>,
    /// The variable in which its users keep the key by habit
    key_variable: Option<&'static str>,
    auth_header_format: Option<&'static str>,
    #[schema(value_type = HashMap<String, String>)]
    default_extra_headers: std::collections::BTreeMap<&'static str, &'static str>,
    #[serde(flatten)]
    backend: BackendFields,
}

#[utoipa::path(
    get, path = "/apis/models/v2/provider-presets", tag = "providers",
    responses((status = 200, body = PresetList)),
)]
async fn list() -> Response {
    let data = presets::ALL.iter().map(|preset| ProviderPreset {
        name: preset.name,
        title: preset.title,
        host_url: preset.host_url,
        key_variable: preset.key_variable,
        auth_header_format: preset.auth_header_format,
        default_extra_headers: preset.default_extra_headers.iter().copied().collect(),
        backend: BackendFields::showing(preset.backend(), None),
    });
    reply::object(StatusCode::OK, PresetList { data: data.collect() })
}
