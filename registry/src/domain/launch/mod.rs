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

use proto_shared::WorkspaceName;

use super::Reference;
use super::adapter::AdapterBody;
use super::deployment_config::{Engine, ToolCallPlugins};
use super::deployment_spec::{DeploymentSpec, Runs, SpecError, refused};
use super::document::Document;
use super::model_spec::SpecParts;

use engine::Defaults;
use plan::Draft;
use source::Source;
use tools::Tools;

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

/// What an engine's settings are derived from.
struct Facts<'a> {
    input: LaunchInput<'a>,
    defaults: &'static Defaults,
    /// With its tag or digest; none for a command.
    image: Option<String>,
    source: Source,
    tools: Tools,
    served_name: Option<String>,
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
    draft.args.extend(args.iter().cloned());
    if let Some(args) = &overrides.args {
        draft.args.clone_from(args);
    }
    for (name, value) in envs.iter().chain(&overrides.env) {
        draft.env(name, value);
    }
    let defaults = facts.defaults;
    let is_image = facts.image.is_some();
    let port = if is_image { port::of(*engine, &draft, defaults.port)? } else { defaults.port };
    let served_model_name = facts.told_name(&draft);
    let launch = match (runs, facts.image) {
        (Runs::Command { program, args }, _) => {
            let args = args.iter().cloned().chain(draft.args).collect();
            Launch::Command { program: program.clone(), args }
        }
        (Runs::Image(_), image) => Launch::Image {
            image: image.unwrap_or_default(),
            entrypoint: overrides.command.clone().or(draft.entrypoint),
            args: draft.args,
            login,
        },
    };
    Ok(LaunchPlan {
        launch,
        env: draft.env,
        port,
        health_path: self::health_path(input.spec).to_owned(),
        models_path: defaults.models_path,
        metrics_path: defaults.metrics_path,
        gpus: input.gpus.to_vec(),
        shm_bytes: (*gpus > 0 && is_image).then_some(engine::SHM_BYTES),
        user: engine::user(
            defaults.user.filter(|_| is_image),
            overrides.user.or(*user),
            overrides.group.or(*group),
        )?,
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

/// The folder of an adapter below the one that engines look into, and so the id under which they list it. None for
/// one that may not be used.
pub fn adapter_folder(adapter: &Document<AdapterBody>) -> Option<String> {
    adapter.body.enabled.then(|| format!("{}--{}", adapter.workspace, adapter.name))
}

/// `namespace/name@revision`, as far as it is given; else the entity's name.
fn served_name(
    source: Option<&super::deployment_spec::ModelSource>,
    model: Option<&ServedModel>,
) -> Option<String> {
    let entity = model.map(|model| model.name.to_string());
    let Some(source) = source else { return entity };
    let base = match (&source.namespace, entity) {
        (Some(namespace), _) => format!("{namespace}/{}", source.name),
        (None, Some(entity)) => entity,
        (None, None) => source.name.clone(),
    };
    Some(match &source.revision {
        Some(revision) => format!("{base}@{revision}"),
        None => base,
    })
}

impl<'a> Facts<'a> {
    fn new(input: LaunchInput<'a>) -> Result<Self, SpecError> {
        let defaults = engine::defaults(input.spec.engine);
        let image = image::of(input.spec, defaults)?;
        Ok(Self {
            input,
            defaults,
            source: Source::of(input, image.as_deref())?,
            tools: Tools::of(input)?,
            served_name: served_name(input.spec.model.as_ref(), input.model),
            image,
        })
    }

    /// All that is ours to say, before the user's own words; and who pulls the image.
    fn draft(&self) -> Result<(Draft, Option<RegistryLogin>), SpecError> {
        let mut draft = Draft::default();
        self.source.write(&mut draft);
        let login = self.login(&mut draft);
        match self.input.spec.engine {
            Engine::Nim => nim::write(self, &mut draft)?,
            Engine::Vllm => vllm::write(self, &mut draft)?,
            Engine::Generic => generic::write(self, &mut draft),
        }
        Ok((draft, login))
    }

    /// Where the instance finds what is mounted at `target`: a process has no paths of its own.
    fn path(&self, target: &str) -> String {
        match self.input.spec.runs {
            Runs::Image(_) => target.to_owned(),
            Runs::Command { .. } => format!("{{mount:{target}}}"),
        }
    }

    /// What the instance is told in the end to call its model; of several names the first.
    fn told_name(&self, draft: &Draft) -> Option<String> {
        let told = match self.input.spec.engine {
            Engine::Nim => match draft.env.get("NIM_SERVED_MODEL_NAME") {
                Some(EnvSource::Plain(names)) => names.split(',').next(),
                _ => None,
            },
            Engine::Vllm => args::last(&draft.args, "--served-model-name"),
            Engine::Generic => None,
        };
        told.map(str::to_owned).or_else(|| self.served_name.clone())
    }

    fn is_command(&self) -> bool {
        matches!(self.input.spec.runs, Runs::Command { .. })
    }

    /// Whether the user gives this argument, as `--name value`, `--name=value` or `--name`.
    fn has_arg(&self, name: &str) -> bool {
        let own: &[String] = match &self.input.spec.runs {
            Runs::Command { args, .. } => args,
            Runs::Image(_) => &[],
        };
        own.iter().chain(&self.input.spec.args).any(|arg| args::value_after(arg, name).is_some())
    }

    /// Who pulls the image. What comes from NVIDIA's registry gets the key too: it loads more when it starts.
    fn login(&self, draft: &mut Draft) -> Option<RegistryLogin> {
        let settings = self.input.settings;
        let server = image::registry(self.image.as_deref()?);
        let login = settings.registries.iter().find(|login| login.server == server).cloned();
        if server != image::NVIDIA {
            return login;
        }
        let key = self.source.ngc_api_key().or(settings.ngc_api_key.as_ref());
        let password = settings.ngc_api_key.as_ref().or(key).cloned();
        if let Some(key) = key {
            draft.secret("NGC_API_KEY", key);
        }
        login.or_else(|| Some(RegistryLogin::nvidia(password?)))
    }
}

#[cfg(test)]
mod tests;
