//! Which provider serves which model.
//!
//! Invariants:
//! - A model that discovery made stays when nobody serves it any more, with its id and times. Of those that
//!   no owner ever wrote to, only the newest [`UNSERVED_MODELS_MAX`] of a workspace are kept.
//! - Each change passes through here, so that virtual models come and go with who serves their models.

use proto_shared::names::EntityName;
use proto_shared::{ModelName, WorkspaceName};
use rusqlite::Connection;

use super::page::parsed;
use super::virtual_models;
use super::writer::Write;
use crate::config::UNSERVED_MODELS_MAX;
use crate::domain::ServedModel;
use crate::error::Error;

/// The models of one provider, in its own order.
pub fn of_provider(connection: &Connection, provider: i64) -> Result<Vec<ServedModel>, Error> {
    let served = connection
        .prepare_cached(
            "SELECT m.name, s.served_name FROM served_models s \
             JOIN models m ON m.seq = s.model WHERE s.provider = ?1 ORDER BY s.position",
        )?
        .query_map([provider], |row| Ok(ServedModel { name: parsed(row, 0)?, served_name: row.get(1)? }))?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(served)
}

/// Replaces the models of one provider. Names are distinct among `served`.
pub fn replace(
    write: &Write<'_>,
    provider: i64,
    workspace: &WorkspaceName,
    found_by: &str,
    served: &[(ModelName, String)],
) -> Result<(), Error> {
    let before = numbers(write, provider)?;
    write.prepare_cached("DELETE FROM served_models WHERE provider = ?1")?.execute([provider])?;
    let description = format!("Auto-discovered model from provider {workspace}/{found_by}");
    let mut insert_model = write.prepare_cached(
        "INSERT INTO models (id, workspace, name, origin, description, created_us, updated_us) \
         VALUES (?1, ?2, ?3, 'discovered', ?4, ?5, ?5) ON CONFLICT (workspace, name) DO NOTHING",
    )?;
    let mut insert_served = write.prepare_cached(
        "INSERT INTO served_models (provider, position, model, served_name) \
         SELECT ?1, ?2, seq, ?3 FROM models WHERE workspace = ?4 AND name = ?5",
    )?;
    for (position, (name, served_name)) in (0_i64..).zip(served) {
        let id = write.new_id("model");
        insert_model.execute((
            id.as_str(),
            workspace.as_str(),
            name.as_str(),
            &description,
            write.now().0,
        ))?;
        insert_served.execute((provider, position, served_name, workspace.as_str(), name.as_str()))?;
        virtual_models::provide(write, workspace, EntityName::from(name.clone()))?;
    }
    unlinked(write, workspace.as_str(), &before)
}

/// Before a provider goes: it serves nothing any more.
pub fn withdraw(write: &Write<'_>, provider: i64, workspace: &str) -> Result<(), Error> {
    let before = numbers(write, provider)?;
    write.prepare_cached("DELETE FROM served_models WHERE provider = ?1")?.execute([provider])?;
    unlinked(write, workspace, &before)
}

/// Before a model goes: nobody serves it any more.
pub fn forget(write: &Write<'_>, model: i64) -> Result<(), Error> {
    let is_served = write.prepare_cached("SELECT 1 FROM served_models WHERE model = ?1")?.exists([model])?;
    if !is_served {
        return Ok(());
    }
    let generation = write.touch_routes()?;
    write
        .prepare_cached(
            "UPDATE providers SET route_generation = ?2 \
             WHERE seq IN (SELECT provider FROM served_models WHERE model = ?1)",
        )?
        .execute((model, generation))?;
    write.prepare_cached("DELETE FROM served_models WHERE model = ?1")?.execute([model])?;
    virtual_models::withdraw(write, model)
}

fn numbers(write: &Write<'_>, provider: i64) -> Result<Vec<i64>, Error> {
    let numbers = write
        .prepare_cached("SELECT model FROM served_models WHERE provider = ?1")?
        .query_map([provider], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(numbers)
}

/// Somebody stopped serving `models`, or some of them.
fn unlinked(write: &Write<'_>, workspace: &str, models: &[i64]) -> Result<(), Error> {
    let mut is_served = write.prepare_cached("SELECT 1 FROM served_models WHERE model = ?1")?;
    let mut any = false;
    for &model in models {
        if !is_served.exists([model])? {
            virtual_models::withdraw(write, model)?;
            any = true;
        }
    }
    if any { prune(write, workspace) } else { Ok(()) }
}

fn prune(write: &Write<'_>, workspace: &str) -> Result<(), Error> {
    write
        .prepare_cached(
            "DELETE FROM models WHERE seq IN (SELECT seq FROM models WHERE workspace = ?1 \
             AND origin = 'discovered' AND body IS NULL \
             AND NOT EXISTS (SELECT 1 FROM served_models s WHERE s.model = models.seq) \
             ORDER BY seq DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute((workspace, UNSERVED_MODELS_MAX))?;
    Ok(())
}
