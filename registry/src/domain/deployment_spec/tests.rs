use serde_json::{Value, json};

use super::*;
use crate::domain::deployment_config::{ConfigBody, Spelling};

fn spelling(body: Value) -> Spelling {
    serde_json::from_value::<ConfigBody>(body).unwrap().spelling
}

fn spec(body: Value) -> Result<DeploymentSpec, SpecError> {
    DeploymentSpec::new(spelling(body).engine_config())
}

fn engine(engine: &str, model: Value, executor: Value) -> Value {
    json!({ "engine": engine, "model_spec": model, "executor_config": executor })
}

const TOLERATION: &str = r#"[{"key": "nvidia.com/gpu", "operator": "Exists"}]"#;

fn nim_deployment() -> Value {
    json!({ "nim_deployment": {
        "model_type": "llm", "lora_enabled": true, "gpu": 2, "disk_size": "200Gi",
        "image_name": "nvcr.io/nim/meta/llama-3.1-8b-instruct", "image_tag": "1.8.5",
        "model_namespace": "meta", "model_name": "llama-3.1-8b-instruct", "model_revision": "main",
        "chat_template": "{{ messages }}",
        "tool_call_config": { "tool_call_parser": "llama3_json", "auto_tool_choice": true },
        "additional_envs": { "NIM_LOG_LEVEL": "INFO" },
        "k8s_nim_operator_config": {
            "tolerations": serde_json::from_str::<Value>(TOLERATION).unwrap(),
            "startup_probe_grace_seconds": 600,
        },
        "override_config": { "labels": { "team": "a" } },
        "replicas": 3, "startup_timeout_s": 60,
    }})
}

fn engine_config() -> Value {
    engine(
        "nim",
        json!({
            "model_type": "llm", "lora_enabled": true,
            "model_namespace": "meta", "model_name": "llama-3.1-8b-instruct", "model_revision": "main",
            "chat_template": "{{ messages }}",
            "tool_call_config": { "tool_call_parser": "llama3_json", "auto_tool_choice": true },
        }),
        json!({
            "gpu": 2, "disk_size": "200Gi",
            "image_name": "nvcr.io/nim/meta/llama-3.1-8b-instruct", "image_tag": "1.8.5",
            "additional_envs": { "NIM_LOG_LEVEL": "INFO" },
            "k8s_nim_operator_config": {
                "tolerations": serde_json::from_str::<Value>(TOLERATION).unwrap(),
                "startup_probe_grace_seconds": 600,
            },
            "override_config": { "labels": { "team": "a" } },
            "replicas": 3, "startup_timeout_s": 60,
        }),
    )
}

#[test]
fn both_spellings_mean_the_same_with_everything_in_them() {
    let old = spec(nim_deployment()).unwrap();
    assert_eq!(old, spec(engine_config()).unwrap());
    assert_eq!(old.engine, Engine::Nim);
    assert_eq!(old.disk_bytes, 200 << 30);
    assert_eq!(
        old.model,
        Some(ModelSource {
            origin: None,
            namespace: Some("meta".into()),
            name: "llama-3.1-8b-instruct".into(),
            revision: Some("main".into()),
        })
    );
    assert_eq!((old.gpus, old.lora, old.envs["NIM_LOG_LEVEL"].as_str()), (2, true, "INFO"));
    assert_eq!(old.tool_calling.tool_call_parser.as_deref(), Some("llama3_json"));
    assert_eq!(old.kubernetes.startup_probe_grace_seconds, Some(600));
    assert_eq!(old.overrides.kubernetes["labels"], json!({ "team": "a" }));
    assert_eq!((old.replicas, old.startup_timeout), (3, Duration::from_secs(60)));
}

#[test]
fn both_spellings_mean_the_same_with_the_least_in_them() {
    let old = spec(json!({ "nim_deployment": { "gpu": 0 } })).unwrap();
    assert_eq!(old, spec(engine("nim", json!({}), json!({ "gpu": 0 }))).unwrap());
    assert_eq!((old.disk_bytes, old.model), (50 << 30, None));
    assert_eq!((old.runs, old.replicas), (Runs::Image(Image::default()), 1));
    assert_eq!(old.startup_timeout, Duration::from_secs(1800));
}

#[test]
fn a_nim_config_can_be_shown_in_the_other_spelling_and_means_the_same_there() {
    for body in [nim_deployment(), engine_config()] {
        let written = spelling(body);
        let shown = Spelling::NimDeployment { nim_deployment: Box::new(written.nim_deployment().unwrap()) };
        let meaning = |spelling: &Spelling| DeploymentSpec::new(spelling.engine_config()).unwrap();
        assert_eq!(meaning(&shown), meaning(&written));
    }
    let vllm = spelling(engine("vllm", json!({}), json!({ "gpu": 1 })));
    assert_eq!(vllm.nim_deployment(), None, "the older spelling has no word for it");
}

#[test]
fn what_is_stored_reads_back_as_it_was_written() {
    for body in [nim_deployment(), engine_config()] {
        let written: ConfigBody = serde_json::from_value(body).unwrap();
        let stored = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<ConfigBody>(&stored).unwrap(), written);
    }
}

