//! A file on its way in: into a passing file, synced, and moved to its place as the last step.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::folder::Folder;
use super::path::FilePath;
use super::{FileError, FileInfo, FileStore, PASSING, PLACE_ATTEMPTS_MAX, make_folder};
use crate::config::{TRANSFER_BUFFER_BYTES, UPLOAD_PROGRESS_BYTES_MIN, UPLOAD_UNSYNCED_BYTES_MAX};
use crate::domain::EntityId;

/// A whole file that is not in its place yet. Dropped, it leaves nothing.
pub struct Received {
    passing: Passing,
    size: u64,
    _permit: OwnedSemaphorePermit,
}

impl FileStore {
    /// Takes a body to its end. `length` is what its sender announced.
    pub async fn receive(&self, body: Body, length: Option<u64>) -> Result<Received, FileError> {
        let permit = Arc::clone(&self.uploads).try_acquire_owned().map_err(|_| FileError::Busy)?;
        let max = self.file_bytes_max;
        if length.is_some_and(|length| length > max) {
            return Err(FileError::TooLong(max));
        }
        let root = Arc::clone(&self.root);
        let passing = tokio::task::spawn_blocking(move || Passing::make(root)).await??;
        let size = self.copy(body, &passing).await?;
        if length.is_some_and(|length| length != size) {
            return Err(FileError::Cut);
        }
        Ok(Received { passing, size, _permit: permit })
    }

    /// A sender that stops, or only drips, is cut off.
    async fn copy(&self, mut body: Body, passing: &Passing) -> Result<u64, FileError> {
        let mut buffer = Vec::with_capacity(TRANSFER_BUFFER_BYTES);
        let mut size: u64 = 0;
        let mut lately: u64 = 0;
        let mut deadline = Instant::now() + self.idle_timeout;
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| FileError::TooSlow)?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|_| FileError::Cut)?.into_data() else { continue };
            let came = u64::try_from(data.len()).unwrap_or(u64::MAX);
            size = size.saturating_add(came);
            if size > self.file_bytes_max {
                return Err(FileError::TooLong(self.file_bytes_max));
            }
            lately = lately.saturating_add(came);
            buffer.extend_from_slice(&data);
            if buffer.len() >= TRANSFER_BUFFER_BYTES {
                buffer = passing.write(buffer).await?;
            }
            if lately >= UPLOAD_PROGRESS_BYTES_MIN {
                lately = 0;
                deadline = Instant::now() + self.idle_timeout;
            }
        }
        passing.write(buffer).await?;
        Ok(size)
    }
}

impl Received {
    /// Moves it to its place. When this returns, the file survives power loss. Blocking.
    pub fn place(self, id: &EntityId, path: FilePath) -> Result<FileInfo, FileError> {
        let Self { passing, size, _permit } = self;
        passing.file.sync_all()?;
        let mut attempts = 1;
        let way = loop {
            match passing.rename(id, &path) {
                Err(FileError::NotFound) if attempts < PLACE_ATTEMPTS_MAX => attempts += 1,
                way => break way?,
            }
        };
        // The first is the folder of all filesets, the second that of this one.
        way.get(1).map_or(Ok(()), Folder::stamp)?;
        way.iter().rev().try_for_each(Folder::sync)?;
        passing.root.parent().map_or(Ok(()), |above| Folder::open(above)?.sync())?;
        Ok(FileInfo { path, size })
    }
}

/// A file without a name of its own yet. Its drop removes what still has the passing name.
struct Passing {
    root: Arc<PathBuf>,
    name: String,
    file: Arc<File>,
    /// Written since the last sync.
    unsynced: Arc<AtomicU64>,
}

impl Passing {
    fn make(root: Arc<PathBuf>) -> Result<Self, FileError> {
        make_folder(&root.join(PASSING))?;
        let name = uuid::Uuid::new_v4().to_string();
        let file = Folder::open(&root)?.enter(PASSING)?.make_file(&name)?;
        Ok(Self { root, name, file: Arc::new(file), unsynced: Arc::default() })
    }

    /// Gives the buffer back, empty. Syncs now and then, so that the last sync, with its sender waiting, is short.
    async fn write(&self, mut buffer: Vec<u8>) -> Result<Vec<u8>, FileError> {
        let (file, unsynced) = (Arc::clone(&self.file), Arc::clone(&self.unsynced));
        let writing = tokio::task::spawn_blocking(move || {
            (&*file).write_all(&buffer)?;
            let length = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
            if unsynced.fetch_add(length, Ordering::Relaxed) >= UPLOAD_UNSYNCED_BYTES_MAX {
                unsynced.store(0, Ordering::Relaxed);
                file.sync_data()?;
            }
            buffer.clear();
            Ok(buffer)
        });
        writing.await?
    }

    /// Makes the folders on the way, and gives them all.
    fn rename(&self, id: &EntityId, path: &FilePath) -> Result<Vec<Folder>, FileError> {
        let root = Folder::open(&self.root)?;
        let passing = root.enter(PASSING)?;
        let (folders, name) = path.split();
        let mut folder = root.enter_or_make(id.as_str())?;
        let mut way = vec![root];
        for name in folders {
            let next = folder.enter_or_make(name)?;
            way.push(std::mem::replace(&mut folder, next));
        }
        passing.move_to(&self.name, &folder, name)?;
        way.push(folder);
        Ok(way)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let path = self.root.join(PASSING).join(&self.name);
        // Gone already if the file is in its place; what can't be removed now is swept at the next start.
        let remove = move || drop(std::fs::remove_file(path));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
