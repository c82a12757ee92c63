//! The bodies of provider calls, from what was sent to checked values.

use std::collections::{BTreeMap, HashSet};

use proto_shared::egress::EgressPolicy;
use proto_shared::snapshot::{Replay, UpstreamTimeouts, Watch};
use proto_shared::{AuthTemplate, HostUrl, ModelName, ProviderName, SecretName};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::BackendFields;
use crate::api::body::{RequestBody, given};
use crate::api::schema;
use crate::domain::presets::{self, Preset};
use crate::domain::provider::{Finding, GivenStatus, Locality};
use crate::domain::{ProviderSpec, ProviderStatus, extra_headers};
use crate::error::{Error, Issue};

#[derive(Deserialize, ToSchema)]
pub struct CreateProvider {
    #[schema(value_type = schema::Name)]
    pub name: ProviderName,
    #[serde(flatten)]
    pub rest: ReplaceProvider,
}

/// Everything an owner may set; what is left out is not set.
#[derive(Deserialize, ToSchema)]
pub struct ReplaceProvider {
    #[schema(value_type = Option<schema::ProjectLabel>)]
    project: Option<String>,
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// Where it is: `http(s)://host[:port][/path]`, with or without `/v1`. Required unless the preset knows
    #[schema(max_length = 2048)]
    host_url: Option<String>,
    /// A secret of the same workspace
    #[schema(max_length = 255)]
    api_key_secret_name: Option<String>,
    /// `Header: text {{ auth_secret }}`
    #[schema(max_length = 1024)]
    auth_header_format: Option<String>,
    /// Upstream ids that become routable; absent or empty: all
    #[schema(max_items = 10000)]
    enabled_models: Option<Vec<UpstreamId>>,
    #[schema(value_type = Option<Object>)]
    default_extra_body: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    required_extra_body: Option<Map<String, Value>>,
    default_extra_headers: Option<BTreeMap<String, String>>,
    required_extra_headers: Option<BTreeMap<String, String>>,
    #[schema(max_length = 255)]
    model_deployment_id: Option<String>,
    status: Option<ProviderStatus>,
    #[schema(max_length = 1000)]
    status_message: Option<String>,
    /// Time limits; whatever is left out has its default
    timeouts: Option<Timeouts>,
    /// Whether a request may be sent again after some of it was written: `never` or `safe`
    #[schema(value_type = Option<ReplayPolicy>)]
    replay: Option<Replay>,
    /// Ours. Fills in what is left out here; `GET /apis/models/v2/provider-presets` lists them
    #[schema(max_length = 63)]
    preset: Option<String>,
    /// Whether what it is sent stays here; where it is left out, the URL tells
    locality: Option<Locality>,
    /// Where its servers say that they take requests, from the root of their host, such as `/health`; else the usual
    /// paths are tried. Hosted providers are asked nothing
    #[schema(min_length = 1, max_length = 255)]
    health_path: Option<String>,
    /// Where its servers have a page of metrics, as Prometheus reads it; else the usual paths are tried
    #[schema(min_length = 1, max_length = 255)]
    metrics_path: Option<String>,
    #[serde(flatten)]
    backend: BackendFields,
}

/// What a provider calls a model.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(max_length = 255)]
pub struct UpstreamId(String);

/// In milliseconds, at most a day.
#[derive(Deserialize, ToSchema)]
pub struct Timeouts {
    #[schema(minimum = 1, maximum = 86_400_000)]
    connect_timeout_ms: Option<u64>,
    #[schema(minimum = 1, maximum = 86_400_000)]
    first_byte_timeout_ms: Option<u64>,
    #[schema(minimum = 1, maximum = 86_400_000)]
    idle_timeout_ms: Option<u64>,
    #[schema(minimum = 1, maximum = 86_400_000)]
    total_timeout_ms: Option<u64>,
    #[schema(minimum = 1, maximum = 86_400_000)]
    pool_idle_timeout_ms: Option<u64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; values are `Replay`")]
pub enum ReplayPolicy {
    Never,
    Safe,
}

#[derive(Deserialize, ToSchema)]
pub struct UpdateProviderStatus {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 255)]
    model_deployment_id: Option<Option<String>>,
    #[schema(max_items = 10000)]
    served_models: Option<Vec<ServedModelMapping>>,
    status: Option<ProviderStatus>,
    #[schema(max_length = 1000)]
    status_message: Option<String>,
}

#[derive(Deserialize, ToSchema, serde::Serialize)]
pub struct ServedModelMapping {
    /// `workspace/name`
    #[schema(min_length = 1, max_length = 255)]
    pub model_entity_id: String,
    #[schema(min_length = 1, max_length = 255)]
    pub served_model_name: String,
}

impl RequestBody for CreateProvider {
    fn further_faults(body: &Value) -> Vec<Issue> {
        ReplaceProvider::further_faults(body)
    }
}

impl RequestBody for ReplaceProvider {
    /// It is somewhere, or its preset says where.
    fn further_faults(body: &Value) -> Vec<Issue> {
        let preset = body["preset"].as_str().map(presets::find);
        let is_known = preset.is_some_and(|preset| preset.is_none_or(|preset| preset.host_url.is_some()));
        if is_known || !body["host_url"].is_null() { Vec::new() } else { vec![no_host_url()] }
    }
}

impl RequestBody for UpdateProviderStatus {}

