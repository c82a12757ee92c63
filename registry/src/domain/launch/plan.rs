//! The plan itself: plain values, to be shown, compared, and carried out by a runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::Reference;

/// What one instance is started with, and how it is known to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    pub launch: Launch,
    pub env: BTreeMap<String, EnvSource>,
    /// Where a container listens. A process is told its port.
    pub port: u16,
    /// Answers 200 as soon as requests can be taken.
    pub health_path: String,
    /// Lists what is served.
    pub models_path: &'static str,
    /// In Prometheus' format.
    pub metrics_path: &'static str,
    pub gpus: Vec<String>,
    /// Absent: the container engine's default.
    pub shm_bytes: Option<u64>,
    /// Absent: the image's own, or whoever runs the registry.
    pub user: Option<User>,
    pub mounts: Vec<PlannedMount>,
    /// Free space that is needed before it is started.
    pub disk_bytes: u64,
    /// What it is told to call its model.
    pub served_model_name: Option<String>,
    pub replicas: u32,
    pub startup_timeout: Duration,
}

impl LaunchPlan {
    /// The secrets without which it can't be carried out, each with its workspace; one may come twice.
    pub fn secrets(&self) -> impl Iterator<Item = &Reference> {
        let of_env = self.env.values().filter_map(|value| match value {
            EnvSource::Secret(secret) => Some(secret),
            EnvSource::Plain(_) => None,
        });
        let login = match &self.launch {
            Launch::Image { login, .. } => login.as_ref(),
            Launch::Command { .. } => None,
        };
        of_env.chain(login.map(|login| &login.password))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    Image {
        /// With its tag or digest.
        image: String,
        /// Absent: the image's own.
        entrypoint: Option<Vec<String>>,
        args: Vec<String>,
        login: Option<RegistryLogin>,
    },
    /// `{port}` and `{mount:PATH}` stand for what is known when it is started, also in its environment.
    Command { program: String, args: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvSource {
    Plain(String),
    /// The name of a secret, with its workspace.
    Secret(Reference),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMount {
    pub what: MountKind,
    /// In the container.
    pub path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A volume of the deployment's own, for what its engine loads and builds. The one that is written to.
    ModelCache,
    /// A folder of the deployment's own, with one folder for each adapter. Filled from outside.
    Loras,
    /// The files of a fileset, with its workspace.
    Fileset(Reference),
}

impl MountKind {
    pub fn is_read_only(&self) -> bool {
        *self != Self::ModelCache
    }
}

/// Who pulls from a registry. As a text: `HOST USERNAME WORKSPACE/SECRET`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    /// Host, and port when it has one.
    pub server: String,
    pub username: String,
    /// The name of a secret, with its workspace.
    pub password: Reference,
}

impl RegistryLogin {
    /// The user's name says that the password is a key.
    pub fn nvidia(key: Reference) -> Self {
        Self { server: super::image::NVIDIA.into(), username: "$oauthtoken".into(), password: key }
    }
}

impl FromStr for RegistryLogin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [server, username, secret] = words[..] else {
            return Err(format!("must read \"HOST USERNAME WORKSPACE/SECRET\", not {text:?}"));
        };
        if server.contains('/') {
            return Err(format!("must begin with a host, as ghcr.io or 127.0.0.1:5000, not {server:?}"));
        }
        let password = Reference::try_from(secret.to_owned()).ok().filter(|_| secret.contains('/'));
        let Some(password) = password else {
            return Err(format!("must end with WORKSPACE/SECRET, the name of a secret, not {secret:?}"));
        };
        Ok(Self { server: super::image::hub(server).to_owned(), username: username.to_owned(), password })
    }
}

impl fmt::Display for RegistryLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.server, self.username, self.password)
    }
}

/// What engines write into. Later values replace earlier ones.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub env: BTreeMap<String, EnvSource>,
    pub entrypoint: Option<Vec<String>>,
    pub args: Vec<String>,
    pub mounts: Vec<PlannedMount>,
}

impl Draft {
    pub fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.to_owned(), EnvSource::Plain(value.into()));
    }

    pub fn secret(&mut self, name: &str, secret: &Reference) {
        self.env.insert(name.to_owned(), EnvSource::Secret(secret.clone()));
    }

    /// Puts the user's own words over ours.
    pub fn merge<'e>(
        &mut self,
        args: &[String],
        all_args: Option<&Vec<String>>,
        env: impl IntoIterator<Item = (&'e String, &'e String)>,
    ) {
        self.args.extend(args.iter().cloned());
        if let Some(args) = all_args {
            self.args.clone_from(args);
        }
        for (name, value) in env {
            self.env(name, value);
        }
    }

    pub fn mount(&mut self, what: MountKind, path: &'static str) {
        self.mounts.push(PlannedMount { what, path });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_names_host_user_and_secret() {
        for (text, shown) in [
            ("ghcr.io me team/key", "ghcr.io me team/key"),
            (" nvcr.io  $oauthtoken system/ngc ", "nvcr.io $oauthtoken system/ngc"),
            ("index.docker.io me team/key", "docker.io me team/key"),
        ] {
            assert_eq!(text.parse::<RegistryLogin>().map(|login| login.to_string()), Ok(shown.to_owned()));
        }
        for text in [
            "",
            "ghcr.io me",
            "https://ghcr.io me team/key",
            "ghcr.io me key",
            "ghcr.io me team/key c",
            "h me a/team/key",
        ] {
            assert!(text.parse::<RegistryLogin>().is_err(), "{text}");
        }
    }
}
