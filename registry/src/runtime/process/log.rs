//! Logs of processes: one file that is written by the process itself, and one with what was before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use super::super::Fault;
use super::super::logs::{LogQuery, LogStream, lines};
use super::record::{self, State};
use crate::domain::timestamp::Timestamp;

/// A longer file is emptied, and its end kept beside it.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Of the past, so much of each file is looked at.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;
/// Read at a time while following.
const PIECE_BYTES_MAX: u64 = 64 * 1024;
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

const NOW: &str = "log";
const BEFORE: &str = "log.1";

/// For a process to write to. Appended: so an emptied file begins at its beginning.
pub fn open(folder: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(folder.join(NOW))
}

/// Cuts all logs that are too long.
pub fn trim_all(instances: &Path) -> io::Result<()> {
    for entry in fs::read_dir(instances)? {
        match trim(&entry?.path(), FILE_BYTES_MAX) {
            // Removed in this very moment, or never started.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn trim(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let path = folder.join(NOW);
    let size = fs::metadata(&path)?.len();
    if size <= bytes_max {
        return Ok(());
    }
    let mut file = File::open(&path)?;
    file.seek(SeekFrom::Start(size - bytes_max))?;
    let beside = folder.join(".log.new");
    io::copy(&mut file.take(bytes_max), &mut File::create(&beside)?)?;
    fs::rename(beside, folder.join(BEFORE))?;
    OpenOptions::new().write(true).open(&path)?.set_len(0)
}

/// The end of the log, then what comes.
pub fn stream(folder: PathBuf, query: LogQuery) -> Result<LogStream, Fault> {
    let fault = |error: io::Error| record::fault(&folder, &error);
    let (now, offset) = end_of(&folder.join(NOW)).map_err(fault)?;
    let (before, _) = end_of(&folder.join(BEFORE)).map_err(fault)?;
    // Lines have no times: it is known when the last one came.
    let is_old = query.since.is_some_and(|since| written(&folder.join(NOW)).is_some_and(|at| at < since));
    let past = if is_old { Bytes::new() } else { tail([before, now].concat(), query.tail()) };
    let past = stream::once(std::future::ready(Ok(past)));
    if !query.follow {
        return Ok(lines(past));
    }
    Ok(lines(past.chain(follow(folder, offset))))
}

fn written(path: &Path) -> Option<Timestamp> {
    let since = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)))
}

/// The last whole lines of a file, and where it ended.
fn end_of(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        opened => opened?,
    };
    let size = file.metadata()?.len();
    let start = size.saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(size - start).read_to_end(&mut bytes)?;
    if start > 0 {
        let whole = bytes.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        bytes.drain(..whole);
    }
    let end = start + size.saturating_sub(start);
    Ok((bytes, end))
}

fn tail(bytes: Vec<u8>, lines: u32) -> Bytes {
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let mut ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let start = match wanted.checked_sub(1) {
        None => bytes.len(),
        Some(before) => ends.nth(before).unwrap_or_default(),
    };
    Bytes::from(bytes).slice(start..)
}

/// Pieces from `offset` on, until the instance ended and all was read.
fn follow(folder: PathBuf, offset: u64) -> impl futures_util::Stream<Item = Result<Bytes, Fault>> {
    stream::unfold((folder, offset, true), async |(folder, mut offset, mut may_grow)| {
        loop {
            // Looked at before reading: what was printed before the end is not missed.
            let is_alive = may_grow && is_alive(&folder);
            match piece(&folder.join(NOW), &mut offset) {
                Err(error) => {
                    let fault = record::fault(&folder, &error);
                    return may_grow.then_some((Err(fault), (folder, offset, false)));
                }
                Ok(bytes) if !bytes.is_empty() => return Some((Ok(bytes), (folder, offset, may_grow))),
                Ok(_) if !is_alive => return None,
                Ok(_) => tokio::time::sleep(FOLLOW_INTERVAL).await,
            }
            may_grow = is_alive;
        }
    })
}

fn is_alive(folder: &Path) -> bool {
    match record::read(folder) {
        Ok(Some(record)) => match record.state {
            State::Running { identity, .. } => identity.is_alive(),
            State::Starting => true,
            State::Exited(_) => false,
        },
        Ok(None) | Err(_) => false,
    }
}

fn piece(path: &Path, offset: &mut u64) -> io::Result<Bytes> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Bytes::new()),
        opened => opened?,
    };
    if file.metadata()?.len() < *offset {
        *offset = 0;
    }
    file.seek(SeekFrom::Start(*offset))?;
    let mut bytes = Vec::new();
    let read = file.take(PIECE_BYTES_MAX).read_to_end(&mut bytes)?;
    *offset += u64::try_from(read).unwrap_or_default();
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let text = |lines| String::from_utf8(tail(b"one\ntwo\nthree\n".to_vec(), lines).to_vec()).unwrap();
        assert_eq!(text(0), "");
        assert_eq!(text(1), "three\n");
        assert_eq!(text(2), "two\nthree\n");
        assert_eq!(text(9), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_long_log_is_cut_to_its_end_and_goes_on_from_the_beginning() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let mut writer = open(folder.path()).unwrap();
        writer.write_all(b"a\nb\nc\n").unwrap();
        trim(folder.path(), 4).unwrap();
        writer.write_all(b"d\n").unwrap();
        assert_eq!(fs::read(folder.path().join(BEFORE)).unwrap(), b"b\nc\n");
        assert_eq!(fs::read(folder.path().join(NOW)).unwrap(), b"d\n");
    }
}
