//! Workspaces, and secrets' public side.

use proto_shared::{SecretName, WorkspaceName};

use super::{EntityId, Timestamp};

/// The namespace of everything else.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub id: EntityId,
    pub name: WorkspaceName,
    pub description: Option<String>,
    /// Its requests never go to a hosted provider.
    pub local_only: bool,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What a workspace holds, in the order in which it goes when the workspace does: whatever points at
/// something goes before it. Deployments go first of all, by their own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    ServedModels,
    Providers,
    VirtualModels,
    Models,
    Adapters,
    Prompts,
    Filesets,
    DeploymentConfigs,
    Secrets,
    Entities,
    Projects,
}

impl Contents {
    pub const ALL: [Self; 11] = [
        Self::ServedModels,
        Self::Providers,
        Self::VirtualModels,
        Self::Models,
        Self::Adapters,
        Self::Prompts,
        Self::Filesets,
        Self::DeploymentConfigs,
        Self::Secrets,
        Self::Entities,
        Self::Projects,
    ];
}

/// What may be told about a secret. Its value is absent on purpose.
#[derive(Debug, Clone)]
pub struct Secret {
    pub workspace: WorkspaceName,
    pub name: SecretName,
    pub description: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}
