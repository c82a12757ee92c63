use serde_json::{Value, json};

use crate::fake_provider::{Behaviour, FakeProvider};
use crate::harness::{CONFIGS, FILESETS, Harness, MODELS, PROVIDERS, names_in};

fn spec() -> Value {
    json!({
        "checkpoint_model_name": "c", "family": "llama", "num_layers": 2, "hidden_size": 8,
        "num_attention_heads": 2, "num_kv_heads": 1, "ffn_hidden_size": 16, "vocab_size": 100,
        "tied_embeddings": false, "gated_mlp": true, "base_num_parameters": 1000, "precision": "bf16",
        "linear_layers": [{"name": "q", "in_features": 8, "out_features": 8}],
        "moe_config": {"num_experts": 8, "num_experts_per_tok": 2, "num_expert_layers": 2},
    })
}

#[tokio::test]
async fn a_model_reads_back_as_it_was_written() {
    let h = Harness::start().await;
    let body = json!({
        "name": "mine", "project": "a/b", "description": "d", "spec": spec(), "finetuning_type": "p_tuning_v2",
        "base_model": "meta-llama/Llama-3.1-8B", "backend_format": "ANTHROPIC_MESSAGES",
        "api_endpoint": {"url": "http://h/v1", "model_id": "x", "format": "nvidia"},
        "prompt": {"system_prompt": "s", "inference_params": {"temperature": 0.5, "top_k": 3}},
        "custom_fields": {"deep": [1, null]}, "ownership": {"by": "me"}, "trust_remote_code": true,
        "unknown": {"is": "ignored"},
    });
    let made = h.post(MODELS, body.clone()).await.expect(201);
    assert_eq!(made.generation(), None, "nobody serves it: no route changed");
    let read = h.get(&format!("{MODELS}/mine?verbose=true")).await.expect(200).body;
    assert_eq!(read, made.body);
    for field in [
        "name",
        "project",
        "description",
        "finetuning_type",
        "base_model",
        "backend_format",
        "custom_fields",
        "ownership",
        "trust_remote_code",
    ] {
        assert_eq!(read[field], body[field], "{field}");
    }
    assert_eq!(read["spec"]["linear_layers"], body["spec"]["linear_layers"]);
    assert_eq!(read["spec"]["moe_config"]["num_shared_experts"], 0);
    assert_eq!(read["spec"]["is_embedding_model"], false);
    assert_eq!(
        read["api_endpoint"],
        json!({"url": "http://h/v1", "model_id": "x", "format": "nvidia", "api_key": null})
    );
    assert_eq!(read["prompt"]["inference_params"]["top_k"], 3);
    assert_eq!((&read["adapters"], &read["model_providers"]), (&json!([]), &json!([])));
    assert!(read["fileset"].is_null() && read["id"].as_str().unwrap().starts_with("model-"));

    let plain = h.get(&format!("{MODELS}/mine")).await.expect(200).body;
    assert!(plain["spec"]["linear_layers"].is_null(), "shown when asked for");
    let listed = h.get(MODELS).await.expect(200).body;
    assert!(listed["data"][0]["spec"].get("linear_layers").is_none());
    assert_eq!(listed["data"][0]["custom_fields"], body["custom_fields"], "nulls of the owner stay");
}

