//! Which provider serves which model. Model entities that discovery made go when nobody serves them.

use proto_shared::{ModelName, WorkspaceName};
use rusqlite::Connection;

use super::page::parsed;
use super::writer::Write;
use crate::domain::{ServedModel, Timestamp};
use crate::error::Error;

/// The models of one provider, in its own order.
pub fn of_provider(connection: &Connection, provider: i64) -> Result<Vec<ServedModel>, Error> {
    let served = connection
        .prepare_cached(
            "SELECT m.name, s.served_name, m.created_us FROM served_models s \
             JOIN models m ON m.seq = s.model WHERE s.provider = ?1 ORDER BY s.position",
        )?
        .query_map([provider], |row| {
            Ok(ServedModel {
                name: parsed(row, 0)?,
                served_name: row.get(1)?,
                created: Timestamp(row.get(2)?),
            })
        })?
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
    }
    drop_unserved(write, workspace.as_str())
}

/// To be called whenever a provider stopped serving something.
pub fn drop_unserved(write: &Write<'_>, workspace: &str) -> Result<(), Error> {
    write
        .prepare_cached(
            "DELETE FROM models WHERE workspace = ?1 AND origin = 'discovered' \
             AND NOT EXISTS (SELECT 1 FROM served_models s WHERE s.model = models.seq)",
        )?
        .execute([workspace])?;
    Ok(())
}
