//! Workspaces on their way out: what they still hold, and its removal in bounded steps.
//!
//! A step may be cut off anywhere; what is left is found again by looking.

use proto_shared::WorkspaceName;
use rusqlite::Connection;

use super::page::parsed;
use super::writer::Write;
use crate::domain::observed::Leaving;
use crate::domain::{Contents, EntityId};
use crate::error::Error;

/// Most rows that one transaction removes, so that other writes get their turn.
pub const ROWS_MAX: u32 = 500;

pub fn observe(connection: &Connection) -> Result<Vec<Leaving>, Error> {
    let names = connection
        .prepare_cached("SELECT name FROM workspaces WHERE deleting_us IS NOT NULL ORDER BY seq")?
        .query_map([], |row| parsed(row, 0))?
        .collect::<Result<Vec<WorkspaceName>, _>>()?;
    names.into_iter().map(|workspace| look_into(connection, workspace)).collect()
}

fn look_into(connection: &Connection, workspace: WorkspaceName) -> Result<Leaving, Error> {
    let has_deployments = connection
        .prepare_cached("SELECT 1 FROM deployments WHERE workspace = ?1")?
        .exists([workspace.as_str()])?;
    let mut holds = None;
    for contents in Contents::ALL {
        let (table, holds_of) = place(contents);
        let sql = format!("SELECT 1 FROM {table} WHERE {holds_of}");
        if connection.prepare_cached(&sql)?.exists([workspace.as_str()])? {
            holds = Some(contents);
            break;
        }
    }
    Ok(Leaving { workspace, has_deployments, holds })
}

/// Where the rows are, and which are a workspace's.
fn place(contents: Contents) -> (&'static str, &'static str) {
    let of_workspace = "workspace = ?1";
    match contents {
        Contents::ServedModels => {
            ("served_models", "provider IN (SELECT seq FROM providers WHERE workspace = ?1)")
        }
        Contents::Providers => ("providers", of_workspace),
        Contents::VirtualModels => ("virtual_models", of_workspace),
        Contents::Models => ("models", of_workspace),
        Contents::Adapters => ("adapters", of_workspace),
        Contents::Prompts => ("prompts", of_workspace),
        Contents::Filesets => ("filesets", of_workspace),
        Contents::DeploymentConfigs => ("deployment_configs", of_workspace),
        Contents::Secrets => ("secrets", of_workspace),
        Contents::Entities => ("entities", of_workspace),
        Contents::Projects => ("projects", of_workspace),
    }
}

/// Removes some of it; says how many rows went. Filesets have files too: see [`remove_filesets`].
pub fn remove_some(write: &Write<'_>, workspace: &str, contents: Contents) -> Result<usize, Error> {
    Ok(write.prepare_cached(&removal(contents))?.execute((workspace, ROWS_MAX))?)
}

/// Removes some filesets; gives whose files are to go now.
pub fn remove_filesets(write: &Write<'_>, workspace: &str) -> Result<Vec<EntityId>, Error> {
    let ids = write
        .prepare_cached(&format!("{} RETURNING id", removal(Contents::Filesets)))?
        .query_map((workspace, ROWS_MAX), |row| row.get(0).map(EntityId::stored))?
        .collect::<Result<_, _>>()?;
    Ok(ids)
}

fn removal(contents: Contents) -> String {
    let (table, holds_of) = place(contents);
    let key = if contents == Contents::ServedModels { "(provider, position)" } else { "seq" };
    let columns = key.trim_matches(['(', ')']);
    format!("DELETE FROM {table} WHERE {key} IN (SELECT {columns} FROM {table} WHERE {holds_of} LIMIT ?2)")
}

/// Removes the workspace itself, which must be empty and on its way out.
pub fn remove(write: &Write<'_>, workspace: &str) -> Result<bool, Error> {
    // Its name may come back; nothing that was read of it before may.
    write.touch_models()?;
    let removed = write
        .prepare_cached("DELETE FROM workspaces WHERE name = ?1 AND deleting_us IS NOT NULL")?
        .execute([workspace])?;
    Ok(removed > 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::migrations::STEPS;

    /// A table that is forgotten here would keep every workspace that has rows in it from going.
    #[test]
    fn every_table_with_a_workspace_is_emptied_when_the_workspace_goes() {
        let connection = Connection::open_in_memory().unwrap();
        STEPS.iter().for_each(|step| connection.execute_batch(step).unwrap());
        let with_workspace: BTreeSet<String> = connection
            .prepare(
                "SELECT t.name FROM pragma_table_list t, pragma_table_info(t.name) c \
                 WHERE t.schema = 'main' AND c.name = 'workspace'",
            )
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let emptied: BTreeSet<String> = Contents::ALL
            .into_iter()
            .filter(|contents| *contents != Contents::ServedModels)
            .map(|contents| place(contents).0.to_owned())
            .chain(["deployments".to_owned()])
            .collect();
        assert_eq!(emptied, with_workspace);
    }

    #[test]
    fn every_look_and_every_removal_is_sound_sql() {
        let connection = Connection::open_in_memory().unwrap();
        STEPS.iter().for_each(|step| connection.execute_batch(step).unwrap());
        for contents in Contents::ALL {
            let leaving = look_into(&connection, crate::test_values::workspace_name("ab")).unwrap();
            assert_eq!(leaving.holds, None, "{contents:?}");
        }
    }
}
