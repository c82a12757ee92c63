//! From a launch plan to what a runtime is told: names of secrets become their values, files become folders. Pure.
//!
//! What must stay true: a plan whose secret or folder is gone is refused by name. Nothing is started with half of it.

use std::path::PathBuf;

use proto_shared::secret::SecretString;

use crate::domain::Reference;
use crate::domain::launch::{self, EnvSource, LaunchPlan, MountKind, RegistryLogin};
use crate::runtime::{
    DeploymentId, EnvValue, Fault, FaultKind, InstanceSpec, Launch, Mount, MountSource, RegistryCredentials,
    User, VolumeId,
};

/// What the volume of a deployment is for.
const CACHE: &str = "cache";

/// What a plan only has names for.
pub struct Means<'a> {
    pub deployment: &'a DeploymentId,
    /// The value of a secret; none when there is no such secret.
    pub secret: &'a dyn Fn(&Reference) -> Option<SecretString>,
    /// A folder below the one that the runtime shares; none when there is none.
    pub folder: &'a dyn Fn(&MountKind) -> Option<PathBuf>,
}

/// What is to be started, and who pulls its image.
#[derive(Debug)]
pub struct Planned {
    pub instance: InstanceSpec,
    pub credentials: Option<RegistryCredentials>,
    pub disk_bytes: u64,
}

impl Means<'_> {
    pub fn apply(&self, plan: &LaunchPlan) -> Result<Planned, Fault> {
        // Written out, so that nothing of a plan is forgotten. What is `_` here, others act on.
        let LaunchPlan {
            launch,
            env,
            port,
            health_path: _,
            models_path: _,
            metrics_path: _,
            gpus,
            shm_bytes,
            user,
            mounts,
            disk_bytes,
            served_model_name: _,
            replicas: _,
            startup_timeout: _,
        } = plan;
        let mounts = mounts.iter().map(|mount| Mount::new(self.source(&mount.what)?, mount.path));
        let (launch, credentials) = self.launch(launch)?;
        let instance = InstanceSpec {
            launch,
            env: env
                .iter()
                .map(|(name, value)| Ok((name.clone(), self.value(value)?)))
                .collect::<Result<_, Fault>>()?,
            port: *port,
            gpus: gpus.clone(),
            shm_bytes: *shm_bytes,
            memory_bytes: None,
            user: user.map(|launch::User { uid, gid }| User { uid, gid }),
            mounts: mounts.collect::<Result<_, _>>()?,
        };
        instance.check()?;
        Ok(Planned { instance, credentials, disk_bytes: *disk_bytes })
    }

    fn launch(&self, launch: &launch::Launch) -> Result<(Launch, Option<RegistryCredentials>), Fault> {
        match launch {
            launch::Launch::Image { image, entrypoint, args, login } => {
                let credentials = login.as_ref().map(|RegistryLogin { server, username, password }| {
                    let secret = password.to_string();
                    let (server, username) = (server.clone(), username.clone());
                    Ok(RegistryCredentials { server, username, password: self.secret(password)?, secret })
                });
                let (entrypoint, args) = (entrypoint.clone(), args.clone());
                Ok((Launch::Image { reference: image.parse()?, entrypoint, args }, credentials.transpose()?))
            }
            launch::Launch::Command { program, args } => {
                let (program, args) = (program.clone(), args.clone());
                Ok((Launch::Command { program, args, working_dir: None }, None))
            }
        }
    }

    fn value(&self, source: &EnvSource) -> Result<EnvValue, Fault> {
        match source {
            EnvSource::Plain(text) => Ok(EnvValue::Plain(text.clone())),
            EnvSource::Secret(name) => self.secret(name).map(EnvValue::Secret),
        }
    }

    fn secret(&self, name: &Reference) -> Result<SecretString, Fault> {
        let gone =
            || Fault::new(FaultKind::SpecInvalid, format!("the secret {name} is not there; create it"));
        (self.secret)(name).ok_or_else(gone)
    }

    fn source(&self, what: &MountKind) -> Result<MountSource, Fault> {
        if *what == MountKind::ModelCache {
            let volume = VolumeId::new(self.deployment.clone(), CACHE);
            return volume.map(MountSource::Volume).map_err(|error| invalid(error.to_string()));
        }
        let gone = || match what {
            MountKind::Fileset(fileset) => {
                invalid(format!("the fileset {fileset} is not there, or has no files here"))
            }
            MountKind::ModelCache | MountKind::Loras => {
                invalid("the folder of its adapters is not there".into())
            }
        };
        (self.folder)(what).map(MountSource::Folder).ok_or_else(gone)
    }
}

