//! The last applied snapshot on disk: to boot from when the registry is dead, locked or corrupt.
//!
//! The file holds the feed's line as it came, keys sealed, behind a line with its hash. Written beside
//! and renamed, file and directory synced; the one before is kept. At most one is written a second: in
//! a storm of changes the newest counts.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use proto_shared::RouteSnapshot;
use proto_shared::feed::FeedMessage;
use proto_shared::tomorrow::{self, UnknownWord};
use sha2::{Digest, Sha256};

/// First line: magic, format of the file, SHA-256 of what follows.
const MAGIC: &str = "nimgate-snapshot 1";
/// Between two saves.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("is damaged or of another format")]
    Damaged,
}

/// A snapshot, and what of it is not understood: it may have been saved by a newer gateway.
pub type Loaded = (Arc<RouteSnapshot>, Vec<UnknownWord>);

/// The newest snapshot that is whole: the current file, or else the one before it.
pub fn load(path: &Path) -> Result<Option<Loaded>, LoadError> {
    match load_one(path) {
        Ok(Some(found)) => Ok(Some(found)),
        // Never saved, or the process died between the two renames of a save.
        Ok(None) => load_one(&previous(path)),
        Err(error) => match load_one(&previous(path)) {
            Ok(Some(older)) => {
                tracing::error!(path = %path.display(), %error, "using the snapshot before it");
                Ok(Some(older))
            }
            _ => Err(error),
        },
    }
}

fn load_one(path: &Path) -> Result<Option<Loaded>, LoadError> {
    let mut text = Vec::new();
    match fs::File::open(path) {
        Ok(mut file) => file.read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = text.iter().position(|&b| b == b'\n').ok_or(LoadError::Damaged)?;
    let (header, json) = (text.get(..end), text.get(end + 1..));
    let (Some(header), Some(json)) = (header, json) else { return Err(LoadError::Damaged) };
    if header != header_of(json).as_bytes() {
        return Err(LoadError::Damaged);
    }
    match tomorrow::read(json) {
        Ok((FeedMessage::Snapshot(snapshot), unknown)) => Ok(Some((snapshot, unknown))),
        _ => Err(LoadError::Damaged),
    }
}

fn header_of(json: &[u8]) -> String {
    let hash: String = Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{MAGIC} {hash}")
}

fn previous(path: &Path) -> PathBuf {
    path.with_extension("previous")
}

pub fn save(path: &Path, line: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(header_of(line).as_bytes())?;
    file.write_all(b"\n")?;
    file.write_all(line)?;
    file.sync_all()?;
    match fs::rename(path, previous(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(&beside, path)?;
    // Without this, a power loss can bring the old names back.
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Saves on a thread of its own: newest wins, and applying never waits for the disk. Dropping it waits
/// until the newest snapshot is saved.
pub struct Writer {
    next: Arc<(Mutex<Next>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Next {
    line: Option<Bytes>,
    closing: bool,
}

impl Writer {
    pub fn start(path: PathBuf) -> Self {
        let next = Arc::new((Mutex::new(Next::default()), Condvar::new()));
        let waiting = Arc::clone(&next);
        let run = move || {
            while let Some(line) = take(&waiting) {
                if let Err(error) = save(&path, &line) {
                    tracing::error!(path = %path.display(), %error, "the snapshot can't be saved");
                }
                rest(&waiting);
            }
        };
        let thread = match std::thread::Builder::new().name("snapshot".into()).spawn(run) {
            Ok(thread) => Some(thread),
            Err(error) => {
                tracing::error!(%error, "snapshots will not be saved");
                None
            }
        };
        Self { next, thread }
    }

    pub fn save(&self, line: Bytes) {
        self.tell(|next| next.line = Some(line));
    }

    fn tell(&self, change: impl FnOnce(&mut Next)) {
        let (slot, wake) = &*self.next;
        change(&mut slot.lock().unwrap_or_else(PoisonError::into_inner));
        wake.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.tell(|next| next.closing = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The next snapshot to save; none: the writer is closing and nothing is left.
fn take(next: &(Mutex<Next>, Condvar)) -> Option<Bytes> {
    let (slot, wake) = next;
    let mut waiting = slot.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match waiting.line.take() {
            Some(line) => return Some(line),
            None if waiting.closing => return None,
            None => waiting = wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Waits out the interval, unless the writer is closing.
fn rest(next: &(Mutex<Next>, Condvar)) {
    let (slot, wake) = next;
    let waiting = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = wake.wait_timeout_while(waiting, SAVE_INTERVAL, |next| !next.closing);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(generation: u64) -> Bytes {
        let snapshot = RouteSnapshot {
            format: 1,
            installation: "i".into(),
            generation,
            workspaces: vec![],
            local_only: vec![],
            providers: vec![],
            models: vec![],
        };
        serde_json::to_vec(&FeedMessage::Snapshot(Arc::new(snapshot))).unwrap().into()
    }

    #[test]
    fn the_newest_whole_snapshot_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.snapshot");
        assert!(load(&path).unwrap().is_none());
        save(&path, &line(1)).unwrap();
        save(&path, &line(2)).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().0.generation, 2);
    }

    #[test]
    fn a_snapshot_damaged_anywhere_falls_back_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.snapshot");
        save(&path, &line(1)).unwrap();
        save(&path, &line(2)).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(load(&path).unwrap().unwrap().0.generation, 1, "cut at {cut}");
        }
        let mut flipped = whole.clone();
        let last = flipped.len() - 2;
        flipped[last] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().0.generation, 1);
        fs::remove_file(previous(&path)).unwrap();
        assert!(load(&path).is_err());
    }

    #[test]
    fn what_was_given_to_the_writer_is_on_disk_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.snapshot");
        let writer = Writer::start(path.clone());
        (1..=50).for_each(|generation| writer.save(line(generation)));
        drop(writer);
        assert_eq!(load(&path).unwrap().unwrap().0.generation, 50);
    }

    #[test]
    fn a_save_that_died_between_its_renames_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.snapshot");
        save(&path, &line(1)).unwrap();
        fs::rename(&path, previous(&path)).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().0.generation, 1);
    }

    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.snapshot");
        save(&path, &line(1)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
