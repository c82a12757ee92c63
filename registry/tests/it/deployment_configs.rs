use std::sync::Arc;

use http::Method;
use proto_shared::KeyRing;
use registry::ToolCallPlugins;
use serde_json::{Value, json};

use crate::harness::{Answer, CONFIGS, DEPLOYMENTS, Harness, MODELS, WORKSPACES, config};

fn new_form(name: &str) -> Value {
    json!({ "name": name, "engine": "nim", "model_spec": {}, "executor_config": { "gpu": 1 } })
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
    body
}

/// What the answer holds of each member that was sent.
fn as_sent(sent: &Value, shown: &Value) -> Value {
    match (sent, shown) {
        (Value::Object(sent), Value::Object(shown)) => sent
            .iter()
            .map(|(key, value)| (key.clone(), as_sent(value, shown.get(key).unwrap_or(&Value::Null))))
            .collect(),
        _ => shown.clone(),
    }
}

#[tokio::test]
async fn a_config_in_the_newer_spelling_reads_back_as_sent_and_with_its_defaults() {
    let h = Harness::start().await;
    let sent = json!({
        "name": "cfg", "project": "p", "description": "d", "model_entity_id": "other/model",
        "engine": "vllm",
        "model_spec": { "model_type": "llm", "model_name": "a/b@main", "chat_template": "{{ x }}",
            "tool_call_config": { "tool_call_parser": "hermes", "auto_tool_choice": true } },
        "executor_config": { "gpu": 2, "disk_size": "1.5Ti", "image_name": "vllm/vllm-openai",
            "run_as_user": 0, "additional_envs": { "B": "2", "A": "1" }, "additional_args": ["--x", "y"],
            "k8s_nim_operator_config": { "resources": { "limits": { "cpu": null } }, "startup_probe_grace_seconds": 600 },
            "override_config": { "env": [] }, "replicas": 2, "startup_timeout_s": 60 },
    });
    let made = h.post(CONFIGS, sent.clone()).await.expect(201).body;
    assert_eq!(as_sent(&sent, &made), sent);
    assert!(made["id"].as_str().unwrap().starts_with("model-deployment-config-"));
    assert_eq!((&made["entity_version"], &made["workspace"]), (&json!(1), &json!("default")));
    assert_eq!(made["nim_deployment"], Value::Null, "the older spelling has no vllm");
    assert_eq!(h.get(&format!("{CONFIGS}/cfg")).await.expect(200).body, made);

    let least = h.post(CONFIGS, new_form("least")).await.expect(201).body;
    assert_eq!(least["executor_config"]["disk_size"], "50Gi");
    assert_eq!(least["executor_config"]["additional_args"], json!([]));
    assert_eq!(least["executor_config"]["replicas"], 1);
    assert_eq!(least["executor_config"]["startup_timeout_s"], 1800);
    assert_eq!(least["executor_config"]["image_name"], Value::Null);
    assert_eq!(least["model_spec"]["lora_enabled"], false);
    assert_eq!(least["nim_deployment"]["gpu"], 1, "clients of the older spelling can read it");
}

#[tokio::test]
async fn a_config_in_the_older_spelling_reads_back_as_sent_and_in_the_newer_one_too() {
    let h = Harness::start().await;
    let sent = json!({ "name": "seed", "nim_deployment": {
        "gpu": 1, "image_name": "nvcr.io/nim/meta/llama", "image_tag": "1.8.5", "model_provider": "hf",
        "model_namespace": "meta", "model_name": "llama", "lora_enabled": true,
        "additional_envs": { "A": "1" }, "override_config": { "labels": { "a": null } },
    }});
    let made = h.post(CONFIGS, sent.clone()).await.expect(201).body;
    assert_eq!(as_sent(&sent, &made), sent);
    assert_eq!(made["nim_deployment"]["disk_size"], "50Gi");
    assert_eq!(made["engine"], "nim");
    assert_eq!(made["model_spec"]["lora_enabled"], true);
    assert_eq!(made["executor_config"]["image_tag"], "1.8.5");
    let next = json!({ "nim_deployment": { "gpu": 0 } });
    let next = h.post(&format!("{CONFIGS}/seed"), next).await.expect(201).body;
    assert_eq!((&next["entity_version"], &next["nim_deployment"]["image_name"]), (&json!(2), &Value::Null));
}

