//! Opening the store: look first, touch only what is ours and sound.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use proto_shared::secret::SecretError;
use proto_shared::{Keys, SealedSecret};
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::lock::DataLock;
use super::readers::Readers;
use super::writer::Writer;
use super::{OpenError, Store, connection, migrations, rotation, virtual_models, workspaces};
use crate::config::{LOCK_WAIT_MAX, QUICK_CHECK_MAX};

pub const DATABASE: &str = "nimgate.sqlite";
pub const LOCK: &str = "nimgate.lock";

/// An open store, and what its publisher needs.
pub struct Opened {
    pub store: Store,
    /// Signalled after commits that changed routes.
    pub committed: Receiver<()>,
    /// A read connection of its own.
    pub reader: Connection,
    pub lock: Arc<DataLock>,
}

/// Blocking: call it off the async threads.
pub fn open(data_dir: &Path, keys: &Keys) -> Result<Opened, OpenError> {
    make_data_dir(data_dir).map_err(|source| OpenError::DataDir { path: data_dir.to_owned(), source })?;
    let lock = Arc::new(DataLock::take(&data_dir.join(LOCK), LOCK_WAIT_MAX)?);
    let path = data_dir.join(DATABASE);
    make_file(&path).map_err(|source| OpenError::DataDir { path: path.clone(), source })?;
    look(&path, keys)?;
    let failed = |source| OpenError::Sqlite { path: path.clone(), source };
    let mut connection = connection::open_writer(&path).map_err(failed)?;
    migrations::migrate(&mut connection, &path, migrations::STEPS)?;
    first_start(&mut connection, keys, &path)?;
    let reader = connection::open_reader(&path).map_err(failed)?;
    let (signal, committed) = sync_channel(1);
    let readers = Readers::new(path.clone(), Arc::clone(&lock));
    let writer = Writer::start(path, connection, Arc::clone(&lock), signal);
    Ok(Opened { store: Store { writer, readers }, committed, reader, lock })
}

fn make_data_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// SQLite gives its side files the mode of the database.
fn make_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map(drop)
}

/// Refuses what must not be touched: foreign, newer and damaged files, and keys that open not all of it.
fn look(path: &Path, keys: &Keys) -> Result<(), OpenError> {
    let connection = connection::open_to_look(path).map_err(|error| sqlite_error(path, error))?;
    if !is_ours(&connection, path)? {
        return Ok(());
    }
    quick_check(&connection, path)?;
    check_keys(&connection, path, keys)
}

/// Whether there is a database of ours in the file. False: it is empty.
pub fn is_ours(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let at = |error| sqlite_error(path, error);
    let found = migrations::version(connection).map_err(at)?;
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(at)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(at)?;
    if found == 0 && application == 0 && tables == 0 {
        return Ok(false);
    }
    if application != migrations::APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    if found > migrations::newest() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: migrations::newest() });
    }
    Ok(true)
}

/// Every key that sealed something must be there: a rotation that was interrupted left two of them.
/// The key check tells a wrong key from a damaged file.
fn check_keys(connection: &Connection, path: &Path, keys: &Keys) -> Result<(), OpenError> {
    let at = |error| sqlite_error(path, error);
    let corrupt = |reason: &str| OpenError::Corrupt { path: path.to_owned(), reason: reason.into() };
    let missing = |id: &String| keys.find(id).is_none();
    if let Some(id) = rotation::keys_in_use(connection).map_err(at)?.into_iter().find(missing) {
        let have = keys.ids().collect::<Vec<_>>().join(", ");
        return Err(OpenError::WrongKey { sealed_with: id, have });
    }
    let sealed: Option<String> = connection
        .query_row("SELECT key_check FROM registry", [], |row| row.get(0))
        .optional()
        .map_err(at)?;
    let Some(sealed) = sealed else { return Ok(()) };
    let sealed: SealedSecret =
        serde_json::from_str(&sealed).map_err(|_| corrupt("the key check is unreadable"))?;
    keys.open(&sealed).map(drop).map_err(|error| match error {
        SecretError::WrongKey { sealed_with, have } => OpenError::WrongKey { sealed_with, have },
        _ => corrupt("the key check does not open"),
    })
}

/// Checks the file's structure, for a bounded time: a big sound file must not hold up the start.
fn quick_check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let interrupt = connection.get_interrupt_handle();
    let (done, wait) = sync_channel::<()>(1);
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            if wait.recv_timeout(QUICK_CHECK_MAX) == Err(RecvTimeoutError::Timeout) {
                interrupt.interrupt();
            }
        });
        let result = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        drop(done);
        result
    });
    match result {
        Ok(text) if text == "ok" => Ok(()),
        Ok(reason) => Err(OpenError::Corrupt { path: path.to_owned(), reason }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::warn!(limit = ?QUICK_CHECK_MAX, "the database was not checked to its end: it took too long");
            Ok(())
        }
        Err(error) => Err(sqlite_error(path, error)),
    }
}

/// The row that makes the file an installation, and what is always there.
fn first_start(connection: &mut Connection, keys: &Keys, path: &Path) -> Result<(), OpenError> {
    let check = rotation::new_check(keys).map_err(|_| OpenError::Key(SecretError::NoEntropy))?;
    let installation = uuid::Uuid::new_v4().to_string();
    let at = |error| sqlite_error(path, error);
    let transaction = connection.transaction().map_err(at)?;
    transaction
        .execute(
            "INSERT OR IGNORE INTO registry (one, installation, key_check, generation, secret_version) \
             VALUES (1, ?1, ?2, 1, 0)",
            [installation, check],
        )
        .map_err(at)?;
    workspaces::insert_built_in(&transaction).map_err(at)?;
    virtual_models::provide_all(&transaction).map_err(at)?;
    transaction.commit().map_err(at)
}

pub fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    let path: PathBuf = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign(path),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Corrupt { path, reason: source.to_string() },
        _ => OpenError::Sqlite { path, source },
    }
}
