//! What can be done with a data folder whether a registry serves it or not: a backup, and the proof that
//! its secrets open. Nothing here keeps the folder's lock, and nothing changes what is in it.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_shared::Keys;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::Error;
use crate::files::{ADAPTERS, PASSING};
use crate::store::backup::{self, CopyError};
use crate::store::lock::DataLock;
use crate::store::rotation::{self, Verified};
use crate::store::{DATABASE, LOCK, OpenError, connection, open};

/// Contents of local filesets. A file there never changes once it has its name.
const FILES: &str = "files";
/// A restored registry must be newer than everything that was published after the backup, or gateways
/// would keep their routes: the copy's counters start this much higher.
const HEAD_START: i64 = 1_000_000;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    pub secrets: u64,
    pub providers: u64,
    pub database_bytes: u64,
    pub files: u64,
    pub file_bytes: u64,
    /// The ids of the master keys it needs.
    pub keys: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{0}")]
    Source(#[from] OpenError),
    #[error("{0} is there already, and a backup replaces nothing; name another place")]
    Exists(PathBuf),
    #[error("can't write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("can't copy the database: {0}")]
    Copy(CopyError),
}

/// Copies the data folder to the new folder `to`, as of one moment, whoever writes meanwhile. `to` is
/// there when the copy is whole, and not before.
pub fn back_up(data_dir: &Path, to: &Path) -> Result<Backup, BackupError> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let source = open_existing(data_dir, connection::open_to_copy)?;
    let draft = Draft::new(backup::draft_of(to))?;
    let (from, files) = (data_dir.join(FILES), draft.0.join(FILES));
    // A file in the copied database was there before the copy or after it: looking twice finds it.
    copy_files(&from, &files)?;
    let database = draft.0.join(DATABASE);
    backup::copy(&source, &database, give_head_start).map_err(BackupError::Copy)?;
    let copied = copy_files(&from, &files)?;
    let written = describe(&database, copied).map_err(BackupError::Copy)?;
    draft.place(to)?;
    Ok(written)
}

/// Whether a registry has the folder open.
pub fn is_in_use(data_dir: &Path) -> Result<bool, OpenError> {
    match DataLock::take(&data_dir.join(LOCK), Duration::ZERO) {
        Ok(_) => Ok(false),
        Err(OpenError::InUse { .. }) => Ok(true),
        // No folder, no registry.
        Err(OpenError::DataDir { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(other) => Err(other),
    }
}

/// Opens every secret with the current one of `keys`.
pub fn verify(data_dir: &Path, keys: &Keys) -> Result<Verified, OpenError> {
    let mut connection = open_existing(data_dir, connection::open_to_look)?;
    let path = data_dir.join(DATABASE);
    let failed = |error| match error {
        Error::Store(crate::store::StoreError::Sqlite(source)) => open::sqlite_error(&path, source),
        other => OpenError::Corrupt { path: path.clone(), reason: other.to_string() },
    };
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Deferred)
        .map_err(|error| failed(error.into()))?;
    rotation::verify(&transaction, keys).map_err(failed)
}

fn open_existing(
    data_dir: &Path,
    open: impl FnOnce(&Path) -> Result<Connection, rusqlite::Error>,
) -> Result<Connection, OpenError> {
    let path = data_dir.join(DATABASE);
    if !path.is_file() {
        return Err(OpenError::Absent(path));
    }
    let connection = open(&path).map_err(|error| open::sqlite_error(&path, error))?;
    if open::is_ours(&connection, &path)? { Ok(connection) } else { Err(OpenError::Absent(path)) }
}

fn give_head_start(copied: &Connection) -> Result<(), rusqlite::Error> {
    copied
        .execute(
            "UPDATE registry SET generation = generation + ?1, secret_version = secret_version + ?1",
            [HEAD_START],
        )
        .map(drop)
}

fn describe(database: &Path, (files, file_bytes): (u64, u64)) -> Result<Backup, CopyError> {
    let copied = Connection::open(database)?;
    let count = |table: &str| {
        copied.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
    };
    let known = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(Backup {
        secrets: known(count("secrets")?),
        providers: known(count("providers")?),
        database_bytes: fs::metadata(database)?.len(),
        files,
        file_bytes,
        keys: rotation::keys_in_use(&copied)?,
    })
}

/// A folder that goes away unless it is placed.
struct Draft(PathBuf);

impl Draft {
    fn new(path: PathBuf) -> Result<Self, BackupError> {
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(BackupError::Io { path, source }),
        }
    }

    fn place(self, to: &Path) -> Result<(), BackupError> {
        let placed = File::open(&self.0)
            .and_then(|folder| folder.sync_all())
            .and_then(|()| fs::rename(&self.0, to))
            .and_then(|()| backup::sync_folder_of(to));
        placed.map_err(|source| BackupError::Io { path: to.to_owned(), source })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already when it was placed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Brings to `to` what is below `top` and not there yet. Gives how many files, and bytes, `to` has.
fn copy_files(top: &Path, to: &Path) -> Result<(u64, u64), BackupError> {
    let mut folders = VecDeque::from([(top.to_owned(), to.to_owned())]);
    let (mut files, mut bytes) = (0, 0);
    while let Some((from, to)) = folders.pop_front() {
        let at = |source| BackupError::Io { path: to.clone(), source };
        let entries = match fs::read_dir(&from) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(BackupError::Io { path: from, source }),
        };
        match DirBuilder::new().mode(0o700).create(&to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(error)),
            _ => {}
        }
        for entry in entries {
            let entry = entry.map_err(at)?;
            let (kind, target) = (entry.file_type().map_err(at)?, to.join(entry.file_name()));
            // What is half done belongs to no moment, and what servers are shown is made anew.
            let name = entry.file_name();
            let is_passing = |name: &str| name.starts_with(PASSING) || name == ADAPTERS;
            if from == top && is_passing(&name.to_string_lossy()) {
                continue;
            }
            if kind.is_dir() {
                folders.push_back((entry.path(), target));
            } else if kind.is_file()
                && let Some(length) = copy_file(&entry.path(), &target).map_err(at)?
            {
                files += 1;
                bytes += length;
            }
        }
        File::open(&to).and_then(|folder| folder.sync_all()).map_err(at)?;
    }
    Ok((files, bytes))
}

/// A second name for the file where the file system can, else a copy. None: it was deleted meanwhile.
fn copy_file(from: &Path, to: &Path) -> io::Result<Option<u64>> {
    if let Ok(there) = fs::metadata(to) {
        return Ok(Some(there.len()));
    }
    if fs::hard_link(from, to).is_err() {
        match fs::copy(from, to).and_then(|_| File::open(to)?.sync_all()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            copied => copied?,
        }
    }
    Ok(Some(fs::metadata(to)?.len()))
}
