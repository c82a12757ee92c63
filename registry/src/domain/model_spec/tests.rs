use serde_json::{Value, json};

use super::*;
use crate::domain::fileset::{FilesetMetadataInput, Purpose, Storage};

fn of(config: Value) -> SpecParts {
    read(&ModelFiles { config: Some(config), ..ModelFiles::default() })
}

fn fileset(found: Option<SpecParts>, metadata: Value) -> FilesetBody {
    FilesetBody {
        purpose: Purpose::Model,
        storage: Storage::server_local(),
        metadata: serde_json::from_value::<FilesetMetadataInput>(metadata).unwrap().into(),
        custom_fields: serde_json::Map::new(),
        cache: false,
        found,
    }
}

fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131_072,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 128_256,
        "rope_scaling": { "factor": 8.0, "rope_type": "llama3" },
    })
}

#[test]
fn a_dense_decoder_is_known_in_full_with_its_index_and_tokenizer() {
    let parts = read(&ModelFiles {
        config: Some(llama()),
        tokenizer: Some(json!({ "chat_template": "{{ messages }}", "model_max_length": 131_072 })),
        index: Some(json!({ "metadata": { "total_size": 16_060_522_496_u64 }, "weight_map": {} })),
        ..ModelFiles::default()
    });
    let expected = SpecParts {
        checkpoint_model_name: Some("LlamaForCausalLM".into()),
        family: Some("llama".into()),
        num_layers: Some(32),
        hidden_size: Some(4096),
        num_attention_heads: Some(32),
        num_kv_heads: Some(8),
        ffn_hidden_size: Some(14336),
        vocab_size: Some(128_256),
        tied_embeddings: Some(false),
        gated_mlp: Some(true),
        base_num_parameters: Some(8_030_261_248),
        precision: Some("bfloat16".into()),
        context_size: Some(131_072),
        is_chat: Some(true),
        is_embedding_model: Some(false),
        ..SpecParts::default()
    };
    assert_eq!(parts, expected);
}

#[test]
fn experts_are_counted() {
    let mixtral = of(json!({
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": null,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 32000,
    }));
    let experts = mixtral.moe_config.unwrap();
    assert_eq!((experts.num_experts, experts.num_experts_per_tok, experts.num_expert_layers), (8, 2, 32));
    assert_eq!(mixtral.sliding_window_config, None);
    let deepseek = of(json!({
        "model_type": "deepseek_v3", "num_hidden_layers": 61, "first_k_dense_replace": 3, "moe_layer_freq": 1,
        "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
        "quantization_config": { "quant_method": "fp8" }, "torch_dtype": "bfloat16",
    }));
    let experts = deepseek.moe_config.unwrap();
    assert_eq!(
        (experts.num_expert_layers, experts.expert_ffn_size, experts.num_shared_experts),
        (58, Some(2048), 1)
    );
    assert_eq!(deepseek.precision.as_deref(), Some("fp8"));
}

#[test]
fn the_language_part_of_a_model_that_sees_is_meant_and_ties_are_known_by_family() {
    let gemma = of(json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360,
            "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 8,
            "sliding_window": 1024, "vocab_size": 262_208, "max_position_embeddings": 131_072,
        },
        "vision_config": { "hidden_size": 1152 },
    }));
    assert_eq!((gemma.family.as_deref(), gemma.hidden_size), (Some("gemma3_text"), Some(3840)));
    assert_eq!((gemma.tied_embeddings, gemma.gated_mlp), (Some(true), Some(true)));
    assert_eq!(gemma.sliding_window_config, Some(SlidingWindowConfig { window_size: 1024 }));
    assert_eq!(gemma.precision.as_deref(), Some("bfloat16"));
    let qwen = of(json!({ "model_type": "qwen2", "sliding_window": 131_072, "use_sliding_window": false }));
    assert_eq!(qwen.sliding_window_config, None);
}

