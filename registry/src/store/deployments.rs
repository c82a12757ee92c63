//! Deployments: all versions of each, and how far each has come.
//!
//! Invariants:
//! - Status, message and history are written together, from a [`Lifecycle`].
//! - Every write that leaves something to do wakes the reconciler.

use proto_shared::WorkspaceName;
use proto_shared::names::EntityName;
use rusqlite::{Connection, OptionalExtension, Row};

use super::documents::{CREATED_AT, NAME, PROJECT, UPDATED_AT, WORKSPACE};
use super::page::{self, Source, json, parsed, to_json};
use super::writer::Write;
use super::{deployment_configs, versions};
use crate::domain::deployment::{Lifecycle, TransitionError};
use crate::domain::filter::{Field, FieldKind};
use crate::domain::{Deployment, DeploymentStatus, EntityId, ListRules, Page, PageRequest, Timestamp};
use crate::error::Error;

const TABLE: &str = "deployments";
const COLUMNS: &str = "seq, id, workspace, name, version, project, config, config_version, status, \
    status_message, status_us, status_history, model_provider_id, created_us, updated_us, replicas, \
    ready_replicas";
/// The provider that the controller named, or else the oldest one that names the deployment. In a
/// filter only: a list would look it up for every row that it sorts.
const PROVIDER: &str = "coalesce(model_provider_id, (SELECT p.workspace || '/' || p.name FROM providers p \
    WHERE p.model_deployment_id = deployments.workspace || '/' || deployments.name \
    AND p.workspace = deployments.workspace ORDER BY p.seq LIMIT 1))";

pub const LIST: ListRules = ListRules {
    pages_min: 1,
    ..ListRules::with(&[
        WORKSPACE,
        PROJECT,
        Field { name: "status", kind: FieldKind::Text, column: "status" },
        Field { name: "config", kind: FieldKind::Text, column: "config" },
        Field { name: "model_provider_id", kind: FieldKind::Text, column: PROVIDER },
        NAME,
        Field { name: "status_message", kind: FieldKind::Text, column: "status_message" },
        CREATED_AT,
        UPDATED_AT,
    ])
};

/// Which versions are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    Latest,
    All,
}

/// What an owner asks to run.
#[derive(Debug, Clone)]
pub struct Order {
    pub project: Option<String>,
    pub config: String,
    /// Absent: the latest.
    pub config_version: Option<i64>,
    /// Absent: as many as its config says, or as the version before.
    pub replicas: Option<u32>,
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Deployment> {
    let status: String = row.get(8)?;
    let status = status.parse().unwrap_or(DeploymentStatus::Unknown);
    Ok(Deployment {
        seq: row.get(0)?,
        id: EntityId::stored(row.get(1)?),
        workspace: parsed(row, 2)?,
        name: parsed(row, 3)?,
        version: row.get(4)?,
        project: row.get(5)?,
        config: row.get(6)?,
        config_version: row.get(7)?,
        lifecycle: Lifecycle::stored(status, row.get(9)?, Timestamp(row.get(10)?), json(row, 11)?),
        model_provider_id: row.get(12)?,
        created: Timestamp(row.get(13)?),
        updated: Timestamp(row.get(14)?),
        replicas: row.get(15)?,
        ready_replicas: row.get(16)?,
    })
}

pub fn list(
    connection: &Connection,
    workspace: Option<&str>,
    versions: Versions,
    request: &PageRequest,
) -> Result<Page<Deployment>, Error> {
    let from = match versions {
        Versions::All => TABLE,
        Versions::Latest => "(SELECT * FROM deployments WHERE latest) AS deployments",
    };
    let source = Source { from, columns: COLUMNS, has_workspace: true };
    let Page { rows, total } = page::list(connection, source, workspace, request, decode)?;
    let rows = rows.into_iter().map(|row| with_provider(connection, row)).collect::<Result<_, _>>()?;
    Ok(Page { rows, total })
}

/// As [`PROVIDER`] says.
fn with_provider(connection: &Connection, mut deployment: Deployment) -> Result<Deployment, Error> {
    if deployment.model_provider_id.is_none() {
        let workspace = deployment.workspace.as_str();
        deployment.model_provider_id = connection
            .prepare_cached(
                "SELECT workspace || '/' || name FROM providers \
                 WHERE model_deployment_id = ?2 AND workspace = ?1 ORDER BY seq LIMIT 1",
            )?
            .query_row([workspace, &format!("{workspace}/{}", deployment.name)], |row| row.get(0))
            .optional()?;
    }
    Ok(deployment)
}

/// All versions, newest first.
pub fn versions(connection: &Connection, workspace: &str, name: &str) -> Result<Vec<Deployment>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM {TABLE} WHERE workspace = ?1 AND name = ?2 ORDER BY version DESC");
    let rows = connection
        .prepare_cached(&sql)?
        .query_map([workspace, name], decode)?
        .collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|row| with_provider(connection, row)).collect()
}