#[test]
fn a_model_is_named_by_parts_or_in_one() {
    let model = |value: Value| spec(engine("nim", value, json!({ "gpu": 0 }))).map(|spec| spec.model);
    let source = |namespace: Option<&str>, name: &str, revision: Option<&str>| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Ok(Some(ModelSource {
            origin: None,
            namespace: text(namespace),
            name: name.into(),
            revision: text(revision),
        }))
    };
    assert_eq!(model(json!({ "model_name": "tiny" })), source(None, "tiny", None));
    assert_eq!(model(json!({ "model_name": "meta/tiny@v1" })), source(Some("meta"), "tiny", Some("v1")));
    assert_eq!(
        model(json!({ "model_namespace": "hf", "model_name": "a/b" })),
        source(Some("hf"), "a/b", None),
        "a namespace of its own counts"
    );
    let hub = model(json!({ "model_name": "hf://meta/tiny@v1" })).unwrap().unwrap();
    assert_eq!((hub.origin, hub.namespace.as_deref()), (Some(Origin::HuggingFace), Some("meta")));
    for bad in [
        json!({ "model_name": "tiny@v1", "model_revision": "v2" }),
        json!({ "model_namespace": "meta" }),
        json!({ "model_revision": "v2" }),
        json!({ "model_name": "/tiny" }),
        json!({ "model_name": "meta/" }),
        json!({ "model_name": "tiny@" }),
        json!({ "model_name": "gs://bucket/tiny" }),
        json!({ "model_name": "hf://" }),
    ] {
        assert!(model(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn what_contradicts_its_engine_is_refused_by_field() {
    let executor = |more: Value| {
        let mut executor = json!({ "gpu": 0, "image_name": "img", "health_check_path": "/up" });
        executor.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        executor
    };
    for (field, model, more) in [
        ("image_name", json!({}), json!({ "image_name": null })),
        ("health_check_path", json!({}), json!({ "health_check_path": "" })),
        ("health_check_path", json!({}), json!({ "health_check_path": "up" })),
        ("image_name", json!({}), json!({ "image_name": " img" })),
        ("lora_enabled", json!({ "lora_enabled": true }), json!({})),
        ("additional_envs", json!({}), json!({ "additional_envs": { "A=B": "c" } })),
        ("additional_args", json!({}), json!({ "additional_args": ["a\0"] })),
        ("override_config", json!({}), json!({ "override_config": { "hostNetwork": true } })),
        ("override_config", json!({}), json!({ "override_config": { "args": "--x" } })),
        ("override_config", json!({}), json!({ "override_config": { "env": { "A": 1 } } })),
        ("override_config", json!({}), json!({ "override_config": { "env": [{ "name": "A=" }] } })),
        ("override_config", json!({}), json!({ "override_config": { "image": "" } })),
        ("override_config", json!({}), json!({ "override_config": { "userID": -1 } })),
        ("command", json!({}), json!({ "command": ["serve"] })),
        ("command", json!({}), json!({ "command": [] , "image_name": null })),
        ("replicas", json!({}), json!({ "replicas": 65 })),
        ("startup_timeout_s", json!({}), json!({ "startup_timeout_s": 0 })),
    ] {
        let refused = spec(engine("generic", model, executor(more.clone()))).unwrap_err();
        assert_eq!(refused.field, field, "{more}");
    }
    assert!(spec(engine("generic", json!({}), executor(json!({})))).is_ok());
}

#[test]
fn a_command_runs_in_the_place_of_an_image() {
    let command = json!(["vllm", "serve", "--port", "{port}"]);
    let new = spec(engine("nim", json!({}), json!({ "gpu": 0, "command": command }))).unwrap();
    assert_eq!(new, spec(json!({ "nim_deployment": { "gpu": 0, "command": command } })).unwrap());
    let args = ["serve", "--port", "{port}"].map(str::to_owned).to_vec();
    assert_eq!(new.runs, Runs::Command { program: "vllm".into(), args });
    for more in [
        json!({ "image_name": "x" }),
        json!({ "image_tag": "1" }),
        json!({ "override_config": { "image": "x" } }),
        json!({ "override_config": { "command": ["x"] } }),
    ] {
        let mut executor = json!({ "gpu": 0, "command": command });
        executor.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = spec(engine("vllm", json!({}), executor)).unwrap_err();
        assert_eq!((refused.field, refused.kind), ("command", SpecErrorKind::Malformed), "{more}");
    }
}

#[test]
fn what_replaces_is_read_in_the_words_of_kubernetes() {
    let overrides = json!({
        "image": { "repository": "a/b", "tag": "1" }, "command": ["x"], "args": [],
        "env": [{ "name": "A", "value": "1" }, { "name": "B" }], "userID": 7, "resources": {},
    });
    let body = engine("nim", json!({}), json!({ "gpu": 0, "override_config": overrides }));
    let Overrides { image, command, args, env, user, group, kubernetes } = spec(body).unwrap().overrides;
    assert_eq!(image, Some(Image { name: Some("a/b".into()), tag: Some("1".into()) }));
    assert_eq!((command, args), (Some(vec!["x".to_owned()]), Some(vec![])));
    assert_eq!((env["A"].as_str(), env["B"].as_str()), ("1", ""));
    assert_eq!((user, group, kubernetes.len()), (Some(7), None, 1));
}
