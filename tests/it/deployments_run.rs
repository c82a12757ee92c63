//! Deployments that really run: simulated model servers as processes of this host, and in containers.

use std::path::PathBuf;

use integration_tests::{Home, Serving, binary, client, eventually};
use serde_json::{Value, json};

use crate::at::At;
use crate::docker::{IMAGE, has_containers};

/// What a simulated NIM serves when it is told nothing.
const MODEL: &str = "sim-echo-8b";

pub async fn serving_on(runtime: &str) -> At {
    let home = Home::new().await;
    let gateway = home.up(&["--runtime", runtime]).await;
    At { home, gateway }
}

/// The config of a command that serves, beside these arguments of it.
pub fn command(args: &[&str]) -> String {
    let program: PathBuf = binary("nim-sim");
    let mut command = vec![program.to_str().unwrap(), "--listen", "127.0.0.1:{port}"];
    command.extend(args);
    json!({
        "engine": "generic",
        "model_spec": {},
        "executor_config": { "gpu": 0, "command": command, "health_check_path": "/v1/health/ready" },
    })
    .to_string()
}

async fn chat(gateway: &Serving) -> u16 {
    let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hello" }] });
    gateway.post("/v1/chat/completions", &body).await.map_or(0, |reply| reply.status.as_u16())
}

pub async fn provider_url(at: &At, name: &str) -> String {
    at.json(&format!("provider get {name}")).await["host_url"].as_str().unwrap().to_owned()
}

/// After a kill: the same data, and another process.
pub async fn killed_and_started_again(at: At, runtime: &str) -> At {
    let At { home, mut gateway } = at;
    gateway.process.kill().await;
    let gateway = home.up(&["--runtime", runtime]).await;
    At { home, gateway }
}

