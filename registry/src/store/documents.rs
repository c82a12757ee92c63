//! Documents: kinds of things that are a name, a few common columns, and a JSON body.
//!
//! One table for each kind, all with the same columns; a kind with more than that has a module of its own.

use proto_shared::WorkspaceName;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::page::{self, Source, json, parsed, to_json};
use super::writer::Write;
use crate::domain::document::Draft;
use crate::domain::filter::{Field, FieldKind};
use crate::domain::{Document, EntityId, Page, PageRequest, Timestamp};
use crate::error::Error;

/// One kind of document.
pub trait Kind {
    type Body: Serialize + DeserializeOwned;
    const TABLE: &'static str;
    /// What ids begin with.
    const ID: &'static str;
    /// What errors call it, as in "Prompt".
    const NOUN: &'static str;

    fn not_found(workspace: &str, name: &str) -> Error {
        Error::NotFound(format!("{} '{workspace}/{name}' not found", Self::NOUN))
    }
}

/// The filter fields that every kind has.
pub const NAME: Field = Field { name: "name", kind: FieldKind::Text, column: "name" };
pub const WORKSPACE: Field = Field { name: "workspace", kind: FieldKind::Text, column: "workspace" };
pub const PROJECT: Field = Field { name: "project", kind: FieldKind::Text, column: "project" };
pub const DESCRIPTION: Field = Field { name: "description", kind: FieldKind::Text, column: "description" };
pub const CREATED_AT: Field = Field { name: "created_at", kind: FieldKind::Time, column: "created_us" };
pub const UPDATED_AT: Field = Field { name: "updated_at", kind: FieldKind::Time, column: "updated_us" };

const COLUMNS: &str = "seq, id, workspace, name, project, description, body, created_us, updated_us";

pub(super) fn decode<B: DeserializeOwned>(row: &Row<'_>) -> rusqlite::Result<Document<B>> {
    Ok(Document {
        seq: row.get(0)?,
        id: EntityId::stored(row.get(1)?),
        workspace: parsed(row, 2)?,
        name: parsed(row, 3)?,
        project: row.get(4)?,
        description: row.get(5)?,
        body: json(row, 6)?,
        created: Timestamp(row.get(7)?),
        updated: Timestamp(row.get(8)?),
    })
}

pub fn list<K: Kind>(
    connection: &Connection,
    workspace: Option<&str>,
    request: &PageRequest,
) -> Result<Page<Document<K::Body>>, Error> {
    let source = Source { from: K::TABLE, columns: COLUMNS, has_workspace: true };
    page::list(connection, source, workspace, request, decode)
}

pub fn find<K: Kind>(
    connection: &Connection,
    workspace: &str,
    name: &str,
) -> Result<Option<Document<K::Body>>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE workspace = ?1 AND name = ?2", K::TABLE);
    Ok(connection.prepare_cached(&sql)?.query_row([workspace, name], decode).optional()?)
}

pub fn get<K: Kind>(
    connection: &Connection,
    workspace: &str,
    name: &str,
) -> Result<Document<K::Body>, Error> {
    find::<K>(connection, workspace, name)?.ok_or_else(|| K::not_found(workspace, name))
}

/// All of which a condition holds, oldest first. The condition is one of ours; values are bound.
pub(super) fn find_all<K: Kind>(
    connection: &Connection,
    condition: &'static str,
    values: impl rusqlite::Params,
) -> Result<Vec<Document<K::Body>>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE {condition} ORDER BY seq", K::TABLE);
    Ok(connection.prepare_cached(&sql)?.query_map(values, decode)?.collect::<Result<_, _>>()?)
}

pub fn insert<K: Kind>(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    draft: &Draft<K::Body>,
) -> Result<Document<K::Body>, Error> {
    let Draft { name, project, description, body } = draft;
    let sql = format!(
        "INSERT INTO {} (id, workspace, name, project, description, body, created_us, updated_us) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT (workspace, name) DO NOTHING",
        K::TABLE
    );
    let inserted = write.prepare_cached(&sql)?.execute((
        write.new_id(K::ID).as_str(),
        workspace.as_str(),
        name.as_str(),
        project,
        description,
        to_json(body)?,
        write.now().0,
    ))?;
    if inserted == 0 {
        return Err(Error::AlreadyExists(format!("{} '{workspace}/{name}' already exists", K::NOUN)));
    }
    get::<K>(write, workspace.as_str(), name.as_str())
}

/// Stores `document` in place of what has its number.
pub fn update<K: Kind>(write: &Write<'_>, document: &Document<K::Body>) -> Result<Document<K::Body>, Error> {
    let sql = format!(
        "UPDATE {} SET name = ?2, project = ?3, description = ?4, body = ?5, updated_us = ?6 WHERE seq = ?1",
        K::TABLE
    );
    write.prepare_cached(&sql)?.execute((
        document.seq,
        document.name.as_str(),
        &document.project,
        &document.description,
        to_json(&document.body)?,
        write.now().0,
    ))?;
    get::<K>(write, document.workspace.as_str(), document.name.as_str())
}

/// Deletes it, and gives what it was.
pub fn delete<K: Kind>(write: &Write<'_>, workspace: &str, name: &str) -> Result<Document<K::Body>, Error> {
    let document = get::<K>(write, workspace, name)?;
    write.prepare_cached(&format!("DELETE FROM {} WHERE seq = ?1", K::TABLE))?.execute([document.seq])?;
    Ok(document)
}
