//! A model: what its owner wrote about it, and who serves it.
//!
//! A model need not be served, and what serves it may come and go: its entity stays.

use proto_shared::WorkspaceName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::adapter::AdapterBody;
use super::model_spec::SpecParts;
use super::prompt::InferenceParams;
use super::{Document, Reference};

/// A model with everything that is told about it.
#[derive(Debug, Clone)]
pub struct Model {
    pub document: Document<ModelBody>,
    /// What is known of its build: written by its owner, or found in its fileset.
    pub spec: Option<SpecParts>,
    /// In routing order.
    pub served_by: Vec<ServedBy>,
    pub adapters: Vec<Document<AdapterBody>>,
}

/// One provider of a model.
#[derive(Debug, Clone)]
pub struct ServedBy {
    /// `workspace/provider`.
    pub provider: String,
    pub host_url: String,
    /// What the provider calls the model.
    pub served_name: String,
}

/// What the owner wrote. Discovery writes nothing here: what it finds out is joined when a model is read.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelBody {
    pub spec: Option<ModelSpec>,
    pub finetuning_type: Option<FinetuningType>,
    pub fileset: Option<Reference>,
    pub base_model: Option<String>,
    pub api_endpoint: Option<ApiEndpoint>,
    pub backend_format: Option<BackendFormat>,
    pub prompt: Option<PromptData>,
    pub custom_fields: Option<Map<String, Value>>,
    pub ownership: Option<Map<String, Value>>,
    /// A wish for the order of those that serve it; nobody serves it because it is named here.
    pub model_providers: Option<Vec<String>>,
    pub trust_remote_code: bool,
    /// Requests for it never go to a hosted provider.
    pub local_only: bool,
}

/// How the model is built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelSpec {
    pub checkpoint_model_name: String,
    pub family: String,
    pub num_layers: u64,
    pub hidden_size: u64,
    pub num_attention_heads: u64,
    pub num_kv_heads: u64,
    pub ffn_hidden_size: u64,
    pub vocab_size: u64,
    pub tied_embeddings: bool,
    pub gated_mlp: bool,
    pub base_num_parameters: u64,
    pub precision: String,
    pub context_size: Option<u64>,
    pub num_virtual_tokens: Option<u64>,
    pub is_chat: Option<bool>,
    #[serde(default)]
    pub is_embedding_model: bool,
    pub moe_config: Option<MoEConfig>,
    pub mamba_config: Option<MambaConfig>,
    pub sliding_window_config: Option<SlidingWindowConfig>,
    /// Shown when asked for with `verbose`.
    pub linear_layers: Option<Vec<LinearLayerSpec>>,
    pub chat_template: Option<String>,
    pub tool_call_config: Option<ToolCallConfig>,
    /// Not known here: always null.
    #[serde(skip_deserializing)]
    pub minimum_gpus_all_weights: Option<u64>,
    /// Not known here: always null.
    #[serde(skip_deserializing)]
    pub minimum_gpus_lora: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoEConfig {
    pub num_experts: u64,
    pub num_experts_per_tok: u64,
    pub num_expert_layers: u64,
    pub expert_ffn_size: Option<u64>,
    #[serde(default)]
    pub num_shared_experts: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MambaConfig {
    pub is_hybrid: bool,
    pub num_mamba_layers: u64,
    #[serde(default)]
    pub num_attention_layers: u64,
    #[serde(default)]
    pub num_mlp_layers: u64,
    #[serde(default = "default_state_size")]
    pub state_size: u64,
    #[serde(default = "default_conv_kernel")]
    pub conv_kernel: u64,
}

fn default_state_size() -> u64 {
    16
}

fn default_conv_kernel() -> u64 {
    4
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlidingWindowConfig {
    pub window_size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinearLayerSpec {
    pub name: String,
    pub in_features: u64,
    pub out_features: u64,
}

/// How a model server is to find tool calls in what a model says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToolCallConfig {
    #[schema(max_length = 255)]
    pub tool_call_parser: Option<String>,
    #[schema(max_length = 255)]
    pub tool_call_plugin: Option<String>,
    pub auto_tool_choice: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinetuningType {
    LoraMerged,
    AllWeights,
    LastLayer,
    TopLayers,
    GradualUnfreezing,
    BiasOnly,
    AttentionOnly,
    Lora,
    Qlora,
    Adalora,
    Dora,
    LoraPlus,
    PromptTuning,
    PrefixTuning,
    PTuning,
    PTuningV2,
    SoftPrompt,
    Ppo,
    Dpo,
    Cdpo,
    Ipo,
    Orpo,
    Kto,
    Rrhf,
    Grpo,
}

/// Which dialect a model's server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BackendFormat {
    OpenaiChat,
    AnthropicMessages,
}

impl BackendFormat {
    /// What the name under which a model is served says about its server.
    pub fn of_served_name(name: &str) -> Self {
        if name.starts_with("claude-") || name.starts_with("anthropic.") {
            Self::AnthropicMessages
        } else {
            Self::OpenaiChat
        }
    }
}

/// Where the model can be reached without this gateway. It has no room for a key: keys are secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiEndpoint {
    #[schema(min_length = 1, max_length = 2048)]
    pub url: Option<String>,
    #[schema(max_length = 255)]
    pub model_id: Option<String>,
    #[schema(max_length = 255)]
    pub format: Option<String>,
}

/// What a prompt-tuned model is used with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PromptData {
    pub system_prompt: Option<String>,
    pub icl_few_shot_examples: Option<String>,
    pub inference_params: Option<InferenceParams>,
    pub system_prompt_template: Option<String>,
}

