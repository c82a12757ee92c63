//! What is known about how a model is built: what its owner wrote, and below that what its fileset says.
//!
//! A [`ModelSpec`] is complete, because its owner wrote it. What a fileset says need not be: then a model
//! shows what is known and null for the rest, instead of hiding a chat template for want of a layer count.
//!
//! The two are kept apart and put together when a model is read: so nothing is copied that could go stale,
//! and what an owner wrote is never overwritten.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fileset::{FilesetBody, ToolCalling};
use super::model::{LinearLayerSpec, MambaConfig, MoEConfig, ModelSpec, SlidingWindowConfig, ToolCallConfig};

mod architecture;
mod layers;

pub use architecture::{ModelFiles, read};

/// A spec of which any member may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = KnownModelSpec)]
pub struct SpecParts {
    pub checkpoint_model_name: Option<String>,
    pub family: Option<String>,
    pub num_layers: Option<u64>,
    pub hidden_size: Option<u64>,
    pub num_attention_heads: Option<u64>,
    pub num_kv_heads: Option<u64>,
    pub ffn_hidden_size: Option<u64>,
    pub vocab_size: Option<u64>,
    pub tied_embeddings: Option<bool>,
    pub gated_mlp: Option<bool>,
    pub base_num_parameters: Option<u64>,
    pub precision: Option<String>,
    pub context_size: Option<u64>,
    pub num_virtual_tokens: Option<u64>,
    pub is_chat: Option<bool>,
    pub is_embedding_model: Option<bool>,
    pub moe_config: Option<MoEConfig>,
    pub mamba_config: Option<MambaConfig>,
    pub sliding_window_config: Option<SlidingWindowConfig>,
    /// Shown when asked for with `verbose`; what its owner wrote.
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

/// What is known of a model, from both sources; `None` when nothing is.
pub fn known(written: Option<&ModelSpec>, fileset: Option<&FilesetBody>) -> Option<SpecParts> {
    let written = written.cloned().map(SpecParts::from).unwrap_or_default();
    let known = written.over(fileset.map(SpecParts::of_fileset).unwrap_or_default());
    (known != SpecParts::default()).then_some(known)
}

impl SpecParts {
    /// Its `tool_calling`, and what its files say.
    fn of_fileset(fileset: &FilesetBody) -> Self {
        let told = fileset.metadata.tool_calling().cloned().map(Self::from).unwrap_or_default();
        let mut parts = told.over(fileset.found.clone().unwrap_or_default());
        if parts.chat_template.is_some() {
            parts.is_chat = Some(true);
        }
        parts
    }

    /// Each member of its own, and where it has none that of `below`.
    fn over(self, below: Self) -> Self {
        Self {
            checkpoint_model_name: self.checkpoint_model_name.or(below.checkpoint_model_name),
            family: self.family.or(below.family),
            num_layers: self.num_layers.or(below.num_layers),
            hidden_size: self.hidden_size.or(below.hidden_size),
            num_attention_heads: self.num_attention_heads.or(below.num_attention_heads),
            num_kv_heads: self.num_kv_heads.or(below.num_kv_heads),
            ffn_hidden_size: self.ffn_hidden_size.or(below.ffn_hidden_size),
            vocab_size: self.vocab_size.or(below.vocab_size),
            tied_embeddings: self.tied_embeddings.or(below.tied_embeddings),
            gated_mlp: self.gated_mlp.or(below.gated_mlp),
            base_num_parameters: self.base_num_parameters.or(below.base_num_parameters),
            precision: self.precision.or(below.precision),
            context_size: self.context_size.or(below.context_size),
            num_virtual_tokens: self.num_virtual_tokens.or(below.num_virtual_tokens),
            is_chat: self.is_chat.or(below.is_chat),
            is_embedding_model: self.is_embedding_model.or(below.is_embedding_model),
            moe_config: self.moe_config.or(below.moe_config),
            mamba_config: self.mamba_config.or(below.mamba_config),
            sliding_window_config: self.sliding_window_config.or(below.sliding_window_config),
            linear_layers: self.linear_layers.or(below.linear_layers),
            chat_template: self.chat_template.or(below.chat_template),
            tool_call_config: tool_calls(self.tool_call_config, below.tool_call_config),
            minimum_gpus_all_weights: None,
            minimum_gpus_lora: None,
        }
    }
}

fn tool_calls(own: Option<ToolCallConfig>, below: Option<ToolCallConfig>) -> Option<ToolCallConfig> {
    let (Some(own), Some(below)) = (&own, &below) else { return own.or(below) };
    Some(ToolCallConfig {
        tool_call_parser: own.tool_call_parser.clone().or_else(|| below.tool_call_parser.clone()),
        tool_call_plugin: own.tool_call_plugin.clone().or_else(|| below.tool_call_plugin.clone()),
        auto_tool_choice: own.auto_tool_choice.or(below.auto_tool_choice),
    })
}

impl From<ToolCalling> for SpecParts {
    fn from(told: ToolCalling) -> Self {
        let ToolCalling { chat_template, tool_call_parser, tool_call_plugin, auto_tool_choice } = told;
        let config = ToolCallConfig { tool_call_parser, tool_call_plugin, auto_tool_choice };
        let tool_call_config = (config != ToolCallConfig::default()).then_some(config);
        Self { chat_template, tool_call_config, ..Self::default() }
    }
}

impl From<ModelSpec> for SpecParts {
    fn from(spec: ModelSpec) -> Self {
        Self {
            checkpoint_model_name: Some(spec.checkpoint_model_name),
            family: Some(spec.family),
            num_layers: Some(spec.num_layers),
            hidden_size: Some(spec.hidden_size),
            num_attention_heads: Some(spec.num_attention_heads),
            num_kv_heads: Some(spec.num_kv_heads),
            ffn_hidden_size: Some(spec.ffn_hidden_size),
            vocab_size: Some(spec.vocab_size),
            tied_embeddings: Some(spec.tied_embeddings),
            gated_mlp: Some(spec.gated_mlp),
            base_num_parameters: Some(spec.base_num_parameters),
            precision: Some(spec.precision),
            context_size: spec.context_size,
            num_virtual_tokens: spec.num_virtual_tokens,
            is_chat: spec.is_chat,
            is_embedding_model: Some(spec.is_embedding_model),
            moe_config: spec.moe_config,
            mamba_config: spec.mamba_config,
            sliding_window_config: spec.sliding_window_config,
            linear_layers: spec.linear_layers,
            chat_template: spec.chat_template,
            tool_call_config: spec.tool_call_config,
            minimum_gpus_all_weights: None,
            minimum_gpus_lora: None,
        }
    }
}

#[cfg(test)]
mod tests;