impl ReplaceProvider {
    /// Judges what is well formed: where it points, what it adds, which key it wants.
    pub fn accept(self, egress: &EgressPolicy) -> Result<(ProviderSpec, GivenStatus), Error> {
        let given = GivenStatus { status: self.status, message: self.status_message };
        let preset = self.preset.as_deref().map(preset_named).transpose()?;
        let host_url = self.host_url.as_deref().or(preset.and_then(|preset| preset.host_url));
        let host_url = HostUrl::parse(host_url.ok_or_else(|| Error::Invalid(vec![no_host_url()]))?)
            .map_err(|reason| Error::invalid("host_url", reason))?;
        let auth_header_format =
            self.auth_header_format.as_deref().or(preset.and_then(|preset| preset.auth_header_format));
        let auth_header_format = auth_header_format
            .map(AuthTemplate::parse)
            .transpose()
            .map_err(|reason| Error::invalid("auth_header_format", reason))?;
        let default_extra_headers = self.default_extra_headers.or_else(|| preset.and_then(headers_of));
        egress.check_url(&host_url).map_err(|reason| Error::refused("host_url", reason))?;
        for (field, headers) in [
            ("default_extra_headers", &default_extra_headers),
            ("required_extra_headers", &self.required_extra_headers),
        ] {
            headers
                .as_ref()
                .map_or(Ok(()), extra_headers::check)
                .map_err(|reason| Error::refused(field, reason))?;
        }
        let secret = self.api_key_secret_name.map(|name| name.parse::<SecretName>()).transpose();
        let api_key_secret_name = secret
            .map_err(|reason| Error::refused("api_key_secret_name", format!("no such secret: {reason}")))?;
        let spec = ProviderSpec {
            project: self.project,
            description: self.description,
            host_url,
            api_key_secret_name,
            auth_header_format,
            enabled_models: self.enabled_models.map(|ids| ids.into_iter().map(|id| id.0).collect()),
            default_extra_body: self.default_extra_body,
            required_extra_body: self.required_extra_body,
            default_extra_headers,
            required_extra_headers: self.required_extra_headers,
            model_deployment_id: self.model_deployment_id,
            timeouts: self.timeouts.map(UpstreamTimeouts::from).unwrap_or_default(),
            replay: self.replay.unwrap_or_default(),
            backend: self.backend.accept(preset)?,
            locality: self.locality,
            watch: Watch {
                health_path: path_to_ask("health_path", self.health_path)?,
                metrics_path: path_to_ask("metrics_path", self.metrics_path)?,
            },
            preset: preset.map(|preset| preset.name.to_owned()),
        };
        Ok((spec, given))
    }
}

/// A path that can be asked for as it is.
fn path_to_ask(field: &str, path: Option<String>) -> Result<Option<String>, Error> {
    let is_path = |path: &String| {
        path.starts_with('/') && !path.contains('#') && path.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match path {
        Some(path) if !is_path(&path) => {
            let reason = "it should begin with a slash, and have no spaces, such as \"/health\"";
            Err(Error::invalid(field, reason))
        }
        path => Ok(path),
    }
}

fn preset_named(name: &str) -> Result<&'static Preset, Error> {
    presets::find(name).ok_or_else(|| {
        let names: Vec<&str> = presets::ALL.iter().map(|preset| preset.name).collect();
        Error::invalid("preset", format!("there is no such preset; there are {}", names.join(", ")))
    })
}

fn headers_of(preset: &Preset) -> Option<BTreeMap<String, String>> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let headers: BTreeMap<_, _> = preset.default_extra_headers.iter().map(owned).collect();
    (!headers.is_empty()).then_some(headers)
}

fn no_host_url() -> Issue {
    let loc = vec![json!("body"), json!("host_url")];
    Issue { kind: "missing", loc, msg: "Field required".into(), input: Value::Null }
}

impl From<Timeouts> for UpstreamTimeouts {
    fn from(given: Timeouts) -> Self {
        let default = Self::default();
        Self {
            connect_timeout_ms: given.connect_timeout_ms.unwrap_or(default.connect_timeout_ms),
            first_byte_timeout_ms: given.first_byte_timeout_ms.unwrap_or(default.first_byte_timeout_ms),
            idle_timeout_ms: given.idle_timeout_ms.unwrap_or(default.idle_timeout_ms),
            total_timeout_ms: given.total_timeout_ms.unwrap_or(default.total_timeout_ms),
            pool_idle_timeout_ms: given.pool_idle_timeout_ms.unwrap_or(default.pool_idle_timeout_ms),
        }
    }
}

impl UpdateProviderStatus {
    pub fn accept(self, workspace: &str) -> Result<Finding, Error> {
        let served = self.served_models.map(|served| served_models(&served, workspace)).transpose()?;
        Ok(Finding {
            status: self.status,
            message: self.status_message,
            served,
            model_deployment_id: self.model_deployment_id,
        })
    }
}

/// A model lives in the workspace of its provider, and is served under one name.
fn served_models(given: &[ServedModelMapping], workspace: &str) -> Result<Vec<(ModelName, String)>, Error> {
    let mut served: Vec<(ModelName, String)> = Vec::with_capacity(given.len());
    let mut seen = HashSet::with_capacity(given.len());
    for (index, model) in given.iter().enumerate() {
        let fault = |reason: String| {
            let place = vec![json!("body"), json!("served_models"), json!(index), json!("model_entity_id")];
            Error::Invalid(vec![Issue::value(place, reason)])
        };
        let (of, name) = model
            .model_entity_id
            .split_once('/')
            .ok_or_else(|| fault("it should read \"workspace/name\"".into()))?;
        if of != workspace {
            return Err(fault(format!("it should be in workspace {workspace}")));
        }
        let name = name.parse::<ModelName>().map_err(|error| fault(error.to_string()))?;
        if !seen.insert(name.clone()) {
            return Err(fault(format!("model {name} is given twice")));
        }
        served.push((name, model.served_model_name.clone()));
    }
    Ok(served)
}
