//! The files of local filesets: `<data_dir>/files/<fileset id>/<path>`.
//!
//! Invariants:
//! - A file is complete from its first moment on, and is never changed: another one takes its place.
//!   So a hard link to it is a copy.
//! - What was acknowledged survives power loss: file and folders are synced before the answer.
//! - Nothing outside a fileset's folder is reached: no links, no `..`, checked paths only.
//! - No file is held in memory; transfers hold one buffer each, and their number is limited.
//! - What is half done lies in `files/.passing` and is swept at the next start.
//! - Whoever gets to a file may read it, as containers run as users of their own. The folder of all files lets nobody in
//!   but its owner; a container has a part of it mounted, and need not pass there.
//!
//! Absent on purpose: files of remote filesets. They are not fetched here.

mod adapters;
mod download;
mod error;
mod folder;
mod path;
mod range;
mod upload;

use std::collections::HashSet;
use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use adapters::ADAPTERS;
pub use download::body;
pub use error::FileError;
pub use path::FilePath;
pub use range::{Wanted, wanted};

use crate::config::{FILES_LISTED_MAX, FilesConfig, SMALL_FILE_BYTES_MAX};
use crate::domain::EntityId;
use folder::{Entry, Folder};

/// Holds what is on its way in or out. No id of a fileset begins with a dot.
pub const PASSING: &str = ".passing";
/// A folder may vanish between its making and its use, when the last file in it is deleted.
const PLACE_ATTEMPTS_MAX: usize = 16;

/// The folder of all files, and who may use it at a time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileStore {
    root: Arc<PathBuf>,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    file_bytes_max: u64,
    idle_timeout: Duration,
}

/// A file and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    pub path: FilePath,
    pub size: u64,
}

/// A file that can be read: whole and unchanging, whatever happens to its name.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    pub size: u64,
    /// Different for every file that ever stood here.
    pub stamp: String,
}

impl FileStore {
    /// Sweeps what was left behind. `ids` are the filesets that there are. Blocking.
    pub fn open(data_dir: &Path, config: &FilesConfig, ids: &HashSet<String>) -> std::io::Result<Self> {
        let root = data_dir.join("files");
        sweep(&root, ids)?;
        match std::fs::set_permissions(&root, Permissions::from_mode(0o700)) {
            // It is made like that with the first file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            closed => closed?,
        }
        Ok(Self {
            root: Arc::new(root),
            uploads: Arc::new(Semaphore::new(config.uploads_max)),
            downloads: Arc::new(Semaphore::new(config.downloads_max)),
            file_bytes_max: config.file_bytes_max,
            idle_timeout: config.idle_timeout,
        })
    }

    /// The folder of all files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub async fn list(&self, id: &EntityId, below: Option<FilePath>) -> Result<Vec<FileInfo>, FileError> {
        let found = self.blocking(id, move |folder| {
            let mut found = Vec::new();
            match below {
                None => folder.files_below("", FILES_LISTED_MAX, &mut found)?,
                Some(path) => list_at(&folder, &path, &mut found)?,
            }
            Ok(found)
        });
        let mut files: Vec<FileInfo> = match found.await {
            Ok(found) => named(found),
            Err(FileError::NotFound | FileError::BelowFile) => Vec::new(),
            Err(error) => return Err(error),
        };
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Whether the fileset has no file.
    pub async fn is_empty(&self, id: &EntityId) -> Result<bool, FileError> {
        let looked = self.blocking(id, |folder| {
            let mut found = Vec::new();
            folder.files_below("", 1, &mut found)?;
            Ok(found.is_empty())
        });
        match looked.await {
            Err(FileError::TooMany(_)) => Ok(false),
            Err(FileError::NotFound) => Ok(true),
            looked => looked,
        }
    }

    /// The files at the top, in no order.
    pub async fn list_top(&self, id: &EntityId) -> Result<Vec<FileInfo>, FileError> {
        match self.blocking(id, |folder| folder.files_here(FILES_LISTED_MAX)).await {
            Err(FileError::NotFound) => Ok(Vec::new()),
            found => Ok(named(found?)),
        }
    }

