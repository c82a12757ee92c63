//! What objects look like on the wire. Every field is there, null when it is not set.

use std::collections::BTreeMap;

use proto_shared::snapshot::{Replay, UpstreamTimeouts};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::{Model, Provider, Secret, Workspace};

#[derive(Serialize)]
pub struct WorkspaceView {
    id: String,
    name: String,
    description: Option<String>,
    created_at: String,
    created_by: &'static str,
    updated_at: String,
    updated_by: &'static str,
}

impl From<Workspace> for WorkspaceView {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id.to_string(),
            name: workspace.name.into(),
            description: workspace.description,
            created_at: workspace.created.to_wire(),
            created_by: "",
            updated_at: workspace.updated.to_wire(),
            updated_by: "",
        }
    }
}

#[derive(Serialize)]
pub struct SecretView {
    name: String,
    workspace: String,
    description: Option<String>,
    created_at: String,
    updated_at: String,
}

impl From<Secret> for SecretView {
    fn from(secret: Secret) -> Self {
        Self {
            name: secret.name.into(),
            workspace: secret.workspace.into(),
            description: secret.description,
            created_at: secret.created.to_wire(),
            updated_at: secret.updated.to_wire(),
        }
    }
}

/// Who made an object: the anonymous principal, as long as there is no authentication.
#[derive(Serialize, Default)]
struct AuthContextView {
    principal_id: &'static str,
    principal_email: Option<String>,
    principal_groups: Vec<String>,
    principal_on_behalf_of: Option<String>,
    principal_on_behalf_of_groups: Option<Vec<String>>,
    principal_on_behalf_of_email: Option<String>,
}

#[derive(Serialize)]
struct ServedModelView {
    model_entity_id: String,
    served_model_name: String,
}

#[derive(Serialize)]
pub struct ProviderView {
    id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    created_at: String,
    updated_at: String,
    description: Option<String>,
    host_url: String,
    api_key_secret_name: Option<String>,
    served_models: Vec<ServedModelView>,
    enabled_models: Option<Vec<String>>,
    status: &'static str,
    status_message: String,
    default_extra_body: Option<Map<String, Value>>,
    default_extra_headers: Option<BTreeMap<String, String>>,
    required_extra_body: Option<Map<String, Value>>,
    required_extra_headers: Option<BTreeMap<String, String>>,
    model_deployment_id: Option<String>,
    auth_context: AuthContextView,
    auth_header_format: Option<String>,
    timeouts: UpstreamTimeouts,
    replay: Replay,
}

impl From<Provider> for ProviderView {
    fn from(provider: Provider) -> Self {
        let workspace = String::from(provider.workspace);
        let served_models = provider
            .served
            .into_iter()
            .map(|served| ServedModelView {
                model_entity_id: format!("{workspace}/{}", served.name),
                served_model_name: served.served_name,
            })
            .collect();
        let spec = provider.spec;
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
            status: provider.status.as_str(),
            status_message: provider.status_message,
            default_extra_body: spec.default_extra_body,
            default_extra_headers: spec.default_extra_headers,
            required_extra_body: spec.required_extra_body,
            required_extra_headers: spec.required_extra_headers,
            model_deployment_id: spec.model_deployment_id,
            auth_context: AuthContextView::default(),
            auth_header_format: spec.auth_header_format.map(String::from),
            timeouts: spec.timeouts,
            replay: spec.replay,
        }
    }
}

#[derive(Serialize)]
struct ApiEndpointView {
    url: String,
    model_id: String,
    api_key: Option<String>,
    format: &'static str,
}

#[derive(Serialize)]
pub struct ModelView {
    id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    created_at: String,
    updated_at: String,
    description: Option<String>,
    spec: Option<Value>,
    finetuning_type: Option<String>,
    fileset: Option<String>,
    trust_remote_code: bool,
    base_model: Option<String>,
    api_endpoint: Option<ApiEndpointView>,
    backend_format: Option<&'static str>,
    adapters: Vec<Value>,
    prompt: Option<Value>,
    custom_fields: Map<String, Value>,
    ownership: Option<Value>,
    model_providers: Vec<String>,
}

impl From<Model> for ModelView {
    fn from(model: Model) -> Self {
        let first = model.served_by.first();
        let is_anthropic = |id: &str| id.starts_with("claude-") || id.starts_with("anthropic.");
        let format = |id: &str| if is_anthropic(id) { "ANTHROPIC_MESSAGES" } else { "OPENAI_CHAT" };
        Self {
            id: model.id.to_string(),
            workspace: model.workspace.into(),
            project: None,
            created_at: model.created.to_wire(),
            updated_at: model.updated.to_wire(),
            description: model.description,
            spec: None,
            finetuning_type: None,
            fileset: None,
            trust_remote_code: false,
            base_model: None,
            api_endpoint: first.map(|by| ApiEndpointView {
                url: by.host_url.clone(),
                model_id: model.name.to_string(),
                api_key: None,
                format: "openai",
            }),
            backend_format: first.map(|by| format(&by.served_name)),
            adapters: Vec::new(),
            prompt: None,
            custom_fields: Map::new(),
            ownership: None,
            model_providers: model.served_by.into_iter().map(|by| by.provider).collect(),
            name: model.name.into(),
        }
    }
}
