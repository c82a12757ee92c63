//! One registry per data folder.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use fs4::fs_std::FileExt;

use super::OpenError;

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Held for as long as anything may touch the database. The system drops it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock, or waits up to `wait_max` for a registry that is just ending.
    pub fn take(path: &Path, wait_max: Duration) -> Result<Self, OpenError> {
        let failed = |source| OpenError::DataDir { path: path.to_owned(), source };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let start = Instant::now();
        loop {
            if FileExt::try_lock_exclusive(&file).map_err(failed)? {
                return Ok(Self { _file: file });
            }
            if start.elapsed() >= wait_max {
                return Err(OpenError::InUse { path: path.to_owned(), waited: wait_max });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_registry_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = DataLock::take(&path, Duration::ZERO).unwrap();
        assert!(matches!(DataLock::take(&path, Duration::ZERO), Err(OpenError::InUse { .. })));
        drop(first);
        DataLock::take(&path, Duration::ZERO).unwrap();
    }
}