#[tokio::test]
async fn a_small_model_has_every_field() {
    let h = Harness::start().await;
    let made = h.post(MODELS, json!({"name": "tiny"})).await.expect(201).body;
    for field in ["project", "description", "spec", "fileset", "api_endpoint", "backend_format", "prompt"] {
        assert_eq!(made.get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(made["custom_fields"], json!({}));
    assert_eq!(made["trust_remote_code"], false);
    let twice = h.post(MODELS, json!({"name": "tiny"})).await.expect(409);
    assert_eq!(twice.message(), "Model with workspace 'default' and name 'tiny' already exists");
    assert_eq!(twice.headers["x-should-retry"], "false");
}

#[tokio::test]
async fn a_change_changes_what_is_sent_and_null_takes_away() {
    let h = Harness::start().await;
    let path = format!("{MODELS}/mine");
    h.post(MODELS, json!({"name": "mine", "description": "d", "base_model": "b", "spec": spec()}))
        .await
        .expect(201);
    let changed =
        h.patch(&path, json!({"description": null, "custom_fields": {"a": 1}})).await.expect(200).body;
    assert_eq!((&changed["description"], &changed["base_model"]), (&Value::Null, &json!("b")));
    assert_eq!(changed["custom_fields"]["a"], 1);
    assert_eq!(changed["spec"]["family"], "llama");
    let mut other = spec();
    other["family"] = json!("qwen");
    other.as_object_mut().unwrap().remove("moe_config");
    let replaced = h.patch(&path, json!({"spec": other})).await.expect(200).body;
    assert_eq!(replaced["spec"]["family"], "qwen");
    assert!(replaced["spec"]["moe_config"].is_null(), "replaced whole");
    let partly = h.patch(&path, json!({"spec": {"family": "x"}})).await.expect(422);
    assert_eq!(partly.body["detail"][0]["type"], "missing");
    assert_eq!(h.patch(&path, json!({})).await.expect(200).body["spec"]["family"], "qwen");

    h.delete(&path).await.expect(204);
    for answer in [h.get(&path).await, h.patch(&path, json!({})).await, h.delete(&path).await] {
        assert_eq!(answer.expect(404).message(), "Model with workspace 'default' and name 'mine' not found");
    }
}

#[tokio::test]
async fn what_can_not_be_is_refused_and_nothing_is_kept() {
    let h = Harness::start().await;
    for (body, status) in [
        (json!({"name": "Bad Name"}), 422),
        (json!({"name": "x"}), 422),
        (json!({}), 422),
        (json!({"name": "mm", "finetuning_type": "magic"}), 422),
        (json!({"name": "mm", "spec": {"num_layers": "many"}}), 422),
        (json!({"name": "mm", "prompt": {"inference_params": {"temperature": 3}}}), 422),
        (json!({"name": "mm", "fileset": "no/such/thing"}), 422),
        (json!({"name": "mm", "fileset": "nowhere"}), 400),
        (json!({"name": "mm", "fileset": "other/nowhere"}), 400),
    ] {
        h.post(MODELS, body).await.expect(status);
    }
    let missing = h.post(MODELS, json!({"name": "mm", "fileset": "nowhere"})).await.expect(400);
    assert!(missing.message().contains("Fileset 'nowhere' not found in workspace 'default'"));
    let nowhere = h.post("/apis/models/v2/workspaces/nows/models", json!({"name": "mm"})).await.expect(422);
    assert_eq!(nowhere.message(), "Workspace 'nows' does not exist. Please create the workspace first.");
    h.get(&format!("{MODELS}?verbose=perhaps")).await.expect(422);
    assert_eq!(h.get(MODELS).await.body["pagination"]["total_results"], 0);
}

#[tokio::test]
async fn a_key_is_neither_kept_nor_repeated() {
    let h = Harness::start().await;
    for key in [json!("nvapi-canary"), json!(["nvapi-canary"])] {
        let body = json!({"name": "mm", "api_endpoint": {"url": "http://h", "api_key": key}});
        let answer = h.post(MODELS, body).await;
        assert!(answer.status.is_client_error() && !answer.text.contains("canary"), "{}", answer.text);
    }
    h.post(MODELS, json!({"name": "mm"})).await.expect(201);
    let change = json!({"api_endpoint": {"api_key": "nvapi-canary"}});
    let refused = h.patch(&format!("{MODELS}/mm"), change).await.expect(400);
    assert!(refused.message().contains("store it as a secret"));
    assert!(!h.files().windows(6).any(|window| window == b"canary"));
}

#[tokio::test]
async fn a_model_that_nobody_serves_any_more_stays_and_is_linked_again() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["meta/llama"]).await;
    let body = json!({"name": "p1", "host_url": fake.url()});
    h.post(PROVIDERS, body.clone()).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    let path = format!("{MODELS}/meta-llama");
    let before = h.get(&path).await.expect(200).body;
    assert_eq!(before["model_providers"], json!(["default/p1"]));

    h.delete(&format!("{PROVIDERS}/p1")).await.expect(204);
    let unlinked = h.get(&path).await.expect(200).body;
    for field in ["id", "created_at", "updated_at", "description"] {
        assert_eq!(unlinked[field], before[field], "{field}");
    }
    assert_eq!(unlinked["model_providers"], json!([]));
    assert!(unlinked["api_endpoint"].is_null() && unlinked["backend_format"].is_null());
    h.snapshot_where(|s| s.models.is_empty()).await;

    h.post(PROVIDERS, body).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    assert_eq!(h.get(&path).await.expect(200).body, before);
}

