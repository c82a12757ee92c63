//! What a deployment config says, in either of its two spellings.
//!
//! Invariants:
//! - A config is shown in the spelling in which it was written, field by field.
//! - Both spellings mean the same: the older one is read as the newer one, and only that is acted on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::quantity::Size;
use super::reference::Reference;

/// One version of a config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigBody {
    /// `workspace/name` of the model it serves, when that is one of ours.
    pub model_entity_id: Option<String>,
    #[serde(flatten)]
    pub spelling: Spelling,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Spelling {
    /// All in one object, for NIM only.
    NimDeployment { nim_deployment: Box<NimDeployment> },
    /// What serves, what is served, and on what.
    Engine(Box<EngineConfig>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineConfig {
    pub engine: Engine,
    pub model_spec: ModelSpec,
    pub executor_config: ExecutorConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Nim,
    Vllm,
    Generic,
}

/// Which model, and how it is served.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ModelDeploymentConfigModelSpec)]
pub struct ModelSpec {
    pub model_type: Option<ModelType>,
    /// The workspace of a model entity, or an organisation at the place where the weights are
    #[schema(max_length = 255)]
    pub model_namespace: Option<String>,
    /// `name`, `namespace/name` or `namespace/name@revision`; `hf://` or `ngc://` before it says that it is there
    #[schema(max_length = 255)]
    pub model_name: Option<String>,
    #[schema(max_length = 255)]
    pub model_revision: Option<String>,
    pub chat_template: Option<String>,
    pub tool_call_config: Option<ToolCallConfig>,
    #[serde(default)]
    pub lora_enabled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelType {
    Llm,
    Embed,
    Other,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DeploymentToolCallConfig)]
pub struct ToolCallConfig {
    #[schema(max_length = 255)]
    pub tool_call_parser: Option<String>,
    /// A fileset with the plugin; allowed only where the registry's settings allow plugins
    #[schema(max_length = 255)]
    pub tool_call_plugin: Option<String>,
    pub auto_tool_choice: Option<bool>,
}

/// Whether deployment configs may name a plugin that parses tool calls: code that runs in the model server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToolCallPlugins {
    #[default]
    Refused,
    Allowed,
}

/// The container, and what it gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ContainerExecutorConfig)]
pub struct ExecutorConfig {
    /// How many GPUs; 0 for none
    pub gpu: u32,
    #[serde(default = "default_disk_size")]
    #[schema(value_type = String, default = "50Gi")]
    pub disk_size: Size,
    #[schema(max_length = 255)]
    pub image_name: Option<String>,
    #[schema(max_length = 255)]
    pub image_tag: Option<String>,
    /// Where readiness is asked for; the engine's own when left out
    #[schema(max_length = 255)]
    pub health_check_path: Option<String>,
    pub run_as_user: Option<u32>,
    pub run_as_group: Option<u32>,
    pub additional_envs: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub additional_args: Vec<String>,
    /// Ours. Who pulls the image; without it, whoever the registry's settings name for that image registry
    pub image_pull_login: Option<PullLogin>,
    /// Ours. A program on the registry's host and its arguments, in the place of an image; `{port}` becomes the port
    /// to listen on
    #[schema(min_items = 1)]
    pub command: Option<Vec<String>>,
    /// Ours. How many run side by side
    #[serde(default = "default_replicas")]
    #[schema(minimum = 1, maximum = 64, default = 1)]
    pub replicas: u32,
    /// Ours. How long one may take to get ready, in seconds
    #[serde(default = "default_startup_timeout_s")]
    #[schema(minimum = 1, maximum = 86_400, default = 1800)]
    pub startup_timeout_s: u32,
    pub k8s_nim_operator_config: Option<KubernetesConfig>,
    #[schema(value_type = Option<Object>)]
    pub override_config: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ImagePullLogin)]
pub struct PullLogin {
    #[serde(default = "default_pull_username")]
    #[schema(min_length = 1, max_length = 255, default = "$oauthtoken")]
    pub username: String,
    /// The secret with the password, by name; of another workspace as `workspace/name`
    #[schema(value_type = String, max_length = 255)]
    pub password_secret: Reference,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = K8sNIMOperatorConfig)]
pub struct KubernetesConfig {
    #[schema(value_type = Option<Object>)]
    pub resources: Option<Map<String, Value>>,
    #[schema(value_type = Option<Vec<Object>>)]
    pub tolerations: Option<Vec<Map<String, Value>>>,
    pub node_selector: Option<BTreeMap<String, String>>,
    #[schema(minimum = 1)]
    pub startup_probe_grace_seconds: Option<u32>,
}

