//! What a model looks like on the wire.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::adapters::Adapter;
use crate::domain::Model;
use crate::domain::model::{ApiEndpoint, BackendFormat, FinetuningType, PromptData};
use crate::domain::model_spec::SpecParts;

#[derive(Serialize, ToSchema)]
pub struct ModelEntity {
    id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    created_at: String,
    updated_at: String,
    description: Option<String>,
    spec: Option<SpecParts>,
    finetuning_type: Option<FinetuningType>,
    fileset: Option<String>,
    trust_remote_code: bool,
    base_model: Option<String>,
    api_endpoint: Option<ShownEndpoint>,
    backend_format: Option<BackendFormat>,
    adapters: Vec<Adapter>,
    prompt: Option<PromptData>,
    #[schema(value_type = Object)]
    custom_fields: Map<String, Value>,
    #[schema(value_type = Option<Object>)]
    ownership: Option<Map<String, Value>>,
    /// Those that serve it, in the order in which they are tried.
    model_providers: Vec<String>,
    /// Ours; left out where it is not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    local_only: bool,
}

#[derive(Serialize, ToSchema)]
pub struct ShownEndpoint {
    #[serde(flatten)]
    endpoint: ApiEndpoint,
    /// Always null: keys are secrets.
    api_key: Option<String>,
}

impl ModelEntity {
    /// What the owner did not write is shown as it was found out.
    pub fn new(model: Model, verbose: bool) -> Self {
        let Model { document, mut spec, served_by, adapters } = model;
        let body = document.body;
        let first = served_by.first();
        if let Some(spec) = spec.as_mut().filter(|_| !verbose) {
            spec.linear_layers = None;
        }
        let found_endpoint = || {
            first.map(|by| ApiEndpoint {
                url: Some(by.host_url.clone()),
                model_id: Some(document.name.to_string()),
                format: Some("openai".into()),
            })
        };
        let found_format = || first.map(|by| BackendFormat::of_served_name(&by.served_name));
        let endpoint = body.api_endpoint.or_else(found_endpoint);
        Self {
            id: document.id.to_string(),
            workspace: document.workspace.into(),
            project: document.project,
            created_at: document.created.to_wire(),
            updated_at: document.updated.to_wire(),
            description: document.description,
            spec,
            finetuning_type: body.finetuning_type,
            fileset: body.fileset.map(String::from),
            trust_remote_code: body.trust_remote_code,
            base_model: body.base_model,
            api_endpoint: endpoint.map(|endpoint| ShownEndpoint { endpoint, api_key: None }),
            backend_format: body.backend_format.or_else(found_format),
            adapters: adapters.into_iter().map(Adapter::from).collect(),
            prompt: body.prompt,
            custom_fields: body.custom_fields.unwrap_or_default(),
            ownership: body.ownership,
            model_providers: served_by.into_iter().map(|by| by.provider).collect(),
            name: document.name.into(),
            local_only: body.local_only,
        }
    }
}
