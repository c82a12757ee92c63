//! What an instance is made of. Pure; what can't be said here can't be run.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use proto_shared::secret::SecretString;
use serde_json::json;

use super::digest;
use super::fault::{Fault, FaultKind};
use super::id::VolumeId;
use super::image::ImageReference;

#[derive(Debug, Clone)]
pub struct InstanceSpec {
    pub launch: Launch,
    pub env: BTreeMap<String, EnvValue>,
    /// Where an image listens. A command is told its port: `PORT`, and `{port}` in its arguments and environment.
    pub port: u16,
    /// Device ids or UUIDs. None: the instance sees no GPU.
    pub gpus: Vec<String>,
    /// Size of `/dev/shm`; the engine's own when absent. Containers only.
    pub shm_bytes: Option<u64>,
    /// Beyond it the kernel ends the instance. Containers only.
    pub memory_bytes: Option<u64>,
    pub user: Option<User>,
    pub mounts: Vec<Mount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    Image {
        reference: ImageReference,
        /// Absent: the image's own.
        entrypoint: Option<Vec<String>>,
        args: Vec<String>,
    },
    Command {
        program: String,
        args: Vec<String>,
        /// Absent: the instance's own folder.
        working_dir: Option<PathBuf>,
    },
}

#[derive(Debug, Clone)]
pub enum EnvValue {
    Plain(String),
    Secret(SecretString),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: Option<u32>,
}

/// Something of ours that the instance sees. A command finds its path through `{mount:TARGET}` in its arguments
/// and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    source: MountSource,
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// Writable.
    Volume(VolumeId),
    /// Read only, below the folder that the runtime was told to share.
    Folder(PathBuf),
}

impl Mount {
    /// The target is an absolute path that hides nothing the system needs; a folder stays below the shared one.
    pub fn new(source: MountSource, target: &str) -> Result<Self, Fault> {
        let refuse = |why: String| Err(Fault::new(FaultKind::SpecInvalid, why));
        let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        let Some(below) =
            target.strip_prefix('/').filter(|below| !below.is_empty() && plain(Path::new(below)))
        else {
            return refuse(format!("mount {target:?}: give an absolute path without \"..\""));
        };
        let top = below.split('/').next().unwrap_or_default();
        let is_var_run = below == "var/run" || below.starts_with("var/run/");
        if matches!(top, "proc" | "sys" | "dev" | "run") || is_var_run {
            return refuse(format!("mount {target:?}: mount it elsewhere, the system uses that path itself"));
        }
        if target.contains([':', ',', '{', '}', '\0']) {
            return refuse(format!("mount {target:?}: leave out \":\", \",\", \"{{\" and \"}}\""));
        }
        if let MountSource::Folder(folder) = &source
            && (folder.as_os_str().is_empty() || !plain(folder))
        {
            return refuse(format!("mount {target:?}: its folder must lie below the shared folder"));
        }
        Ok(Self { source, target: target.into() })
    }

    pub fn source(&self) -> &MountSource {
        &self.source
    }

    pub fn target(&self) -> &str {
        &self.target
    }
}