/// The older spelling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = NIMDeployment)]
pub struct NimDeployment {
    pub model_type: Option<ModelType>,
    #[serde(default)]
    pub lora_enabled: bool,
    /// How many GPUs; 0 for none
    pub gpu: u32,
    #[serde(default = "default_disk_size")]
    #[schema(value_type = String, default = "50Gi")]
    pub disk_size: Size,
    #[schema(max_length = 255)]
    pub image_name: Option<String>,
    #[schema(max_length = 255)]
    pub image_tag: Option<String>,
    #[schema(max_length = 255)]
    pub model_namespace: Option<String>,
    #[schema(max_length = 255)]
    pub model_name: Option<String>,
    #[schema(max_length = 255)]
    pub model_revision: Option<String>,
    /// Kept and shown; where the weights are follows from the namespace
    #[schema(max_length = 255)]
    pub model_provider: Option<String>,
    pub chat_template: Option<String>,
    pub tool_call_config: Option<ToolCallConfig>,
    pub additional_envs: Option<BTreeMap<String, String>>,
    /// Ours; as in `executor_config`
    pub image_pull_login: Option<PullLogin>,
    /// Ours; as in `executor_config`
    #[schema(min_items = 1)]
    pub command: Option<Vec<String>>,
    /// Ours; as in `executor_config`
    #[serde(default = "default_replicas")]
    #[schema(minimum = 1, maximum = 64, default = 1)]
    pub replicas: u32,
    /// Ours; as in `executor_config`
    #[serde(default = "default_startup_timeout_s")]
    #[schema(minimum = 1, maximum = 86_400, default = 1800)]
    pub startup_timeout_s: u32,
    pub k8s_nim_operator_config: Option<KubernetesConfig>,
    #[schema(value_type = Option<Object>)]
    pub override_config: Option<Map<String, Value>>,
}

const DISK_GIB_DEFAULT: u32 = 50;
/// Of a config that names no size.
pub const DISK_BYTES_DEFAULT: u64 = (DISK_GIB_DEFAULT as u64) << 30;

fn default_disk_size() -> Size {
    Size::gib(DISK_GIB_DEFAULT)
}

/// NVIDIA's registry knows no other: the user's name says that the password is a key.
fn default_pull_username() -> String {
    "$oauthtoken".into()
}

fn default_replicas() -> u32 {
    1
}

fn default_startup_timeout_s() -> u32 {
    1800
}

impl Spelling {
    /// What it means, in the newer spelling.
    pub fn engine_config(&self) -> EngineConfig {
        match self {
            Self::Engine(config) => EngineConfig::clone(config),
            Self::NimDeployment { nim_deployment } => nim_deployment.engine_config(),
        }
    }

    /// The older spelling, for those who know no other; only NIM has one.
    pub fn nim_deployment(&self) -> Option<NimDeployment> {
        match self {
            Self::NimDeployment { nim_deployment } => Some(NimDeployment::clone(nim_deployment)),
            Self::Engine(config) if config.engine == Engine::Nim => Some(config.nim_deployment()),
            Self::Engine(_) => None,
        }
    }
}

impl NimDeployment {
    fn engine_config(&self) -> EngineConfig {
        let nim = self.clone();
        EngineConfig {
            engine: Engine::Nim,
            model_spec: ModelSpec {
                model_type: nim.model_type,
                model_namespace: nim.model_namespace,
                model_name: nim.model_name,
                model_revision: nim.model_revision,
                chat_template: nim.chat_template,
                tool_call_config: nim.tool_call_config,
                lora_enabled: nim.lora_enabled,
            },
            executor_config: ExecutorConfig {
                gpu: nim.gpu,
                disk_size: nim.disk_size,
                image_name: nim.image_name,
                image_tag: nim.image_tag,
                health_check_path: None,
                run_as_user: None,
                run_as_group: None,
                additional_envs: nim.additional_envs,
                additional_args: Vec::new(),
                image_pull_login: nim.image_pull_login,
                command: nim.command,
                replicas: nim.replicas,
                startup_timeout_s: nim.startup_timeout_s,
                k8s_nim_operator_config: nim.k8s_nim_operator_config,
                override_config: nim.override_config,
            },
        }
    }
}

impl EngineConfig {
    /// As much of it as the older spelling has words for.
    fn nim_deployment(&self) -> NimDeployment {
        let Self { model_spec: model, executor_config: executor, .. } = self.clone();
        NimDeployment {
            model_type: model.model_type,
            lora_enabled: model.lora_enabled,
            gpu: executor.gpu,
            disk_size: executor.disk_size,
            image_name: executor.image_name,
            image_tag: executor.image_tag,
            model_namespace: model.model_namespace,
            model_name: model.model_name,
            model_revision: model.model_revision,
            model_provider: None,
            chat_template: model.chat_template,
            tool_call_config: model.tool_call_config,
            additional_envs: executor.additional_envs,
            image_pull_login: executor.image_pull_login,
            command: executor.command,
            replicas: executor.replicas,
            startup_timeout_s: executor.startup_timeout_s,
            k8s_nim_operator_config: executor.k8s_nim_operator_config,
            override_config: executor.override_config,
        }
    }
}
