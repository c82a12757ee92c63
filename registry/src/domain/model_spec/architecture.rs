//! A model's build, read from the small files beside its weights. What they do not say stays unknown.

use serde_json::Value;

use super::SpecParts;
use super::layers;
use crate::domain::model::SlidingWindowConfig;

/// The files of a model that say something about it; those that are there and can be read.
#[derive(Debug, Default)]
pub struct ModelFiles {
    /// `config.json`
    pub config: Option<Value>,
    /// `tokenizer_config.json`
    pub tokenizer: Option<Value>,
    /// `model.safetensors.index.json`
    pub index: Option<Value>,
    pub has_chat_template: bool,
    /// Whether there is `modules.json`, as sentence encoders have it.
    pub is_sentence_encoder: bool,
    /// Of all `*.safetensors` together.
    pub weights_bytes: u64,
}

/// Families whose embeddings are their own unless they say otherwise.
const UNTIED: &[&str] = &[
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "phi3",
    "nemotron",
    "nemotron_h",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_oss",
    "olmo2",
];
/// Families that share them unless they say otherwise.
const TIED: &[&str] =
    &["gemma", "gemma2", "gemma3", "gemma3_text", "bert", "roberta", "xlm-roberta", "gpt2", "mamba"];
/// Families with a gate in their feed-forward part.
const GATED: &[&str] = &[
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "phi3",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_oss",
    "olmo2",
    "granite",
];
/// Families without.
const PLAIN: &[&str] =
    &["bert", "roberta", "xlm-roberta", "gpt2", "nemotron", "nemotron_h", "opt", "phi", "gpt_neox", "falcon"];
/// A tokenizer that knows no limit says so by a number far beyond this.
const CONTEXT_MAX: u64 = 1 << 32;

pub fn read(files: &ModelFiles) -> SpecParts {
    let mut parts = files.config.as_ref().map(of_config).unwrap_or_default();
    if files.config.is_none() && files.tokenizer.is_none() {
        return parts;
    }
    let tokenizer = files.tokenizer.as_ref();
    let has_template =
        files.has_chat_template || tokenizer.is_some_and(|tokenizer| !tokenizer["chat_template"].is_null());
    parts.is_embedding_model =
        Some(files.is_sentence_encoder || parts.is_embedding_model.unwrap_or_default());
    parts.is_chat = (has_template || tokenizer.is_some()).then_some(has_template);
    let longest = tokenizer.and_then(|tokenizer| tokenizer["model_max_length"].as_u64());
    parts.context_size = parts.context_size.or(longest.filter(|&length| length < CONTEXT_MAX));
    parts.base_num_parameters = parameters(files, parts.precision.as_deref());
    parts
}

fn of_config(whole: &Value) -> SpecParts {
    // Models that also see or hear keep the language part below this.
    let config = Some(&whole["text_config"]).filter(|text| text.is_object()).unwrap_or(whole);
    let family = text(config, "model_type").or_else(|| text(whole, "model_type"));
    let named = |names: &[&str]| first_number(config, names);
    let hidden_size = named(&["hidden_size", "n_embd", "d_model"]);
    let num_layers = named(&["num_hidden_layers", "n_layer", "num_layers", "n_layers"]);
    let heads = named(&["num_attention_heads", "n_head", "n_heads"]);
    let ffn = named(&["intermediate_size", "n_inner", "ffn_dim", "d_ff"]);
    // The one family of its age that leaves it out to mean four times the width.
    let ffn = ffn.or_else(|| hidden_size.filter(|_| family.as_deref() == Some("gpt2"))?.checked_mul(4));
    let is_in = |list: &[&str]| family.as_deref().is_some_and(|family| list.contains(&family));
    let known = |yes: bool, no: bool| (yes || no).then_some(yes);
    let tied = config["tie_word_embeddings"].as_bool().or_else(|| whole["tie_word_embeddings"].as_bool());
    let architecture = whole["architectures"][0].as_str();
    SpecParts {
        checkpoint_model_name: architecture.map(str::to_owned).or_else(|| text(whole, "_name_or_path")),
        num_layers,
        hidden_size,
        num_attention_heads: heads,
        num_kv_heads: named(&["num_key_value_heads", "num_kv_heads"]).or(heads),
        ffn_hidden_size: ffn,
        vocab_size: named(&["vocab_size"]),
        tied_embeddings: tied.or_else(|| known(is_in(TIED), is_in(UNTIED))),
        gated_mlp: known(is_in(GATED), is_in(PLAIN)),
        precision: precision(whole).or_else(|| precision(config)),
        context_size: named(&["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"]),
        is_embedding_model: Some(architecture.is_some_and(is_encoder)),
        moe_config: layers::experts(config, num_layers),
        mamba_config: layers::mamba(config, family.as_deref(), num_layers),
        sliding_window_config: sliding_window(config),
        family,
        ..SpecParts::default()
    }
}

/// A bare model, without a head that speaks.
fn is_encoder(architecture: &str) -> bool {
    architecture.ends_with("Model") && !architecture.ends_with("LMHeadModel")
}

fn precision(config: &Value) -> Option<String> {
    let quantization = &config["quantization_config"];
    if let Some(bits) = quantization["bits"].as_u64() {
        return Some(format!("int{bits}"));
    }
    if quantization["quant_method"].as_str().is_some_and(|method| method.contains("fp8")) {
        return Some("fp8".into());
    }
    let given = text(config, "torch_dtype").or_else(|| text(config, "dtype"))?;
    Some(given.trim_start_matches("torch.").to_owned())
}

fn sliding_window(config: &Value) -> Option<SlidingWindowConfig> {
    let is_off = config["use_sliding_window"].as_bool() == Some(false);
    let window_size = config["sliding_window"].as_u64().filter(|&size| size > 0 && !is_off)?;
    Some(SlidingWindowConfig { window_size })
}

/// As the index counts them, or by the weights' size where all are of one kind.
fn parameters(files: &ModelFiles, precision: Option<&str>) -> Option<u64> {
    let metadata = files.index.as_ref().map(|index| &index["metadata"]);
    if let Some(count) = metadata.and_then(|metadata| metadata["total_parameters"].as_u64()) {
        return Some(count);
    }
    let bytes_each = match precision? {
        "float32" => 4,
        "bfloat16" | "float16" => 2,
        _ => return None,
    };
    let bytes = metadata.and_then(|metadata| metadata["total_size"].as_u64()).unwrap_or(files.weights_bytes);
    (bytes > 0).then_some(bytes / bytes_each)
}

fn text(config: &Value, name: &str) -> Option<String> {
    config[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

pub(super) fn first_number(config: &Value, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| config[*name].as_u64())
}
