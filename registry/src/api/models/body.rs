//! The bodies of model calls.

use proto_shared::names::EntityName;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::body::{Echo, RequestBody, given};
use crate::api::schema;
use crate::domain::document::Draft;
use crate::domain::model::{ApiEndpoint, BackendFormat, FinetuningType, ModelBody, ModelSpec, PromptData};
use crate::domain::{Document, Reference};
use crate::error::Error;

#[derive(Deserialize, ToSchema)]
pub struct CreateModel {
    #[schema(value_type = schema::Name)]
    name: EntityName,
    #[schema(value_type = Option<schema::ProjectLabel>)]
    project: Option<String>,
    #[serde(flatten)]
    rest: UpdateModel,
}

/// What is left out stays as it is; null takes a value away.
#[derive(Deserialize, ToSchema)]
pub struct UpdateModel {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 1000)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<ModelSpec>)]
    spec: Option<Option<ModelSpec>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<FinetuningType>)]
    finetuning_type: Option<Option<FinetuningType>>,
    /// `name` or `workspace/name` of a fileset that exists
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 127)]
    fileset: Option<Option<Reference>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 255)]
    base_model: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<GivenEndpoint>)]
    api_endpoint: Option<Option<GivenEndpoint>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<BackendFormat>)]
    backend_format: Option<Option<BackendFormat>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<PromptData>)]
    prompt: Option<Option<PromptData>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    custom_fields: Option<Option<Map<String, Value>>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    ownership: Option<Option<Map<String, Value>>>,
    /// `workspace/name` of providers: those that serve the model are tried in this order, before others
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<schema::EntityRef>>, max_items = 1000)]
    model_providers: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    trust_remote_code: Option<Option<bool>>,
    /// Ours. Whether requests for it never go to a hosted provider
    local_only: Option<bool>,
}

/// Where the model can be reached without this gateway.
#[derive(Deserialize, ToSchema)]
pub struct GivenEndpoint {
    #[serde(flatten)]
    endpoint: ApiEndpoint,
    /// Refused: a key belongs into a secret, which a provider names
    api_key: Option<String>,
}

impl RequestBody for CreateModel {
    const ECHO: Echo = Echo::Nothing;
}

impl RequestBody for UpdateModel {
    const ECHO: Echo = Echo::Nothing;
}

impl CreateModel {
    pub fn accept(self) -> Result<Draft<ModelBody>, Error> {
        let Self { name, project, rest } = self;
        rest.check()?;
        let mut body = ModelBody::default();
        let mut description = None;
        rest.put(&mut description, &mut body);
        Ok(Draft { name, project, description, body })
    }
}

impl UpdateModel {
    pub fn check(&self) -> Result<(), Error> {
        let endpoint = self.api_endpoint.iter().flatten();
        let has_key = endpoint.filter_map(|given| given.api_key.as_deref()).any(|key| !key.is_empty());
        if has_key {
            let reason = "a key is not kept with a model; store it as a secret, and name that in a provider";
            return Err(Error::refused("api_endpoint.api_key", reason));
        }
        Ok(())
    }

    pub fn apply(self, model: &mut Document<ModelBody>) {
        self.put(&mut model.description, &mut model.body);
    }

    fn put(self, description: &mut Option<String>, body: &mut ModelBody) {
        set(description, self.description);
        set(&mut body.spec, self.spec);
        set(&mut body.finetuning_type, self.finetuning_type);
        set(&mut body.fileset, self.fileset);
        set(&mut body.base_model, self.base_model);
        set(&mut body.api_endpoint, self.api_endpoint.map(|given| given.map(|given| given.endpoint)));
        set(&mut body.backend_format, self.backend_format);
        set(&mut body.prompt, self.prompt);
        set(&mut body.custom_fields, self.custom_fields);
        set(&mut body.ownership, self.ownership);
        set(&mut body.model_providers, self.model_providers.map(|list| list.filter(|list| !list.is_empty())));
        if let Some(trust) = self.trust_remote_code {
            body.trust_remote_code = trust.unwrap_or_default();
        }
        if let Some(local_only) = self.local_only {
            body.local_only = local_only;
        }
    }
}

fn set<T>(field: &mut Option<T>, given: Option<Option<T>>) {
    if let Some(value) = given {
        *field = value;
    }
}
