//! The bodies of provider calls, from fields to checked values.

use std::collections::BTreeMap;

use proto_shared::egress::EgressPolicy;
use proto_shared::snapshot::{Replay, UpstreamTimeouts};
use proto_shared::{AuthTemplate, HostUrl, ModelName, ProviderName, SecretName};
use serde_json::{Map, Value};

use crate::api::fields::{DESCRIPTION_CHARS_MAX, Fields};
use crate::config::MODELS_PER_PROVIDER_MAX;
use crate::domain::provider::{Finding, GivenStatus, STATUS_MESSAGE_CHARS_MAX};
use crate::domain::{ProviderSpec, ProviderStatus, extra_headers};
use crate::error::Error;

const SHORT_CHARS_MAX: usize = 255;
const HOST_URL_CHARS_MAX: usize = proto_shared::host_url::HOST_URL_BYTES_MAX;
const AUTH_FORMAT_CHARS_MAX: usize = proto_shared::auth_template::AUTH_TEMPLATE_BYTES_MAX;
/// Longest time-out: a day.
const TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A well-formed provider that was not yet judged.
pub struct Parsed {
    spec: ProviderSpec,
    /// As given: it need not be a name that can exist.
    secret_name: Option<String>,
    given: GivenStatus,
}

impl Parsed {
    /// Judges what is well formed: where it points, what it adds, which key it wants.
    pub fn accept(self, egress: &EgressPolicy) -> Result<(ProviderSpec, GivenStatus), Error> {
        let Self { mut spec, secret_name, given } = self;
        egress.check_url(&spec.host_url).map_err(|reason| Error::refused("host_url", reason))?;
        for (field, headers) in [
            ("default_extra_headers", &spec.default_extra_headers),
            ("required_extra_headers", &spec.required_extra_headers),
        ] {
            headers
                .as_ref()
                .map_or(Ok(()), extra_headers::check)
                .map_err(|reason| Error::refused(field, reason))?;
        }
        spec.api_key_secret_name = secret_name
            .map(|name| name.parse::<SecretName>())
            .transpose()
            .map_err(|reason| Error::refused("api_key_secret_name", format!("no such secret: {reason}")))?;
        Ok((spec, given))
    }
}

pub fn name(fields: &mut Fields) -> Option<ProviderName> {
    let text = fields.required_text("name", SHORT_CHARS_MAX)?;
    fields.parse("name", &text, |text| text.parse())
}

/// Reads everything an owner may set; `None` when something is wrong with it.
pub fn parse(fields: &mut Fields) -> Option<Parsed> {
    let host_url = fields
        .required_text("host_url", HOST_URL_CHARS_MAX)
        .and_then(|text| fields.parse("host_url", &text, HostUrl::parse));
    let auth_header_format = fields
        .text("auth_header_format", AUTH_FORMAT_CHARS_MAX)
        .and_then(|text| fields.parse("auth_header_format", &text, AuthTemplate::parse));
    let secret_name = fields.text("api_key_secret_name", SHORT_CHARS_MAX);
    let given = GivenStatus { status: status(fields), message: status_message(fields) };
    let project = fields.text("project", SHORT_CHARS_MAX);
    let description = fields.text("description", DESCRIPTION_CHARS_MAX);
    let enabled_models = fields.text_list("enabled_models", MODELS_PER_PROVIDER_MAX, SHORT_CHARS_MAX);
    let default_extra_body = fields.object("default_extra_body");
    let required_extra_body = fields.object("required_extra_body");
    let default_extra_headers: Option<BTreeMap<_, _>> = fields.text_map("default_extra_headers");
    let required_extra_headers = fields.text_map("required_extra_headers");
    let model_deployment_id = fields.text("model_deployment_id", SHORT_CHARS_MAX);
    let timeouts = timeouts(fields);
    let replay = replay(fields);
    let spec = ProviderSpec {
        project,
        description,
        host_url: host_url?,
        api_key_secret_name: None,
        auth_header_format,
        enabled_models,
        default_extra_body,
        required_extra_body,
        default_extra_headers,
        required_extra_headers,
        model_deployment_id,
        timeouts,
        replay,
    };
    Some(Parsed { spec, secret_name, given })
}

