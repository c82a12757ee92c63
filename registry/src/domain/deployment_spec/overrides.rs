//! `override_config`: what replaces everything else, in the words of Kubernetes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Image, SpecError, check_args, check_envs, refused};

const FIELD: &str = "override_config";

/// What it may hold.
const KEYS: [&str; 15] = [
    "image",
    "command",
    "args",
    "resources",
    "env",
    "readinessProbe",
    "livenessProbe",
    "startupProbe",
    "nodeSelector",
    "tolerations",
    "userID",
    "groupID",
    "labels",
    "initContainers",
    "sidecarContainers",
];

/// Whatever is absent replaces nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    pub image: Option<Image>,
    /// The entry point.
    pub command: Option<Vec<String>>,
    pub args: Option<Vec<String>>,
    pub env: BTreeMap<String, String>,
    pub user: Option<u32>,
    pub group: Option<u32>,
    /// What means something to Kubernetes alone.
    pub kubernetes: Map<String, Value>,
}

impl Overrides {
    pub fn new(given: Map<String, Value>) -> Result<Self, SpecError> {
        let mut overrides = Self::default();
        for (key, value) in given {
            match key.as_str() {
                "image" => overrides.image = Some(image(&value)?),
                "command" => overrides.command = Some(strings(&key, &value)?),
                "args" => overrides.args = Some(strings(&key, &value)?),
                "env" => overrides.env = env(&value)?,
                "userID" => overrides.user = Some(id(&key, &value)?),
                "groupID" => overrides.group = Some(id(&key, &value)?),
                known if KEYS.contains(&known) => drop(overrides.kubernetes.insert(key, value)),
                _ => {
                    let key: String = key.chars().take(64).collect();
                    let allowed = KEYS.join(", ");
                    return Err(refused(
                        FIELD,
                        format!("'{key}' can't be overridden; allowed are {allowed}"),
                    ));
                }
            }
        }
        Ok(overrides)
    }
}

/// `"name:tag"`, or `{"repository", "tag"}` as NIM's operator has it.
fn image(value: &Value) -> Result<Image, SpecError> {
    let text = |value: &Value| {
        let is_plain = |text: &&str| !text.is_empty() && !text.contains(|c: char| c <= ' ' || c.is_control());
        value.as_str().filter(is_plain).map(str::to_owned)
    };
    let image = match value {
        Value::Object(parts) => {
            Image { name: parts.get("repository").and_then(text), tag: parts.get("tag").and_then(text) }
        }
        whole => Image { name: text(whole), tag: None },
    };
    match image.name {
        Some(_) => Ok(image),
        None => Err(refused(FIELD, "image should be \"name:tag\" or {\"repository\": …, \"tag\": …}")),
    }
}

fn strings(key: &str, value: &Value) -> Result<Vec<String>, SpecError> {
    let texts = value.as_array().map(|values| values.iter().map(|value| value.as_str().map(str::to_owned)));
    let texts: Option<Vec<_>> = texts.and_then(Iterator::collect);
    let texts = texts.ok_or_else(|| refused(FIELD, format!("{key} should be a list of strings")))?;
    check_args(FIELD, &texts)?;
    Ok(texts)
}

/// A list of `{"name", "value"}`. A variable that comes from elsewhere can't be had here.
fn env(value: &Value) -> Result<BTreeMap<String, String>, SpecError> {
    let wrong =
        || refused(FIELD, "env should be a list of {\"name\": …, \"value\": …}, both of them strings");
    let entries = value.as_array().ok_or_else(wrong)?;
    let mut env = BTreeMap::new();
    for entry in entries {
        let name = entry["name"].as_str().ok_or_else(wrong)?;
        let value = match entry.get("value") {
            None if entry.get("valueFrom").is_none() => "",
            value => value.and_then(Value::as_str).ok_or_else(wrong)?,
        };
        env.insert(name.to_owned(), value.to_owned());
    }
    check_envs(FIELD, &env)?;
    Ok(env)
}

fn id(key: &str, value: &Value) -> Result<u32, SpecError> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| refused(FIELD, format!("{key} should be a number of a user or group")))
}
