//! What a deployment looks like on the wire.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::schema::AuthContext;
use crate::domain::deployment::StatusEntry;
use crate::domain::provider::ServedModel;
use crate::domain::{self, DeploymentStatus, Provider};
use crate::reconcile::Runtimes;
use crate::runtime::PullProgress;

/// One version of a deployment.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelDeployment)]
pub struct Deployment {
    id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    created_at: String,
    updated_at: String,
    /// The number of this version, from 1
    entity_version: i64,
    config: String,
    config_version: i64,
    /// Ours. How many are to run side by side; absent: as many as the config says
    replicas: Option<u32>,
    /// Ours. How many of them take requests; absent while nothing here runs them
    ready_replicas: Option<u32>,
    status: DeploymentStatus,
    status_message: String,
    /// Oldest first; the last one is the present state
    status_history: Vec<HistoryItem>,
    model_provider_id: Option<String>,
    auth_context: AuthContext,
    /// Ours. How far what takes its time is; left out while nothing does
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeploymentProgress)]
pub struct Progress {
    phase: ProgressPhase,
    bytes_done: u64,
    /// Grows while the sizes of layers become known
    bytes_total: u64,
    layers_done: usize,
    layers_total: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeploymentProgressPhase)]
#[serde(rename_all = "snake_case")]
pub enum ProgressPhase {
    /// Its image is pulled
    Pulling,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ModelDeploymentStatusHistoryItem)]
pub struct HistoryItem {
    timestamp: String,
    status: DeploymentStatus,
    status_message: String,
}

/// The models that a deployment serves.
#[derive(Serialize, ToSchema)]
pub struct DeploymentModels {
    pub workspace: String,
    pub name: String,
    pub models: Vec<DeploymentModel>,
}

#[derive(Serialize, ToSchema)]
pub struct DeploymentModel {
    workspace: String,
    name: String,
    /// `workspace/name`
    model_entity_id: String,
    /// What the model server calls it
    served_model_name: String,
}

impl From<domain::Deployment> for Deployment {
    fn from(deployment: domain::Deployment) -> Self {
        let lifecycle = &deployment.lifecycle;
        Self {
            status: lifecycle.status(),
            status_message: lifecycle.message().to_owned(),
            status_history: lifecycle.history().iter().map(HistoryItem::from).collect(),
            id: deployment.id.to_string(),
            name: deployment.name.into(),
            workspace: deployment.workspace.into(),
            project: deployment.project,
            created_at: deployment.created.to_wire(),
            updated_at: deployment.updated.to_wire(),
            entity_version: deployment.version,
            config: deployment.config,
            config_version: deployment.config_version,
            replicas: deployment.replicas,
            ready_replicas: deployment.ready_replicas,
            model_provider_id: deployment.model_provider_id,
            auth_context: AuthContext::default(),
            progress: None,
        }
    }
}

impl Deployment {
    /// As it is stored, and how far it is.
    pub fn now(deployment: domain::Deployment, runtimes: &Runtimes) -> Self {
        let (workspace, name) = (deployment.workspace.as_str(), deployment.name.as_str());
        let progress = runtimes.pulls().of(workspace, name, deployment.version).map(Progress::from);
        Self { progress, ..Self::from(deployment) }
    }
}

impl From<PullProgress> for Progress {
    fn from(pull: PullProgress) -> Self {
        let PullProgress { bytes_done, bytes_total, layers_done, layers_total } = pull;
        Self { phase: ProgressPhase::Pulling, bytes_done, bytes_total, layers_done, layers_total }
    }
}

impl From<&StatusEntry> for HistoryItem {
    fn from(entry: &StatusEntry) -> Self {
        Self {
            timestamp: format!("{}Z", entry.at.to_wire()),
            status: entry.status,
            status_message: entry.message.clone(),
        }
    }
}

impl DeploymentModel {
    pub fn all_of(provider: Provider) -> Vec<Self> {
        let workspace = String::from(provider.workspace);
        let model = |ServedModel { name, served_name, .. }| Self {
            model_entity_id: format!("{workspace}/{name}"),
            workspace: workspace.clone(),
            name: String::from(name),
            served_model_name: served_name,
        };
        provider.served.into_iter().map(model).collect()
    }
}
