//! Filesets.

use std::collections::HashSet;

use proto_shared::WorkspaceName;
use rusqlite::Connection;

use super::documents::{self, CREATED_AT, DESCRIPTION, Kind, NAME, PROJECT, UPDATED_AT, WORKSPACE};
use super::page::to_json;
use super::writer::Write;
use crate::domain::fileset::FilesetBody;
use crate::domain::filter::{Field, FieldKind};
use crate::domain::model_spec::SpecParts;
use crate::domain::{Document, EntityId, ListRules, Reference, Sort};
use crate::error::Error;

pub struct Filesets;

pub type Fileset = Document<FilesetBody>;

impl Kind for Filesets {
    type Body = FilesetBody;
    const TABLE: &'static str = "filesets";
    const ID: &'static str = "fileset";
    const NOUN: &'static str = "Fileset";

    fn not_found(workspace: &str, name: &str) -> Error {
        Error::NotFound(format!("Fileset '{name}' not found in workspace '{workspace}'"))
    }
}

const PURPOSE: Field =
    Field { name: "purpose", kind: FieldKind::Text, column: "json_extract(body, '$.purpose')" };
const STORAGE_TYPE: Field =
    Field { name: "storage_type", kind: FieldKind::Text, column: "json_extract(body, '$.storage.type')" };

pub const LIST: ListRules = ListRules {
    default_size: 10,
    size_max: 100,
    default_sort: Sort::NEWEST_FIRST,
    ..ListRules::with(&[NAME, DESCRIPTION, PURPOSE, STORAGE_TYPE, CREATED_AT, UPDATED_AT, WORKSPACE, PROJECT])
};

/// The fileset that something written in `workspace` refers to, which may have been deleted since.
pub fn find(
    connection: &Connection,
    workspace: &WorkspaceName,
    reference: &Reference,
) -> Result<Option<Fileset>, Error> {
    let (workspace, name) = (reference.workspace(workspace), reference.name());
    documents::find::<Filesets>(connection, workspace.as_str(), name.as_str())
}

/// The same, before a reference is stored. None there: 400.
pub fn referred(
    connection: &Connection,
    workspace: &WorkspaceName,
    reference: &Reference,
) -> Result<Fileset, Error> {
    find(connection, workspace, reference)?.ok_or_else(|| {
        let (workspace, name) = (reference.workspace(workspace), reference.name());
        let reason = format!("Fileset '{name}' not found in workspace '{workspace}'; create it first");
        Error::refused("fileset", reason)
    })
}

/// Whether the fileset with this id is still there.
pub fn exists(connection: &Connection, id: &str) -> Result<bool, Error> {
    Ok(connection.prepare_cached("SELECT 1 FROM filesets WHERE id = ?1")?.exists([id])?)
}

/// The ids of all filesets.
pub fn ids(connection: &Connection) -> Result<HashSet<String>, rusqlite::Error> {
    connection.prepare("SELECT id FROM filesets")?.query_map([], |row| row.get(0))?.collect()
}

/// Keeps what its files say about a model. The fileset itself was not changed by anybody, and says so.
pub fn set_found(write: &Write<'_>, id: &EntityId, found: Option<&SpecParts>) -> Result<(), Error> {
    write
        .prepare_cached("UPDATE filesets SET body = json_set(body, '$.found', json(?2)) WHERE id = ?1")?
        .execute((id.as_str(), to_json(&found)?))?;
    Ok(())
}
