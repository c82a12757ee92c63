//! What a process is told: its environment, and the placeholders in its arguments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::spec::{InstanceSpec, MountSource};
use super::super::{Fault, FaultKind};
use super::Inner;
use super::record::VOLUME_DATA;

/// What is passed on of the registry's own environment. Everything else may be a secret.
pub const INHERITED: [&str; 9] =
    ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE"];
/// By it a process is known again; nobody's own setting replaces it.
pub const TOKEN: &str = "NIMGATE_INSTANCE";

/// Fills in `{port}` and `{mount:TARGET}`.
pub struct Placeholders(Vec<(String, String)>);

impl Placeholders {
    pub fn new(inner: &Inner, spec: &InstanceSpec, port: u16) -> Result<Self, Fault> {
        let mut known = vec![("{port}".to_owned(), port.to_string())];
        for mount in &spec.mounts {
            let path = match mount.source() {
                MountSource::Volume(volume) => inner.volume(volume).join(VOLUME_DATA),
                MountSource::Folder(folder) => shared_path(&inner.config.shared_folder, folder)?,
            };
            known.push((format!("{{mount:{}}}", mount.target()), path.to_string_lossy().into_owned()));
        }
        Ok(Self(known))
    }

    pub fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// The whole environment of a process. The spec wins, but for the token.
pub fn environment(
    spec: &InstanceSpec,
    placeholders: &Placeholders,
    port: u16,
    token: &str,
) -> BTreeMap<String, String> {
    let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let mut all: BTreeMap<_, _> = inherited.collect();
    all.insert("PORT".into(), port.to_string());
    // Empty: none of the host's GPUs.
    all.insert("CUDA_VISIBLE_DEVICES".into(), spec.gpus.join(","));
    all.extend(spec.env.iter().map(|(name, value)| (name.clone(), placeholders.fill(value.expose()))));
    all.insert(TOKEN.into(), token.into());
    all
}

/// A folder below the shared one. A link that leads out of it leads nowhere.
pub fn shared_path(shared_folder: &Path, folder: &Path) -> Result<PathBuf, Fault> {
    let refuse = |why: String| Fault::new(FaultKind::SpecInvalid, why);
    let path = shared_folder.join(folder);
    let absent = |error| refuse(format!("the folder {} can't be mounted: {error}", path.display()));
    let real = path.canonicalize().map_err(absent)?;
    let root = shared_folder.canonicalize().map_err(absent)?;
    if !real.starts_with(&root) || real == root {
        return Err(refuse(format!("the folder {} leads out of {}", path.display(), root.display())));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_shared_folder_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let shared = root.path().join("shared");
        std::fs::create_dir_all(shared.join("inside")).unwrap();
        std::os::unix::fs::symlink("/etc", shared.join("out")).unwrap();
        assert!(shared_path(&shared, Path::new("inside")).is_ok());
        for folder in ["out", "absent", ""] {
            assert!(shared_path(&shared, Path::new(folder)).is_err(), "{folder:?}");
        }
    }
}
