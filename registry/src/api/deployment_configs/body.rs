//! The bodies of deployment config calls, from either spelling to a checked config.

use proto_shared::names::EntityName;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::body::RequestBody;
use crate::api::schema;
use crate::config::ToolCallPlugins;
use crate::domain::deployment_config::{
    ConfigBody, Engine, EngineConfig, ExecutorConfig, ModelSpec, NimDeployment, Spelling,
};
use crate::domain::deployment_spec::{DeploymentSpec, SpecError, SpecErrorKind};
use crate::domain::document::Draft;
use crate::error::{Error, Issue};

/// A name, and all that an update takes. Written out: a fault in a flattened part would lose its place.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreateModelDeploymentConfigRequest)]
pub struct CreateDeploymentConfig {
    #[schema(value_type = schema::VersionedName)]
    name: EntityName,
    #[schema(value_type = Option<schema::ProjectLabel>)]
    project: Option<String>,
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// `workspace/name`; found by itself when `model_spec` names a model entity
    #[schema(max_length = 255)]
    model_entity_id: Option<String>,
    engine: Option<Engine>,
    model_spec: Option<ModelSpec>,
    executor_config: Option<ExecutorConfig>,
    nim_deployment: Option<NimDeployment>,
}

/// A whole config: `engine`, `model_spec` and `executor_config`, or `nim_deployment` in their place.
/// Nothing is taken over from an earlier version.
#[derive(Deserialize, ToSchema)]
#[schema(as = UpdateModelDeploymentConfigRequest)]
pub struct UpdateDeploymentConfig {
    #[schema(value_type = Option<schema::ProjectLabel>)]
    project: Option<String>,
    #[schema(max_length = 1000)]
    description: Option<String>,
    /// `workspace/name`; found by itself when `model_spec` names a model entity
    #[schema(max_length = 255)]
    model_entity_id: Option<String>,
    engine: Option<Engine>,
    model_spec: Option<ModelSpec>,
    executor_config: Option<ExecutorConfig>,
    nim_deployment: Option<NimDeployment>,
}

impl RequestBody for CreateDeploymentConfig {}
impl RequestBody for UpdateDeploymentConfig {}

impl CreateDeploymentConfig {
    pub fn accept(self, plugins: ToolCallPlugins) -> Result<(Draft<ConfigBody>, DeploymentSpec), Error> {
        let whole = UpdateDeploymentConfig {
            project: self.project,
            description: self.description,
            model_entity_id: self.model_entity_id,
            engine: self.engine,
            model_spec: self.model_spec,
            executor_config: self.executor_config,
            nim_deployment: self.nim_deployment,
        };
        whole.accept(self.name, plugins)
    }
}

impl UpdateDeploymentConfig {
    /// Judges what is well formed: one spelling, all of it, or both in agreement.
    pub fn accept(
        self,
        name: EntityName,
        plugins: ToolCallPlugins,
    ) -> Result<(Draft<ConfigBody>, DeploymentSpec), Error> {
        let Self { project, description, model_entity_id, engine, model_spec, executor_config, .. } = self;
        let spelling = match (self.nim_deployment, engine, model_spec, executor_config) {
            (None, Some(engine), Some(model_spec), Some(executor_config)) => {
                Spelling::Engine(Box::new(EngineConfig { engine, model_spec, executor_config }))
            }
            (Some(nim_deployment), None, None, None) => {
                Spelling::NimDeployment { nim_deployment: Box::new(nim_deployment) }
            }
            // What an answer showed, sent back: it carries both spellings.
            (Some(older), Some(engine), Some(model_spec), Some(executor_config)) => {
                let newer = Spelling::Engine(Box::new(EngineConfig { engine, model_spec, executor_config }));
                let is_all_of_newer = newer.nim_deployment().as_ref() == Some(&older);
                let older = Spelling::NimDeployment { nim_deployment: Box::new(older) };
                match older.engine_config() == newer.engine_config() {
                    true => older,
                    // The newer one has words that the older one lacks.
                    false if is_all_of_newer => newer,
                    false => return Err(both()),
                }
            }
            (Some(_), ..) => return Err(both()),
            (None, engine, model, executor) => {
                let given = [engine.is_some(), model.is_some(), executor.is_some()];
                return Err(missing(given));
            }
        };
        let spec = DeploymentSpec::new(spelling.engine_config()).map_err(of_spec)?;
        if spec.tool_calling.tool_call_plugin.is_some() && plugins == ToolCallPlugins::Refused {
            let text = "tool_call_config.tool_call_plugin: plugins run code of their own in the model server, and are not \
                        allowed here; set deployments.tool_call_plugins = true to allow them";
            return Err(Error::Forbidden(text.into()));
        }
        let body = ConfigBody { model_entity_id, spelling };
        Ok((Draft { name, project, description, body }, spec))
    }
}

fn of_spec(error: SpecError) -> Error {
    let SpecError { field, kind, reason } = error;
    match kind {
        SpecErrorKind::Refused => Error::refused(field, reason),
        SpecErrorKind::Malformed => Error::invalid(field, reason),
    }
}

fn both() -> Error {
    let reason =
        "give nim_deployment, or engine, model_spec and executor_config; both only if they say the same";
    Error::Invalid(vec![Issue::value(place("nim_deployment"), reason)])
}

fn missing(given: [bool; 3]) -> Error {
    let fields = ["engine", "model_spec", "executor_config"];
    let none = given == [false; 3];
    let absent = fields.iter().zip(given).filter(|(_, given)| !given);
    let issue = |field: &str, msg: &str| Issue {
        kind: "missing",
        loc: place(field),
        msg: msg.into(),
        input: Value::Null,
    };
    let mut issues: Vec<_> = absent.map(|(field, _)| issue(field, "Field required")).collect();
    if none {
        let msg = "Field required where engine, model_spec and executor_config are not given";
        issues.push(issue("nim_deployment", msg));
    }
    Error::Invalid(issues)
}

fn place(field: &str) -> Vec<Value> {
    vec![json!("body"), json!(field)]
}