/// As it is stored: only with a provider that a controller named.
fn find(
    connection: &Connection,
    workspace: &str,
    name: &str,
    version: Option<i64>,
) -> Result<Option<Deployment>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {TABLE} \
         WHERE workspace = ?1 AND name = ?2 AND iif(?3 IS NULL, latest, version = ?3)"
    );
    Ok(connection.prepare_cached(&sql)?.query_row((workspace, name, version), decode).optional()?)
}

/// The latest version, or (`Some`) a particular one.
pub fn get(
    connection: &Connection,
    workspace: &str,
    name: &str,
    version: Option<i64>,
) -> Result<Deployment, Error> {
    let found = find(connection, workspace, name, version)?;
    with_provider(connection, found.ok_or_else(|| not_found(workspace, name, version))?)
}

fn not_found(workspace: &str, name: &str, version: Option<i64>) -> Error {
    let version = version.map(|version| format!(" version '{version}'")).unwrap_or_default();
    Error::NotFound(format!("Deployment '{workspace}/{name}'{version} not found"))
}

/// As it is stored.
pub fn by_seq(connection: &Connection, seq: i64) -> Result<Option<Deployment>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLE} WHERE seq = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([seq], decode).optional()?)
}

/// Stores version 1. A name whose deployment is DELETED is free again.
pub fn insert(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    name: &EntityName,
    order: &Order,
) -> Result<Deployment, Error> {
    let known = versions(write, workspace.as_str(), name.as_str())?;
    if known.iter().any(|version| version.lifecycle.status() != DeploymentStatus::Deleted) {
        return Err(Error::AlreadyExists(format!(
            "Deployment with workspace '{workspace}' and name '{name}' already exists"
        )));
    }
    for version in known {
        forget(write, &version)?;
    }
    let lifecycle = Lifecycle::created(write.now());
    insert_next(write, workspace, name, order, &lifecycle, None)
}

/// Stores the version after the latest.
pub fn insert_version(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    name: &EntityName,
    order: Order,
) -> Result<Deployment, Error> {
    let latest = find(write, workspace.as_str(), name.as_str(), None)?.ok_or_else(|| {
        let reason = format!("Deployment with workspace '{workspace}' and name '{name}' does not exist");
        Error::refused("name", reason)
    })?;
    if matches!(latest.lifecycle.status(), DeploymentStatus::Deleting | DeploymentStatus::Deleted) {
        let text =
            format!("Deployment '{workspace}/{name}' is being deleted; create it anew when it is gone");
        return Err(Error::Conflict(text));
    }
    let order = Order { project: latest.project, replicas: order.replicas.or(latest.replicas), ..order };
    let lifecycle = Lifecycle::updated(write.now());
    insert_next(write, workspace, name, &order, &lifecycle, latest.model_provider_id.as_deref())
}

fn insert_next(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    name: &EntityName,
    order: &Order,
    lifecycle: &Lifecycle,
    provider: Option<&str>,
) -> Result<Deployment, Error> {
    let config_version = pinned_version(write, workspace, order)?;
    let version = versions::next(write, TABLE, workspace.as_str(), name.as_str())?;
    write
        .prepare_cached(
            "INSERT INTO deployments (id, workspace, name, version, project, config, config_version, status, \
             status_message, status_us, status_history, model_provider_id, latest, created_us, updated_us, \
             replicas) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, TRUE, ?13, ?13, ?14)",
        )?
        .execute((
            write.new_id("model-deployment").as_str(),
            workspace.as_str(),
            name.as_str(),
            version,
            &order.project,
            &order.config,
            config_version,
            lifecycle.status().as_str(),
            lifecycle.message(),
            lifecycle.since().0,
            to_json(&lifecycle.history())?,
            provider,
            write.now().0,
            order.replicas,
        ))?;
    write.wake_reconciler();
    get(write, workspace.as_str(), name.as_str(), Some(version))
}

/// The version of the config that the deployment stands on from now on.
fn pinned_version(connection: &Connection, workspace: &WorkspaceName, order: &Order) -> Result<i64, Error> {
    let Order { config, config_version, .. } = order;
    let found = deployment_configs::find(connection, workspace.as_str(), config, *config_version)?;
    found.map(|found| found.version).ok_or_else(|| {
        let version = config_version.map(|version| format!(" version '{version}'")).unwrap_or_default();
        let reason = format!("Deployment config '{workspace}/{config}'{version} does not exist");
        Error::refused(if config_version.is_some() { "config_version" } else { "config" }, reason)
    })
}

