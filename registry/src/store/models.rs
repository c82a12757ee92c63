//! Model entities, read only: discovery makes them.

use rusqlite::{Connection, OptionalExtension, Row};

use super::documents::{CREATED_AT, DESCRIPTION, NAME, UPDATED_AT, WORKSPACE};
use super::page::{self, Source, parsed};
use crate::domain::records::ServedBy;
use crate::domain::{EntityId, ListRules, Model, Page, PageRequest, Timestamp};
use crate::error::Error;

const COLUMNS: &str = "seq, id, workspace, name, description, created_us, updated_us";

pub const LIST: ListRules = ListRules::with(&[WORKSPACE, NAME, DESCRIPTION, CREATED_AT, UPDATED_AT]);

fn decode(row: &Row<'_>) -> rusqlite::Result<(i64, Model)> {
    let model = Model {
        id: EntityId::stored(row.get(1)?),
        workspace: parsed(row, 2)?,
        name: parsed(row, 3)?,
        description: row.get(4)?,
        served_by: Vec::new(),
        created: Timestamp(row.get(5)?),
        updated: Timestamp(row.get(6)?),
    };
    Ok((row.get(0)?, model))
}

pub fn list(
    connection: &Connection,
    workspace: Option<&str>,
    request: &PageRequest,
) -> Result<Page<Model>, Error> {
    let source = Source { from: "models", columns: COLUMNS, has_workspace: true };
    let Page { rows, total } = page::list(connection, source, workspace, request, decode)?;
    let rows = rows.into_iter().map(|row| with_providers(connection, row)).collect::<Result<_, _>>()?;
    Ok(Page { rows, total })
}

pub fn get(connection: &Connection, workspace: &str, name: &str) -> Result<Model, Error> {
    let row = connection
        .prepare_cached(
            "SELECT seq, id, workspace, name, description, created_us, updated_us FROM models \
             WHERE workspace = ?1 AND name = ?2",
        )?
        .query_row([workspace, name], decode)
        .optional()?;
    let not_found = || format!("Model with workspace '{workspace}' and name '{name}' not found");
    with_providers(connection, row.ok_or_else(|| Error::NotFound(not_found()))?)
}

fn with_providers(connection: &Connection, (seq, mut model): (i64, Model)) -> Result<Model, Error> {
    model.served_by = connection
        .prepare_cached(
            "SELECT p.workspace || '/' || p.name, p.host_url, s.served_name FROM served_models s \
             JOIN providers p ON p.seq = s.provider WHERE s.model = ?1 ORDER BY s.provider",
        )?
        .query_map([seq], |row| {
            Ok(ServedBy { provider: row.get(0)?, host_url: row.get(1)?, served_name: row.get(2)? })
        })?
        .collect::<Result<_, _>>()?;
    Ok(model)
}
