//! What instances and volumes are called, in names and in labels. The labels are what counts.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use proto_shared::names::{NameError, check_name};

use super::digest;

pub const LABEL_INSTALLATION: &str = "nimgate.installation";
const LABEL_WORKSPACE: &str = "nimgate.workspace";
const LABEL_DEPLOYMENT: &str = "nimgate.deployment";
const LABEL_VERSION: &str = "nimgate.version";
const LABEL_REPLICA: &str = "nimgate.replica";
const LABEL_INCARNATION: &str = "nimgate.incarnation";
const LABEL_VOLUME: &str = "nimgate.volume";
/// What the platform's own tools look for.
const PLATFORM_WORKSPACE: &str = "nmp.nvidia.com/deployment-workspace";
const PLATFORM_DEPLOYMENT: &str = "nmp.nvidia.com/deployment-name";
const PLATFORM_MANAGED_BY: (&str, &str) = ("nmp.nvidia.com/managed-by", "nimgate");

/// Whose instances a runtime looks after: the id that a registry's database was born with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation(String);

impl Installation {
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId {
    workspace: String,
    deployment: String,
}

impl DeploymentId {
    pub fn new(workspace: &str, deployment: &str) -> Result<Self, NameError> {
        check_name(workspace)?;
        check_name(deployment)?;
        Ok(Self { workspace: workspace.into(), deployment: deployment.into() })
    }

    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    fn labels(&self, installation: &Installation) -> HashMap<String, String> {
        [
            (LABEL_INSTALLATION, installation.as_str()),
            (LABEL_WORKSPACE, &self.workspace),
            (LABEL_DEPLOYMENT, &self.deployment),
            (PLATFORM_WORKSPACE, &self.workspace),
            (PLATFORM_DEPLOYMENT, &self.deployment),
            PLATFORM_MANAGED_BY,
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn from_labels(labels: &HashMap<String, String>) -> Option<Self> {
        Self::new(labels.get(LABEL_WORKSPACE)?, labels.get(LABEL_DEPLOYMENT)?).ok()
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workspace, self.deployment)
    }
}

/// One try at running one replica of one version of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    pub deployment: DeploymentId,
    pub version: u32,
    pub replica: u32,
    pub incarnation: u32,
}

impl InstanceId {
    /// The same for the same id, and different for every other, also of other installations.
    pub fn name(&self, installation: &Installation) -> String {
        let DeploymentId { workspace, deployment } = &self.deployment;
        let [version, replica, incarnation] =
            [self.version, self.replica, self.incarnation].map(|number| number.to_string());
        digest::name(
            &format!("{workspace}-{deployment}"),
            &format!("-v{version}-r{replica}"),
            &[installation.as_str(), workspace, deployment, &version, &replica, &incarnation],
        )
    }

    pub fn labels(&self, installation: &Installation) -> HashMap<String, String> {
        let mut labels = self.deployment.labels(installation);
        labels.insert(LABEL_VERSION.into(), self.version.to_string());
        labels.insert(LABEL_REPLICA.into(), self.replica.to_string());
        labels.insert(LABEL_INCARNATION.into(), self.incarnation.to_string());
        labels
    }

    /// Nothing for what is of another installation, or whose labels somebody spoilt.
    pub fn from_labels(labels: &HashMap<String, String>, installation: &Installation) -> Option<Self> {
        let number = |label| labels.get(label)?.parse().ok();
        (labels.get(LABEL_INSTALLATION).map(String::as_str) == Some(installation.as_str())).then_some(())?;
        Some(Self {
            deployment: DeploymentId::from_labels(labels)?,
            version: number(LABEL_VERSION)?,
            replica: number(LABEL_REPLICA)?,
            incarnation: number(LABEL_INCARNATION)?,
        })
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deployment, version, replica, incarnation } = self;
        write!(f, "{deployment} version {version} replica {replica} try {incarnation}")
    }
}

/// A volume that lives as long as its deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId {
    pub deployment: DeploymentId,
    /// What it is for, as in `cache`.
    purpose: String,
}

impl VolumeId {
    pub fn new(deployment: DeploymentId, purpose: &str) -> Result<Self, NameError> {
        check_name(purpose)?;
        Ok(Self { deployment, purpose: purpose.into() })
    }

    pub fn purpose(&self) -> &str {
        &self.purpose
    }

    pub fn name(&self, installation: &Installation) -> String {
        let Self { deployment: DeploymentId { workspace, deployment }, purpose } = self;
        digest::name(
            &format!("{workspace}-{deployment}-{purpose}"),
            "",
            &[installation.as_str(), workspace, deployment, purpose],
        )
    }

    pub fn labels(&self, installation: &Installation) -> HashMap<String, String> {
        let mut labels = self.deployment.labels(installation);
        labels.insert(LABEL_VOLUME.into(), self.purpose.clone());
        labels
    }

    pub fn from_labels(labels: &HashMap<String, String>, installation: &Installation) -> Option<Self> {
        (labels.get(LABEL_INSTALLATION).map(String::as_str) == Some(installation.as_str())).then_some(())?;
        Self::new(DeploymentId::from_labels(labels)?, labels.get(LABEL_VOLUME)?).ok()
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.purpose, self.deployment)
    }
}

/// Labels in a fixed order, for what is written to disk.
pub fn sorted(labels: HashMap<String, String>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> InstanceId {
        let deployment = DeploymentId::new("team", "llama@8b").unwrap();
        InstanceId { deployment, version: 3, replica: 1, incarnation: 7 }
    }

    #[test]
    fn an_instance_is_known_again_by_its_labels_alone() {
        let ours = Installation::new("here");
        let labels = id().labels(&ours);
        assert_eq!(InstanceId::from_labels(&labels, &ours), Some(id()));
        assert_eq!(InstanceId::from_labels(&labels, &Installation::new("there")), None);
        assert_eq!(labels["nmp.nvidia.com/deployment-name"], "llama@8b");

        let volume = VolumeId::new(id().deployment, "cache").unwrap();
        assert_eq!(VolumeId::from_labels(&volume.labels(&ours), &ours), Some(volume));
    }

    #[test]
    fn spoilt_labels_are_nobodys() {
        let ours = Installation::new("here");
        for label in [LABEL_WORKSPACE, LABEL_DEPLOYMENT, LABEL_VERSION, LABEL_REPLICA, LABEL_INCARNATION] {
            let mut labels = id().labels(&ours);
            labels.insert(label.into(), "-".into());
            assert_eq!(InstanceId::from_labels(&labels, &ours), None, "{label}");
        }
    }

    #[test]
    fn every_try_has_a_name_of_its_own() {
        let ours = Installation::new("here");
        let name = id().name(&ours);
        assert!(name.starts_with("nimgate-team-llama-8b-v3-r1-"), "{name}");
        assert_eq!(name, id().name(&ours));
        assert_ne!(name, InstanceId { incarnation: 8, ..id() }.name(&ours));
        assert_ne!(name, id().name(&Installation::new("there")));
    }
}
