//! Adapters of a model that a deployment serves: shown to its server while it runs, listed, and routed by name.
//!
//! The simulated NIM ends at once when it sees half an adapter; so an instance that stays the same saw none.

use std::path::Path;

use integration_tests::{Serving, binary, eventually};
use serde_json::{Value, json};

use crate::at::At;
use crate::deployments_run::{provider_url, serving_on};
use crate::docker::{IMAGE, docker, has_containers};

/// A folder as training tools leave it.
fn write_adapter(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("adapter_config.json"), r#"{"peft_type": "LORA", "r": 8}"#).unwrap();
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    let weights = [&length, header.as_bytes(), b"1234"].concat();
    std::fs::write(folder.join("adapter_model.safetensors"), weights).unwrap();
}

/// An adapter of the model `tiny`.
async fn create_adapter(at: &At, name: &str) {
    write_adapter(&at.home.path().join(name));
    at.done(&format!("fileset create {name}-files")).await;
    at.done(&format!("file upload {name} {name}-files")).await;
    at.done(&format!("adapter create {name} --model tiny --fileset {name}-files --lora-rank 8")).await;
}

/// What the reply says that answered, or the status of the refusal.
async fn who_answers(gateway: &Serving, model: &str) -> Result<String, u16> {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] });
    let reply = gateway.post("/v1/chat/completions", &body).await.unwrap();
    match reply.status.as_u16() {
        200 => Ok(reply.json()["model"].as_str().unwrap().to_owned()),
        status => Err(status),
    }
}

