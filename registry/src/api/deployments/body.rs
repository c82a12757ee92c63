//! The bodies of deployment calls.

use proto_shared::names::EntityName;
use proto_shared::{ProviderName, WorkspaceName};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::body::RequestBody;
use crate::api::schema;
use crate::domain::DeploymentStatus;
use crate::error::Error;
use crate::store::deployments::Order;

#[derive(Deserialize, ToSchema)]
#[schema(as = CreateModelDeploymentRequest)]
pub struct CreateDeployment {
    #[schema(value_type = schema::VersionedName)]
    pub name: EntityName,
    #[schema(value_type = Option<schema::ProjectLabel>)]
    project: Option<String>,
    /// A config of the same workspace, by name
    #[schema(max_length = 255)]
    config: String,
    /// Which version of it; the latest when left out
    config_version: Option<i64>,
    /// Ours. How many run side by side; as many as the config says when left out
    #[schema(minimum = 1, maximum = 64)]
    replicas: Option<u32>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = UpdateModelDeploymentRequest)]
pub struct UpdateDeployment {
    /// A config of the same workspace, by name
    #[schema(max_length = 255)]
    config: String,
    /// Which version of it; the latest when left out
    config_version: Option<i64>,
    /// Ours. How many run side by side; as before when left out
    #[schema(minimum = 1, maximum = 64)]
    replicas: Option<u32>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = UpdateModelDeploymentStatusRequest)]
pub struct UpdateDeploymentStatus {
    pub status: DeploymentStatus,
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub status_message: String,
    /// `workspace/name` of the provider that routes to it
    #[schema(max_length = 255)]
    pub model_provider_id: Option<String>,
}

/// Ours. What runs goes on running.
#[derive(Deserialize, ToSchema)]
pub struct ScaleDeployment {
    /// How many run side by side; null: as many as the config says
    #[schema(minimum = 1, maximum = 64, required)]
    pub replicas: Option<u32>,
}

impl RequestBody for ScaleDeployment {}
impl RequestBody for CreateDeployment {}
impl RequestBody for UpdateDeployment {}
impl RequestBody for UpdateDeploymentStatus {}

impl CreateDeployment {
    pub fn accept(self) -> (EntityName, Order) {
        let Self { name, project, config, config_version, replicas } = self;
        (name, Order { project, config, config_version, replicas })
    }
}

impl UpdateDeployment {
    pub fn accept(self) -> Order {
        let Self { config, config_version, replicas } = self;
        Order { project: None, config, config_version, replicas }
    }
}

impl UpdateDeploymentStatus {
    pub fn check(&self) -> Result<(), Error> {
        let Some(id) = &self.model_provider_id else { return Ok(()) };
        let is_reference = id.split_once('/').is_some_and(|(workspace, name)| {
            WorkspaceName::new(workspace).is_ok() && ProviderName::new(name).is_ok()
        });
        if is_reference {
            return Ok(());
        }
        Err(Error::invalid("model_provider_id", "it should read \"workspace/name\""))
    }
}
