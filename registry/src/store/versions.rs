//! What the kinds with versions have in common: which version is the latest.
//!
//! The caller names the table; it has `workspace`, `name`, `version` and `latest`.

use super::writer::Write;
use crate::error::Error;

/// Before a new latest version is stored: gives its number, and the one before is not the latest any more.
pub fn next(write: &Write<'_>, table: &str, workspace: &str, name: &str) -> Result<i64, Error> {
    let sql = format!("SELECT max(version) FROM {table} WHERE workspace = ?1 AND name = ?2");
    let latest: Option<i64> = write.prepare_cached(&sql)?.query_row([workspace, name], |row| row.get(0))?;
    let sql = format!("UPDATE {table} SET latest = FALSE WHERE workspace = ?1 AND name = ?2 AND latest");
    write.prepare_cached(&sql)?.execute([workspace, name])?;
    Ok(latest.unwrap_or(0) + 1)
}

/// After a version was removed: the highest of those that are left is the latest.
pub fn settle(write: &Write<'_>, table: &str, workspace: &str, name: &str) -> Result<(), Error> {
    let sql = format!(
        "UPDATE {table} SET latest = TRUE WHERE workspace = ?1 AND name = ?2 AND version = \
         (SELECT max(version) FROM {table} WHERE workspace = ?1 AND name = ?2)"
    );
    write.prepare_cached(&sql)?.execute([workspace, name])?;
    Ok(())
}