    pub async fn open_file(&self, id: &EntityId, path: FilePath) -> Result<OpenFile, FileError> {
        let opened = self.blocking(id, move |folder| {
            let (folder, name) = parent_of(folder, &path)?;
            let file = folder.open_file(name)?;
            let metadata = file.metadata()?;
            let stamp = format!("{:x}.{:x}.{:x}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
            Ok(OpenFile { file, size: metadata.len(), stamp })
        });
        // A file that would be below another file is not there.
        opened
            .await
            .map_err(|error| if matches!(error, FileError::BelowFile) { FileError::NotFound } else { error })
    }

    /// The text of a small file; `None` when it is not there, is too long, or is not UTF-8.
    pub async fn read_small(&self, id: &EntityId, path: FilePath) -> Option<String> {
        let mut opened =
            self.open_file(id, path).await.ok().filter(|file| file.size <= SMALL_FILE_BYTES_MAX)?;
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut opened.file, &mut text).ok().map(|_| text)
        });
        reading.await.ok().flatten()
    }

    /// Deletes a file, and the folders that are empty then.
    pub async fn remove(&self, id: &EntityId, path: FilePath) -> Result<FileInfo, FileError> {
        let removed = self.blocking(id, move |top| {
            let (folders, name) = path.split();
            let mut way = vec![(top, "")];
            for name in folders {
                let next = last(&way)?.enter(name)?;
                way.push((next, name));
            }
            let folder = last(&way)?;
            let Some(Entry::File(size)) = folder.look(name.as_ref())? else {
                return Err(FileError::IsFolder);
            };
            folder.remove_file(name)?;
            folder.sync()?;
            while let [.., (above, _), (_, name)] = way.as_slice() {
                if !above.remove_empty(name) {
                    break;
                }
                above.sync()?;
                way.pop();
            }
            way.first().map_or(Ok(()), |(top, _)| top.stamp())?;
            Ok(FileInfo { path: path.clone(), size })
        });
        removed
            .await
            .map_err(|error| if matches!(error, FileError::BelowFile) { FileError::NotFound } else { error })
    }

    /// Removes all files of a fileset. What can't be removed now is swept at the next start.
    pub async fn forget(&self, id: &EntityId) {
        let (root, id) = (Arc::clone(&self.root), id.clone());
        let removing = tokio::task::spawn_blocking(move || {
            make_folder(&root.join(PASSING))?;
            let passing = root.join(PASSING).join(uuid::Uuid::new_v4().to_string());
            // Moved away first: from this moment on the fileset has no files.
            std::fs::rename(root.join(id.as_str()), &passing)?;
            std::fs::remove_dir_all(passing)
        });
        match removing.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "files of a deleted fileset were left for the next start");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Changes whenever a file of the fileset does.
    pub async fn stamp(&self, id: &EntityId) -> Result<i128, FileError> {
        match self.blocking(id, |folder| folder.last_stamp()).await {
            Err(FileError::NotFound) => Ok(0),
            stamp => stamp,
        }
    }

    pub fn download_permit(&self) -> Result<OwnedSemaphorePermit, FileError> {
        Arc::clone(&self.downloads).try_acquire_owned().map_err(|_| FileError::Busy)
    }

    pub fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Runs `work` with the fileset's folder, off the async threads.
    async fn blocking<T, F>(&self, id: &EntityId, work: F) -> Result<T, FileError>
    where
        T: Send + 'static,
        F: FnOnce(Folder) -> Result<T, FileError> + Send + 'static,
    {
        let path = self.root.join(id.as_str());
        tokio::task::spawn_blocking(move || work(Folder::open(&path)?)).await?
    }
}

/// What was not made here and has no name of ours is not shown.
fn named(found: Vec<(String, u64)>) -> Vec<FileInfo> {
    let named = |(path, size): (String, u64)| Some(FileInfo { path: FilePath::parse(&path).ok()?, size });
    found.into_iter().filter_map(named).collect()
}

fn last<'w>(way: &'w [(Folder, &str)]) -> Result<&'w Folder, FileError> {
    way.last().map(|(folder, _)| folder).ok_or(FileError::NotFound)
}

/// The folder that holds `path`, and its name there.
fn parent_of(mut folder: Folder, path: &FilePath) -> Result<(Folder, &str), FileError> {
    let (folders, name) = path.split();
    for name in folders {
        folder = folder.enter(name)?;
    }
    Ok((folder, name))
}

/// A file alone, or all files of a folder.
fn list_at(top: &Folder, path: &FilePath, found: &mut Vec<(String, u64)>) -> Result<(), FileError> {
    let (folders, name) = path.split();
    let mut inner = None;
    for name in folders {
        inner = Some(inner.as_ref().unwrap_or(top).enter(name)?);
    }
    let folder = inner.as_ref().unwrap_or(top);
    match folder.look(name.as_ref())? {
        Some(Entry::File(size)) => found.push((path.to_string(), size)),
        Some(Entry::Folder) => folder.enter(name)?.files_below(path.as_str(), FILES_LISTED_MAX, found)?,
        None => {}
    }
    Ok(())
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Moves what nobody knows out of the way, which is quick, and removes it beside the start.
fn sweep(root: &Path, ids: &HashSet<String>) -> std::io::Result<()> {
    let names: Vec<_> = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?,
    };
    let passing = root.join(PASSING);
    let old = root.join(format!("{PASSING}-{}", uuid::Uuid::new_v4()));
    make_folder(&passing)?;
    std::fs::rename(&passing, &old)?;
    for name in names {
        let Some(text) = name.to_str() else { continue };
        let is_left = (text.starts_with("fileset-") && !ids.contains(text)) || text.starts_with(PASSING);
        if is_left && text != PASSING {
            std::fs::rename(root.join(text), old.join(text))?;
        }
    }
    std::thread::Builder::new().name("files-sweep".into()).spawn(move || {
        if let Err(error) = std::fs::remove_dir_all(&old) {
            tracing::warn!(%error, "what was left of files could not be removed");
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
