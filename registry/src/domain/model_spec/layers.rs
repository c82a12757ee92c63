//! Layers that are not all alike: experts, and state-space layers between those that attend.

use serde_json::Value;

use super::architecture::first_number;
use crate::domain::model::{MambaConfig, MoEConfig};

/// Experts, when there is more than one.
pub fn experts(config: &Value, num_layers: Option<u64>) -> Option<MoEConfig> {
    let num_experts = first_number(config, &["num_local_experts", "n_routed_experts", "num_experts"])?;
    let per_token = first_number(config, &["num_experts_per_tok", "num_selected_experts", "moe_top_k"])?;
    if num_experts < 2 {
        return None;
    }
    let in_pattern = pattern(config).map(|pattern| count(pattern, 'E'));
    let dense = config["first_k_dense_replace"].as_u64().unwrap_or_default();
    let every = first_number(config, &["moe_layer_freq", "decoder_sparse_step"]).unwrap_or(1).max(1);
    let regular = || Some(num_layers?.saturating_sub(dense).div_ceil(every));
    Some(MoEConfig {
        num_experts,
        num_experts_per_tok: per_token,
        num_expert_layers: in_pattern.or_else(regular)?,
        expert_ffn_size: first_number(config, &["moe_intermediate_size", "expert_ffn_size"]),
        num_shared_experts: config["n_shared_experts"].as_u64().unwrap_or_default(),
    })
}

/// State-space layers: all of them, or those that a pattern or a list names.
pub fn mamba(config: &Value, family: Option<&str>, num_layers: Option<u64>) -> Option<MambaConfig> {
    let state_size = first_number(config, &["ssm_state_size", "mamba_d_state", "state_size"]).unwrap_or(16);
    let conv_kernel = first_number(config, &["conv_kernel", "mamba_d_conv"]).unwrap_or(4);
    let found = |num_mamba_layers, num_attention_layers, num_mlp_layers| MambaConfig {
        is_hybrid: num_attention_layers > 0 || num_mlp_layers > 0,
        num_mamba_layers,
        num_attention_layers,
        num_mlp_layers,
        state_size,
        conv_kernel,
    };
    if let Some(pattern) = pattern(config) {
        return Some(found(count(pattern, 'M'), count(pattern, '*'), count(pattern, '-')));
    }
    let kinds = ["layer_types", "layers_block_type"].iter().find_map(|name| config[*name].as_array());
    let of_kind = |kind: &str| {
        let count = kinds.into_iter().flatten().filter(|layer| layer.as_str() == Some(kind)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    };
    match (family, of_kind("mamba")) {
        (Some("mamba" | "mamba2"), _) => Some(found(num_layers?, 0, 0)),
        (Some("jamba"), _) => {
            let period = config["attn_layer_period"].as_u64().filter(|&period| period > 0)?;
            let offset = config["attn_layer_offset"].as_u64().unwrap_or_default();
            let attending = num_layers?.saturating_sub(offset).div_ceil(period);
            Some(found(num_layers?.saturating_sub(attending), attending, 0))
        }
        (_, 0) => None,
        (_, layers) => Some(found(layers, of_kind("attention"), 0)),
    }
}

/// One character a layer: `M` state-space, `*` attention, `-` feed-forward, `E` experts.
fn pattern(config: &Value) -> Option<&str> {
    config["hybrid_override_pattern"].as_str()
}

fn count(pattern: &str, layer: char) -> u64 {
    u64::try_from(pattern.chars().filter(|&c| c == layer).count()).unwrap_or(u64::MAX)
}
