//! What a fileset says about a model arrives in the model.

use http::Method;
use serde_json::{Value, json};

use crate::files::{at, with_fileset};
use crate::harness::{FILESETS, Harness, MODELS};

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
        "intermediate_size": 128, "num_attention_heads": 4, "vocab_size": 100, "torch_dtype": "bfloat16",
        "max_position_embeddings": 4096,
    })
}

fn written() -> Value {
    json!({
        "checkpoint_model_name": "mine", "family": "llama", "num_layers": 1, "hidden_size": 1,
        "num_attention_heads": 1, "num_kv_heads": 1, "ffn_hidden_size": 1, "vocab_size": 1,
        "tied_embeddings": false, "gated_mlp": true, "base_num_parameters": 1, "precision": "float32",
    })
}

async fn put(h: &Harness, path: &str, bytes: &[u8]) {
    h.raw(Method::PUT, &at(path), "application/octet-stream", bytes).await.expect(200);
}

async fn spec(h: &Harness) -> Value {
    h.get(&format!("{MODELS}/mm")).await.expect(200).body["spec"].clone()
}

#[tokio::test]
async fn small_files_fill_what_is_known_and_take_it_with_them() {
    let h = with_fileset().await;
    h.post(MODELS, json!({ "name": "mm", "fileset": "default/fs" })).await.expect(201);
    assert_eq!(spec(&h).await, Value::Null);
    let before = h.get(&format!("{FILESETS}/fs")).await.body;
    put(&h, "config.json", config().to_string().as_bytes()).await;
    put(&h, "model-00001-of-00001.safetensors", &[0; 2000]).await;
    put(&h, "tokenizer_config.json", br#"{"chat_template":"x"}"#).await;
    put(&h, "sub/config.json", br#"{"model_type":"other"}"#).await;
    let known = spec(&h).await;
    for (member, value) in [
        ("family", json!("llama")),
        ("num_layers", json!(2)),
        ("num_kv_heads", json!(4)),
        ("base_num_parameters", json!(1000)),
        ("precision", json!("bfloat16")),
        ("context_size", json!(4096)),
        ("is_chat", json!(true)),
        ("is_embedding_model", json!(false)),
        ("chat_template", Value::Null),
    ] {
        assert_eq!(known[member], value, "{member}: {known}");
    }
    assert_eq!(h.get(&format!("{FILESETS}/fs")).await.body, before, "the fileset shows nothing of it");
    let list = h.get(MODELS).await.expect(200).body;
    assert!(list["data"][0]["spec"].get("chat_template").is_none());
    let h = h.restart().await;
    assert_eq!(spec(&h).await, known);
    put(&h, "config.json", b"no json").await;
    assert_eq!(spec(&h).await["family"], Value::Null);
    for path in ["config.json", "model-00001-of-00001.safetensors", "tokenizer_config.json"] {
        h.delete(&at(path)).await.expect(200);
    }
    assert_eq!(spec(&h).await, Value::Null);
}

#[tokio::test]
async fn tool_calling_arrives_in_either_spelling_and_an_owners_word_stands() {
    let h = with_fileset().await;
    h.post(MODELS, json!({ "name": "mm", "fileset": "fs" })).await.expect(201);
    let told =
        json!({ "metadata": { "tool_calling": { "chat_template": "t", "tool_call_parser": "hermes" } } });
    h.patch(&format!("{FILESETS}/fs"), told).await.expect(200);
    let known = spec(&h).await;
    assert_eq!((&known["chat_template"], &known["is_chat"]), (&json!("t"), &json!(true)));
    assert_eq!(known["tool_call_config"]["tool_call_parser"], "hermes");

    let mut mine = written();
    mine["chat_template"] = json!("mine");
    h.patch(&format!("{MODELS}/mm"), json!({ "spec": mine })).await.expect(200);
    put(&h, "config.json", config().to_string().as_bytes()).await;
    let known = spec(&h).await;
    assert_eq!((&known["chat_template"], &known["num_layers"]), (&json!("mine"), &json!(1)));
    assert_eq!(known["tool_call_config"]["tool_call_parser"], "hermes", "what was left out is filled");
    assert_eq!(known["context_size"], 4096);

    h.patch(&format!("{MODELS}/mm"), json!({ "spec": null })).await.expect(200);
    assert_eq!(spec(&h).await["num_layers"], 2);
    h.patch(&format!("{MODELS}/mm"), json!({ "fileset": null })).await.expect(200);
    assert_eq!(spec(&h).await, Value::Null);
}

#[tokio::test]
async fn a_remote_fileset_tells_its_tool_calling_too() {
    let h = Harness::start().await;
    let body = json!({
        "name": "hf", "storage": { "type": "huggingface", "repo_id": "a/b" },
        "metadata": { "model": { "tool_calling": { "auto_tool_choice": true } } },
    });
    h.post(FILESETS, body).await.expect(200);
    h.post(MODELS, json!({ "name": "mm", "fileset": "hf" })).await.expect(201);
    assert_eq!(spec(&h).await["tool_call_config"]["auto_tool_choice"], true);
    h.delete(&format!("{FILESETS}/hf")).await.expect(200);
    assert_eq!(spec(&h).await, Value::Null, "a fileset that is gone says nothing");
}

#[tokio::test]
async fn files_that_arrive_together_are_all_heard() {
    let h = with_fileset().await;
    h.post(MODELS, json!({ "name": "mm", "fileset": "fs" })).await.expect(201);
    for round in 0..10 {
        let config = config().to_string();
        let tokenizer = json!({ "chat_template": "x" }).to_string();
        tokio::join!(
            put(&h, "config.json", config.as_bytes()),
            put(&h, "tokenizer_config.json", tokenizer.as_bytes()),
        );
        let known = spec(&h).await;
        assert_eq!((&known["num_layers"], &known["is_chat"]), (&json!(2), &json!(true)), "round {round}");
        let (one, two) = (at("config.json"), at("tokenizer_config.json"));
        tokio::join!(h.delete(&one), h.delete(&two));
        assert_eq!(spec(&h).await, Value::Null, "round {round}");
    }
}
