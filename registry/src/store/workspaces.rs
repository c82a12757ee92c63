//! Workspaces.

use std::collections::HashSet;

use proto_shared::WorkspaceName;
use rusqlite::{Connection, OptionalExtension, Row};

use super::documents::{CREATED_AT, DESCRIPTION, NAME, UPDATED_AT};
use super::page::{self, Source, parsed};
use super::writer::Write;
use crate::domain::{EntityId, ListRules, Page, PageRequest, Sort, Timestamp, Workspace};
use crate::error::Error;

/// There from the first start.
const BUILT_IN: [&str; 2] = ["default", "system"];
const COLUMNS: &str = "id, name, description, created_us, updated_us, local_only";

pub const LIST: ListRules = ListRules {
    default_sort: Sort::NEWEST_FIRST,
    ..ListRules::with(&[NAME, DESCRIPTION, CREATED_AT, UPDATED_AT])
};

fn decode(row: &Row<'_>) -> rusqlite::Result<Workspace> {
    Ok(Workspace {
        id: EntityId::stored(row.get(0)?),
        name: parsed(row, 1)?,
        description: row.get(2)?,
        created: Timestamp(row.get(3)?),
        updated: Timestamp(row.get(4)?),
        local_only: row.get(5)?,
    })
}

pub fn list(connection: &Connection, request: &PageRequest) -> Result<Page<Workspace>, Error> {
    let source = Source { from: "workspaces", columns: COLUMNS, has_workspace: false };
    page::list(connection, source, None, request, decode)
}

pub fn get(connection: &Connection, name: &str) -> Result<Workspace, Error> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM workspaces WHERE name = ?1"))?
        .query_row([name], decode)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("Workspace '{name}' not found")))
}

pub fn exists(connection: &Connection, name: &str) -> Result<bool, Error> {
    Ok(connection.prepare_cached("SELECT 1 FROM workspaces WHERE name = ?1")?.exists([name])?)
}

/// Before a list: the workspace it is of, or `None` for all (`-`). An unknown one is not an empty one.
pub fn listed<'n>(connection: &Connection, name: &'n str) -> Result<Option<&'n str>, Error> {
    if name == "-" {
        return Ok(None);
    }
    if exists(connection, name)? {
        return Ok(Some(name));
    }
    Err(Error::NotFound(format!("Workspace '{name}' not found")))
}

/// Before something is made or changed in it: it is there, and not on its way out.
pub fn require_target(connection: &Connection, name: &str) -> Result<WorkspaceName, Error> {
    let no_workspace = || Error::NoWorkspace(name.chars().take(255).collect());
    match is_leaving(connection, name)? {
        Some(false) => WorkspaceName::new(name).map_err(|_| no_workspace()),
        Some(true) => Err(leaving(name)),
        None => Err(no_workspace()),
    }
}

/// Whether it is on its way out; `None` when there is no such workspace.
fn is_leaving(connection: &Connection, name: &str) -> Result<Option<bool>, Error> {
    let leaving = connection
        .prepare_cached("SELECT deleting_us IS NOT NULL FROM workspaces WHERE name = ?1")?
        .query_row([name], |row| row.get(0));
    Ok(leaving.optional()?)
}

fn leaving(name: &str) -> Error {
    Error::Conflict(format!("Workspace '{name}' is being deleted; wait until it is gone, or use another"))
}

/// Changes what is given.
pub fn update(
    write: &Write<'_>,
    name: &str,
    description: Option<&str>,
    local_only: Option<bool>,
) -> Result<Workspace, Error> {
    let before = get(write, name)?;
    require_target(write, name)?;
    let local_only = local_only.unwrap_or(before.local_only);
    if local_only != before.local_only {
        write.touch_models()?;
    }
    write
        .prepare_cached(
            "UPDATE workspaces SET description = coalesce(?2, description), local_only = ?3, updated_us = ?4 \
             WHERE name = ?1",
        )?
        .execute((name, description, local_only, write.now().0))?;
    get(write, name)
}

/// Takes its routes away at once, and has the reconciler remove what it holds, and then itself.
pub fn begin_deletion(write: &Write<'_>, name: &str) -> Result<Workspace, Error> {
    get(write, name)?;
    if BUILT_IN.contains(&name) {
        return Err(Error::Forbidden(format!("Workspace '{name}' is built in and can't be deleted")));
    }
    if is_leaving(write, name)? == Some(false) {
        write.touch_models()?;
        write
            .prepare_cached("UPDATE workspaces SET deleting_us = ?2, updated_us = ?2 WHERE name = ?1")?
            .execute((name, write.now().0))?;
    }
    write.wake_reconciler();
    get(write, name)
}

pub fn insert(
    write: &Write<'_>,
    name: &WorkspaceName,
    description: Option<&str>,
    local_only: bool,
) -> Result<Workspace, Error> {
    if exists(write, name.as_str())? {
        return Err(Error::AlreadyExists(format!("Workspace '{name}' already exists")));
    }
    let id = write.new_id("workspace");
    if local_only {
        write.touch_models()?
    } else {
        write.touch_routes().map(drop)?
    }
    write
        .prepare_cached(
            "INSERT INTO workspaces (id, name, description, local_only, created_us, updated_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        )?
        .execute((id.as_str(), name.as_str(), description, local_only, write.now().0))?;
    get(write, name.as_str())
}

/// Those whose requests never go to a hosted provider.
pub fn local_only(connection: &Connection) -> Result<HashSet<WorkspaceName>, Error> {
    let workspaces = connection
        .prepare_cached("SELECT name FROM workspaces WHERE local_only")?
        .query_map([], |row| parsed(row, 0))?
        .collect::<Result<_, _>>()?;
    Ok(workspaces)
}

pub(super) fn insert_built_in(connection: &Connection) -> Result<(), rusqlite::Error> {
    for name in BUILT_IN {
        let id = EntityId::new("workspace", uuid::Uuid::new_v4().as_u128());
        connection.execute(
            "INSERT OR IGNORE INTO workspaces (id, name, created_us, updated_us) \
             VALUES (?1, ?2, unixepoch('subsec') * 1000000, unixepoch('subsec') * 1000000)",
            [id.as_str(), name],
        )?;
    }
    Ok(())
}
