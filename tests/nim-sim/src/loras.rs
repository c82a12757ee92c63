//! Adapters in a folder, as a NIM finds them: each in a folder of its own, whose name is the model id.
//!
//! What is half written is an error and not passed over: whoever places adapters must never let a server see one.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONFIG: &str = "adapter_config.json";
const SAFETENSORS: &str = "adapter_model.safetensors";
const BIN: &str = "adapter_model.bin";
/// Longest description of tensors that is read.
const MAX_HEADER_BYTES: u64 = 1024 * 1024;

/// Where adapters are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoraSource {
    pub folder: PathBuf,
    /// How often, after the first time; none: never again.
    pub refresh: Option<Duration>,
}

/// An adapter that no server could load.
#[derive(Debug, thiserror::Error)]
#[error("the adapter {} can't be loaded: {why}", path.display())]
pub struct LoraError {
    path: PathBuf,
    why: String,
}

/// The ids of the adapters in `folder`, and where they are.
pub(crate) fn scan(folder: &Path) -> Result<BTreeMap<String, PathBuf>, LoraError> {
    let error = |error: io::Error| LoraError { path: folder.to_owned(), why: error.to_string() };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let is_there = match check(&path) {
            Ok(()) => true,
            // It was taken away meanwhile.
            Err(_) if !path.exists() => false,
            Err(why) => return Err(why),
        };
        if let (true, Some(name)) = (is_there, path.file_name()) {
            found.insert(name.to_string_lossy().into_owned(), path);
        }
    }
    Ok(found)
}

/// Whether a whole adapter is there.
pub(crate) fn check(folder: &Path) -> Result<(), LoraError> {
    let refuse = |why: String| Err(LoraError { path: folder.to_owned(), why });
    let config = match std::fs::read(folder.join(CONFIG)) {
        Ok(config) => config,
        Err(_) if holds_nemo(folder) => return Ok(()),
        Err(error) => return refuse(format!("{CONFIG}: {error}")),
    };
    if let Err(error) = serde_json::from_slice::<Map<String, Value>>(&config) {
        return refuse(format!("{CONFIG}: {error}"));
    }
    match File::open(folder.join(SAFETENSORS)) {
        Ok(file) => tensors(file).or_else(|why| refuse(format!("{SAFETENSORS}: {why}"))),
        Err(_) if std::fs::metadata(folder.join(BIN)).is_ok_and(|file| file.len() > 0) => Ok(()),
        Err(error) => refuse(format!("{SAFETENSORS}: {error}")),
    }
}

fn holds_nemo(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.path().extension().is_some_and(|kind| kind == "nemo"))
}

#[derive(Deserialize)]
struct Tensor {
    data_offsets: (u64, u64),
}

/// The length of a description, the description, and as many bytes as it says.
fn tensors(mut file: File) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let length = file.metadata().map_err(text)?.len();
    let mut number = [0; 8];
    file.read_exact(&mut number).map_err(text)?;
    let header_length = u64::from_le_bytes(number);
    if header_length > MAX_HEADER_BYTES {
        return Err(format!("a description of {header_length} bytes"));
    }
    let mut header = Vec::new();
    file.take(header_length).read_to_end(&mut header).map_err(text)?;
    let tensors: BTreeMap<String, Value> =
        serde_json::from_slice(&header).map_err(|error| error.to_string())?;
    let ends = tensors
        .into_iter()
        .filter(|(name, _)| name != "__metadata__")
        .map(|(_, tensor)| serde_json::from_value::<Tensor>(tensor).map(|tensor| tensor.data_offsets.1));
    let ends = ends.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let expected = ends.into_iter().max().unwrap_or(0).saturating_add(8).saturating_add(header_length);
    if length == expected { Ok(()) } else { Err(format!("{length} bytes instead of {expected}")) }
}
