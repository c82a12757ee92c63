//! From what a config asks for to what a runtime is told: what it names is looked up, and secrets are opened.

use std::path::PathBuf;
use std::time::Duration;

use proto_shared::WorkspaceName;
use proto_shared::secret::SecretString;
use rusqlite::Connection;

use super::seen::Wanted;
use super::work::invalid;
use crate::Registry;
use crate::config::DeploymentConfig;
use crate::domain::deployment_config::ConfigBody;
use crate::domain::deployment_spec::{DeploymentSpec, Runs, SpecError};
use crate::domain::launch::{
    self, EnvSource, LaunchInput, LaunchPlan, LaunchSettings, MountKind, ServedModel,
};
use crate::domain::redact::{Redactor, names_a_secret};
use crate::domain::{EntityId, Reference};
use crate::error::Error;
use crate::files::FileError;
use crate::reconcile::adapters;
use crate::reconcile::instance_spec::{Means, Planned};
use crate::runtime::{DeploymentId, Fault, FaultKind, InstanceId};
use crate::store::instances::RuntimeKind;
use crate::store::{self, filesets, secrets};

/// What a version of a deployment asks for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub spec: DeploymentSpec,
    /// `workspace/name` of the model entity that it serves.
    pub model: Option<String>,
}

impl Asked {
    /// What a stored config says, or why it says nothing.
    pub fn of(config: Option<ConfigBody>) -> Result<Self, String> {
        let config = config.ok_or("its deployment config can't be read")?;
        let spec = DeploymentSpec::new(config.spelling.engine_config()).map_err(|error| error.to_string())?;
        Ok(Self { spec, model: config.model_entity_id })
    }
}

/// As much of it as the planner of deployments wants to know. `replicas` are asked for beside the config.
pub fn wanted(spec: &DeploymentSpec, replicas: Option<u32>) -> Wanted {
    let runtime = match &spec.runs {
        Runs::Image(_) => RuntimeKind::Docker,
        Runs::Command { .. } => RuntimeKind::Process,
    };
    let grace = spec.kubernetes.startup_probe_grace_seconds;
    let startup = grace.map_or(spec.startup_timeout, |seconds| Duration::from_secs(seconds.into()));
    let (gpus, replicas) = (spec.gpus, replicas.unwrap_or(spec.replicas));
    Wanted {
        runtime,
        gpus,
        replicas,
        health_path: launch::health_path(spec).to_owned(),
        metrics_path: launch::metrics_path(spec),
        startup,
    }
}

pub async fn plan(
    registry: &Registry,
    id: &InstanceId,
    asked: &Asked,
    gpus: Vec<String>,
) -> Result<Planned, Fault> {
    let plan = launch_plan(registry, &id.deployment, asked, gpus).await?;
    let loras = match plan.mounts.iter().any(|mount| mount.what == MountKind::Loras) {
        true => Some(adapters::prepare(registry, id, asked.model.as_deref()).await.map_err(of_store)?),
        false => None,
    };
    carry_out(registry, &id.deployment, plan, loras).await
}

async fn launch_plan(
    registry: &Registry,
    deployment: &DeploymentId,
    asked: &Asked,
    gpus: Vec<String>,
) -> Result<LaunchPlan, Fault> {
    let workspace = workspace_of(deployment)?;
    let (own, wanted) = (workspace.clone(), asked.clone());
    let DeploymentConfig { tool_call_plugins, registries, .. } = registry.inner.config.deployments.clone();
    let found = registry.inner.store.read(move |connection| look_up(connection, &own, &wanted));
    let LookedUp { model, mut settings, plugin } = found.await.map_err(of_store)?;
    (settings.tool_call_plugins, settings.registries) = (tool_call_plugins, registries);
    let plugin_file = match plugin {
        Some(fileset) => Some(the_plugin(registry, &fileset).await?),
        None => None,
    };
    launch::plan(LaunchInput {
        workspace: &workspace,
        spec: &asked.spec,
        model: model.as_ref(),
        plugin_file: plugin_file.as_deref(),
        gpus: &gpus,
        settings: &settings,
    })
    .map_err(|error| invalid(error.to_string()))
}

fn workspace_of(deployment: &DeploymentId) -> Result<WorkspaceName, Fault> {
    WorkspaceName::new(deployment.workspace()).map_err(|error| invalid(error.to_string()))
}

