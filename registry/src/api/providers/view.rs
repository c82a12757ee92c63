//! What a provider looks like on the wire.

use std::collections::BTreeMap;

use proto_shared::snapshot::{Replay, UpstreamTimeouts};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::backend::BackendFields;
use super::body::{ReplayPolicy, ServedModelMapping};
use crate::api::schema::AuthContext;
use crate::domain::provider::Locality;
use crate::domain::{self, ProviderStatus, presets};

#[derive(Serialize, ToSchema)]
pub struct Provider {
    id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    created_at: String,
    updated_at: String,
    description: Option<String>,
    host_url: String,
    api_key_secret_name: Option<String>,
    served_models: Vec<ServedModelMapping>,
    enabled_models: Option<Vec<String>>,
    status: ProviderStatus,
    status_message: String,
    #[schema(value_type = Option<Object>)]
    default_extra_body: Option<Map<String, Value>>,
    default_extra_headers: Option<BTreeMap<String, String>>,
    #[schema(value_type = Option<Object>)]
    required_extra_body: Option<Map<String, Value>>,
    required_extra_headers: Option<BTreeMap<String, String>>,
    model_deployment_id: Option<String>,
    auth_context: AuthContext,
    auth_header_format: Option<String>,
    #[schema(value_type = HashMap<String, u64>)]
    timeouts: UpstreamTimeouts,
    #[schema(value_type = ReplayPolicy)]
    replay: Replay,
    /// Ours, as what follows: left out where it says nothing
    #[serde(skip_serializing_if = "Option::is_none")]
    preset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locality: Option<Locality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_path: Option<String>,
    #[serde(flatten)]
    backend: BackendFields,
}

impl From<domain::Provider> for Provider {
    fn from(provider: domain::Provider) -> Self {
        let (status, message) = provider.shown();
        let status_message = message.into_owned();
        let workspace = String::from(provider.workspace);
        let served_models = provider
            .served
            .into_iter()
            .map(|served| ServedModelMapping {
                model_entity_id: format!("{workspace}/{}", served.name),
                served_model_name: served.served_name,
            })
            .collect();
        let spec = provider.spec;
        let preset = spec.preset.as_deref().and_then(presets::find);
        Self {
            id: provider.id.to_string(),
            name: provider.name.into(),
            workspace,
            project: spec.project,
            created_at: provider.created.to_wire(),
            updated_at: provider.updated.to_wire(),
            description: spec.description,
            host_url: spec.host_url.into(),
            api_key_secret_name: spec.api_key_secret_name.map(String::from),
            served_models,
            enabled_models: spec.enabled_models,
            status,
            status_message,
            default_extra_body: spec.default_extra_body,
            default_extra_headers: spec.default_extra_headers,
            required_extra_body: spec.required_extra_body,
            required_extra_headers: spec.required_extra_headers,
            model_deployment_id: spec.model_deployment_id,
            auth_context: AuthContext::default(),
            auth_header_format: spec.auth_header_format.map(String::from),
            timeouts: spec.timeouts,
            replay: spec.replay,
            backend: BackendFields::showing(spec.backend, preset),
            preset: spec.preset,
            locality: spec.locality,
            health_path: spec.watch.health_path,
            metrics_path: spec.watch.metrics_path,
        }
    }
}
