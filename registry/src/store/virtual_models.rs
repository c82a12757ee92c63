//! Virtual models.
//!
//! Invariants:
//! - Every served model has one of its name: made with the first who serves it, when nobody made one before.
//! - An autoprovisioned one goes with the last who serves its model.
//! - Whatever changes them changes routes.

use proto_shared::WorkspaceName;
use proto_shared::names::EntityName;
use rusqlite::{Connection, Row};

use super::documents::{self, CREATED_AT, Kind, NAME, PROJECT, UPDATED_AT, WORKSPACE};
use super::page::{json_or_null, parsed};
use super::writer::Write;
use crate::domain::document::Draft;
use crate::domain::filter::{Condition, Field, FieldKind, Filter, Scalar, Test};
use crate::domain::virtual_model::{Target, VirtualModelBody, VirtualRoute, automatic};
use crate::domain::{Document, EntityId, ListRules, Sort, Timestamp};
use crate::error::Error;

pub struct VirtualModels;

impl Kind for VirtualModels {
    type Body = VirtualModelBody;
    const TABLE: &'static str = "virtual_models";
    const ID: &'static str = "virtual-model";
    const NOUN: &'static str = "VirtualModel";

    fn not_found(workspace: &str, name: &str) -> Error {
        Error::NotFound(format!("VirtualModel '{name}' not found in workspace '{workspace}'."))
    }
}

pub const LIST: ListRules = ListRules {
    default_size: 20,
    size_max: 200,
    default_sort: Sort::NEWEST_FIRST,
    ..ListRules::with(&[
        WORKSPACE,
        PROJECT,
        NAME,
        Field { name: "default_model_entity", kind: FieldKind::Text, column: "default_model_entity" },
        CREATED_AT,
        UPDATED_AT,
    ])
};

const AUTOPROVISIONED: Field =
    Field { name: "autoprovisioned", kind: FieldKind::Bool, column: "autoprovisioned" };

/// Passes only what owners made.
pub fn made_by_owners() -> Filter {
    let test = Test::Equals(Scalar::Bool(false));
    Filter::Is(Condition { field: &AUTOPROVISIONED, path: String::new(), test })
}

pub fn insert(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    draft: &Draft<VirtualModelBody>,
) -> Result<Document<VirtualModelBody>, Error> {
    write.touch_models()?;
    documents::insert::<VirtualModels>(write, workspace, draft)
}

pub fn update(
    write: &Write<'_>,
    model: &Document<VirtualModelBody>,
) -> Result<Document<VirtualModelBody>, Error> {
    write.touch_models()?;
    documents::update::<VirtualModels>(write, model)
}

/// Deletes it. Of a served model, the automatic one takes its place.
pub fn delete(write: &Write<'_>, workspace: &str, name: &str) -> Result<(), Error> {
    let gone = documents::delete::<VirtualModels>(write, workspace, name)?;
    write.touch_models()?;
    let is_served = write
        .prepare_cached(
            "SELECT 1 FROM models m JOIN served_models s ON s.model = m.seq \
             WHERE m.workspace = ?1 AND m.name = ?2",
        )?
        .exists([workspace, name])?;
    if is_served { provide(write, &gone.workspace, gone.name) } else { Ok(()) }
}

/// To be called for each model that is served.
pub fn provide(write: &Write<'_>, workspace: &WorkspaceName, name: EntityName) -> Result<(), Error> {
    let is_there = write
        .prepare_cached("SELECT 1 FROM virtual_models WHERE workspace = ?1 AND name = ?2")?
        .exists([workspace.as_str(), name.as_str()])?;
    if is_there {
        return Ok(());
    }
    insert(write, workspace, &automatic(workspace, name)).map(drop)
}

/// To be called for each model, by number, that somebody stopped serving.
pub fn withdraw(write: &Write<'_>, model: i64) -> Result<(), Error> {
    let deleted = write
        .prepare_cached(
            "DELETE FROM virtual_models WHERE autoprovisioned \
             AND (workspace, name) = (SELECT workspace, name FROM models WHERE seq = ?1) \
             AND NOT EXISTS (SELECT 1 FROM served_models WHERE model = ?1)",
        )?
        .execute([model])?;
    if deleted > 0 { write.touch_models() } else { Ok(()) }
}

/// For a database of the time before virtual models: each served model gets its own.
pub(super) fn provide_all(connection: &Connection) -> Result<(), rusqlite::Error> {
    let is_new: bool =
        connection.query_row("SELECT models_generation = 0 FROM registry", [], |row| row.get(0))?;
    if !is_new {
        return Ok(());
    }
    let served = connection
        .prepare(
            "SELECT workspace, name FROM models WHERE seq IN (SELECT model FROM served_models) ORDER BY seq",
        )?
        .query_map([], |row| Ok((parsed(row, 0)?, parsed(row, 1)?)))?
        .collect::<Result<Vec<(WorkspaceName, EntityName)>, _>>()?;
    for (workspace, name) in served {
        let body = serde_json::to_string(&automatic(&workspace, name.clone()).body).unwrap_or_default();
        let id = EntityId::new(VirtualModels::ID, uuid::Uuid::new_v4().as_u128());
        connection.execute(
            "INSERT OR IGNORE INTO virtual_models (id, workspace, name, body, created_us, updated_us) \
             VALUES (?1, ?2, ?3, ?4, unixepoch('subsec') * 1000000, unixepoch('subsec') * 1000000)",
            (id.as_str(), workspace.as_str(), name.as_str(), body),
        )?;
    }
    connection.execute("UPDATE registry SET models_generation = generation", [])?;
    Ok(())
}

/// All of them, newest first, as routing needs them. Of most, which say nothing beyond their columns, no body is
/// parsed; a body that only seems to say more does no harm.
pub fn routes(connection: &Connection) -> Result<Vec<VirtualRoute>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT workspace, name, created_us, nullif(default_model_entity, workspace || '/' || name), \
         CASE WHEN has_middleware OR instr(body, '\"routing\":') \
         OR instr(body, '\"local_only\":') OR instr(body, '\"resume\":') \
         OR instr(body, '\"stream_comment_interval_ms\":') OR instr(body, '\"limits\":') THEN body END \
         FROM virtual_models WHERE workspace IN (SELECT name FROM workspaces WHERE deleting_us IS NULL) ORDER BY seq DESC",
    )?;
    let rows = statement.query_map([], |row| Ok(decode_route(row)))?;
    let mut routes = Vec::new();
    for row in rows {
        // One damaged row must not stop the routes of all others.
        match row? {
            Ok(route) => routes.push(route),
            Err(error) => tracing::error!(%error, "virtual model left out: its row is unreadable"),
        }
    }
    Ok(routes)
}

fn decode_route(row: &Row<'_>) -> rusqlite::Result<VirtualRoute> {
    let body = json_or_null::<VirtualModelBody>(row, 4)?.unwrap_or_default();
    Ok(VirtualRoute {
        workspace: parsed(row, 0)?,
        name: parsed(row, 1)?,
        target: Target::read(row.get(3)?),
        created: Timestamp(row.get(2)?).seconds(),
        middleware: body.middleware(),
        routing: body.routing,
        local_only: body.local_only,
        resume: body.resume,
        stream_comment_interval_ms: body.stream_comment_interval_ms,
        limits: body.limits,
    })
}
