//! Adapters.

use std::collections::HashMap;

use proto_shared::WorkspaceName;
use rusqlite::Connection;

use super::documents::{self, CREATED_AT, DESCRIPTION, Kind, NAME, UPDATED_AT, WORKSPACE};
use super::writer::Write;
use super::{filesets, models};
use crate::domain::adapter::AdapterBody;
use crate::domain::document::Draft;
use crate::domain::fileset::Storage;
use crate::domain::filter::{Field, FieldKind};
use crate::domain::routes::AdapterNames;
use crate::domain::{Document, EntityId, ListRules, Reference, launch};
use crate::error::Error;

pub struct Adapters;

impl Kind for Adapters {
    type Body = AdapterBody;
    const TABLE: &'static str = "adapters";
    const ID: &'static str = "adapter";
    const NOUN: &'static str = "Adapter";
}

const fn text(name: &'static str, column: &'static str) -> Field {
    Field { name, kind: FieldKind::Text, column }
}

pub const LIST: ListRules = ListRules::with(&[
    WORKSPACE,
    NAME,
    text("model", "json_extract(body, '$.model')"),
    DESCRIPTION,
    text("fileset", "json_extract(body, '$.fileset')"),
    text("finetuning_type", "json_extract(body, '$.finetuning_type')"),
    Field { name: "enabled", kind: FieldKind::Bool, column: "json_extract(body, '$.enabled')" },
    CREATED_AT,
    UPDATED_AT,
]);

/// `model`: the base model it must have, by its name in the same workspace.
pub fn get(
    connection: &Connection,
    workspace: &str,
    model: Option<&str>,
    name: &str,
) -> Result<Document<AdapterBody>, Error> {
    let adapter = documents::get::<Adapters>(connection, workspace, name)?;
    let is_of = |model: &str| adapter.body.model.to_string() == format!("{workspace}/{model}");
    if model.is_none_or(is_of) { Ok(adapter) } else { Err(Adapters::not_found(workspace, name)) }
}

/// Stores one whose fileset was found fit.
pub fn insert(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    draft: &Draft<AdapterBody>,
) -> Result<Document<AdapterBody>, Error> {
    let model = &draft.body.model;
    models::document(write, model.workspace(workspace).as_str(), model.name().as_str())?;
    filesets::referred(write, workspace, &draft.body.fileset)?;
    write.touch_models()?;
    documents::insert::<Adapters>(write, workspace, draft)
}

pub fn delete(write: &Write<'_>, workspace: &str, model: Option<&str>, name: &str) -> Result<(), Error> {
    get(write, workspace, model, name)?;
    write.touch_models()?;
    documents::delete::<Adapters>(write, workspace, name).map(drop)
}

/// The adapters of a model, oldest first, in whichever workspaces they are.
pub fn of_model(
    connection: &Connection,
    workspace: &str,
    model: &str,
) -> Result<Vec<Document<AdapterBody>>, Error> {
    // The condition is the index's expression, word for word.
    documents::find_all::<Adapters>(
        connection,
        "json_extract(body, '$.model') = ?1",
        [format!("{workspace}/{model}")],
    )
}

/// An adapter that may be used: the folder in which servers find it, and the fileset with its files; none when that is not
/// here.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub folder: String,
    pub fileset: Option<EntityId>,
}

/// Those of the model entity `workspace/name`, the oldest first.
pub fn wanted(connection: &Connection, model: &str) -> Result<Vec<Wanted>, Error> {
    let Some((workspace, name)) = model.split_once('/') else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for adapter in of_model(connection, workspace, name)? {
        let Some(folder) = launch::adapter_folder(&adapter) else { continue };
        let fileset = filesets::find(connection, &adapter.workspace, &adapter.body.fileset)?;
        let is_here = |fileset: &filesets::Fileset| matches!(fileset.body.storage, Storage::Local(_));
        found.push(Wanted { folder, fileset: fileset.filter(is_here).map(|fileset| fileset.id) });
    }
    Ok(found)
}

/// Of all adapters, by the id under which servers list them.
pub fn names(connection: &Connection) -> Result<HashMap<String, AdapterNames>, Error> {
    let mut statement = connection
        .prepare_cached("SELECT workspace || '/' || name, json_extract(body, '$.model') FROM adapters")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut names = HashMap::new();
    for row in rows {
        let (adapter, base): (String, String) = row?;
        let read = (Reference::try_from(adapter), Reference::try_from(base));
        // One damaged row must not stop the routes of all others.
        let (Ok(adapter), Ok(base)) = read else { continue };
        names.insert(launch::listed_as(&adapter), AdapterNames { adapter, base });
    }
    Ok(names)
}
