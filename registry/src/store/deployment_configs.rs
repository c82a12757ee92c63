//! Deployment configs. A stored version is never changed.

use proto_shared::WorkspaceName;
use proto_shared::names::EntityName;
use rusqlite::{Connection, OptionalExtension, Row};

use super::documents::{CREATED_AT, DESCRIPTION, NAME, PROJECT, UPDATED_AT, WORKSPACE};
use super::page::{self, Source, json, parsed, to_json};
use super::versions;
use super::writer::Write;
use crate::domain::deployment_config::ConfigBody;
use crate::domain::deployment_spec::DeploymentSpec;
use crate::domain::document::Draft;
use crate::domain::filter::{Field, FieldKind};
use crate::domain::{Document, EntityId, ListRules, Page, PageRequest, Timestamp};
use crate::error::Error;

const TABLE: &str = "deployment_configs";
const COLUMNS: &str = "seq, id, workspace, name, project, description, body, created_us, updated_us, version";
/// Most deployments that an error names.
const NAMED_USERS_MAX: usize = 5;

pub const LIST: ListRules = ListRules {
    pages_min: 1,
    ..ListRules::with(&[
        WORKSPACE,
        PROJECT,
        Field {
            name: "model_entity_id",
            kind: FieldKind::Text,
            column: "json_extract(body, '$.model_entity_id')",
        },
        NAME,
        DESCRIPTION,
        CREATED_AT,
        UPDATED_AT,
    ])
};

/// One version of a config.
#[derive(Debug, Clone)]
pub struct ConfigVersion {
    pub version: i64,
    pub document: Document<ConfigBody>,
}

fn decode(row: &Row<'_>) -> rusqlite::Result<ConfigVersion> {
    let document = Document {
        seq: row.get(0)?,
        id: EntityId::stored(row.get(1)?),
        workspace: parsed(row, 2)?,
        name: parsed(row, 3)?,
        project: row.get(4)?,
        description: row.get(5)?,
        body: json(row, 6)?,
        created: Timestamp(row.get(7)?),
        updated: Timestamp(row.get(8)?),
    };
    Ok(ConfigVersion { version: row.get(9)?, document })
}

/// The latest version of each.
pub fn list(
    connection: &Connection,
    workspace: Option<&str>,
    request: &PageRequest,
) -> Result<Page<ConfigVersion>, Error> {
    let from = "(SELECT * FROM deployment_configs WHERE latest) AS deployment_configs";
    let source = Source { from, columns: COLUMNS, has_workspace: true };
    page::list(connection, source, workspace, request, decode)
}

/// All versions, newest first.
pub fn versions(connection: &Connection, workspace: &str, name: &str) -> Result<Vec<ConfigVersion>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM {TABLE} WHERE workspace = ?1 AND name = ?2 ORDER BY version DESC");
    let rows =
        connection.prepare_cached(&sql)?.query_map([workspace, name], decode)?.collect::<Result<_, _>>();
    Ok(rows?)
}

/// The latest version, or (`Some`) a particular one.
pub fn find(
    connection: &Connection,
    workspace: &str,
    name: &str,
    version: Option<i64>,
) -> Result<Option<ConfigVersion>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {TABLE} \
         WHERE workspace = ?1 AND name = ?2 AND iif(?3 IS NULL, latest, version = ?3)"
    );
    Ok(connection.prepare_cached(&sql)?.query_row((workspace, name, version), decode).optional()?)
}

pub fn get(
    connection: &Connection,
    workspace: &str,
    name: &str,
    version: Option<i64>,
) -> Result<ConfigVersion, Error> {
    find(connection, workspace, name, version)?.ok_or_else(|| {
        let version = version.map(|version| format!(" version '{version}'")).unwrap_or_default();
        Error::NotFound(format!("Deployment config '{workspace}/{name}'{version} not found"))
    })
}

