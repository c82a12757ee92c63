//! From what a deployment's config says to what its container, or its process, gets. Pure.
//!
//! What must stay true:
//! - Everything a config can say is in the plan, or is said by Kubernetes alone.
//! - What the user wrote in `additional_envs` wins over every variable of ours, and `override_config` over that.
//! - Secrets are named here, never known. Nothing secret is in arguments, labels or the image's name.
//! - The same input gives the same plan. Adapters are not in it: they come and go while an instance runs.
//!
//! Absent on purpose: what only Kubernetes knows (`k8s_nim_operator_config`, probes, labels, side-cars), and which
//! device or folder something becomes: that is known where the plan is carried out.

mod args;
mod engine;
mod facts;
mod generic;
mod image;
mod nim;
mod plan;
mod port;
mod source;
mod tools;
mod vllm;

pub use plan::{EnvSource, Launch, LaunchPlan, MountKind, PlannedMount, RegistryLogin, User};
pub use source::Weights;
pub use tools::plugin_of;

use std::time::Duration;

use proto_shared::WorkspaceName;

use super::Reference;
use super::adapter::AdapterBody;
use super::deployment_config::ToolCallPlugins;
use super::deployment_spec::{DeploymentSpec, Runs, SpecError, refused};
use super::document::Document;
use super::model_spec::SpecParts;

use facts::Facts;

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct LaunchInput<'a> {
    /// Of the deployment.
    pub workspace: &'a WorkspaceName,
    pub spec: &'a DeploymentSpec,
    /// The model entity that the config belongs to.
    pub model: Option<&'a ServedModel>,
    /// The one `.py` file of the fileset that [`plugin_of`] names.
    pub plugin_file: Option<&'a str>,
    /// The devices that are assigned, as many as the config asks for.
    pub gpus: &'a [String],
    pub settings: &'a LaunchSettings,
}

/// What matters here of a model entity.
#[derive(Debug, Clone)]
pub struct ServedModel {
    /// With its workspace.
    pub name: Reference,
    pub spec: Option<SpecParts>,
    pub trust_remote_code: bool,
    /// Its fileset.
    pub weights: Option<Weights>,
    /// The largest that its adapters state.
    pub lora_rank_max: Option<u64>,
}

/// What this installation has.
#[derive(Debug, Clone, Default)]
pub struct LaunchSettings {
    /// The secret with the key for NVIDIA's registry, where there is one.
    pub ngc_api_key: Option<Reference>,
    /// For registries that want a login; one for `nvcr.io` replaces the key there.
    pub registries: Vec<RegistryLogin>,
    pub tool_call_plugins: ToolCallPlugins,
}

/// What an instance gets; or which field stands in the way.
pub fn plan(input: LaunchInput<'_>) -> Result<LaunchPlan, SpecError> {
    // Written out, so that no field is forgotten. What is `_` here is in the facts, or Kubernetes' own.
    let DeploymentSpec {
        engine,
        runs,
        model: _,
        model_type: _,
        chat_template: _,
        tool_calling: _,
        lora: _,
        gpus,
        disk_bytes,
        health_path: _,
        pull_login: _,
        user,
        group,
        envs,
        args,
        replicas,
        startup_timeout,
        kubernetes: _,
        overrides,
    } = input.spec;
    if usize::try_from(*gpus).ok() != Some(input.gpus.len()) {
        return Err(refused("gpu", format!("{gpus} are asked for, and {} are assigned", input.gpus.len())));
    }
    let facts = Facts::new(input)?;
    let (mut draft, login) = facts.draft()?;
    draft.merge(args, overrides.args.as_ref(), envs.iter().chain(&overrides.env));
    let defaults = facts.defaults;
    let is_image = facts.image.is_some();
    let port = if is_image { port::of(*engine, &draft, defaults.port)? } else { defaults.port };
    let served_model_name = facts.told_name(&draft);
    let launch = match runs {
        Runs::Command { program, args } => {
            let args = args.iter().cloned().chain(draft.args).collect();
            Launch::Command { program: program.clone(), args }
        }
        Runs::Image(_) => {
            let entrypoint = overrides.command.clone().or(draft.entrypoint);
            Launch::Image { image: facts.image.unwrap_or_default(), entrypoint, args: draft.args, login }
        }
    };
    let user = engine::user(
        defaults.user.filter(|_| is_image),
        overrides.user.or(*user),
        overrides.group.or(*group),
    )?;
    Ok(LaunchPlan {
        launch,
        env: draft.env,
        port,
        health_path: self::health_path(input.spec).to_owned(),
        models_path: defaults.models_path,
        metrics_path: self::metrics_path(input.spec),
        gpus: input.gpus.to_vec(),
        shm_bytes: (*gpus > 0 && is_image).then_some(engine::SHM_BYTES),
        user,
        mounts: draft.mounts,
        disk_bytes: *disk_bytes,
        served_model_name,
        replicas: *replicas,
        startup_timeout: *startup_timeout,
    })
}

/// Where readiness is asked for; known before anything is planned.
pub fn health_path(spec: &DeploymentSpec) -> &str {
    spec.health_path.as_deref().unwrap_or(engine::defaults(spec.engine).health_path)
}

/// Where a page of metrics is.
pub fn metrics_path(spec: &DeploymentSpec) -> &'static str {
    engine::defaults(spec.engine).metrics_path
}

/// Where an engine looks for adapters.
pub const LORAS: &str = nim::LORAS;

/// How often a server looks for adapters by itself.
pub fn lora_refresh(spec: &DeploymentSpec) -> Duration {
    let given = spec.overrides.env.get(nim::LORA_REFRESH).or_else(|| spec.envs.get(nim::LORA_REFRESH));
    Duration::from_secs(given.and_then(|text| text.parse().ok()).unwrap_or(nim::LORA_REFRESH_S))
}

/// The folder of an adapter below the one that engines look into, and so the id under which they list it. None for
/// one that may not be used.
pub fn adapter_folder(adapter: &Document<AdapterBody>) -> Option<String> {
    let named = || listed_as(&Reference::to(&adapter.workspace, adapter.name.clone()));
    adapter.body.enabled.then(named)
}

/// The id of an adapter, named with its workspace, in the lists of servers: no name has a slash or two dashes in it.
pub fn listed_as(adapter: &Reference) -> String {
    adapter.to_string().replace('/', "--")
}

/// The adapter that such a folder is of.
pub fn adapter_of_folder(folder: &str) -> Option<Reference> {
    let (workspace, name) = folder.split_once("--")?;
    Reference::try_from(format!("{workspace}/{name}")).ok()
}

#[cfg(test)]
mod tests;
