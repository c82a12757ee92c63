//! Connections, all with the same settings, each of them read back.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const WAL_SIZE_LIMIT_BYTES: i64 = 64 * 1024 * 1024;
const STATEMENT_CACHE: usize = 64;
/// Pages each connection keeps, in KiB (SQLite counts KiB below zero). The system's own cache has the rest.
const PAGE_CACHE: &str = "-512";

/// The writer's connection: WAL, and every commit on disk before it is acknowledged.
pub fn open_writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set(&connection, "journal_mode", "WAL", "wal")?;
    set(&connection, "synchronous", "FULL", "2")?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_SIZE_LIMIT_BYTES, |_| Ok(()))?;
    Ok(connection)
}

/// A connection that can't write.
pub fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set(&connection, "query_only", "ON", "1")?;
    Ok(connection)
}

/// A connection that changes nothing, not even the journal mode: to look before touching.
pub fn open_to_look(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // A log left by a kill stays as it is.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    set(&connection, "query_only", "ON", "1")?;
    Ok(connection)
}

/// A connection to copy from. It may write, but only into the copy.
pub fn open_to_copy(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

fn open(path: &Path, mode: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    set(&connection, "cache_size", PAGE_CACHE, PAGE_CACHE)?;
    set(&connection, "foreign_keys", "ON", "1")?;
    set(&connection, "trusted_schema", "OFF", "0")?;
    set(&connection, "secure_delete", "ON", "1")?;
    Ok(connection)
}

/// SQLite ignores settings it does not know or can't apply; so what it says it did is compared.
fn set(connection: &Connection, name: &str, value: &str, expected: &str) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, name, value)?;
    let found = connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))?;
    let found = match found {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    if found == expected {
        return Ok(());
    }
    let text = format!("{name} is {found}, wanted {expected}");
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE), Some(text)))
}