fn status(fields: &mut Fields) -> Option<ProviderStatus> {
    let text = fields.text("status", SHORT_CHARS_MAX)?;
    let status = text.parse().ok();
    if status.is_none() {
        let known: Vec<_> = ProviderStatus::ALL.iter().map(|s| format!("'{}'", s.as_str())).collect();
        fields.issue("status", "enum", format!("Input should be {}", known.join(", ")));
    }
    status
}

fn status_message(fields: &mut Fields) -> Option<String> {
    fields.text("status_message", STATUS_MESSAGE_CHARS_MAX)
}

/// Whatever is left out has its default.
fn timeouts(fields: &mut Fields) -> UpstreamTimeouts {
    let mut timeouts = UpstreamTimeouts::default();
    let Some(given) = fields.object("timeouts") else { return timeouts };
    let slots = [
        ("connect_timeout_ms", &mut timeouts.connect_timeout_ms),
        ("first_byte_timeout_ms", &mut timeouts.first_byte_timeout_ms),
        ("idle_timeout_ms", &mut timeouts.idle_timeout_ms),
        ("total_timeout_ms", &mut timeouts.total_timeout_ms),
        ("pool_idle_timeout_ms", &mut timeouts.pool_idle_timeout_ms),
    ];
    for (name, slot) in slots {
        match given.get(name) {
            None | Some(Value::Null) => {}
            Some(value) => match value.as_u64() {
                Some(number) if (1..=TIMEOUT_MS_MAX).contains(&number) => *slot = number,
                _ => {
                    let msg = format!("{name} should be a whole number from 1 to {TIMEOUT_MS_MAX}");
                    fields.issue("timeouts", "value_error", msg);
                }
            },
        }
    }
    timeouts
}

fn replay(fields: &mut Fields) -> Replay {
    match fields.text("replay", SHORT_CHARS_MAX).as_deref() {
        None | Some("never") => Replay::Never,
        Some("safe") => Replay::Safe,
        Some(_) => {
            fields.issue("replay", "enum", "Input should be 'never', 'safe'");
            Replay::Never
        }
    }
}

/// The body of `…/status`: only what is there changes.
pub fn finding(fields: &mut Fields, workspace: &str) -> Finding {
    let model_deployment_id = fields.text("model_deployment_id", SHORT_CHARS_MAX);
    Finding {
        status: status(fields),
        message: status_message(fields),
        served: served_models(fields, workspace),
        model_deployment_id: fields.has("model_deployment_id").then_some(model_deployment_id),
    }
}

fn served_models(fields: &mut Fields, workspace: &str) -> Option<Vec<(ModelName, String)>> {
    let list = fields.list("served_models")?;
    if list.len() > MODELS_PER_PROVIDER_MAX {
        let msg = format!("List should have at most {MODELS_PER_PROVIDER_MAX} items");
        fields.issue("served_models", "too_long", msg);
        return None;
    }
    let mut served: Vec<(ModelName, String)> = Vec::with_capacity(list.len());
    let mut seen = std::collections::HashSet::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        match served_model(item.as_object(), workspace) {
            Ok((name, _)) if !seen.insert(name.clone()) => {
                let msg = format!("item {index}: model {name} is given twice");
                fields.issue("served_models", "value_error", msg);
                return None;
            }
            Ok(model) => served.push(model),
            Err(reason) => {
                fields.issue("served_models", "value_error", format!("item {index}: {reason}"));
                return None;
            }
        }
    }
    Some(served)
}

/// A model lives in the workspace of its provider.
fn served_model(item: Option<&Map<String, Value>>, workspace: &str) -> Result<(ModelName, String), String> {
    let text = |name: &str| {
        let text = item.and_then(|item| item.get(name)).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() || text.chars().count() > SHORT_CHARS_MAX {
            return Err(format!("{name} should be a string of 1 to {SHORT_CHARS_MAX} characters"));
        }
        Ok(text.to_owned())
    };
    let entity = text("model_entity_id")?;
    let (of, name) = entity.split_once('/').ok_or("model_entity_id should read \"workspace/name\"")?;
    if of != workspace {
        return Err(format!("model_entity_id should be in workspace {workspace}"));
    }
    let name = name.parse::<ModelName>().map_err(|error| format!("model_entity_id: {error}"))?;
    Ok((name, text("served_model_name")?))
}
