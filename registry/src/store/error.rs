//! Failures of the store, told apart by what a caller can do about them.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::ErrorCode;

/// Why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the registry is busy; try again")]
    Busy,
    #[error("the store is closed; the registry is stopping, or its log says why")]
    Stopped,
    #[error("the disk is full; free some space, nothing was changed")]
    DiskFull,
    #[error("the database is locked by another program")]
    Locked,
    /// Anything else. The text is for the log, not for callers.
    #[error("store: {0}")]
    Sqlite(#[source] rusqlite::Error),
}

impl StoreError {
    /// Whether the connection it came from must not be used again.
    pub(super) fn is_fatal_for_connection(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Sqlite(error),
        }
    }
}

/// Why a registry does not start. One line each; nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("can't use the data folder {path}: {source}")]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error("another registry uses {path} (waited {waited:?}); stop it, or choose another data folder")]
    InUse { path: PathBuf, waited: Duration },
    #[error(
        "{path} was written by a newer nimgate (schema {found}, this one knows {known}); upgrade nimgate"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{0} is not a nimgate database; move it away or choose another data folder")]
    Foreign(PathBuf),
    #[error("{path} is damaged ({reason}); restore it from a backup")]
    Corrupt { path: PathBuf, reason: String },
    #[error("can't open a runtime for deployments: {0}")]
    Runtime(String),
    #[error("there is no registry database at {0}; name its folder with --data-dir")]
    Absent(PathBuf),
    #[error(
        "a master key is missing: the database needs {sealed_with}, loaded: {have}; put it into the key file, \
         the newest key on the first line"
    )]
    WrongKey { sealed_with: String, have: String },
    #[error("can't keep a copy of the old database at {path}: {source}; nothing was changed")]
    Backup { path: PathBuf, source: super::backup::CopyError },
    #[error("the master key can't be used: {0}")]
    Key(proto_shared::secret::SecretError),
    #[error("can't read trusted roots from {path}: {reason}")]
    UpstreamCa { path: PathBuf, reason: String },
    #[error("can't open {path}: {source}")]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}