fn invalid(message: String) -> Fault {
    Fault::new(FaultKind::SpecInvalid, message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::domain::launch::PlannedMount;

    fn reference(text: &str) -> Reference {
        Reference::try_from(text.to_owned()).unwrap()
    }

    fn plan() -> LaunchPlan {
        LaunchPlan {
            launch: launch::Launch::Image {
                image: "nvcr.io/nim/x/y:1.8.5".into(),
                entrypoint: Some(vec!["/run".into()]),
                args: vec!["--x".into()],
                login: Some(RegistryLogin::nvidia(reference("system/ngc-api-key"))),
            },
            env: BTreeMap::from([
                ("A".into(), EnvSource::Plain("1".into())),
                ("NGC_API_KEY".into(), EnvSource::Secret(reference("system/ngc-api-key"))),
            ]),
            port: 9000,
            health_path: "/up".into(),
            models_path: "/v1/models",
            metrics_path: "/metrics",
            gpus: vec!["0".into()],
            shm_bytes: Some(1 << 30),
            user: Some(launch::User { uid: 1000, gid: Some(2000) }),
            mounts: vec![
                PlannedMount { what: MountKind::ModelCache, path: "/opt/nim/.cache" },
                PlannedMount { what: MountKind::Fileset(reference("default/weights")), path: "/model-store" },
            ],
            disk_bytes: 1,
            served_model_name: None,
            replicas: 1,
            startup_timeout: Duration::from_secs(1),
        }
    }

    fn apply(plan: &LaunchPlan, secret: Option<&str>, folder: Option<&str>) -> Result<Planned, Fault> {
        Means {
            deployment: &DeploymentId::new("default", "tiny").unwrap(),
            secret: &|_| secret.map(|secret| secret.to_owned().into()),
            folder: &|_| folder.map(PathBuf::from),
        }
        .apply(plan)
    }

    #[test]
    fn a_plan_with_its_secrets_and_folders_is_what_a_runtime_is_told() {
        let Planned { instance, credentials, .. } = apply(&plan(), Some("canary"), Some("files/1")).unwrap();
        let reference = "nvcr.io/nim/x/y:1.8.5".parse().unwrap();
        let (entrypoint, args) = (Some(vec!["/run".to_owned()]), vec!["--x".to_owned()]);
        assert_eq!(instance.launch, Launch::Image { reference, entrypoint, args });
        assert_eq!((instance.env["A"].expose(), instance.env["NGC_API_KEY"].expose()), ("1", "canary"));
        assert_eq!(
            (instance.port, instance.shm_bytes, instance.gpus.as_slice()),
            (9000, Some(1 << 30), &["0".to_owned()][..])
        );
        assert_eq!(instance.user, Some(User { uid: 1000, gid: Some(2000) }));
        let mounts: Vec<_> =
            instance.mounts.iter().map(|mount| (mount.target(), mount.source().clone())).collect();
        let cache = VolumeId::new(DeploymentId::new("default", "tiny").unwrap(), "cache").unwrap();
        assert_eq!(
            mounts,
            [
                ("/opt/nim/.cache", MountSource::Volume(cache)),
                ("/model-store", MountSource::Folder("files/1".into())),
            ]
        );
        let login = credentials.unwrap();
        assert_eq!((login.server.as_str(), login.username.as_str()), ("nvcr.io", "$oauthtoken"));
        assert!(matches!(&instance.env["NGC_API_KEY"], EnvValue::Secret(_)), "it is known as a secret");
    }

    #[test]
    fn what_is_gone_is_refused_by_name() {
        let refused = |secret, folder| apply(&plan(), secret, folder).unwrap_err();
        assert!(refused(None, Some("x")).message.contains("system/ngc-api-key"));
        assert!(refused(Some("x"), None).message.contains("default/weights"));
        assert_eq!(refused(None, Some("x")).kind, FaultKind::SpecInvalid);
        let names: Vec<_> = plan().secrets().map(ToString::to_string).collect();
        assert_eq!(names, ["system/ngc-api-key", "system/ngc-api-key"]);
    }
}
