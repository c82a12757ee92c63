//! Numbered steps from any older schema to this one, each in one transaction with its number.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::OpenError;
use super::backup::{self, CopyError};

/// Marks the file as ours ("nimg").
pub const APPLICATION_ID: i64 = 0x6e69_6d67;

/// Step `n` (from 1) leads from schema `n - 1` to `n`. Steps are never edited once released.
pub const STEPS: &[&str] = &[
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
];

/// The schema this program knows.
pub fn newest() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// Which schema the file has; 0 is an empty file.
pub fn version(connection: &Connection) -> Result<i64, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the file up to the last of `steps`. Killed anywhere, it has the old schema or the new one.
pub fn migrate(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), OpenError> {
    let failed = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let have = version(connection).map_err(failed)?;
    let done = usize::try_from(have).unwrap_or(usize::MAX);
    if have > 0 && done < steps.len() {
        let to = backup_path(path, have);
        back_up(connection, &to).map_err(|source| OpenError::Backup { path: to, source })?;
        tracing::info!(
            from = have,
            to = steps.len(),
            "the database gets a new schema; a copy of the old one is kept"
        );
    }
    apply(connection, steps, done).map_err(failed)
}

fn apply(connection: &mut Connection, steps: &[&str], done: usize) -> Result<(), rusqlite::Error> {
    for (index, step) in steps.iter().enumerate().skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}

fn backup_path(path: &Path, version: i64) -> PathBuf {
    path.with_extension(format!("schema-{version}.bak"))
}

/// An interrupted migration must not replace the copy of the untouched file.
fn back_up(connection: &Connection, to: &Path) -> Result<(), CopyError> {
    if to.exists() { Ok(()) } else { backup::copy(connection, to, |_| Ok(())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "CREATE TABLE a (x INTEGER) STRICT";
    const TWO: &str = "CREATE TABLE b (x INTEGER) STRICT";
    const BROKEN: &str = "CREATE TABLE c (x INTEGER) STRICT; CREATE TABLE a (x INTEGER) STRICT";

    #[test]
    fn steps_run_once_each_and_the_old_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.sqlite");
        let mut connection = Connection::open(&path).unwrap();
        migrate(&mut connection, &path, &[ONE]).unwrap();
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(!backup_path(&path, 1).exists());
        migrate(&mut connection, &path, &[ONE, TWO]).unwrap();
        migrate(&mut connection, &path, &[ONE, TWO]).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
        let old = Connection::open(backup_path(&path, 1)).unwrap();
        assert_eq!(version(&old).unwrap(), 1);
    }

    #[test]
    fn a_step_that_fails_half_way_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.sqlite");
        let mut connection = Connection::open(&path).unwrap();
        migrate(&mut connection, &path, &[ONE]).unwrap();
        assert!(migrate(&mut connection, &path, &[ONE, BROKEN]).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'c'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
    }
}
