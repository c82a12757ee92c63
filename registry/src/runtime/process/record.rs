//! What is written down of an instance, in its folder: enough for the next registry to go on.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::super::id::{Installation, InstanceId, sorted};
use super::super::{Fault, FaultKind};
use super::identity::Identity;

/// Below a volume's folder: what its instances see.
pub const VOLUME_DATA: &str = "data";
const RECORD: &str = "instance.json";
const LABELS: &str = "labels.json";

/// No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub labels: BTreeMap<String, String>,
    /// Its processes carry it in their environment.
    pub token: String,
    pub spec_digest: String,
    pub port: u16,
    pub gpus: Vec<String>,
    /// Names of the folders of its volumes.
    pub volumes: Vec<String>,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// A process may be there already.
    Starting,
    Running {
        #[serde(flatten)]
        identity: Identity,
        /// Microseconds since the epoch.
        since: i64,
    },
    Exited(Ended),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub code: Option<i32>,
    /// Microseconds since the epoch.
    pub at: Option<i64>,
}

impl Record {
    pub fn instance(&self, installation: &Installation) -> Option<InstanceId> {
        let labels = self.labels.clone().into_iter().collect();
        InstanceId::from_labels(&labels, installation)
    }
}

/// Nothing when there is none. One that can't be read is a fault: what runs must not be taken for absent.
pub fn read(folder: &Path) -> Result<Option<Record>, Fault> {
    read_file(&folder.join(RECORD))
}

pub fn write(folder: &Path, record: &Record) -> Result<(), Fault> {
    write_file(folder, RECORD, record)
}

pub fn read_labels(folder: &Path) -> Result<Option<HashMap<String, String>>, Fault> {
    read_file(&folder.join(LABELS))
}

pub fn write_labels(folder: &Path, labels: HashMap<String, String>) -> Result<(), Fault> {
    write_file(folder, LABELS, &sorted(labels))
}

fn read_file<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Fault> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(fault(path, &error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| fault(path, &io::Error::from(error)))
}

/// Whole or not at all, also when the power fails.
fn write_file(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), Fault> {
    let beside = folder.join(format!(".{name}.new"));
    let writing = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        file.sync_all()?;
        fs::rename(&beside, folder.join(name))?;
        fs::File::open(folder)?.sync_all()
    };
    writing().map_err(|error: io::Error| fault(&beside, &error))
}

/// What says whose folder it is goes last: cut off in between, it is removed another time.
pub async fn remove_folder(folder: PathBuf) -> Result<(), Fault> {
    let removing = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => fs::remove_dir_all(entry.path())?,
                    false if [RECORD, LABELS].iter().any(|name| entry.file_name() == *name) => {}
                    false => fs::remove_file(entry.path())?,
                }
            }
            fs::remove_dir_all(&folder)
        })
    };
    match removing.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(&folder, &error)),
        _ => Ok(()),
    }
}

/// What can't be read or written leaves unknown what runs.
pub fn fault(path: &Path, error: &io::Error) -> Fault {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => FaultKind::NoSpace,
        _ => FaultKind::Unavailable,
    };
    Fault::new(kind, format!("{}: {error}; look after the disk and the file's permissions", path.display()))
}

pub fn now() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).unwrap_or_default()
}
