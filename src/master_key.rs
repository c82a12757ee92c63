//! The master key: where it comes from, and the one place that makes one.
//!
//! Invariants: a key file that others may read is refused; a new one is complete the moment it
//! exists, has mode 0600, and is never put beside the database it opens.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_shared::MasterKey;
use proto_shared::secret::SecretError;

/// The environment variable that may hold the key, in base64.
pub const VARIABLE: &str = "NIMGATE_MASTER_KEY";
const FILE_NAME: &str = "master.key";
const FILE_BYTES_MAX: u64 = 4096;

/// Where a key may be found.
#[derive(Debug, Default)]
pub struct Places {
    /// `master_key_file`.
    pub file: Option<PathBuf>,
    /// The value of [`VARIABLE`].
    pub variable: Option<String>,
    /// The user's configuration folder.
    pub config_home: Option<PathBuf>,
}

/// Where the key in use came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    Environment,
    /// Made just now.
    Made(PathBuf),
    /// Nowhere but here: it goes with the process.
    Memory,
}

/// What to do when there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAbsent {
    Make,
    Refuse,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("master key file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("master key file {path} can be read by others; run: chmod 600 {path}")]
    Readable { path: PathBuf },
    #[error("master key file {path}: {source}")]
    BadFile { path: PathBuf, source: SecretError },
    #[error("{VARIABLE}: {0}")]
    BadVariable(SecretError),
    #[error("can't make a master key: {0}")]
    Make(SecretError),
    #[error(
        "no master key; make one with `nimgate keygen --file master.key` and name it with --master-key-file, or set {VARIABLE}"
    )]
    Absent,
}

impl Places {
    pub fn load(self, when_absent: WhenAbsent) -> Result<(Arc<MasterKey>, Origin), KeyError> {
        if let Some(path) = self.file {
            return Ok((read(&path)?, Origin::File(path)));
        }
        if let Some(text) = self.variable {
            let key = MasterKey::from_base64(&text).map_err(KeyError::BadVariable)?;
            return Ok((Arc::new(key), Origin::Environment));
        }
        let path = self.config_home.map(|folder| folder.join(FILE_NAME)).ok_or(KeyError::Absent)?;
        match (path.exists(), when_absent) {
            (true, _) => Ok((read(&path)?, Origin::File(path))),
            (false, WhenAbsent::Make) => Ok((make(&path)?, Origin::Made(path))),
            (false, WhenAbsent::Refuse) => Err(KeyError::Absent),
        }
    }
}

fn read(path: &Path) -> Result<Arc<MasterKey>, KeyError> {
    let io_error = |source| KeyError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let mode = file.metadata().map_err(io_error)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Readable { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io_error)?;
    let key = MasterKey::from_base64(&text)
        .map_err(|source| KeyError::BadFile { path: path.to_owned(), source })?;
    Ok(Arc::new(key))
}

/// Makes a key and writes it to `path`, which must not exist. When somebody else makes it at the
/// same moment, theirs is taken.
pub fn make(path: &Path) -> Result<Arc<MasterKey>, KeyError> {
    let key = MasterKey::generate().map_err(KeyError::Make)?;
    match write_new(path, &key) {
        Ok(()) => Ok(Arc::new(key)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(source) => Err(KeyError::Io { path: path.to_owned(), source }),
    }
}

/// Writes a key file that is either complete or not there.
pub fn write_new(path: &Path, key: &MasterKey) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = folder.join(format!(".{FILE_NAME}.{}", std::process::id()));
    let written = write_draft(&draft, key).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    written
}

fn write_draft(draft: &Path, key: &MasterKey) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(key.to_base64().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { config_home: Some(folder.path().join("nimgate")), ..Places::default() };
        (folder, places)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_first_start_makes_a_private_key_and_the_second_reads_it() {
        let (folder, places) = home();
        let (key, origin) = places.load(WhenAbsent::Make).unwrap();
        let path = folder.path().join("nimgate/master.key");
        assert_eq!(origin, Origin::Made(path.clone()));
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let again = Places { config_home: Some(folder.path().join("nimgate")), ..Places::default() };
        let (second, origin) = again.load(WhenAbsent::Refuse).unwrap();
        assert_eq!((second.id(), origin), (key.id(), Origin::File(path)));
        assert_eq!(fs::read_dir(folder.path().join("nimgate")).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_role_that_must_share_the_key_does_not_make_its_own() {
        let (_folder, places) = home();
        assert!(matches!(places.load(WhenAbsent::Refuse), Err(KeyError::Absent)));
    }

    #[test]
    fn a_key_file_others_can_read_is_refused() {
        let (folder, _) = home();
        let path = folder.path().join("k");
        write_new(&path, &MasterKey::generate().unwrap()).unwrap();
        for (bits, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            let places = Places { file: Some(path.clone()), ..Places::default() };
            assert_eq!(places.load(WhenAbsent::Make).is_ok(), accepted, "{bits:o}");
        }
    }

    #[test]
    fn the_file_wins_over_the_variable_and_a_bad_one_is_no_reason_to_make_another() {
        let (folder, _) = home();
        let path = folder.path().join("k");
        let (in_file, in_variable) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        write_new(&path, &in_file).unwrap();
        let variable = Some(in_variable.to_base64().to_string());
        let both = Places { file: Some(path), variable: variable.clone(), config_home: None };
        assert_eq!(both.load(WhenAbsent::Refuse).unwrap().0.id(), in_file.id());
        let one = Places { variable, ..Places::default() };
        assert_eq!(one.load(WhenAbsent::Refuse).unwrap().0.id(), in_variable.id());
        let bad = Places { variable: Some("short".into()), ..home().1 };
        assert!(matches!(bad.load(WhenAbsent::Make), Err(KeyError::BadVariable(_))));
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let (folder, _) = home();
        let path = folder.path().join("k");
        let first = make(&path).unwrap();
        assert_eq!(make(&path).unwrap().id(), first.id());
    }
}
