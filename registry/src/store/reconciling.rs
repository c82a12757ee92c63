//! What the reconciler reads, and the writes that only it makes.

use rusqlite::{Connection, Row};

use super::page::parsed;
use super::writer::Write;
use super::{deployments, leaving, providers};
use crate::domain::deployment::REPLACED_BY;
use crate::domain::observed::{Observed, SeenDeployment, SeenState};
use crate::domain::{Deployment, DeploymentStatus, Timestamp};
use crate::error::Error;

/// Most deployments that one look takes in; the next look sees the others.
const SEEN_MAX: u32 = 500;

/// So many versions that were replaced can still be read while their deployment lives.
pub const REPLACED_KEPT_MAX: u32 = 10;

/// Everything there may be something to do about; what waits for its end only comes last. There is nothing to do
/// about the last versions that were replaced, as long as the latest is to run. One that somebody deleted goes.
pub fn observe(connection: &Connection) -> Result<Observed, Error> {
    let deployments = connection
        .prepare_cached(
            "SELECT d.seq, d.status, d.status_us, d.workspace, d.name, w.deleting_us IS NOT NULL, \
             d.status_history = '[]', \
             EXISTS (SELECT 1 FROM providers p WHERE p.model_deployment_id = d.workspace || '/' || d.name \
               AND p.workspace = d.workspace) \
             AND NOT EXISTS (SELECT 1 FROM deployments o WHERE o.workspace = d.workspace \
               AND o.name = d.name AND o.status NOT IN ('DELETING', 'DELETED')), \
             d.runtime IS NOT NULL \
             FROM deployments d JOIN workspaces w ON w.name = d.workspace \
             WHERE (d.status IN ('DELETING', 'DELETED') OR d.status_history = '[]' \
               OR w.deleting_us IS NOT NULL) \
             AND NOT (d.status = 'DELETED' AND w.deleting_us IS NULL \
               AND instr(d.status_history, ?3) \
               AND EXISTS (SELECT 1 FROM deployments o WHERE o.workspace = d.workspace AND o.name = d.name \
                 AND o.latest AND o.status NOT IN ('DELETING', 'DELETED')) \
               AND (SELECT count(*) FROM deployments o WHERE o.workspace = d.workspace AND o.name = d.name \
                 AND o.version > d.version) <= ?2) \
             ORDER BY d.status = 'DELETED', d.seq LIMIT ?1",
        )?
        .query_map(rusqlite::params![SEEN_MAX, REPLACED_KEPT_MAX, REPLACED_BY], decode)?
        .collect::<Result<_, _>>()?;
    Ok(Observed { deployments, leaving: leaving::observe(connection)? })
}

fn decode(row: &Row<'_>) -> rusqlite::Result<SeenDeployment> {
    let status: String = row.get(1)?;
    let state = SeenState {
        seq: row.get(0)?,
        status: status.parse().unwrap_or(DeploymentStatus::Unknown),
        since: Timestamp(row.get(2)?),
    };
    Ok(SeenDeployment {
        state,
        workspace: parsed(row, 3)?,
        name: row.get(4)?,
        is_leaving: row.get(5)?,
        is_untouched: row.get(6)?,
        has_stale_routes: row.get(7)?,
        is_ours: row.get(8)?,
    })
}

/// The deployment, if it is still as it was seen.
pub fn unchanged(connection: &Connection, seen: SeenState) -> Result<Option<Deployment>, Error> {
    let found = deployments::by_seq(connection, seen.seq)?;
    Ok(found.filter(|deployment| {
        (deployment.lifecycle.status(), deployment.lifecycle.since()) == (seen.status, seen.since)
    }))
}

/// Removes the providers of a deployment; says whether there were any.
pub fn withdraw_routes(write: &Write<'_>, deployment: &Deployment) -> Result<bool, Error> {
    let workspace = deployment.workspace.as_str();
    let found = write
        .prepare_cached("SELECT name FROM providers WHERE workspace = ?1 AND model_deployment_id = ?2")?
        .query_map([workspace, &format!("{workspace}/{}", deployment.name)], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    found.iter().try_for_each(|name| providers::delete(write, workspace, name))?;
    Ok(!found.is_empty())
}