/// Stores version 1. `spec` is what the draft means.
pub fn insert(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    draft: Draft<ConfigBody>,
    spec: &DeploymentSpec,
) -> Result<ConfigVersion, Error> {
    let name = draft.name.as_str();
    if find(write, workspace.as_str(), name, None)?.is_some() {
        return Err(Error::AlreadyExists(format!("Deployment config '{workspace}/{name}' already exists")));
    }
    insert_next(write, workspace, draft, spec)
}

/// Stores the version after the latest. The project stays what it was unless another is given.
pub fn insert_version(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    mut draft: Draft<ConfigBody>,
    spec: &DeploymentSpec,
) -> Result<ConfigVersion, Error> {
    let name: EntityName = draft.name.clone();
    let latest = find(write, workspace.as_str(), name.as_str(), None)?.ok_or_else(|| {
        let reason =
            format!("Deployment config with workspace '{workspace}' and name '{name}' does not exist");
        Error::refused("name", reason)
    })?;
    draft.project = draft.project.or(latest.document.project);
    insert_next(write, workspace, draft, spec)
}

fn insert_next(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    draft: Draft<ConfigBody>,
    spec: &DeploymentSpec,
) -> Result<ConfigVersion, Error> {
    let Draft { name, project, description, mut body } = draft;
    let version = versions::next(write, TABLE, workspace.as_str(), name.as_str())?;
    if body.model_entity_id.is_none() {
        body.model_entity_id = model_entity(write, spec)?;
    }
    write
        .prepare_cached(
            "INSERT INTO deployment_configs \
             (id, workspace, name, version, project, description, body, latest, created_us, updated_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, TRUE, ?8, ?8)",
        )?
        .execute((
            write.new_id("model-deployment-config").as_str(),
            workspace.as_str(),
            name.as_str(),
            version,
            project,
            description,
            to_json(&body)?,
            write.now().0,
        ))?;
    get(write, workspace.as_str(), name.as_str(), Some(version))
}

/// The model entity that a config means, when the model it names is one of ours.
fn model_entity(connection: &Connection, spec: &DeploymentSpec) -> Result<Option<String>, Error> {
    let Some(source) = spec.model.as_ref().filter(|source| source.origin.is_none()) else { return Ok(None) };
    let Some(namespace) = &source.namespace else { return Ok(None) };
    let is_ours = connection
        .prepare_cached("SELECT 1 FROM models WHERE workspace = ?1 AND name = ?2")?
        .exists([namespace, &source.name])?;
    Ok(is_ours.then(|| format!("{namespace}/{}", source.name)))
}

/// Removes all versions, or (`Some`) one.
pub fn delete(write: &Write<'_>, workspace: &str, name: &str, version: Option<i64>) -> Result<(), Error> {
    get(write, workspace, name, version)?;
    refuse_in_use(write, workspace, name, version)?;
    write
        .prepare_cached(
            "DELETE FROM deployment_configs \
             WHERE workspace = ?1 AND name = ?2 AND (?3 IS NULL OR version = ?3)",
        )?
        .execute((workspace, name, version))?;
    versions::settle(write, TABLE, workspace, name)
}

/// In use is what the latest version of a deployment stands on, unless that is gone.
fn refuse_in_use(
    connection: &Connection,
    workspace: &str,
    name: &str,
    version: Option<i64>,
) -> Result<(), Error> {
    let users = connection
        .prepare_cached(
            "SELECT name FROM deployments WHERE workspace = ?1 AND config = ?2 \
             AND (?3 IS NULL OR config_version = ?3) AND latest AND status != 'DELETED' ORDER BY seq",
        )?
        .query_map((workspace, name, version), |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    if users.is_empty() {
        return Ok(());
    }
    let more = if users.len() > NAMED_USERS_MAX { ", …" } else { "" };
    let named = users.iter().take(NAMED_USERS_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
    Err(Error::Conflict(format!(
        "Cannot delete deployment config '{workspace}/{name}'{version}: {} deployment(s) still reference it \
         ({named}{more}); delete them first",
        users.len()
    )))
}
