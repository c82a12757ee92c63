//! Each file in `cases/` is a case: what a plan is made from, a line, and the plan. `NIMGATE_BLESS=1` writes the plans
//! anew.

use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::domain::deployment_config::ConfigBody;
use crate::domain::fileset::Storage;
use crate::test_values::workspace_name;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/domain/launch/cases");
const LINE: &str = "\n----\n";

/// Everything but the GPUs: as many are assigned as the config asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// All of them lead to the same plan.
    configs: Vec<Value>,
    model: Option<CaseModel>,
    plugin_file: Option<String>,
    #[serde(default)]
    settings: CaseSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseModel {
    name: Reference,
    spec: Option<SpecParts>,
    #[serde(default)]
    trust_remote_code: bool,
    fileset: Option<Reference>,
    storage: Option<Storage>,
    lora_rank_max: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CaseSettings {
    ngc_api_key: Option<Reference>,
    /// Server, user name, password.
    registries: Vec<(String, String, Reference)>,
    tool_call_plugins: bool,
}

impl Default for CaseSettings {
    fn default() -> Self {
        Self {
            ngc_api_key: Some(reference("system/ngc-api-key")),
            registries: vec![],
            tool_call_plugins: false,
        }
    }
}

fn reference(text: &str) -> Reference {
    Reference::try_from(text.to_owned()).unwrap()
}

impl From<CaseModel> for ServedModel {
    fn from(case: CaseModel) -> Self {
        let CaseModel { name, spec, trust_remote_code, fileset, storage, lora_rank_max } = case;
        let weights = fileset.zip(storage).map(|(fileset, storage)| Weights { fileset, storage });
        Self { name, spec, trust_remote_code, weights, lora_rank_max }
    }
}

impl From<CaseSettings> for LaunchSettings {
    fn from(case: CaseSettings) -> Self {
        let login = |(server, username, password)| RegistryLogin { server, username, password };
        Self {
            ngc_api_key: case.ngc_api_key,
            registries: case.registries.into_iter().map(login).collect(),
            tool_call_plugins: match case.tool_call_plugins {
                true => ToolCallPlugins::Allowed,
                false => ToolCallPlugins::Refused,
            },
        }
    }
}

/// The plans of a case, one for each of its configs.
fn plans(text: &str) -> Vec<Result<LaunchPlan, SpecError>> {
    let Case { configs, model, plugin_file, settings } = serde_json::from_str(text).unwrap();
    let (model, settings) = (model.map(ServedModel::from), settings.into());
    let workspace = workspace_name("default");
    let plan_of = |config: Value| {
        let body: ConfigBody = serde_json::from_value(config).unwrap();
        let spec = &DeploymentSpec::new(body.spelling.engine_config())?;
        let gpus: Vec<_> = (0..spec.gpus).map(|gpu| gpu.to_string()).collect();
        plan(LaunchInput {
            workspace: &workspace,
            spec,
            model: model.as_ref(),
            plugin_file: plugin_file.as_deref(),
            gpus: &gpus,
            settings: &settings,
        })
    };
    configs.into_iter().map(plan_of).collect()
}

fn words(text: &mut String, name: &str, words: &[String]) {
    writeln!(text, "{name}").unwrap();
    words.iter().for_each(|word| writeln!(text, "  {word}").unwrap());
}

fn shown(plan: &Result<LaunchPlan, SpecError>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return format!("refused: {error}\n"),
    };
    // Written out, so that each part of a plan is shown.
    let LaunchPlan {
        launch,
        env,
        port,
        health_path,
        models_path,
        metrics_path,
        gpus,
        shm_bytes,
        user,
        mounts,
        disk_bytes,
        served_model_name,
        replicas,
        startup_timeout,
    } = plan;
    let mut text = String::new();
    match launch {
        Launch::Image { image, entrypoint, args, login } => {
            writeln!(text, "image {image}").unwrap();
            if let Some(RegistryLogin { server, username, password }) = login {
                writeln!(text, "login at {server} as {username} with secret {password}").unwrap();
            }
            entrypoint.iter().for_each(|entrypoint| words(&mut text, "entrypoint", entrypoint));
            words(&mut text, "args", args);
        }
        Launch::Command { program, args } => {
            writeln!(text, "command {program}").unwrap();
            words(&mut text, "args", args);
        }
    }
    writeln!(text, "env").unwrap();
    for (name, value) in env {
        match value {
            EnvSource::Plain(value) => writeln!(text, "  {name}={value}").unwrap(),
            EnvSource::Secret(secret) => writeln!(text, "  {name} from secret {secret}").unwrap(),
        }
    }
    writeln!(text, "mounts").unwrap();
    for PlannedMount { what, path } in mounts {
        let access = if what.is_read_only() { "read only" } else { "writable" };
        let what = match what {
            MountKind::ModelCache => "model cache".to_owned(),
            MountKind::Loras => "adapters".to_owned(),
            MountKind::Fileset(fileset) => format!("fileset {fileset}"),
        };
        writeln!(text, "  {path}: {what}, {access}").unwrap();
    }
    writeln!(text, "port {port}, health {health_path}, models {models_path}, metrics {metrics_path}")
        .unwrap();
    writeln!(text, "gpus {gpus:?}, shm {shm_bytes:?}, disk {disk_bytes}").unwrap();
    match user {
        Some(User { uid, gid }) => writeln!(text, "user {uid}, group {gid:?}").unwrap(),
        None => writeln!(text, "user of the image").unwrap(),
    }
    writeln!(text, "serves {}", served_model_name.as_deref().unwrap_or("-")).unwrap();
    writeln!(text, "{replicas} of it, ready within {} s", startup_timeout.as_secs()).unwrap();
    text
}

fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap();
    let (input, expected) = text.split_once(LINE).unwrap_or((text.trim_end(), ""));
    let plans = plans(input);
    if plans.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(format!("{}: its configs lead to different plans: {plans:#?}", path.display()));
    }
    let found = shown(&plans[0]);
    if std::env::var_os("NIMGATE_BLESS").is_some() {
        std::fs::write(path, format!("{input}{LINE}{found}")).unwrap();
    } else if found != expected {
        return Err(format!("{}: expected\n{expected}\nfound\n{found}", path.display()));
    }
    Ok(())
}

#[test]
fn every_case_leads_to_its_plan() {
    let mut paths: Vec<_> = std::fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "the cases are gone");
    let faults: Vec<_> = paths.iter().filter_map(|path| check(path).err()).collect();
    let how =
        "if that is meant, run NIMGATE_BLESS=1 cargo test -p registry launch, and look at the difference";
    assert!(faults.is_empty(), "{}\n{how}", faults.join("\n"));
}

#[test]
fn fewer_devices_than_asked_for_are_a_mistake() {
    let config = json!({ "nim_deployment": { "gpu": 2, "image_name": "nim" } });
    let body: ConfigBody = serde_json::from_value(config).unwrap();
    let spec = DeploymentSpec::new(body.spelling.engine_config()).unwrap();
    let refused = plan(LaunchInput {
        workspace: &workspace_name("default"),
        spec: &spec,
        model: None,
        plugin_file: None,
        gpus: &["0".to_owned()],
        settings: &LaunchSettings::default(),
    });
    assert_eq!(refused.unwrap_err().field, "gpu");
}

fn said(model_spec: Value, executor_config: Value) -> Value {
    json!({ "configs": [{
        "engine": "vllm", "model_spec": model_spec, "executor_config": executor_config,
    }], "plugin_file": "p.py", "settings": { "tool_call_plugins": true } })
}

#[test]
fn everything_a_config_can_say_changes_the_plan() {
    let base = said(json!({ "model_name": "a/b" }), json!({ "gpu": 0 }));
    let changed = |pointer: &str, value: &Value| {
        let mut case = base.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        case["configs"][0].pointer_mut(parent).unwrap()[field] = value.clone();
        plans(&case.to_string()).remove(0).unwrap()
    };
    let changes = [
        ("/model_spec/model_type", json!("embed")),
        ("/model_spec/model_namespace", json!("c")),
        ("/model_spec/model_name", json!("c/d")),
        ("/model_spec/model_revision", json!("v1")),
        ("/model_spec/chat_template", json!("{{ x }}")),
        ("/model_spec/tool_call_config", json!({ "tool_call_parser": "hermes" })),
        ("/model_spec/tool_call_config", json!({ "tool_call_plugin": "parsers" })),
        ("/model_spec/tool_call_config", json!({ "tool_call_parser": "x", "auto_tool_choice": true })),
        ("/model_spec/lora_enabled", json!(true)),
        ("/executor_config/gpu", json!(1)),
        ("/executor_config/disk_size", json!("1Gi")),
        ("/executor_config/image_name", json!("vllm")),
        ("/executor_config/image_tag", json!("v9")),
        ("/executor_config/health_check_path", json!("/up")),
        ("/executor_config/run_as_user", json!(5)),
        ("/executor_config/run_as_group", json!(5)),
        ("/executor_config/additional_envs", json!({ "A": "1" })),
        ("/executor_config/additional_args", json!(["--x"])),
        ("/executor_config/image_pull_login", json!({ "password_secret": "key" })),
        ("/executor_config/command", json!(["vllm"])),
        ("/executor_config/replicas", json!(2)),
        ("/executor_config/startup_timeout_s", json!(2)),
        ("/executor_config/override_config", json!({ "image": "x" })),
        ("/executor_config/override_config", json!({ "command": ["x"] })),
        ("/executor_config/override_config", json!({ "args": ["x"] })),
        ("/executor_config/override_config", json!({ "env": [{ "name": "A", "value": "1" }] })),
        ("/executor_config/override_config", json!({ "userID": 5 })),
        ("/executor_config/override_config", json!({ "groupID": 5 })),
    ];
    let plan = plans(&base.to_string()).remove(0).unwrap();
    for (pointer, value) in &changes {
        assert_ne!(changed(pointer, value), plan, "{pointer} = {value}");
    }
    let for_kubernetes = [
        ("/executor_config/k8s_nim_operator_config", json!({ "startup_probe_grace_seconds": 60 })),
        ("/executor_config/override_config", json!({ "labels": { "a": "b" } })),
    ];
    for (pointer, value) in &for_kubernetes {
        assert_eq!(changed(pointer, value), plan, "{pointer} means something to Kubernetes alone");
    }
    let body: ConfigBody = serde_json::from_value(base["configs"][0].clone()).unwrap();
    let whole = serde_json::to_value(body).unwrap();
    for part in ["model_spec", "executor_config"] {
        for field in whole[part].as_object().unwrap().keys() {
            let is_told = |(pointer, _): &(&str, Value)| *pointer == format!("/{part}/{field}");
            assert!(changes.iter().chain(&for_kubernetes).any(is_told), "{part}.{field} is not in this test");
        }
    }
}