#[tokio::test]
async fn what_an_owner_wrote_about_a_served_model_is_kept_beside_what_is_found_out() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["claude-x"]).await;
    h.post(MODELS, json!({"name": "claude-x", "description": "mine", "custom_fields": {"a": 1}}))
        .await
        .expect(201);
    h.post(PROVIDERS, json!({"name": "p1", "host_url": fake.url()})).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    let path = format!("{MODELS}/claude-x");
    let model = h.get(&path).await.body;
    assert_eq!((&model["description"], &model["custom_fields"]["a"]), (&json!("mine"), &json!(1)));
    assert_eq!(model["backend_format"], "ANTHROPIC_MESSAGES");
    assert_eq!(model["api_endpoint"]["url"], fake.url());
    let told = h.patch(&path, json!({"backend_format": "OPENAI_CHAT"})).await.expect(200);
    assert_eq!((told.generation(), &told.body["backend_format"]), (None, &json!("OPENAI_CHAT")));
}

#[tokio::test]
async fn owners_choose_which_provider_comes_first_and_nobody_serves_for_being_named() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    for name in ["p1", "p2", "p3"] {
        h.post(PROVIDERS, json!({"name": name, "host_url": fake.url()})).await.expect(201);
        h.provider_where(name, |p| p["status"] == "READY").await;
    }
    let path = format!("{MODELS}/tiny");
    let wish = json!({"model_providers": ["default/p3", "default/nobody", "default/p2"]});
    let changed = h.patch(&path, wish).await.expect(200);
    assert_eq!(changed.body["model_providers"], json!(["default/p3", "default/p2", "default/p1"]));
    let routed = async |generation: u64| {
        let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
        let candidates = &snapshot.models[0].candidates;
        candidates.iter().map(|c| c.provider.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(routed(changed.generation().unwrap()).await, "p3 p2 p1");
    let back = h.patch(&path, json!({"model_providers": null})).await.expect(200);
    assert_eq!(routed(back.generation().unwrap()).await, "p1 p2 p3");

    h.post(MODELS, json!({"name": "lonely", "model_providers": ["default/p1"]})).await.expect(201);
    assert_eq!(h.get(&format!("{MODELS}/lonely")).await.body["model_providers"], json!([]));
}

#[tokio::test]
async fn a_served_model_that_is_deleted_is_not_routed_and_comes_back_with_the_next_look() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    h.post(PROVIDERS, json!({"name": "p1", "host_url": fake.url()})).await.expect(201);
    let ready = h.provider_where("p1", |p| p["status"] == "READY").await;
    assert_eq!(ready["served_models"].as_array().unwrap().len(), 1);
    fake.behave(Behaviour::Status(429));
    let before = h.get(&format!("{MODELS}/tiny")).await.body;
    let deleted = h.delete(&format!("{MODELS}/tiny")).await.expect(204).generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= deleted).await;
    assert!(snapshot.models.is_empty());
    assert_eq!(h.get(&format!("{PROVIDERS}/p1")).await.body["served_models"], json!([]));
    fake.behave(Behaviour::Lists(vec!["tiny"]));
    h.snapshot_where(|s| s.models.len() == 1).await;
    let after = h.get(&format!("{MODELS}/tiny")).await.expect(200).body;
    assert_ne!(after["id"], before["id"]);
}

#[tokio::test]
async fn models_of_a_deployments_provider_are_entities_too_and_organisations_stay_in_its_workspace() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["meta/llama-3.1-8b", "default/own"]).await;
    let body = json!({"name": "dep", "host_url": fake.url(), "model_deployment_id": "default/dep"});
    h.post(PROVIDERS, body).await.expect(201);
    h.provider_where("dep", |p| p["status"] == "READY").await;
    for name in ["meta-llama-3-1-8b", "own"] {
        let model = h.get(&format!("{MODELS}/{name}")).await.expect(200).body;
        assert_eq!(
            (&model["workspace"], &model["model_providers"]),
            (&json!("default"), &json!(["default/dep"]))
        );
    }
}