async fn listed(gateway: &Serving) -> Vec<String> {
    let list = gateway.get("/v1/models").await.unwrap().json();
    let mut ids: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|card| card["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn places(at: &At) -> usize {
    std::fs::read_dir(at.home.path().join("data/files/.adapters")).unwrap().count()
}

/// Adapters come and go while one instance serves.
async fn adapters_come_and_go(at: &At, config: &Value) {
    at.fed("deploy sim --wait --file -", &config.to_string()).await.expect_done();
    let instance = provider_url(at, "sim").await;
    let answers = async |model: &str, as_model: &str| {
        let answered =
            async || (who_answers(&at.gateway, model).await.as_deref() == Ok(as_model)).then_some(());
        eventually(&format!("{model} answers"), answered).await;
    };
    for name in [
        "poems",
        "default--poems",
        "default/default-poems",
        "tiny&adapters/default/poems",
        "default/tiny&adapters/default/poems",
    ] {
        answers(name, "default/default-poems").await;
    }
    answers("tiny", "default/tiny").await;

    create_adapter(at, "prose").await;
    answers("prose", "default/default-prose").await;
    assert_eq!(listed(&at.gateway).await, ["default/default-poems", "default/default-prose", "default/tiny"]);

    at.done("adapter update poems --enabled=false").await;
    let gone = async || (who_answers(&at.gateway, "poems").await == Err(404)).then_some(());
    eventually("the disabled one does not answer any more", gone).await;
    let is_not_listed =
        async || (listed(&at.gateway).await == ["default/default-prose", "default/tiny"]).then_some(());
    eventually("nor is it listed", is_not_listed).await;
    answers("prose", "default/default-prose").await;
    assert_eq!(provider_url(at, "sim").await, instance, "it was never restarted");
    assert_eq!(at.json("deployment get sim").await["status"], "READY");
}

async fn ends_without_a_trace(at: &At) {
    assert_eq!(places(at), 1);
    at.done("deployment delete sim --wait").await;
    eventually("its adapters are gone", async || (places(at) == 0).then_some(())).await;
}

fn config(engine: &str, executor: Value) -> Value {
    let model = json!({ "model_namespace": "default", "model_name": "tiny", "lora_enabled": true });
    json!({ "engine": engine, "model_spec": model, "executor_config": executor })
}

fn a_process() -> Value {
    let executor = json!({
        "gpu": 0,
        "command": [binary("nim-sim"), "--listen", "127.0.0.1:{port}"],
        "additional_envs": { "NIM_PEFT_REFRESH_INTERVAL": "1" },
    });
    config("nim", executor)
}

async fn with_a_process_that_runs() -> At {
    let at = serving_on("process").await;
    at.done("model create tiny").await;
    at.fed("deploy sim --wait --file -", &a_process().to_string()).await.expect_done();
    at
}

#[tokio::test]
async fn a_process_is_shown_adapters_while_it_runs() {
    let at = serving_on("process").await;
    at.done("model create tiny").await;
    create_adapter(&at, "poems").await;
    adapters_come_and_go(&at, &a_process()).await;
    ends_without_a_trace(&at).await;
}

#[tokio::test]
async fn an_adapter_that_came_later_is_there_all_the_time_while_replicas_come_and_go() {
    let at = with_a_process_that_runs().await;
    create_adapter(&at, "poems").await;
    let answers = async || who_answers(&at.gateway, "poems").await.ok();
    eventually("the adapter answers", answers).await;
    for replicas in [2, 1] {
        let scale = format!("deployment scale sim {replicas} --wait");
        let mut scaled = std::pin::pin!(at.done(&scale));
        loop {
            tokio::select! {
                _ = &mut scaled => break,
                answer = who_answers(&at.gateway, "poems") => {
                    assert_eq!(answer.as_deref(), Ok("default/default-poems"), "towards {replicas}");
                }
            }
        }
    }
    ends_without_a_trace(&at).await;
}

#[tokio::test]
async fn an_adapter_whose_files_come_late_comes_then_and_one_whose_files_change_goes_and_comes_back() {
    let at = with_a_process_that_runs().await;
    let instance = provider_url(&at, "sim").await;
    write_adapter(&at.home.path().join("poems"));
    let answers = async |is_there: bool| {
        let probe = async || (who_answers(&at.gateway, "poems").await.is_ok() == is_there).then_some(());
        eventually(&format!("the adapter's being there is {is_there}"), probe).await;
    };
    at.done("fileset create files").await;
    at.done("file upload poems/adapter_config.json files").await;
    at.done("adapter create poems --model tiny --fileset files").await;
    assert_eq!(who_answers(&at.gateway, "poems").await, Err(404), "half of it is shown to nobody");
    at.done("file upload poems/adapter_model.safetensors files").await;
    answers(true).await;
    at.done("file upload poems/adapter_model.safetensors files").await;
    answers(false).await;
    answers(true).await;
    assert_eq!(provider_url(&at, "sim").await, instance, "it was never restarted");
    at.done("deployment delete sim --wait").await;
}

#[tokio::test]
async fn a_server_that_does_not_look_by_itself_is_told() {
    let at = serving_on("process").await;
    at.done("model create tiny").await;
    create_adapter(&at, "poems").await;
    // What the plan adds means nothing to the simulated server: the shell leaves it out.
    let script = r#"exec "$0" --listen 127.0.0.1:{port} --model default/tiny"#;
    let executor = json!({ "gpu": 0, "command": ["sh", "-c", script, binary("nim-sim")] });
    adapters_come_and_go(&at, &config("vllm", executor)).await;
    ends_without_a_trace(&at).await;
}

#[tokio::test]
async fn a_container_that_does_not_look_by_itself_is_told() {
    if !has_containers().await {
        return;
    }
    let at = serving_on("docker").await;
    std::fs::write(at.home.path().join("config.json"), "{}").unwrap();
    at.done("fileset create weights").await;
    at.done("file upload config.json weights").await;
    at.done("model create tiny --fileset weights").await;
    create_adapter(&at, "poems").await;
    let own = json!({ "command": ["/nim-sim"], "args": ["--model", "default/tiny"] });
    let executor = json!({ "gpu": 0, "image_name": IMAGE, "override_config": own });
    adapters_come_and_go(&at, &config("vllm", executor)).await;
    ends_without_a_trace(&at).await;
}

#[tokio::test]
async fn a_container_is_shown_adapters_and_files_and_keeps_what_it_writes_as_a_user_of_its_own() {
    if !has_containers().await {
        return;
    }
    let at = serving_on("docker").await;
    std::fs::write(at.home.path().join("config.json"), r#"{"model_type": "readable"}"#).unwrap();
    at.done("fileset create weights").await;
    at.done("file upload config.json weights").await;
    at.done("model create tiny --fileset weights").await;
    create_adapter(&at, "poems").await;
    let (read, written) = ("/model-store/config.json", "/opt/nim/.cache/first");
    let executor = json!({
        "gpu": 0,
        "image_name": IMAGE,
        "additional_args": ["--print-file", read, "--write-file", written],
        "additional_envs": { "NIM_PEFT_REFRESH_INTERVAL": "1" },
    });
    adapters_come_and_go(&at, &config("nim", executor)).await;

    let port = provider_url(&at, "sim").await.rsplit(':').next().unwrap().to_owned();
    let container = docker(&["ps", "-q", "--filter", &format!("publish={port}")]).await;
    let user = docker(&["inspect", "--format", "{{.Config.User}}", &container]).await;
    assert_eq!(user, "1000:2000", "not root, and not who runs the registry");
    let log = docker(&["logs", &container]).await;
    assert!(log.contains(&format!(r#"{read}: {{"model_type": "readable"}}"#)), "{log}");
    assert!(log.contains(&format!("{written}: written")), "{log}");
    ends_without_a_trace(&at).await;
}
