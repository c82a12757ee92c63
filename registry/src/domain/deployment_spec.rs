//! What is to run, whichever way its config was spelt. Pure.
//!
//! Invariants:
//! - A [`DeploymentSpec`] can be acted on: what its engine needs is there, and nothing in it contradicts itself.
//! - The engine's own defaults are absent on purpose: they belong to whoever starts the container.

use std::collections::BTreeMap;
use std::time::Duration;

use super::deployment_config::{
    Engine, EngineConfig, ExecutorConfig, KubernetesConfig, ModelSpec, ModelType, PullLogin, ToolCallConfig,
};

mod overrides;

pub use overrides::Overrides;

/// Instances of one deployment.
pub const REPLICAS_MAX: u32 = 64;
/// The longest time that a start may be given, in seconds.
pub const STARTUP_TIMEOUT_MAX_S: u32 = 86_400;

#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentSpec {
    pub engine: Engine,
    pub runs: Runs,
    /// Absent: the weights are in the image.
    pub model: Option<ModelSource>,
    pub model_type: Option<ModelType>,
    pub chat_template: Option<String>,
    pub tool_calling: ToolCallConfig,
    pub lora: bool,
    pub gpus: u32,
    pub disk_bytes: u64,
    pub health_path: Option<String>,
    /// Absent: whoever the settings name for the image's registry.
    pub pull_login: Option<PullLogin>,
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub envs: BTreeMap<String, String>,
    pub args: Vec<String>,
    pub replicas: u32,
    pub startup_timeout: Duration,
    pub kubernetes: KubernetesConfig,
    pub overrides: Overrides,
}

/// What the model server is started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    Image(Image),
    /// A program on the registry's host, and what it is always told.
    Command {
        program: String,
        args: Vec<String>,
    },
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
    /// Said by `hf://` or `ngc://` before the name.
    pub origin: Option<Origin>,
    pub namespace: Option<String>,
    pub name: String,
    pub revision: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    HuggingFace,
    Ngc,
}

/// A value that is well formed and can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct SpecError {
    pub field: &'static str,
    pub kind: SpecErrorKind,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecErrorKind {
    /// The config contradicts itself, or a number is out of its range.
    Malformed,
    /// It is clear what is meant, and it can't be had.
    Refused,
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
            runs: runs(&executor_config)?,
            model: source,
            model_type: model_spec.model_type,
            chat_template: model_spec.chat_template,
            tool_calling: model_spec.tool_call_config.unwrap_or_default(),
            lora: model_spec.lora_enabled,
            gpus: executor_config.gpu,
            disk_bytes: executor_config.disk_size.bytes(),
            health_path: executor_config.health_check_path.filter(|path| !path.is_empty()),
            pull_login: executor_config.image_pull_login,
            user: executor_config.run_as_user,
            group: executor_config.run_as_group,
            envs: executor_config.additional_envs.unwrap_or_default(),
            args: executor_config.additional_args,
            replicas: executor_config.replicas,
            startup_timeout: Duration::from_secs(executor_config.startup_timeout_s.into()),
            kubernetes: executor_config.k8s_nim_operator_config.unwrap_or_default(),
            overrides: Overrides::new(executor_config.override_config.unwrap_or_default())?,
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
    let (origin, full) = origin(&full)?;
    let (name, suffix) = match full.rsplit_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (full, None),
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
        origin,
        namespace: namespace.or_else(|| parsed.map(str::to_owned)),
        name: name.to_owned(),
        revision: revision.or_else(|| suffix.map(str::to_owned)),
    }))
}

fn origin(name: &str) -> Result<(Option<Origin>, &str), SpecError> {
    match name.split_once("://") {
        None => Ok((None, name)),
        Some(("hf", name)) => Ok((Some(Origin::HuggingFace), name)),
        Some(("ngc", name)) => Ok((Some(Origin::Ngc), name)),
        Some(_) => {
            let reason = "only hf:// and ngc:// can stand before it; for other places, make a fileset and a model of it";
            Err(refused("model_name", reason))
        }
    }
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
    check_envs("additional_envs", executor.additional_envs.iter().flatten())?;
    check_args("additional_args", &executor.additional_args)?;
    for (field, number, max) in [
        ("replicas", executor.replicas, REPLICAS_MAX),
        ("startup_timeout_s", executor.startup_timeout_s, STARTUP_TIMEOUT_MAX_S),
    ] {
        if !(1..=max).contains(&number) {
            return Err(malformed(field, format!("it should be 1 to {max}")));
        }
    }
    Ok(())
}

fn check_envs<'e>(
    field: &'static str,
    envs: impl IntoIterator<Item = (&'e String, &'e String)>,
) -> Result<(), SpecError> {
    for (name, value) in envs {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(refused(field, "a name is not empty and holds no =; nothing holds a NUL"));
        }
    }
    Ok(())
}

fn check_args(field: &'static str, args: &[String]) -> Result<(), SpecError> {
    match args.iter().any(|arg| arg.contains('\0')) {
        true => Err(refused(field, "an argument holds a NUL")),
        false => Ok(()),
    }
}

fn runs(executor: &ExecutorConfig) -> Result<Runs, SpecError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (name, tag) = (given(&executor.image_name), given(&executor.image_tag));
    let Some(command) = &executor.command else { return Ok(Runs::Image(Image { name, tag })) };
    check_args("command", command)?;
    let overridden = executor.override_config.as_ref();
    let is_overridden = |key: &str| overridden.is_some_and(|overrides| overrides.contains_key(key));
    if name.is_some() || tag.is_some() || is_overridden("image") || is_overridden("command") {
        let reason = "it runs on this host in the place of an image; leave out image_name and image_tag, and image and \
                      command in override_config";
        return Err(malformed("command", reason));
    }
    match command.split_first() {
        Some((program, args)) if !program.is_empty() => {
            Ok(Runs::Command { program: program.clone(), args: args.to_vec() })
        }
        _ => Err(malformed("command", "it should begin with a program")),
    }
}

/// Of a container that we know nothing about, its config must say everything.
fn check_generic(model: &ModelSpec, executor: &ExecutorConfig) -> Result<(), SpecError> {
    let is_missing = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    for (field, is_missing) in [
        ("image_name", is_missing(&executor.image_name) && executor.command.is_none()),
        ("health_check_path", is_missing(&executor.health_check_path)),
    ] {
        if is_missing {
            return Err(refused(field, "the engine 'generic' has no default for it; give one"));
        }
    }
    if model.lora_enabled {
        return Err(refused("lora_enabled", "the engine 'generic' can't serve adapters; use nim or vllm"));
    }
    Ok(())
}

pub(super) fn refused(field: &'static str, reason: impl Into<String>) -> SpecError {
    SpecError { field, kind: SpecErrorKind::Refused, reason: reason.into() }
}

fn malformed(field: &'static str, reason: impl Into<String>) -> SpecError {
    SpecError { field, kind: SpecErrorKind::Malformed, reason: reason.into() }
}

#[cfg(test)]
mod tests;