/// Remote repositories whose code may run when a model is loaded.
pub const TRUSTED_REPOSITORIES: &[&str] = &["nvidia/*"];

/// Whether the code in `repository` (`organisation/…`) may run.
pub fn is_trusted(repository: &str) -> bool {
    TRUSTED_REPOSITORIES.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => repository.starts_with(start),
        None => repository == *pattern,
    })
}

/// Puts those that the owner of a model prefers first, in the owner's order; the others stay in theirs.
pub fn prefer<T>(servers: &mut [T], order: &[String], provider: impl Fn(&T) -> (&WorkspaceName, &str)) {
    if order.is_empty() {
        return;
    }
    servers.sort_by_cached_key(|server| {
        let (workspace, name) = provider(server);
        let is_meant = |wish: &String| match wish.split_once('/') {
            Some((of, wish)) => of == workspace.as_str() && wish == name,
            None => wish == name,
        };
        order.iter().position(is_meant).unwrap_or(usize::MAX)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_values::workspace_name;

    #[test]
    fn wished_providers_come_first_and_the_others_keep_their_order() {
        let workspace = workspace_name("default");
        let order = |wishes: &[&str]| {
            let mut servers = ["a", "b", "c", "d"];
            let wishes: Vec<String> = wishes.iter().map(|wish| (*wish).to_owned()).collect();
            prefer(&mut servers, &wishes, |name| (&workspace, *name));
            servers.concat()
        };
        assert_eq!(order(&[]), "abcd");
        assert_eq!(order(&["default/c", "default/b"]), "cbad");
        assert_eq!(order(&["d", "default/nobody", "other/a"]), "dabc");
    }

    #[test]
    fn the_dialect_is_told_by_the_served_name() {
        let of = BackendFormat::of_served_name;
        assert_eq!(of("claude-x"), BackendFormat::AnthropicMessages);
        assert_eq!(of("anthropic.x"), BackendFormat::AnthropicMessages);
        assert_eq!(of("meta/claude-x"), BackendFormat::OpenaiChat);
    }

    #[test]
    fn code_of_trusted_organisations_only_may_run() {
        assert!(is_trusted("nvidia/nemotron"));
        assert!(!is_trusted("nvidia-fan/nemotron") && !is_trusted("nvidia") && !is_trusted("evil/nvidia/x"));
    }

    #[test]
    fn words_on_the_wire_are_the_platforms() {
        for (kind, word) in [
            (FinetuningType::PTuningV2, "p_tuning_v2"),
            (FinetuningType::PTuning, "p_tuning"),
            (FinetuningType::LoraPlus, "lora_plus"),
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), word);
        }
        assert_eq!(serde_json::to_value(BackendFormat::OpenaiChat).unwrap(), "OPENAI_CHAT");
    }
}