/// Changes the lifecycle of a stored deployment by `step`, and stores it if that changed anything.
pub fn change(
    write: &Write<'_>,
    deployment: &mut Deployment,
    step: impl FnOnce(&mut Lifecycle, Timestamp) -> Result<bool, TransitionError>,
) -> Result<bool, Error> {
    let changed = step(&mut deployment.lifecycle, write.now())
        .map_err(|refused| Error::Conflict(refused.to_string()))?;
    if !changed {
        return Ok(false);
    }
    let lifecycle = &deployment.lifecycle;
    write
        .prepare_cached(
            "UPDATE deployments SET status = ?2, status_message = ?3, status_us = ?4, status_history = ?5, \
             updated_us = ?4 WHERE seq = ?1",
        )?
        .execute((
            deployment.seq,
            lifecycle.status().as_str(),
            lifecycle.message(),
            lifecycle.since().0,
            to_json(&lifecycle.history())?,
        ))?;
    write.wake_reconciler();
    Ok(true)
}

/// Has so many run from now on, and what runs goes on running; `None`: as many as its config says. One that was
/// given up is begun with again as far as there is anything to begin.
pub fn scale(
    write: &Write<'_>,
    workspace: &str,
    name: &str,
    replicas: Option<u32>,
) -> Result<Deployment, Error> {
    let mut latest = find(write, workspace, name, None)?.ok_or_else(|| not_found(workspace, name, None))?;
    if matches!(latest.lifecycle.status(), DeploymentStatus::Deleting | DeploymentStatus::Deleted) {
        return Err(Error::Conflict(format!("Deployment '{workspace}/{name}' is being deleted")));
    }
    if latest.replicas != replicas {
        write
            .prepare_cached("UPDATE deployments SET replicas = ?2, updated_us = ?3 WHERE seq = ?1")?
            .execute((latest.seq, replicas, write.now().0))?;
        if latest.lifecycle.status() == DeploymentStatus::Error && is_ours(write, latest.seq)? {
            let message = "Scaling";
            change(write, &mut latest, |life, now| life.advance(DeploymentStatus::Pending, message, now))?;
        }
        write.wake_reconciler();
    }
    get(write, workspace, name, None)
}

fn is_ours(connection: &Connection, seq: i64) -> Result<bool, Error> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM deployments WHERE seq = ?1 AND runtime IS NOT NULL")?
        .exists([seq])?)
}

/// Records how many of its instances take requests.
pub fn set_ready_replicas(write: &Write<'_>, seq: i64, ready: u32) -> Result<bool, Error> {
    let changed = write
        .prepare_cached(
            "UPDATE deployments SET ready_replicas = ?2 WHERE seq = ?1 AND ready_replicas IS NOT ?2",
        )?
        .execute((seq, ready))?;
    Ok(changed > 0)
}

/// Records which provider routes to it.
pub fn set_provider(write: &Write<'_>, deployment: &Deployment, provider: &str) -> Result<(), Error> {
    write
        .prepare_cached("UPDATE deployments SET model_provider_id = ?2, updated_us = ?3 WHERE seq = ?1")?
        .execute((deployment.seq, provider, write.now().0))?;
    Ok(())
}

/// Begins the deletion of all versions, or (`Some`) of one. What is DELETED already is forgotten.
pub fn delete(write: &Write<'_>, workspace: &str, name: &str, version: Option<i64>) -> Result<(), Error> {
    let mut asked = versions(write, workspace, name)?;
    asked.retain(|deployment| version.is_none_or(|version| deployment.version == version));
    if asked.is_empty() {
        return Err(not_found(workspace, name, version));
    }
    let is_deleted = |deployment: &Deployment| deployment.lifecycle.status() == DeploymentStatus::Deleted;
    if asked.iter().all(is_deleted) {
        return asked.iter().try_for_each(|deployment| forget(write, deployment));
    }
    for deployment in asked.iter_mut().filter(|deployment| !is_deleted(deployment)) {
        let why = "Deployment deletion requested";
        change(write, deployment, |lifecycle, now| lifecycle.request_deletion(why, now))?;
    }
    Ok(())
}

/// Removes the record of one version.
pub fn forget(write: &Write<'_>, deployment: &Deployment) -> Result<(), Error> {
    write.prepare_cached("DELETE FROM deployments WHERE seq = ?1")?.execute([deployment.seq])?;
    versions::settle(write, TABLE, deployment.workspace.as_str(), deployment.name.as_str())
}
