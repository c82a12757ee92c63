//! From what a config asks for to what a runtime is told: what it names is looked up, and secrets are opened.

use std::path::PathBuf;
use std::time::Duration;

use proto_shared::WorkspaceName;
use rusqlite::Connection;

use super::seen::Wanted;
use super::work::invalid;
use crate::Registry;
use crate::domain::EntityId;
use crate::domain::deployment_spec::{DeploymentSpec, Runs, SpecError};
use crate::domain::launch::{self, LaunchInput, LaunchPlan, LaunchSettings, MountKind, ServedModel};
use crate::error::Error;
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

/// As much of it as the planner of deployments wants to know.
pub fn wanted(spec: &DeploymentSpec) -> Result<Wanted, String> {
    if spec.replicas > 1 {
        return Err("replicas: one instance of a deployment is run so far; set replicas to 1, or make a deployment for \
                    each: a model that several of them serve fails over"
            .into());
    }
    let runtime = match &spec.runs {
        Runs::Image(_) => RuntimeKind::Docker,
        Runs::Command { .. } => RuntimeKind::Process,
    };
    let grace = spec.kubernetes.startup_probe_grace_seconds;
    let startup = grace.map_or(spec.startup_timeout, |seconds| Duration::from_secs(seconds.into()));
    Ok(Wanted { runtime, gpus: spec.gpus, health_path: launch::health_path(spec).to_owned(), startup })
}

pub async fn plan(
    registry: &Registry,
    id: &InstanceId,
    asked: &Asked,
    gpus: Vec<String>,
) -> Result<Planned, Fault> {
    let workspace =
        WorkspaceName::new(id.deployment.workspace()).map_err(|error| invalid(error.to_string()))?;
    let (own, wanted) = (workspace.clone(), asked.clone());
    let plugins = registry.inner.config.deployments.tool_call_plugins;
    let found = registry.inner.store.read(move |connection| look_up(connection, &own, &wanted));
    let LookedUp { model, mut settings, plugin } = found.await.map_err(of_store)?;
    settings.tool_call_plugins = plugins;
    let plugin_file = match plugin {
        Some(fileset) => Some(the_plugin(registry, &fileset).await?),
        None => None,
    };
    let plan = launch::plan(LaunchInput {
        workspace: &workspace,
        spec: &asked.spec,
        model: model.as_ref(),
        plugin_file: plugin_file.as_deref(),
        gpus: &gpus,
        settings: &settings,
    })
    .map_err(|error| invalid(error.to_string()))?;
    carry_out(registry, &id.deployment, plan).await
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
) -> Result<Planned, Fault> {
    let workspace = WorkspaceName::new(deployment.workspace()).map_err(|error| invalid(error.to_string()))?;
    let names: Vec<_> = plan.secrets().cloned().collect();
    let filesets = plan.mounts.iter().filter_map(|mount| match &mount.what {
        MountKind::Fileset(fileset) => Some(fileset.clone()),
        MountKind::ModelCache | MountKind::Loras => None,
    });
    let filesets: Vec<_> = filesets.collect();
    let found = registry.inner.store.read(move |read| {
        let mut sealed = Vec::new();
        for name in names {
            let secret = secrets::sealed(read, name.workspace(&workspace).as_str(), name.name().as_str())?;
            sealed.extend(secret.map(|secret| (name, secret)));
        }
        let mut folders = Vec::new();
        for fileset in filesets {
            let found = filesets::find(read, &workspace, &fileset)?;
            folders.extend(found.map(|found| (fileset, PathBuf::from(found.id.to_string()))));
        }
        Ok((sealed, folders))
    });
    let (sealed, folders) = found.await.map_err(of_store)?;
    let mut values = Vec::with_capacity(sealed.len());
    for (name, secret) in sealed {
        let value = registry.inner.config.master_key.open(&secret);
        values.push((name.clone(), value.map_err(|error| invalid(format!("the secret {name}: {error}")))?));
    }
    Means {
        deployment,
        secret: &|name| values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        folder: &|what| match what {
            MountKind::Fileset(fileset) => {
                folders.iter().find(|(known, _)| known == fileset).map(|(_, folder)| folder.clone())
            }
            MountKind::ModelCache | MountKind::Loras => None,
        },
    }
    .apply(&plan)
}

/// What is refused stays so; what failed inside may work later.
fn of_store(error: Error) -> Fault {
    match error {
        Error::Store(error) => Fault::new(FaultKind::Engine, error.to_string()),
        error => invalid(error.to_string()),
    }
}
