//! What can go wrong with files, told apart by what a caller can do about it.

use rustix::io::Errno;

use super::path::FilePathError;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("path: {0}")]
    Path(#[from] FilePathError),
    #[error("there is no such file")]
    NotFound,
    #[error("the path is a folder, not a file; list it with files?path=…")]
    IsFolder,
    #[error("a part of the path is a file, so there can be nothing below it; delete that file first")]
    BelowFile,
    #[error("the disk is full; free some space, nothing was changed")]
    DiskFull,
    #[error("the file is longer than {0} bytes (files.file_bytes_max)")]
    TooLong(u64),
    #[error("there are more than {0} files; name a folder with ?path=…")]
    TooMany(usize),
    #[error("too many transfers of files at a time; try again in a moment")]
    Busy,
    #[error("the upload was too slow or stopped; send it again")]
    TooSlow,
    #[error("the upload ended before its end; nothing was kept, send it again")]
    Cut,
    #[error("the fileset was deleted while the file was on its way")]
    FilesetGone,
    /// Anything else. The text is for the log, not for callers.
    #[error("files: {0}")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT) => Self::NotFound,
            Some(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Self::IsFolder,
            // A link answers like a file in the way: none are made here, and none are followed.
            Some(Errno::NOTDIR | Errno::LOOP) => Self::BelowFile,
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        std::io::Error::from(errno).into()
    }
}

impl From<tokio::task::JoinError> for FileError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Io(std::io::Error::other(error))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_full_disk_is_told_as_such() {
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = full.write_all(b"x").unwrap_err();
        assert!(matches!(FileError::from(error), FileError::DiskFull));
    }
}
