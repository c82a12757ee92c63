//! Copies of the database: whole and checked under their final name, or not there at all.
//!
//! `VACUUM INTO` reads one moment of the database, whoever writes meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the copy is damaged ({0}); the database itself may be, too")]
    Unsound(String),
}

/// Writes a copy to `to`, which must not be there. `adapt` changes it before anybody sees it.
pub fn copy(
    connection: &Connection,
    to: &Path,
    adapt: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>,
) -> Result<(), CopyError> {
    let draft = draft_of(to);
    let written = write_draft(connection, &draft, adapt);
    // A link, unlike a renaming, never replaces what is there.
    let placed = written.and_then(|()| Ok(fs::hard_link(&draft, to)?));
    let _ = fs::remove_file(&draft);
    placed?;
    Ok(sync_folder_of(to)?)
}

/// Where something is made that is to be `to`.
pub fn draft_of(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    to.with_file_name(format!(".{name}.{}", std::process::id()))
}

/// Makes the name of `path` survive a power loss.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_draft(
    connection: &Connection,
    draft: &Path,
    adapt: impl FnOnce(&Connection) -> Result<(), rusqlite::Error>,
) -> Result<(), CopyError> {
    // SQLite fills an empty file, and leaves its mode alone.
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(draft)?;
    connection.execute("VACUUM INTO ?1", [draft.to_string_lossy()])?;
    let copied = Connection::open(draft)?;
    adapt(&copied)?;
    let verdict: String = copied.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    copied.close().map_err(|(_, error)| error)?;
    if verdict != "ok" {
        return Err(CopyError::Unsound(verdict));
    }
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn database(dir: &Path) -> Connection {
        let connection = Connection::open(dir.join("db.sqlite")).unwrap();
        connection.execute_batch("CREATE TABLE a (x); INSERT INTO a VALUES (1)").unwrap();
        connection
    }

    #[test]
    fn a_copy_is_private_whole_and_never_replaces_anything() {
        let dir = tempfile::tempdir().unwrap();
        let connection = database(dir.path());
        let to = dir.path().join("copy.sqlite");
        copy(&connection, &to, |copied| copied.execute("INSERT INTO a VALUES (2)", []).map(drop)).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        let rows = |at: &Path| -> i64 {
            Connection::open(at).unwrap().query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap()
        };
        assert_eq!((rows(&to), rows(&dir.path().join("db.sqlite"))), (2, 1));
        assert!(matches!(copy(&connection, &to, |_| Ok(())), Err(CopyError::Io(_))));
        assert_eq!(rows(&to), 2);
    }

    #[test]
    fn a_copy_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let connection = database(dir.path());
        let to = dir.path().join("copy.sqlite");
        let failed = copy(&connection, &to, |copied| copied.execute_batch("no SQL"));
        assert!(matches!(failed, Err(CopyError::Sqlite(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the database alone");
    }
}
