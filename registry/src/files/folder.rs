//! Folders, opened part by part: nothing on the way may be a link, so no path leads out.
//!
//! Every function blocks.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::FileError;
use super::path::FilePath;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const OWNER_ONLY: Mode = Mode::RWXU;

/// An open folder.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// What a folder holds.
pub enum Entry {
    File(u64),
    Folder,
}

impl Folder {
    /// The folder at a path of our own.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Ok(Self(fs::open(path, FOLDER, Mode::empty())?))
    }

    pub fn enter(&self, name: &str) -> Result<Self, FileError> {
        Ok(Self(fs::openat(&self.0, name, FOLDER, Mode::empty())?))
    }

    /// Enters it, and makes it before when it is not there.
    pub fn enter_or_make(&self, name: &str) -> Result<Self, FileError> {
        match fs::mkdirat(&self.0, name, OWNER_ONLY) {
            Ok(()) | Err(Errno::EXIST) => self.enter(name),
            Err(error) => Err(error.into()),
        }
    }

    pub fn open_file(&self, name: &str) -> Result<File, FileError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(fs::openat(&self.0, name, flags, Mode::empty())?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(FileError::IsFolder) }
    }

    /// Makes a file that nobody else has.
    pub fn make_file(&self, name: &str) -> Result<File, FileError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// What stands there; `None` for what is neither file nor folder.
    pub fn look(&self, name: &OsStr) -> Result<Option<Entry>, FileError> {
        let stat = fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(Entry::File(u64::try_from(stat.st_size).unwrap_or_default())),
            FileType::Directory => Some(Entry::Folder),
            _ => None,
        })
    }

    pub fn move_to(&self, name: &str, to: &Self, new_name: &str) -> Result<(), FileError> {
        Ok(fs::renameat(&self.0, name, &to.0, new_name)?)
    }

    pub fn remove_file(&self, name: &str) -> Result<(), FileError> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes it if it is empty; says whether it did.
    pub fn remove_empty(&self, name: &str) -> bool {
        fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR).is_ok()
    }

    pub fn sync(&self) -> Result<(), FileError> {
        Ok(fs::fsync(&self.0)?)
    }

    /// Notes that something below it changed: its time of change is the stamp of all files below.
    pub fn stamp(&self) -> Result<(), FileError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timespec {
            tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: since.subsec_nanos().into(),
        };
        Ok(fs::futimens(&self.0, &Timestamps { last_access: now, last_modification: now })?)
    }

    /// When something below it last changed, in nanoseconds.
    pub fn last_stamp(&self) -> Result<i128, FileError> {
        let stat = fs::fstat(&self.0)?;
        Ok(i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec))
    }

    /// The files in it, with their lengths.
    pub fn files_here(&self, max: usize) -> Result<Vec<(String, u64)>, FileError> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Some(text) = name.to_str() else { continue };
            match self.look(name) {
                Ok(Some(Entry::File(size))) if found.len() < max => found.push((text.to_owned(), size)),
                Ok(Some(Entry::File(_))) => return Err(FileError::TooMany(max)),
                Ok(Some(Entry::Folder) | None) | Err(FileError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// All files below, with their lengths, as `prefix/…`. Stops with an error beyond `max`.
    pub fn files_below(
        &self,
        prefix: &str,
        max: usize,
        found: &mut Vec<(String, u64)>,
    ) -> Result<(), FileError> {
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            // What is not UTF-8 was not made here.
            let Some(text) = name.to_str().filter(|name| !matches!(*name, "." | "..")) else { continue };
            let path = FilePath::below(prefix, text);
            match self.look(name) {
                Ok(Some(Entry::File(size))) if found.len() < max => found.push((path, size)),
                Ok(Some(Entry::File(_))) => return Err(FileError::TooMany(max)),
                Ok(Some(Entry::Folder)) => match self.enter(text) {
                    Ok(folder) => folder.files_below(&path, max, found)?,
                    Err(FileError::NotFound) => {}
                    Err(error) => return Err(error),
                },
                // It went away meanwhile, or is nothing of ours.
                Ok(None) | Err(FileError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
