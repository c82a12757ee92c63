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
/// Containers run as users of their own. All others of this host are kept out by the folder above: [`super::make_folder`].
const READ_BY_ALL: [Mode; 2] = [Mode::from_raw_mode(0o755), Mode::from_raw_mode(0o644)];

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
        let [for_folders, _] = READ_BY_ALL;
        match fs::mkdirat(&self.0, name, for_folders) {
            Ok(()) => {
                let made = self.enter(name)?;
                // Whatever the process's mask took away.
                fs::fchmod(&made.0, for_folders)?;
                Ok(made)
            }
            Err(Errno::EXIST) => self.enter(name),
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
        let [_, for_files] = READ_BY_ALL;
        let file = fs::openat(&self.0, name, flags, for_files)?;
        fs::fchmod(&file, for_files)?;
        Ok(file.into())
    }

    /// Another name for a file of `from`: both are the same file from now on.
    pub fn link_from(&self, from: &Self, name: &str) -> Result<(), FileError> {
        Ok(fs::linkat(&from.0, name, &self.0, name, AtFlags::empty())?)
    }

    /// What was made in other times, or came back from a backup, is readable by all too; that of everything below.
    pub fn make_readable(&self) -> Result<(), FileError> {
        let [for_folders, _] = READ_BY_ALL;
        fs::fchmod(&self.0, for_folders)?;
        for (name, entry) in self.entries()? {
            let done = match entry {
                Entry::File(_) => self.make_file_readable(&name),
                Entry::Folder => self.enter(&name).and_then(|folder| folder.make_readable()),
            };
            match done {
                // It went away meanwhile.
                Err(FileError::NotFound) => {}
                done => done?,
            }
        }
        Ok(())
    }

    pub fn make_file_readable(&self, name: &str) -> Result<(), FileError> {
        let [_, for_files] = READ_BY_ALL;
        let file = self.open_file(name)?;
        let is_done = Mode::from_raw_mode(fs::fstat(&file)?.st_mode).contains(for_files);
        if is_done { Ok(()) } else { Ok(fs::fchmod(&file, for_files)?) }
    }

    /// Removes what has this name, with all that is below.
    pub fn remove_all(&self, name: &str) -> Result<(), FileError> {
        let folder = match self.look(name.as_ref())? {
            Some(Entry::Folder) => self.enter(name)?,
            Some(Entry::File(_)) | None => return self.remove_file(name),
        };
        for entry in Dir::read_from(&folder.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Some(name) = name.to_str().filter(|name| !matches!(*name, "." | "..")) else { continue };
            folder.remove_all(name)?;
        }
        Ok(fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// The names of the folders in it.
    pub fn folders_here(&self) -> Result<Vec<String>, FileError> {
        let entries = self.entries()?.into_iter();
        Ok(entries.filter(|(_, entry)| matches!(entry, Entry::Folder)).map(|(name, _)| name).collect())
    }

    /// Files and folders in it. What has no name of ours was not made here.
    fn entries(&self) -> Result<Vec<(String, Entry)>, FileError> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Some(text) = name.to_str().filter(|name| !matches!(*name, "." | "..")) else { continue };
            match self.look(name) {
                Ok(Some(entry)) => found.push((text.to_owned(), entry)),
                // It went away meanwhile, or is nothing of ours.
                Ok(None) | Err(FileError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The number of the file itself, whatever it is called.
    pub fn inode(&self, name: &str) -> Result<u64, FileError> {
        Ok(fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino)
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
