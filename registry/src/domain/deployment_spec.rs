//! What is to run, whichever way its config was spelt. Pure.
//!
//! Invariants:
//! - A [`DeploymentSpec`] can be acted on: what its engine needs is there, and nothing in it contradicts itself.
//! - The engine's own defaults are absent on purpose: they belong to whoever starts the container.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::deployment_config::{
    Engine, EngineConfig, ExecutorConfig, KubernetesConfig, ModelSpec, ModelType, ToolCallConfig,
};

/// What `override_config` may hold.
const OVERRIDES: [&str; 15] = [
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

#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentSpec {
    pub engine: Engine,
    pub image: Image,
    /// Absent: the weights are in the image.
    pub model: Option<ModelSource>,
    pub model_type: Option<ModelType>,
    pub chat_template: Option<String>,
    pub tool_calling: ToolCallConfig,
    pub lora: bool,
    pub gpus: u32,
    pub disk_bytes: u64,
    pub health_path: Option<String>,
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub envs: BTreeMap<String, String>,
    pub args: Vec<String>,
    pub kubernetes: KubernetesConfig,
    pub overrides: Map<String, Value>,
}

/// Whatever is absent is the engine's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    pub name: Option<String>,
    pub tag: Option<String>,
}

/// `namespace/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    pub namespace: Option<String>,
    pub name: String,
    pub revision: Option<String>,
}

/// A value that is well formed and can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct SpecError {
    pub field: &'static str,
    pub reason: String,
}

impl DeploymentSpec {
    pub fn new(config: EngineConfig) -> Result<Self, SpecError> {
        let EngineConfig { engine, model_spec, executor_config } = config;
        let source = model_source(&model_spec)?;
        check_executor(&executor_config)?;
        if engine == Engine::Generic {
            check_generic(&model_spec, &executor_config)?;
        }
        Ok(Self {
            engine,
            image: Image { name: executor_config.image_name, tag: executor_config.image_tag },
            model: source,
            model_type: model_spec.model_type,
            chat_template: model_spec.chat_template,
            tool_calling: model_spec.tool_call_config.unwrap_or_default(),
            lora: model_spec.lora_enabled,
            gpus: executor_config.gpu,
            disk_bytes: executor_config.disk_size.bytes(),
            health_path: executor_config.health_check_path,
            user: executor_config.run_as_user,
            group: executor_config.run_as_group,
            envs: executor_config.additional_envs.unwrap_or_default(),
            args: executor_config.additional_args,
            kubernetes: executor_config.k8s_nim_operator_config.unwrap_or_default(),
            overrides: executor_config.override_config.unwrap_or_default(),
        })
    }
}

/// A namespace or revision of its own counts; else they are read off the name.
fn model_source(spec: &ModelSpec) -> Result<Option<ModelSource>, SpecError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (namespace, revision) = (given(&spec.model_namespace), given(&spec.model_revision));
    let Some(full) = given(&spec.model_name) else {
        return match (namespace, revision) {
            (None, None) => Ok(None),
            _ => Err(refused("model_name", "it is needed beside a namespace or a revision")),
        };
    };
    let (name, suffix) = match full.rsplit_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (full.as_str(), None),
    };
    if revision.is_some() && suffix.is_some() {
        return Err(refused("model_revision", "a revision is given twice: here and after @ in model_name"));
    }
    let (parsed, name) = match name.split_once('/') {
        Some((parsed, rest)) if namespace.is_none() => (Some(parsed), rest),
        _ => (None, name),
    };
    if name.is_empty() || suffix.is_some_and(str::is_empty) || parsed.is_some_and(str::is_empty) {
        return Err(refused("model_name", "it should read name, namespace/name or namespace/name@revision"));
    }
    Ok(Some(ModelSource {
        namespace: namespace.or_else(|| parsed.map(str::to_owned)),
        name: name.to_owned(),
        revision: revision.or_else(|| suffix.map(str::to_owned)),
    }))
}

fn check_executor(executor: &ExecutorConfig) -> Result<(), SpecError> {
    for (field, text) in [
        ("image_name", &executor.image_name),
        ("image_tag", &executor.image_tag),
        ("health_check_path", &executor.health_check_path),
    ] {
        if text.as_ref().is_some_and(|text| text.contains(|c: char| c.is_whitespace() || c.is_control())) {
            return Err(refused(field, "it holds a space or a control character"));
        }
    }
    if executor.health_check_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        return Err(refused("health_check_path", "it should start with /"));
    }
    for (name, value) in executor.additional_envs.iter().flatten() {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(refused(
                "additional_envs",
                "a name is not empty and holds no =; nothing holds a NUL",
            ));
        }
    }
    if executor.additional_args.iter().any(|arg| arg.contains('\0')) {
        return Err(refused("additional_args", "an argument holds a NUL"));
    }
    let is_known = |key: &str| OVERRIDES.contains(&key);
    match executor.override_config.iter().flatten().find(|(key, _)| !is_known(key)) {
        None => Ok(()),
        Some((key, _)) => {
            let key: String = key.chars().take(64).collect();
            let reason = format!("'{key}' can't be overridden; allowed are {}", OVERRIDES.join(", "));
            Err(refused("override_config", reason))
        }
    }
}

/// Of a container that we know nothing about, its config must say everything.
fn check_generic(model: &ModelSpec, executor: &ExecutorConfig) -> Result<(), SpecError> {
    for (field, text) in
        [("image_name", &executor.image_name), ("health_check_path", &executor.health_check_path)]
    {
        if text.as_deref().is_none_or(str::is_empty) {
            return Err(refused(field, "the engine 'generic' has no default for it; give one"));
        }
    }
    if model.lora_enabled {
        return Err(refused("lora_enabled", "the engine 'generic' can't serve adapters; use nim or vllm"));
    }
    Ok(())
}

fn refused(field: &'static str, reason: impl Into<String>) -> SpecError {
    SpecError { field, reason: reason.into() }
}

#[cfg(test)]
mod tests;