/// Blots out what an instance of this is told in secret. What can't be planned any more has no secrets that are known,
/// but for the key that every NIM gets.
pub async fn redactor(registry: &Registry, deployment: &DeploymentId, asked: Option<&Asked>) -> Redactor {
    let secrets = async {
        let asked = asked?;
        // Which devices they are changes no secret.
        let gpus = vec![String::new(); usize::try_from(asked.spec.gpus).ok()?];
        let plan = launch_plan(registry, deployment, asked, gpus).await.ok()?;
        let plain = plan.env.iter().filter_map(|(name, value)| match value {
            EnvSource::Plain(text) if names_a_secret(name) => Some(SecretString::from(text.clone())),
            _ => None,
        });
        let plain: Vec<_> = plain.collect();
        let workspace = workspace_of(deployment).ok()?;
        let opened = opened(registry, &workspace, plan.secrets().cloned().collect()).await.ok()?;
        Some(opened.into_iter().map(|(_, value)| value).chain(plain).collect::<Vec<_>>())
    };
    let ngc = registry.inner.config.ngc_api_key.clone();
    Redactor::new(secrets.await.unwrap_or_default().into_iter().chain(ngc))
}

struct LookedUp {
    model: Option<ServedModel>,
    settings: LaunchSettings,
    /// The fileset of a plugin, when one is used.
    plugin: Option<EntityId>,
}

fn look_up(connection: &Connection, own: &WorkspaceName, asked: &Asked) -> Result<LookedUp, Error> {
    let model = match &asked.model {
        Some(name) => Some(store::launching::served_model(connection, name)?.ok_or_else(|| {
            Error::refused(
                "model_entity_id",
                format!("the model {name} is not there; create it, or leave it out"),
            )
        })?),
        None => None,
    };
    let refused = |error: SpecError| Error::refused(error.field, error.reason);
    let plugin = match launch::plugin_of(own, &asked.spec, model.as_ref()).map_err(refused)? {
        Some(fileset) => Some(filesets::referred(connection, own, &fileset)?.id),
        None => None,
    };
    let ngc_api_key = store::launching::ngc_api_key(connection)?;
    Ok(LookedUp { model, settings: LaunchSettings { ngc_api_key, ..LaunchSettings::default() }, plugin })
}

/// The one `.py` file at the top of the fileset.
async fn the_plugin(registry: &Registry, fileset: &EntityId) -> Result<String, Fault> {
    let files = registry.inner.files.list_top(fileset).await.map_err(|error| invalid(error.to_string()))?;
    let mut names = files.iter().map(|file| file.path.to_string()).filter(|name| name.ends_with(".py"));
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        _ => Err(invalid("tool_call_plugin: its fileset should hold exactly one .py file at its top")),
    }
}

/// With the values of its secrets and the folders of its files.
async fn carry_out(
    registry: &Registry,
    deployment: &DeploymentId,
    plan: LaunchPlan,
    loras: Option<PathBuf>,
) -> Result<Planned, Fault> {
    let workspace = workspace_of(deployment)?;
    let values = opened(registry, &workspace, plan.secrets().cloned().collect()).await?;
    let filesets = plan.mounts.iter().filter_map(|mount| match &mount.what {
        MountKind::Fileset(fileset) => Some(fileset.clone()),
        MountKind::ModelCache | MountKind::Loras => None,
    });
    let filesets: Vec<_> = filesets.collect();
    let found = registry.inner.store.read(move |read| {
        let mut folders = Vec::new();
        for fileset in filesets {
            let found = filesets::find(read, &workspace, &fileset)?;
            folders.extend(found.map(|found| (fileset, found.id)));
        }
        Ok(folders)
    });
    let folders = found.await.map_err(of_store)?;
    for (_, fileset) in &folders {
        match registry.inner.files.make_readable(fileset).await {
            // One without files has no folder, which the runtime says.
            Ok(()) | Err(FileError::NotFound) => {}
            Err(error) => return Err(of_store(error.into())),
        }
    }
    Means {
        deployment,
        secret: &|name| values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        folder: &|what| match what {
            MountKind::Fileset(fileset) => folders
                .iter()
                .find(|(known, _)| known == fileset)
                .map(|(_, id)| PathBuf::from(id.to_string())),
            MountKind::Loras => loras.clone(),
            MountKind::ModelCache => None,
        },
    }
    .apply(&plan)
}

/// The values of those that are there.
async fn opened(
    registry: &Registry,
    workspace: &WorkspaceName,
    names: Vec<Reference>,
) -> Result<Vec<(Reference, SecretString)>, Fault> {
    let workspace = workspace.clone();
    let sealed = registry.inner.store.read(move |read| {
        let mut sealed = Vec::new();
        for name in names {
            let secret = secrets::sealed(read, name.workspace(&workspace).as_str(), name.name().as_str())?;
            sealed.extend(secret.map(|secret| (name, secret)));
        }
        Ok(sealed)
    });
    let mut values = Vec::new();
    for (name, secret) in sealed.await.map_err(of_store)? {
        let value = registry.inner.config.master_key.open(&secret);
        let value = value.map_err(|error| invalid(format!("the secret {name}: {error}")))?;
        values.push((name, value));
    }
    Ok(values)
}

/// What is refused stays so; what failed inside may work later.
fn of_store(error: Error) -> Fault {
    match error {
        Error::Store(error) => Fault::new(FaultKind::Engine, error.to_string()),
        error => invalid(error.to_string()),
    }
}
