//! Configuration: a TOML file, the environment and flags become one checked [`Settings`].
//!
//! Invariants: flag over environment over file over default; unknown keys are refused; all problems
//! are reported at once, each with its key and where the value came from. Only this module and
//! [`crate::master_key`] read the environment of the serving commands.

mod declared;
mod deployments;
mod keys;
mod layers;
mod limits;
mod settings;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

pub use declared::{Declared, ProviderEntry, VirtualModelEntry};
pub use layers::{FlagValue, Problem, Source};
pub use settings::{Role, Settings, Surroundings};

use layers::Layers;

/// Settings, and where each value that is no default came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    sources: BTreeMap<&'static str, Source>,
}

impl Loaded {
    /// The effective configuration as a TOML file.
    pub fn show(&self) -> String {
        show::effective(&self.settings, &self.sources)
    }
}

/// Reads the file (`explicit`, or the user's own when there is one) and the environment, and checks all.
pub fn load(role: Role, explicit: Option<&Path>, flags: Vec<FlagValue>) -> Result<Loaded, Vec<Problem>> {
    let file = match explicit {
        Some(path) => Some(path.to_owned()),
        None => config_home().map(|folder| folder.join("nimgate.toml")).filter(|path| path.exists()),
    };
    let text = file.as_deref().map(fs::read_to_string).transpose();
    let (text, unreadable) = match text {
        Ok(text) => (text, None),
        Err(e) => (None, file.as_ref().map(|path| cannot_read(path, &e))),
    };
    let file = file.as_deref().zip(text.as_deref());
    let mut layers = Layers::merge(file, |name| env::var_os(name), flags);
    layers.problems.extend(unreadable);
    check(layers, role, &surroundings())
}

/// Settings made of flags alone: neither a file nor the environment is looked at.
pub fn from_flags(role: Role, flags: Vec<FlagValue>) -> Result<Settings, Vec<Problem>> {
    Settings::check(Layers::merge(None, |_| None, flags), role, &surroundings())
}

fn check(layers: Layers, role: Role, around: &Surroundings) -> Result<Loaded, Vec<Problem>> {
    let sources = layers.values.iter().map(|(key, given)| (*key, given.source.clone())).collect();
    Ok(Loaded { settings: Settings::check(layers, role, around)?, sources })
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Problem {
    Problem { key: path.display().to_string(), message: format!("can't be read: {error}"), source: None }
}

fn surroundings() -> Surroundings {
    Surroundings {
        data_home: home("XDG_DATA_HOME", ".local/share"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The user's configuration folder for nimgate, when there is a home.
pub fn config_home() -> Option<PathBuf> {
    home("XDG_CONFIG_HOME", ".config")
}

// The XDG specification: relative paths in these variables are to be ignored.
fn home(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
    Some(base.join("nimgate"))
}
