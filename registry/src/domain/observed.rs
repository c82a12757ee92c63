//! What the reconciler sees: everything that is not as it should be, and nothing else.

use proto_shared::WorkspaceName;

use super::{Contents, DeploymentStatus, Timestamp};

/// One look at the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    pub deployments: Vec<SeenDeployment>,
    pub leaving: Vec<Leaving>,
}

/// One version of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDeployment {
    pub state: SeenState,
    pub workspace: WorkspaceName,
    pub name: String,
    /// Whether its workspace is to go.
    pub is_leaving: bool,
    /// Nobody has said anything about it since it was made.
    pub is_untouched: bool,
    /// Something here runs it, or did.
    pub is_ours: bool,
    /// A provider still routes to it although no version of it is to run.
    pub has_stale_routes: bool,
}

/// A state that a step was planned for. The step counts only as long as the state is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenState {
    pub seq: i64,
    pub status: DeploymentStatus,
    pub since: Timestamp,
}

/// A workspace that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub workspace: WorkspaceName,
    pub has_deployments: bool,
    /// The first that is left; `None` when there is nothing but deployments, if those.
    pub holds: Option<Contents>,
}