async fn versions(at: &At, name: &str) -> Vec<Value> {
    at.json(&format!("deployment versions {name}")).await.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_command_is_run_routed_adopted_after_a_kill_and_removed() {
    let at = serving_on("process").await;
    let said = at.fed("deploy sim --wait --file -", &command(&[])).await.expect_done().stdout;
    assert!(said.contains("Running and ready at http://127.0.0.1:"), "{said}");
    assert_eq!(chat(&at.gateway).await, 200, "what is READY can be used at once");
    let before = provider_url(&at, "sim").await;

    let at = killed_and_started_again(at, "process").await;
    eventually("it is served again", async || (chat(&at.gateway).await == 200).then_some(())).await;
    at.fed("deploy other --wait --file -", &command(&["--model", "other"])).await.expect_done();
    assert_eq!(provider_url(&at, "sim").await, before, "what runs was adopted");

    for name in ["sim", "other"] {
        at.done(&format!("deployment delete {name} --wait")).await;
    }
    assert_eq!(at.names("provider list").await, Vec::<String>::new());
    let address = before.trim_start_matches("http://").to_owned();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nothing runs any more");
}

#[tokio::test]
async fn a_command_that_ends_fails_the_wait_with_its_last_words() {
    let at = serving_on("process").await;
    let fed = at.fed("deploy sim --wait --file -", &command(&["--no-such-flag"])).await;
    assert_eq!(fed.code, Some(1), "{}", fed.stdout);
    let told = format!("{}{}", fed.stdout, fed.stderr);
    assert!(told.contains("before it was ready") && told.contains("--no-such-flag"), "{told}");
    at.done("deployment delete sim --wait").await;
}

#[tokio::test]
async fn a_log_is_followed_until_its_deployment_goes_and_shows_no_secret() {
    let at = serving_on("process").await;
    let printing = command(&["--print-every-ms", "50", "--print-env", "API_TOKEN"]);
    at.fed("deploy sim --wait --env API_TOKEN=canary-token --file -", &printing).await.expect_done();
    let last = at.done("deployment logs sim --tail 2").await;
    assert!(last.lines().count() == 2 && last.lines().all(|line| line.starts_with("still here, ")), "{last}");
    let (followed, _) = tokio::join!(at.done("deployment logs sim --follow"), async {
        at.done("deployment update sim --config sim --wait").await;
        at.done("deployment delete sim --wait").await
    });
    assert!(followed.starts_with("API_TOKEN=[redacted]\n"), "{followed}");
    assert!(followed.contains("[v2/0] still here, 0\n"), "the next version is taken in: {followed}");
    // Its record can still be read for a moment.
    let gone = at.fails("deployment logs sim", 1).await;
    assert!(gone.contains("nimgate deployment "), "{gone}");
    let never = at.fails("deployment logs other", 1).await;
    assert!(never.contains("not found") && never.contains("nimgate deployment list"), "{never}");
}

#[tokio::test]
async fn an_update_under_load_fails_no_request() {
    let at = serving_on("process").await;
    at.fed("deploy sim --wait --file -", &command(&[])).await.expect_done();
    let before = provider_url(&at, "sim").await;
    let (statuses, updated) = tokio::join!(
        async {
            let mut statuses = Vec::new();
            while statuses.is_empty()
                || provider_url(&at, "sim").await == before
                || versions(&at, "sim").await.last().is_none_or(|first| first["status"] != "DELETED")
            {
                for _ in 0..5 {
                    statuses.push(chat(&at.gateway).await);
                }
            }
            statuses
        },
        at.done("deployment update sim --config sim --wait"),
    );
    assert!(updated.contains("ready"), "{updated}");
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    at.done("deployment delete sim --wait").await;
}

/// What requests are answered, four at a time, while `work` is done.
async fn answers_during(gateway: &Serving, work: impl Future<Output = ()>) -> Vec<u16> {
    let is_done = std::cell::Cell::new(false);
    let ask = async || {
        let mut statuses = Vec::new();
        while !is_done.get() {
            statuses.push(chat(gateway).await);
        }
        statuses
    };
    let work = async {
        work.await;
        is_done.set(true);
    };
    let (one, two, three, four, ()) = tokio::join!(ask(), ask(), ask(), ask(), work);
    [one, two, three, four].concat()
}

fn instances(at: &At) -> usize {
    std::fs::read_dir(at.home.path().join("data/processes/instances")).unwrap().count()
}

#[tokio::test]
async fn scaling_up_and_down_under_load_fails_no_request() {
    let at = serving_on("process").await;
    at.fed("deploy sim --wait --file -", &command(&["--token-ms", "5"])).await.expect_done();
    let url = provider_url(&at, "sim").await;
    let statuses = answers_during(&at.gateway, async {
        let said = at.done("deployment scale sim 3 --wait").await;
        assert!(said.contains("3 of 3 ready"), "{said}");
        assert_eq!(instances(&at), 3);
        at.done("deployment scale sim 1 --wait").await;
        eventually("two are stopped", async || (instances(&at) == 1).then_some(())).await;
    });
    let statuses = statuses.await;
    assert!(statuses.len() > 20 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let deployment = at.json("deployment get sim").await;
    assert_eq!((&deployment["entity_version"], &deployment["ready_replicas"]), (&json!(1), &json!(1)));
    assert_eq!(provider_url(&at, "sim").await, url, "the first one serves all the time");
    let refused = at.fails("deployment scale sim 65", 1).await;
    assert!(refused.contains("replicas"), "{refused}");
    at.done("deployment delete sim --wait").await;
}

#[tokio::test]
async fn what_is_run_here_is_reached_under_a_strict_egress_policy_and_what_others_name_is_not() {
    let mut home = Home::new().await;
    for name in ["NIMGATE_EGRESS_ALLOW_PRIVATE", "NIMGATE_EGRESS_ALLOW_PLAINTEXT"] {
        home.environment.push((name.into(), "false".into()));
    }
    let gateway = home.up(&["--runtime", "process"]).await;
    let at = At { home, gateway };
    at.fed("deploy sim --wait --file -", &command(&[])).await.expect_done();
    assert_eq!(chat(&at.gateway).await, 200);
    let url = provider_url(&at, "sim").await;
    let refused = at.fails(&format!("provider create other --url {url}"), 1).await;
    assert!(refused.contains("egress.allow"), "{refused}");
    at.done("deployment delete sim --wait").await;
}

#[tokio::test]
async fn an_update_of_two_replicas_under_load_fails_no_request() {
    let at = serving_on("process").await;
    at.fed("deploy sim --wait --file -", &command(&["--token-ms", "5"])).await.expect_done();
    at.done("deployment scale sim 2 --wait").await;
    let statuses = answers_during(&at.gateway, async {
        at.done("deployment update sim --config sim --wait").await;
        let old = async || versions(&at, "sim").await.last().is_some_and(|old| old["status"] == "DELETED");
        eventually("the old version is gone", async || old().await.then_some(())).await;
    });
    let statuses = statuses.await;
    assert!(statuses.len() > 20 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let deployment = at.json("deployment get sim").await;
    assert_eq!((&deployment["entity_version"], &deployment["ready_replicas"]), (&json!(2), &json!(2)));
    assert_eq!(deployment["replicas"], json!(2), "the new version is scaled as the old one was");
    at.done("deployment delete sim --wait").await;
    assert_eq!(instances(&at), 0);
}

#[tokio::test]
async fn containers_are_scaled_and_replaced_under_load_without_a_failed_request() {
    if !has_containers().await {
        return;
    }
    let at = serving_on("docker").await;
    at.done(&format!("deploy sim --image {IMAGE} --gpus 0 --wait")).await;
    let statuses = answers_during(&at.gateway, async {
        at.done("deployment scale sim 3 --wait").await;
        at.done("deployment update sim --config sim --wait").await;
        let old = async || versions(&at, "sim").await.last().is_some_and(|old| old["status"] == "DELETED");
        eventually("the old version is gone", async || old().await.then_some(())).await;
        at.done("deployment scale sim 1 --wait").await;
    });
    let statuses = statuses.await;
    assert!(statuses.len() > 20 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    at.done("deployment delete sim --wait").await;
}

#[tokio::test]
async fn a_container_is_run_routed_adopted_after_a_kill_made_again_and_removed() {
    if !has_containers().await {
        return;
    }
    let at = serving_on("docker").await;
    at.done(&format!("deploy sim --image {IMAGE} --gpus 0 --wait")).await;
    assert_eq!(chat(&at.gateway).await, 200);
    let before = provider_url(&at, "sim").await;
    let at = killed_and_started_again(at, "docker").await;
    at.done(&format!("deploy other --image {IMAGE} --gpus 0 --wait")).await;
    assert_eq!(provider_url(&at, "sim").await, before, "what runs was adopted");

    let port = before.rsplit(':').next().unwrap().to_owned();
    let remove = format!("docker rm -f $(docker ps -q --filter publish={port})");
    let mut shell = tokio::process::Command::new("sh");
    assert!(shell.args(["-c", &remove]).output().await.unwrap().status.success());
    let back =
        async || (provider_url(&at, "sim").await != before && chat(&at.gateway).await == 200).then_some(());
    eventually("it is made again", back).await;

    for name in ["sim", "other"] {
        at.done(&format!("deployment delete {name} --wait")).await;
    }
    assert_eq!(at.names("provider list").await, Vec::<String>::new());
}

#[tokio::test]
async fn an_image_that_is_not_there_and_a_gpu_that_is_not_there_say_what_to_do() {
    if !has_containers().await {
        return;
    }
    let at = serving_on("docker").await;
    let missing = at.fails("deploy one --image 127.0.0.1:9/nope:1 --gpus 0 --wait --timeout-s 5", 1).await;
    assert!(missing.contains("can't be reached") && missing.contains("try 1 of 5"), "{missing}");
    let gpus = at.run(&format!("deploy two --image {IMAGE} --gpus 64 --wait")).await;
    assert!(format!("{}{}", gpus.stdout, gpus.stderr).contains("64 GPU"), "{}", gpus.stderr);
    for name in ["one", "two"] {
        at.done(&format!("deployment delete {name} --wait")).await;
    }
}

/// A config of the simulated NIM in a container that goes wrong as these arguments say, with so long to start.
pub fn misbehaving(args: &[&str], startup_timeout_s: u32) -> String {
    json!({
        "engine": "generic",
        "model_spec": {},
        "executor_config": {
            "gpu": 0, "image_name": "nimgate/nim-sim", "image_tag": "test", "health_check_path": "/v1/health/ready",
            "additional_args": args, "startup_timeout_s": startup_timeout_s,
        },
    })
    .to_string()
}

#[tokio::test]
async fn each_way_in_which_a_container_does_not_start_is_told_with_its_last_words() {
    if !has_containers().await {
        return;
    }
    let at = serving_on("docker").await;
    for (name, args, limit_s, words) in [
        (
            "crash",
            &["--print-lines", "3", "--exit-code", "3"][..],
            60,
            "exited with code 3 before it was ready",
        ),
        ("exit", &["--exit-code", "0"], 60, "exited with code 0 before it was ready. It printed nothing"),
        (
            "hang",
            &["--ready-after-ms", "600000"],
            2,
            "Not ready within 2 s: /v1/health/ready never answered 200",
        ),
    ] {
        let fed = at.fed(&format!("deploy {name} --wait --file -"), &misbehaving(args, limit_s)).await;
        assert_eq!(fed.code, Some(1), "{name}: {}", fed.stdout);
        let told = format!("{}{}", fed.stdout, fed.stderr);
        assert!(told.contains(words), "{name}: {told}");
        assert!(told.contains(&format!("nimgate deployment logs {name}")), "{name}: {told}");
        at.done(&format!("deployment delete {name} --wait")).await;
    }
}

#[tokio::test]
async fn a_log_of_what_crashed_can_be_read_until_it_is_deleted() {
    if !has_containers().await {
        return;
    }
    let at = serving_on("docker").await;
    let crash = misbehaving(&["--print-lines", "3", "--exit-code", "3"], 60);
    at.fed("deploy crash --wait --file -", &crash).await;
    assert_eq!(at.done("deployment logs crash --tail 2").await, "line 1\nline 2\n");
    at.done("deployment delete crash --wait").await;
}

#[tokio::test]
async fn what_dies_after_it_was_ready_is_made_again_and_says_why() {
    if !has_containers().await {
        return;
    }
    let at = serving_on("docker").await;
    let dying = misbehaving(&["--exit-code", "4", "--exit-after-ms", "4000"], 60);
    at.fed("deploy dying --wait --file -", &dying).await.expect_done();
    let is_back = async || {
        let deployment = at.json("deployment get dying").await;
        let history = deployment["status_history"].as_array().unwrap().clone();
        let died = history.iter().position(|entry| {
            entry["status_message"]
                .as_str()
                .unwrap()
                .contains("Trying again now (try 1 of 5). It exited with code 4")
        })?;
        history[died..].iter().any(|entry| entry["status"] == "READY").then_some(())
    };
    eventually("it is made again", is_back).await;
    at.done("deployment delete dying --wait").await;
}

#[tokio::test]
async fn a_start_may_last_for_as_long_as_its_log_moves() {
    let at = serving_on("process").await;
    // Its log is looked at every five seconds.
    let mut slow: Value =
        serde_json::from_str(&command(&["--ready-after-ms", "12000", "--print-every-ms", "100"])).unwrap();
    slow["executor_config"]["startup_timeout_s"] = json!(8);
    at.fed("deploy slow --wait --file -", &slow.to_string()).await.expect_done();
    at.done("deployment delete slow --wait").await;
}

#[tokio::test]
async fn a_host_without_a_container_engine_says_so_at_once_with_the_alternatives() {
    let home = Home::new().await;
    let gateway =
        home.up(&["--runtime", "auto", "--set", "docker.host=unix:///nonexistent/docker.sock"]).await;
    let at = At { home, gateway };
    let fails = at.run("deploy llama --image nvcr.io/nim/x:1 --gpus 1 --wait").await;
    assert_eq!(fails.code, Some(1));
    let told = format!("{}{}", fails.stdout, fails.stderr);
    for words in
        ["no container runtime", "no such socket", "command in the config", "nimgate provider create"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    at.fed("deploy sim --wait --file -", &command(&[])).await.expect_done();
    at.done("deployment delete sim --wait").await;
}

/// Whether the model behind this URL takes requests.
async fn set_ready(url: &str, ready: bool) {
    let address = url.trim_start_matches("http://").parse().unwrap();
    let request = client::request(http::Method::PUT, "/__sim/ready", Some(&json!(ready)));
    assert_eq!(client::send(address, request).await.unwrap().status, 204);
}

#[tokio::test]
async fn what_is_not_ready_any_more_is_out_of_rotation_until_it_is_again() {
    let at = serving_on("process").await;
    at.fed("deploy sim --wait --file -", &command(&[])).await.expect_done();
    let url = provider_url(&at, "sim").await;
    let status =
        async |word: &str, name: &str| at.json(&format!("{word} get {name}")).await["status"].clone();

    set_ready(&url, false).await;
    eventually("it is not ready", async || (status("deployment", "sim").await == "PENDING").then_some(()))
        .await;
    assert_eq!(status("provider", "sim").await, "PENDING", "it is not called dead");
    eventually("nobody serves the model", async || (chat(&at.gateway).await != 200).then_some(())).await;
    set_ready(&url, true).await;
    eventually("it is ready", async || (status("deployment", "sim").await == "READY").then_some(())).await;
    assert_eq!(chat(&at.gateway).await, 200);
    assert_eq!(provider_url(&at, "sim").await, url, "it is the same instance");
    at.done("deployment delete sim --wait").await;
}