impl InstanceSpec {
    /// Refuses what no runtime could pass on.
    pub fn check(&self) -> Result<(), Fault> {
        let refuse = |why: String| Err(Fault::new(FaultKind::SpecInvalid, why));
        if let Some(name) = self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return refuse(format!("env {name:?}: a name is not empty and has no \"=\""));
        }
        for (name, value) in &self.env {
            if value.expose().contains('\0') {
                return refuse(format!("env {name}: a value has no NUL"));
            }
        }
        if self.port == 0 {
            return refuse("port: give the port that the image listens on, 1 to 65535".into());
        }
        let odd = |id: &&String| {
            id.is_empty()
                || !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | ':' | '.'))
        };
        if let Some(gpu) = self.gpus.iter().find(odd) {
            return refuse(format!("gpus: {gpu:?} is not the id of a device"));
        }
        Ok(())
    }

    /// Tells two specs apart. Of secrets it knows the names alone: a digest is shown where no secret may be.
    pub fn digest(&self) -> String {
        let env: BTreeMap<_, _> = self
            .env
            .iter()
            .map(|(name, value)| match value {
                EnvValue::Plain(text) => (name, json!({ "plain": text })),
                EnvValue::Secret(_) => (name, json!("secret")),
            })
            .collect();
        let launch = match &self.launch {
            Launch::Image { reference, entrypoint, args } => json!([reference.to_string(), entrypoint, args]),
            Launch::Command { program, args, working_dir } => {
                json!({ "command": [program, args, working_dir] })
            }
        };
        let mounts: Vec<_> =
            self.mounts.iter().map(|mount| json!([mount.target, format!("{:?}", mount.source)])).collect();
        let user = self.user.map(|user| (user.uid, user.gid));
        let whole =
            json!([launch, env, self.port, self.gpus, self.shm_bytes, self.memory_bytes, user, mounts]);
        digest::hex(whole.to_string().as_bytes())
    }
}

impl EnvValue {
    /// For the environment of an instance only.
    pub fn expose(&self) -> &str {
        use proto_shared::secret::ExposeSecret as _;
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose_secret(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> InstanceSpec {
        InstanceSpec {
            launch: Launch::Command { program: "serve".into(), args: vec![], working_dir: None },
            env: BTreeMap::new(),
            port: 8000,
            gpus: vec![],
            shm_bytes: None,
            memory_bytes: None,
            user: None,
            mounts: vec![],
        }
    }

    #[test]
    fn a_secret_shows_neither_in_the_digest_nor_in_debug_output() {
        let with = |text: &str| {
            let mut spec = spec();
            spec.env.insert("KEY".into(), EnvValue::Secret(SecretString::from(text.to_owned())));
            spec
        };
        assert_eq!(with("canary").digest(), with("other").digest());
        assert_ne!(with("canary").digest(), spec().digest());
        assert!(!format!("{:?}", with("canary")).contains("canary"));
    }

    #[test]
    fn every_difference_shows_in_the_digest() {
        let changes: [fn(&mut InstanceSpec); 6] = [
            |spec| spec.port = 9000,
            |spec| spec.gpus.push("0".into()),
            |spec| spec.shm_bytes = Some(1),
            |spec| spec.memory_bytes = Some(1),
            |spec| spec.user = Some(User { uid: 0, gid: None }),
            |spec| drop(spec.env.insert("A".into(), EnvValue::Plain("secret".into()))),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut changed = spec();
            change(&mut changed);
            assert_ne!(changed.digest(), spec().digest(), "change {number}");
        }
    }

    #[test]
    fn a_mount_can_name_neither_the_host_nor_the_systems_own_folders() {
        let folder = |path: &str| MountSource::Folder(path.into());
        assert!(Mount::new(folder("filesets/a"), "/model-store").is_ok());
        for target in
            ["", "/", "model", "/a/../b", "/proc", "/sys/x", "/dev", "/run/docker.sock", "/var/run/x", "/a:b"]
        {
            assert!(Mount::new(folder("a"), target).is_err(), "{target}");
        }
        for path in ["", "/etc", "../x", "a/../../b"] {
            assert!(Mount::new(folder(path), "/x").is_err(), "{path}");
        }
    }

    #[test]
    fn a_spec_that_cannot_be_passed_on_is_refused() {
        let changes: [fn(&mut InstanceSpec); 4] = [
            |spec| drop(spec.env.insert("A=B".into(), EnvValue::Plain(String::new()))),
            |spec| drop(spec.env.insert("A".into(), EnvValue::Plain("\0".into()))),
            |spec| spec.port = 0,
            |spec| spec.gpus.push("0,1".into()),
        ];
        assert_eq!(spec().check(), Ok(()));
        for (number, change) in changes.iter().enumerate() {
            let mut changed = spec();
            change(&mut changed);
            assert_eq!(changed.check().map_err(|fault| fault.kind), Err(FaultKind::SpecInvalid), "{number}");
        }
    }
}
