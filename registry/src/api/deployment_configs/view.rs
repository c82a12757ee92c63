//! What a deployment config looks like on the wire: as it was written, and in the other spelling too,
//! so that every client finds the one it knows.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::deployment_config::{Engine, ExecutorConfig, ModelSpec, NimDeployment};
use crate::domain::document::Document;
use crate::store::deployment_configs::ConfigVersion;

/// One version of a deployment config.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelDeploymentConfig)]
pub struct DeploymentConfig {
    id: String,
    name: String,
    workspace: String,
    project: Option<String>,
    created_at: String,
    updated_at: String,
    /// The number of this version, from 1
    entity_version: i64,
    description: Option<String>,
    engine: Engine,
    model_spec: ModelSpec,
    executor_config: ExecutorConfig,
    model_entity_id: Option<String>,
    /// The same in the older spelling; null for engines that have none
    nim_deployment: Option<NimDeployment>,
}

impl From<ConfigVersion> for DeploymentConfig {
    fn from(ConfigVersion { version, document }: ConfigVersion) -> Self {
        let Document { id, workspace, name, project, description, body, created, updated, .. } = document;
        let config = body.spelling.engine_config();
        Self {
            id: id.to_string(),
            name: name.into(),
            workspace: workspace.into(),
            project,
            created_at: created.to_wire(),
            updated_at: updated.to_wire(),
            entity_version: version,
            description,
            engine: config.engine,
            model_spec: config.model_spec,
            executor_config: config.executor_config,
            model_entity_id: body.model_entity_id,
            nim_deployment: body.spelling.nim_deployment(),
        }
    }
}
