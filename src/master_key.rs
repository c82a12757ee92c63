//! The master keys: where they come from, and the one place that makes one.
//!
//! Invariants: a key file that others may read is refused; a new one is complete the moment it
//! exists, has mode 0600, and is never put beside the database it opens. A key is added at the top of a
//! file in one step, and none is ever taken out.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_shared::keyring::KeysError;
use proto_shared::secret::{SecretError, zeroize::Zeroizing};
use proto_shared::{KeyRing, Keys, MasterKey};

/// The environment variable that may hold the keys, in base64, the current one first.
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
    #[error("there is no master key file {path}; make it: nimgate keygen --file {path}")]
    Missing { path: PathBuf },
    #[error("master key file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("master key file {path} can be read by others; run: chmod 600 {path}")]
    Readable { path: PathBuf },
    #[error("master key file {path}: {source}")]
    BadFile { path: PathBuf, source: KeysError },
    #[error("{VARIABLE}: {0}")]
    BadVariable(KeysError),
    #[error("can't make a master key: {0}")]
    Make(SecretError),
    #[error(
        "no master key; make one with `nimgate keygen --file master.key` and name it with --master-key-file, or set {VARIABLE}"
    )]
    Absent,
}

impl Places {
    pub fn load(self, when_absent: WhenAbsent) -> Result<(Arc<KeyRing>, Origin), KeyError> {
        let (keys, origin) = self.find(when_absent)?;
        Ok((Arc::new(KeyRing::new(keys)), origin))
    }

    fn find(self, when_absent: WhenAbsent) -> Result<(Keys, Origin), KeyError> {
        if let Some(path) = self.file {
            return Ok((read(&path)?, Origin::File(path)));
        }
        if let Some(text) = self.variable {
            let keys = Keys::parse(&text).map_err(KeyError::BadVariable)?;
            return Ok((keys, Origin::Environment));
        }
        let path = self.config_home.map(|folder| folder.join(FILE_NAME)).ok_or(KeyError::Absent)?;
        match (path.exists(), when_absent) {
            (true, _) => Ok((read(&path)?, Origin::File(path))),
            (false, WhenAbsent::Make) => Ok((make(&path)?, Origin::Made(path))),
            (false, WhenAbsent::Refuse) => Err(KeyError::Absent),
        }
    }
}

impl Origin {
    /// The file that a running process reads its keys from again.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Made(path) => Some(path),
            Self::Environment | Self::Memory => None,
        }
    }
}

/// The keys of a file.
pub fn read(path: &Path) -> Result<Keys, KeyError> {
    let text = read_text(path)?;
    Keys::parse(&text).map_err(|source| KeyError::BadFile { path: path.to_owned(), source })
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let io_error = |source| KeyError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => io_error(error),
    })?;
    let mode = file.metadata().map_err(io_error)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Readable { path: path.to_owned() });
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io_error)?;
    Ok(text)
}

/// Makes a key and writes it to `path`, which must not exist. When somebody else makes it at the
/// same moment, theirs is taken.
pub fn make(path: &Path) -> Result<Keys, KeyError> {
    let key = MasterKey::generate().map_err(KeyError::Make)?;
    match write_new(path, &key) {
        Ok(()) => Ok(key.into()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(source) => Err(KeyError::Io { path: path.to_owned(), source }),
    }
}

/// Writes a key file that is either complete or not there.
pub fn write_new(path: &Path, key: &MasterKey) -> io::Result<()> {
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = draft_in(folder);
    let written = write_draft(&draft, key, "").and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    written
}

/// Puts a new key at the top of an existing file: it seals from now on, the others open. Gives its id
/// and theirs.
pub fn add(path: &Path) -> Result<Vec<String>, KeyError> {
    let text = read_text(path)?;
    let key = MasterKey::generate().map_err(KeyError::Make)?;
    let bad = |source| KeyError::BadFile { path: path.to_owned(), source };
    let together = Zeroizing::new(format!("{}\n{}", key.to_base64().as_str(), text.as_str()));
    let keys = Keys::parse(&together).map_err(bad)?;
    let draft = draft_in(folder_of(path));
    let written = write_draft(&draft, &key, &text).and_then(|()| fs::rename(&draft, path));
    written
        .and_then(|()| File::open(folder_of(path))?.sync_all())
        .map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
    Ok(keys.ids().map(str::to_owned).collect())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn draft_in(folder: &Path) -> PathBuf {
    folder.join(format!(".{FILE_NAME}.{}", std::process::id()))
}

fn write_draft(draft: &Path, key: &MasterKey, below: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(key.to_base64().as_bytes())?;
    file.write_all(b"\n")?;
    file.write_all(below.as_bytes())?;
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
        assert_eq!((second.current_id(), origin), (key.current_id(), Origin::File(path)));
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
        assert_eq!(both.load(WhenAbsent::Refuse).unwrap().0.current_id(), in_file.id());
        let one = Places { variable, ..Places::default() };
        assert_eq!(one.load(WhenAbsent::Refuse).unwrap().0.current_id(), in_variable.id());
        let bad = Places { variable: Some("short".into()), ..home().1 };
        assert!(matches!(bad.load(WhenAbsent::Make), Err(KeyError::BadVariable(_))));
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let (folder, _) = home();
        let path = folder.path().join("k");
        let first = make(&path).unwrap();
        assert_eq!(make(&path).unwrap().current().id(), first.current().id());
    }

    #[test]
    fn a_key_is_added_above_the_others_and_the_file_stays_private() {
        let (folder, _) = home();
        let path = folder.path().join("k");
        assert!(matches!(add(&path), Err(KeyError::Missing { .. })), "there is nothing to add to");
        let first = make(&path).unwrap().current().id().to_owned();
        fs::write(&path, format!("# keep\n{}", fs::read_to_string(&path).unwrap())).unwrap();
        let ids = add(&path).unwrap();
        assert_eq!((ids.len(), &ids[1]), (2, &first));
        assert_eq!(read(&path).unwrap().ids().collect::<Vec<_>>(), ids);
        assert!(fs::read_to_string(&path).unwrap().contains("# keep"));
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
}