#[test]
fn state_space_layers_are_told_from_those_that_attend() {
    let nemotron = of(json!({
        "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 4096,
        "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
        "num_hidden_layers": 52, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 21504, "mlp_hidden_act": "relu2", "ssm_state_size": 128, "conv_kernel": 4,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 131_072,
    }));
    let mamba = nemotron.mamba_config.unwrap();
    assert_eq!((mamba.num_mamba_layers, mamba.num_attention_layers, mamba.num_mlp_layers), (24, 4, 24));
    assert!(mamba.is_hybrid);
    assert_eq!((mamba.state_size, nemotron.gated_mlp), (128, Some(false)));
    let pure =
        of(json!({ "model_type": "mamba", "num_hidden_layers": 64, "state_size": 16, "conv_kernel": 4 }));
    let mamba = pure.mamba_config.unwrap();
    assert_eq!((mamba.is_hybrid, mamba.num_mamba_layers, pure.num_attention_heads), (false, 64, None));
    let listed = of(json!({
        "model_type": "granitemoehybrid", "num_hidden_layers": 4, "mamba_d_state": 256,
        "layer_types": ["mamba", "mamba", "attention", "mamba"],
    }));
    assert_eq!(listed.mamba_config.unwrap().num_mamba_layers, 3);
}

#[test]
fn an_encoder_of_sentences_is_no_chat_model() {
    let parts = read(&ModelFiles {
        config: Some(json!({
            "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 384, "intermediate_size": 1536,
            "num_hidden_layers": 6, "num_attention_heads": 12, "max_position_embeddings": 512,
            "vocab_size": 30522, "torch_dtype": "float32",
        })),
        tokenizer: Some(json!({ "model_max_length": 512 })),
        is_sentence_encoder: true,
        weights_bytes: 90_868_376,
        ..ModelFiles::default()
    });
    assert_eq!((parts.is_embedding_model, parts.is_chat), (Some(true), Some(false)));
    assert_eq!((parts.num_kv_heads, parts.base_num_parameters), (Some(12), Some(22_717_094)));
    assert_eq!((parts.tied_embeddings, parts.gated_mlp), (Some(true), Some(false)));
}

#[test]
fn files_that_say_nothing_or_nonsense_leave_it_unknown() {
    assert_eq!(read(&ModelFiles { weights_bytes: 7, ..ModelFiles::default() }), SpecParts::default());
    for config in [
        json!([]),
        json!("x"),
        json!({ "hidden_size": -1, "num_hidden_layers": "many", "architectures": {} }),
    ] {
        let parts = of(config);
        assert_eq!(parts, SpecParts { is_embedding_model: Some(false), ..SpecParts::default() });
    }
    let endless =
        read(&ModelFiles { tokenizer: Some(json!({ "model_max_length": 1e30 })), ..ModelFiles::default() });
    assert_eq!(endless.context_size, None);
}

#[test]
fn what_an_owner_wrote_stands_and_the_rest_comes_from_the_fileset() {
    let metadata = json!({ "tool_calling": {
        "chat_template": "theirs", "tool_call_parser": "hermes", "auto_tool_choice": true,
    } });
    let fileset = fileset(Some(of(llama())), metadata);
    let alone = known(None, Some(&fileset)).unwrap();
    assert_eq!((alone.num_layers, alone.chat_template.as_deref()), (Some(32), Some("theirs")));
    assert_eq!(alone.is_chat, Some(true), "it has a template");
    let written: ModelSpec = serde_json::from_value(json!({
        "checkpoint_model_name": "mine", "family": "llama", "num_layers": 1, "hidden_size": 1,
        "num_attention_heads": 1, "num_kv_heads": 1, "ffn_hidden_size": 1, "vocab_size": 1,
        "tied_embeddings": false, "gated_mlp": true, "base_num_parameters": 1, "precision": "float32",
        "tool_call_config": { "tool_call_parser": "pythonic" },
    }))
    .unwrap();
    let both = known(Some(&written), Some(&fileset)).unwrap();
    assert_eq!((both.num_layers, both.context_size), (Some(1), Some(131_072)));
    let calls = both.tool_call_config.unwrap();
    assert_eq!((calls.tool_call_parser.as_deref(), calls.auto_tool_choice), (Some("pythonic"), Some(true)));
    assert_eq!(known(None, None), None);
}