#[tokio::test]
async fn models_are_filtered_by_what_is_set_and_what_it_is() {
    let h = Harness::start().await;
    h.add_files("files").await;
    for body in [
        json!({"name": "base", "fileset": "files"}),
        json!({"name": "tuned", "base_model": "base", "finetuning_type": "lora", "project": "p"}),
        json!({"name": "prompted", "prompt": {"system_prompt": "s"}}),
    ] {
        h.post(MODELS, body).await.expect(201);
    }
    for (name, kind) in [("one", "lora"), ("two", "dora")] {
        let body = json!({"name": name, "fileset": "files", "finetuning_type": kind});
        h.post(&format!("{MODELS}/base/adapters"), body).await.expect(201);
    }
    for (filter, wanted) in [
        ("filter[base_model]=base", "tuned"),
        ("filter[base_model]=true", "tuned"),
        ("filter[base_model]=false", "base prompted"),
        ("filter[base_model][name]=base", "tuned"),
        ("filter[base_model][name][$like]=BAS", "tuned"),
        ("filter[adapters]=true", "base"),
        ("filter[adapters]=false", "tuned prompted"),
        ("filter[adapters][finetuning_type]=dora", "base"),
        ("filter[adapters][finetuning_type]=grpo", ""),
        ("filter[finetuning_type]=lora", "tuned"),
        ("filter[finetuning_type]=false", "base prompted"),
        ("filter[prompt]=true", "prompted"),
        ("filter[fileset]=files", "base"),
        ("filter[project]=p", "tuned"),
        ("filter[lora_enabled]=true", ""),
        ("filter[lora_enabled]=false", "base tuned prompted"),
        ("filter=name~e%20AND%20-prompt:true", "base tuned"),
        (r#"filter={"adapters":{"finetuning_type":{"$in":["dora","grpo"]}}}"#, "base"),
    ] {
        let query = filter.replace(['{'], "%7B").replace('}', "%7D").replace('"', "%22");
        let page = h.get(&format!("{MODELS}?{query}")).await.expect(200);
        assert_eq!(names_in(&page.body), wanted, "{filter}");
    }
    let unknown = h.get(&format!("{MODELS}?filter[zzz]=1")).await.expect(400);
    assert!(unknown.message().starts_with("Unknown filter field 'zzz'. Valid fields: ["));
}

#[tokio::test]
async fn a_deployment_config_tells_whether_lora_is_enabled_for_a_model() {
    let h = Harness::start().await;
    for name in ["plain", "old-form", "new-form", "unused"] {
        h.post(MODELS, json!({"name": name})).await.expect(201);
    }
    let named = |name: &str, lora: bool| json!({"model_namespace": "default", "model_name": name, "lora_enabled": lora});
    let mut older = named("old-form", true);
    older["gpu"] = json!(0);
    h.post(CONFIGS, json!({"name": "c1", "nim_deployment": older})).await.expect(201);
    for (config, model, lora) in [("c2", "new-form", true), ("c3", "plain", false)] {
        let body = json!({
            "name": config, "engine": "nim", "model_spec": named(model, lora), "executor_config": {"gpu": 0},
        });
        h.post(CONFIGS, body).await.expect(201);
    }
    let page = h.get(&format!("{MODELS}?filter[lora_enabled]=true")).await.expect(200);
    assert_eq!(names_in(&page.body), "old-form new-form");
}

#[tokio::test]
async fn code_of_strangers_is_not_trusted() {
    let h = Harness::start().await;
    h.add_files("ours").await;
    for (name, storage) in [
        ("theirs", json!({"type": "huggingface", "repo_id": "evil/model"})),
        ("nvidia", json!({"type": "huggingface", "repo_id": "nvidia/nemotron"})),
        ("ngc", json!({"type": "ngc", "org": "evil", "team": "t", "target": "t", "api_key_secret": "key"})),
    ] {
        h.post(FILESETS, json!({"name": name, "storage": storage})).await.expect(200);
    }
    for (name, fileset, status) in
        [("m1", "ours", 201), ("m2", "theirs", 403), ("m3", "nvidia", 201), ("m4", "ngc", 403)]
    {
        let body = json!({"name": name, "fileset": fileset, "trust_remote_code": true});
        h.post(MODELS, body).await.expect(status);
    }
    h.post(MODELS, json!({"name": "free", "trust_remote_code": true})).await.expect(201);
    let refused = h.patch(&format!("{MODELS}/free"), json!({"fileset": "theirs"})).await.expect(403);
    assert!(refused.message().contains("nvidia/*"), "{}", refused.text);
    h.patch(&format!("{MODELS}/free"), json!({"fileset": "theirs", "trust_remote_code": false}))
        .await
        .expect(200);
    h.patch(&format!("{MODELS}/free"), json!({"trust_remote_code": true})).await.expect(403);
}
