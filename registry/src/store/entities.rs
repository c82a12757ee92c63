//! Entities of types that others define.

use std::collections::BTreeMap;

use proto_shared::WorkspaceName;
use proto_shared::names::EntityName;
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::{Map, Value};

use super::documents::{CREATED_AT, NAME, PROJECT, UPDATED_AT, WORKSPACE};
use super::page::{self, Source, json, parsed, to_json};
use super::writer::Write;
use crate::domain::entity::{Entity, EntityChange, EntityKey, EntityType};
use crate::domain::filter::{Condition, Field, FieldKind, Filter, Scalar, Test};
use crate::domain::{EntityId, ListRules, Page, PageRequest, Sort, Timestamp};
use crate::error::Error;

const COLUMNS: &str =
    "seq, id, workspace, type, parent, name, project, body, version, created_us, updated_us";

const TYPE: Field = Field { name: "entity_type", kind: FieldKind::Text, column: "type" };

pub const LIST: ListRules = ListRules {
    default_sort: Sort::NEWEST_FIRST,
    ..ListRules::with(&[
        WORKSPACE,
        NAME,
        PROJECT,
        Field { name: "id", kind: FieldKind::Text, column: "id" },
        Field { name: "parent", kind: FieldKind::TextOrPresence, column: "nullif(parent, '')" },
        Field { name: "data", kind: FieldKind::Json, column: "body" },
        CREATED_AT,
        UPDATED_AT,
    ])
};

fn decode(row: &Row<'_>) -> rusqlite::Result<Entity> {
    Ok(Entity {
        seq: row.get(0)?,
        id: EntityId::stored(row.get(1)?),
        workspace: parsed(row, 2)?,
        kind: parsed(row, 3)?,
        parent: row.get(4)?,
        name: parsed(row, 5)?,
        project: row.get(6)?,
        data: json(row, 7)?,
        version: row.get(8)?,
        created: Timestamp(row.get(9)?),
        updated: Timestamp(row.get(10)?),
    })
}

/// One page of the entities of one type.
pub fn list(
    connection: &Connection,
    workspace: Option<&str>,
    kind: &EntityType,
    request: &PageRequest,
) -> Result<Page<Entity>, Error> {
    let source = Source { from: "entities", columns: COLUMNS, has_workspace: true };
    page::list(connection, source, workspace, &of_kind(kind, request), decode)
}

fn of_kind(kind: &EntityType, request: &PageRequest) -> PageRequest {
    let test = Test::Equals(Scalar::Text(kind.as_str().to_owned()));
    let mut all = vec![Filter::Is(Condition { field: &TYPE, path: String::new(), test })];
    all.extend(request.filter.clone());
    PageRequest { filter: Some(Filter::All(all)), ..request.clone() }
}

/// Most values that are counted.
const COUNTED_VALUES_MAX: i64 = 1000;

/// How many entities of one type have which text in `data.{member}`.
pub fn count_by(
    connection: &Connection,
    workspace: Option<&str>,
    kind: &EntityType,
    member: &str,
) -> Result<BTreeMap<String, u64>, Error> {
    let counts = connection
        .prepare_cached(
            "SELECT value, count(*) FROM entities, json_each(body) \
             WHERE (?1 IS NULL OR workspace = ?1) AND entities.type = ?2 AND key = ?3 \
             AND json_each.type = 'text' GROUP BY value ORDER BY count(*) DESC LIMIT ?4",
        )?
        .query_map((workspace, kind.as_str(), member, COUNTED_VALUES_MAX), |row| {
            Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default()))
        })?
        .collect::<Result<_, _>>()?;
    Ok(counts)
}

pub fn get(connection: &Connection, key: &EntityKey) -> Result<Entity, Error> {
    let EntityKey { workspace, kind, parent, name } = key;
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM entities WHERE workspace = ?1 AND type = ?2 AND parent = ?3 AND name = ?4"
        ))?
        .query_row([workspace, kind.as_str(), parent, name], decode)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("Entity '{workspace}/{name}' of type '{kind}' not found")))
}

pub fn by_id(connection: &Connection, id: &str) -> Result<Entity, Error> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM entities WHERE id = ?1"))?
        .query_row([id], decode)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("Entity with id '{id}' not found")))
}

/// What is still to be stored. Without a name it gets its id for one.
#[derive(Debug)]
pub struct EntityDraft {
    pub kind: EntityType,
    pub name: Option<EntityName>,
    pub parent: String,
    pub project: Option<String>,
    pub data: Map<String, Value>,
}

pub fn insert(write: &Write<'_>, workspace: &WorkspaceName, draft: &EntityDraft) -> Result<Entity, Error> {
    let id = write.new_id(&draft.kind.id_kind());
    let name = match &draft.name {
        Some(name) => name.as_str().to_owned(),
        // The number in the id, which has no dash.
        None => format!("entity-{}", id.as_str().rsplit('-').next().unwrap_or_default().to_ascii_lowercase()),
    };
    let inserted = write
        .prepare_cached(
            "INSERT INTO entities (id, workspace, type, parent, name, project, body, version, created_us, \
             updated_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8) \
             ON CONFLICT (workspace, type, parent, name) DO NOTHING",
        )?
        .execute((
            id.as_str(),
            workspace.as_str(),
            draft.kind.as_str(),
            &draft.parent,
            &name,
            &draft.project,
            to_json(&draft.data)?,
            write.now().0,
        ))?;
    if inserted == 0 {
        let text = format!("Entity '{workspace}/{name}' of type '{}' already exists", draft.kind);
        return Err(Error::AlreadyExists(text));
    }
    by_id(write, id.as_str())
}

pub fn update(write: &Write<'_>, key: &EntityKey, change: &EntityChange) -> Result<Entity, Error> {
    let entity = get(write, key)?;
    if let Some(expected) = change.expected_version.filter(|expected| *expected != entity.version) {
        let text =
            format!("Entity '{}/{}' has version {}, not {expected}", key.workspace, key.name, entity.version);
        return Err(Error::Conflict(text));
    }
    let name = change.new_name.as_ref().unwrap_or(&entity.name);
    if *name != entity.name && get(write, &EntityKey { name: name.to_string(), ..key.clone() }).is_ok() {
        let text = format!("Entity '{}/{name}' of type '{}' already exists", key.workspace, key.kind);
        return Err(Error::AlreadyExists(text));
    }
    write
        .prepare_cached(
            "UPDATE entities SET name = ?2, project = coalesce(?3, project), body = ?4, \
             version = version + 1, updated_us = ?5 WHERE seq = ?1",
        )?
        .execute((entity.seq, name.as_str(), &change.project, to_json(&change.data)?, write.now().0))?;
    by_id(write, entity.id.as_str())
}

pub fn delete(write: &Write<'_>, key: &EntityKey) -> Result<Entity, Error> {
    let entity = get(write, key)?;
    write.prepare_cached("DELETE FROM entities WHERE seq = ?1")?.execute([entity.seq])?;
    Ok(entity)
}