#[tokio::test]
async fn one_spelling_is_needed_and_only_one_is_taken() {
    let h = Harness::start().await;
    let places = |answer: &Answer| {
        let faults = answer.body["detail"].as_array().unwrap();
        faults.iter().map(|fault| fault["loc"][1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let none = h.post(CONFIGS, json!({ "name": "cfg" })).await.expect(422);
    assert_eq!(places(&none), ["engine", "model_spec", "executor_config", "nim_deployment"]);
    let half = h.post(CONFIGS, json!({ "name": "cfg", "engine": "nim" })).await.expect(422);
    assert_eq!(places(&half), ["model_spec", "executor_config"]);
    let both = with(new_form("cfg"), "/nim_deployment", json!({ "gpu": 0 }));
    let both = h.post(CONFIGS, both).await.expect(422);
    assert_eq!(places(&both), ["nim_deployment"]);
    assert_eq!(h.get(CONFIGS).await.body["pagination"]["total_results"], 0);
}

#[tokio::test]
async fn what_an_answer_showed_can_be_sent_back() {
    let h = Harness::start().await;
    let older = json!({ "name": "older", "nim_deployment": { "gpu": 1, "model_name": "llama", "model_provider": "hf" } });
    let more = with(new_form("more"), "/executor_config/additional_args", json!(["--x"]));
    for first in [older, new_form("newer"), more] {
        let shown = h.post(CONFIGS, first).await.expect(201).body;
        let path = format!("{CONFIGS}/{}", shown["name"].as_str().unwrap());
        let again = h.post(&path, shown.clone()).await.expect(201).body;
        for field in ["engine", "model_spec", "executor_config", "nim_deployment"] {
            assert_eq!(again[field], shown[field], "{field}");
        }
    }
}

#[tokio::test]
async fn every_fault_of_a_config_is_refused_by_field() {
    let h = Harness::start().await;
    let generic = json!({ "name": "cfg", "engine": "generic", "model_spec": {},
        "executor_config": { "gpu": 0, "image_name": "img", "health_check_path": "/up" } });
    for (body, pointer, value, status) in [
        (new_form("cfg"), "/name", json!("x".repeat(61)), 422),
        (new_form("cfg"), "/name", json!("a--b"), 422),
        (new_form("cfg"), "/name", json!(null), 422),
        (new_form("cfg"), "/description", json!("x".repeat(1001)), 422),
        (new_form("cfg"), "/model_entity_id", json!("x".repeat(256)), 422),
        (new_form("cfg"), "/engine", json!("triton"), 422),
        (new_form("cfg"), "/model_spec/model_type", json!("chat"), 422),
        (new_form("cfg"), "/model_spec/lora_enabled", json!("yes"), 422),
        (new_form("cfg"), "/model_spec/model_name", json!("x".repeat(256)), 422),
        (new_form("cfg"), "/model_spec/tool_call_config", json!({ "auto_tool_choice": 1 }), 422),
        (new_form("cfg"), "/executor_config/gpu", json!(-1), 422),
        (new_form("cfg"), "/executor_config/gpu", json!("1"), 422),
        (new_form("cfg"), "/executor_config/gpu", json!(null), 422),
        (new_form("cfg"), "/executor_config/gpu", json!(99_999_999_999_u64), 422),
        (new_form("cfg"), "/executor_config/disk_size", json!("much"), 422),
        (new_form("cfg"), "/executor_config/disk_size", json!("0Gi"), 422),
        (new_form("cfg"), "/executor_config/image_name", json!("x".repeat(256)), 422),
        (new_form("cfg"), "/executor_config/image_name", json!("a b"), 400),
        (new_form("cfg"), "/executor_config/run_as_user", json!(-1), 422),
        (new_form("cfg"), "/executor_config/additional_envs", json!({ "A": 1 }), 422),
        (new_form("cfg"), "/executor_config/additional_args", json!("--x"), 422),
        (
            new_form("cfg"),
            "/executor_config/k8s_nim_operator_config",
            json!({ "startup_probe_grace_seconds": 0 }),
            422,
        ),
        (new_form("cfg"), "/executor_config/override_config", json!([]), 422),
        (new_form("cfg"), "/executor_config/override_config", json!({ "hostPID": true }), 400),
        (new_form("cfg"), "/executor_config/replicas", json!(0), 422),
        (new_form("cfg"), "/executor_config/replicas", json!(65), 422),
        (new_form("cfg"), "/executor_config/startup_timeout_s", json!(86_401), 422),
        (new_form("cfg"), "/executor_config/command", json!("vllm serve"), 422),
        (new_form("cfg"), "/executor_config/command", json!([]), 422),
        (
            with(new_form("cfg"), "/executor_config/image_name", json!("img")),
            "/executor_config/command",
            json!(["vllm"]),
            422,
        ),
        (new_form("cfg"), "/model_spec/tool_call_config", json!({ "tool_call_plugin": "ws/fs" }), 403),
        (generic.clone(), "/executor_config/image_name", json!(null), 400),
        (generic.clone(), "/executor_config/health_check_path", json!(null), 400),
        (generic.clone(), "/executor_config/health_check_path", json!("up"), 400),
        (generic.clone(), "/model_spec/lora_enabled", json!(true), 400),
        (json!({ "name": "cfg", "nim_deployment": {} }), "/nim_deployment/gpu", json!(null), 422),
        (
            json!({ "name": "cfg", "nim_deployment": { "gpu": 0 } }),
            "/nim_deployment/disk_size",
            json!(""),
            422,
        ),
    ] {
        let body = with(body, pointer, value);
        let answer = h.post(CONFIGS, body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
        let field = pointer.rsplit('/').next().unwrap();
        assert!(answer.text.contains(field), "{body}: {}", answer.text);
    }
    h.post(CONFIGS, generic).await.expect(201);
    h.post(CONFIGS, new_form(&"x".repeat(60))).await.expect(201);
}

#[tokio::test]
async fn versions_are_numbered_kept_and_never_changed() {
    let h = Harness::start().await;
    let path = format!("{CONFIGS}/cfg");
    let first = h.post(CONFIGS, with(new_form("cfg"), "/project", json!("p"))).await.expect(201).body;
    h.post(CONFIGS, new_form("cfg")).await.expect(409);
    let update = json!({ "engine": "vllm", "model_spec": {}, "executor_config": { "gpu": 4 } });
    let second = h.post(&path, update.clone()).await.expect(201).body;
    assert_eq!((&second["entity_version"], &second["description"]), (&json!(2), &Value::Null));
    assert_eq!(second["project"], "p", "it can't be given anew, so it stays");
    assert_ne!(first["id"], second["id"]);
    assert_eq!(h.get(&path).await.body, second);
    assert_eq!(h.get(&format!("{path}/versions/1")).await.body, first);
    assert_eq!(h.get(&format!("{path}/versions")).await.body, json!([second, first]));
    let list = h.get(CONFIGS).await.expect(200).body;
    assert_eq!(list["pagination"]["total_results"], 1, "the latest versions only");
    assert_eq!(list["data"][0]["entity_version"], 2);

    assert_eq!(h.get(&format!("{CONFIGS}/none/versions")).await.expect(200).body, json!([]));
    h.get(&format!("{path}/versions/0")).await.expect(404);
    let missing = h.get(&format!("{path}/versions/9")).await.expect(404);
    assert_eq!(missing.message(), "Deployment config 'default/cfg' version '9' not found");
    h.get(&format!("{path}/versions/99999999999999999999")).await.expect(404);
    h.get(&format!("{path}/versions/latest")).await.expect(400);
    h.delete(&format!("{path}/versions/x")).await.expect(400);
    let unknown = h.post(&format!("{CONFIGS}/zz"), update.clone()).await.expect(400);
    assert!(unknown.message().contains("does not exist"));
    assert_eq!(
        h.call(Method::PUT, &path, Some(update.clone())).await.expect(405).headers["allow"],
        "GET,HEAD,POST,DELETE"
    );

    h.delete(&format!("{path}/versions/2")).await.expect(204);
    assert_eq!(h.get(&path).await.body, first, "the one before is the latest again");
    assert_eq!(h.post(&path, update).await.expect(201).body["entity_version"], 2);
    h.delete(&path).await.expect(204);
    h.get(&path).await.expect(404);
    h.delete(&path).await.expect(404);
}

#[tokio::test]
async fn what_a_deployment_stands_on_cannot_be_deleted() {
    let h = Harness::start().await;
    h.post(CONFIGS, new_form("cfg")).await.expect(201);
    let deployment = json!({ "name": "dep", "config": "cfg", "config_version": 1 });
    h.post(DEPLOYMENTS, deployment).await.expect(201);
    let path = format!("{CONFIGS}/cfg");
    let update = json!({ "nim_deployment": { "gpu": 0 } });
    h.post(&path, update).await.expect(201);
    let refused = h.delete(&path).await.expect(409);
    assert!(refused.message().contains("(dep)"), "{}", refused.text);
    assert_eq!(refused.headers["x-should-retry"], "false");
    h.delete(&format!("{path}/versions/1")).await.expect(409);
    // The deployment moves on, and only its latest version counts.
    h.post(&format!("{DEPLOYMENTS}/dep"), json!({ "config": "cfg" })).await.expect(201);
    h.delete(&format!("{path}/versions/1")).await.expect(204);
    h.delete(&format!("{path}/versions/2")).await.expect(409);
    h.delete(&format!("{DEPLOYMENTS}/dep")).await.expect(202);
    h.answer_where(&format!("{DEPLOYMENTS}/dep"), |d| d.body["status"] == "DELETED").await;
    h.delete(&path).await.expect(204);
}

#[tokio::test]
async fn a_config_finds_the_model_entity_that_it_names() {
    let h = Harness::start().await;
    let provider = crate::fake_provider::FakeProvider::listing(&["tiny"]).await;
    h.post(crate::harness::PROVIDERS, json!({ "name": "p1", "host_url": provider.url() })).await.expect(201);
    h.answer_where(&format!("{MODELS}/tiny"), |answer| answer.status == 200).await;
    for (model, found) in [
        (json!({ "model_namespace": "default", "model_name": "tiny" }), json!("default/tiny")),
        (json!({ "model_name": "default/tiny@main" }), json!("default/tiny")),
        (json!({ "model_namespace": "meta", "model_name": "tiny" }), Value::Null),
        (json!({ "model_name": "tiny" }), Value::Null),
    ] {
        let made = h.post(CONFIGS, with(new_form("cfg"), "/model_spec", model)).await.expect(201).body;
        assert_eq!(made["model_entity_id"], found);
        h.delete(&format!("{CONFIGS}/cfg")).await.expect(204);
    }
}

#[tokio::test]
async fn configs_are_listed_by_filter_and_an_empty_list_has_one_page() {
    let h = Harness::start().await;
    assert_eq!(h.get(CONFIGS).await.body["pagination"]["total_pages"], 1);
    for name in ["llama-a", "llama-b", "qwen"] {
        h.post(CONFIGS, with(new_form(name), "/model_entity_id", json!(format!("default/{name}"))))
            .await
            .expect(201);
    }
    for (query, names) in [
        ("filter[name][$like]=llama&sort=-name", vec!["llama-b", "llama-a"]),
        ("filter[model_entity_id]=default/qwen", vec!["qwen"]),
        ("page=2&page_size=2", vec!["qwen"]),
    ] {
        let page = h.get(&format!("{CONFIGS}?{query}")).await.expect(200).body;
        let found: Vec<_> = page["data"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
        assert_eq!(found, names, "{query}");
    }
    h.get(&format!("{CONFIGS}?filter[engine]=nim")).await.expect(400);
    h.get("/apis/models/v2/workspaces/nows/deployment-configs").await.expect(404);
    h.post(WORKSPACES, json!({ "name": "team" })).await.expect(201);
    h.post("/apis/models/v2/workspaces/nows/deployment-configs", new_form("cfg")).await.expect(422);
    h.post("/apis/models/v2/workspaces/team/deployment-configs", new_form("cfg")).await.expect(201);
    let all = h.get("/apis/models/v2/workspaces/-/deployment-configs").await.expect(200).body;
    assert_eq!(all["pagination"]["total_results"], 4);
}

#[tokio::test]
async fn plugins_are_taken_where_they_are_allowed() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let key = Arc::new(KeyRing::generate().unwrap());
    let mut allowed = config(dir.path(), &key);
    allowed.deployments.tool_call_plugins = ToolCallPlugins::Allowed;
    let h = Harness::with(allowed, dir).await;
    let body = with(new_form("cfg"), "/model_spec/tool_call_config", json!({ "tool_call_plugin": "fs" }));
    h.post(CONFIGS, body).await.expect(201);
}
