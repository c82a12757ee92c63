//! `nimgate deploy`, `deployment-config` and `deployment` against the real registry.

use integration_tests::eventually;
use nim_sim::{Sim, SimOptions};
use serde_json::json;

use crate::at::At;

#[tokio::test]
async fn a_deployment_that_nothing_can_run_fails_the_wait_with_its_reason() {
    let at = At::start().await;
    let said = at.fails("deploy sim --image sim:1 --model m --gpus 0 --wait", 1).await;
    assert!(said.contains("runtime") && said.contains("nimgate deployment get sim"), "{said}");
    let list = at.json("deployment list --filter config=sim").await;
    assert_eq!((list[0]["status"].as_str(), list[0]["config_version"].as_u64()), (Some("ERROR"), Some(1)));
    let taken = at.fails("deploy sim --image sim:1 --model m --gpus 0", 1).await;
    assert!(taken.contains("already exists"), "{taken}");

    let used = at.fails("dc delete sim", 1).await;
    assert!(used.contains("nimgate deployment list --filter config=sim"), "{used}");
    let gone = at.done("deployment delete sim --wait").await;
    assert!(gone.contains("deployment sim is gone"), "{gone}");
    at.done("dc delete sim").await;
}

#[tokio::test]
async fn each_change_of_a_config_is_a_version_and_a_deployment_runs_one() {
    let at = At::start().await;
    at.done("dc create conf --image sim:1 --model meta/llama --gpus 1 --env A=1").await;
    let changed = at.done("dc update conf --gpus 2").await;
    assert!(changed.contains("version 2"), "{changed}");
    let first = at.json("dc get conf --version 1").await;
    let second = at.json("dc get conf").await;
    let gpus = |config: &serde_json::Value| config["executor_config"]["gpu"].as_u64();
    assert_eq!((gpus(&first), gpus(&second)), (Some(1), Some(2)));
    assert_eq!(second["executor_config"]["additional_envs"]["A"], "1", "what was not named stays");
    assert_eq!(at.json("dc versions conf").await.as_array().map(Vec::len), Some(2));

    at.done("deployment create dep --config conf --config-version 1").await;
    at.done("deployment update dep --config conf").await;
    let versions = at.json("deployment versions dep").await;
    let configs: Vec<_> =
        versions.as_array().unwrap().iter().map(|version| version["config_version"].as_u64()).collect();
    assert_eq!(configs, [Some(2), Some(1)], "the newest first, with the newest config");
    at.done("dc delete conf --version 1").await;
    let unknown = at.fails("deployment create other --config nope", 1).await;
    assert!(unknown.contains("nimgate deployment-config list"), "{unknown}");
}

#[tokio::test]
async fn a_config_in_the_older_form_is_taken_and_changed() {
    let at = At::start().await;
    let older = r#"{"name": "old", "nim_deployment": {"image_name": "sim", "image_tag": "1", "gpu": 1}}"#;
    at.fed("dc create --file -", older).await.expect_done();
    at.done("dc update old --gpus 2").await;
    let config = at.json("dc get old").await;
    assert_eq!(config["executor_config"]["gpu"], 2, "{config}");
    let table = at.done("dc list").await;
    assert!(table.contains("sim:1"), "{table}");
}

#[tokio::test]
async fn a_wait_shows_each_step_and_ends_with_the_last() {
    let at = At::start().await;
    at.done("dc create conf --image sim:1 --model m --gpus 0").await;
    at.done("deployment create dep --config conf").await;
    let said = at.run("deployment wait dep").await;
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.contains("ERROR"), "{}", said.stdout);
    at.done("deployment delete dep").await;
    at.done("deployment wait dep --status deleted").await;
    let unknown = at.fails("deployment wait nobody", 1).await;
    assert!(unknown.contains("nimgate deployment list"), "{unknown}");
}

#[tokio::test]
async fn a_wait_ends_when_a_controller_says_ready_and_the_gateway_routes() {
    let at = At::start().await;
    let sim = Sim::start(SimOptions::default()).await.unwrap();
    at.done(&format!("provider create sim --url {}", sim.url())).await;
    at.done("dc create conf --image sim:1 --model m --gpus 0").await;
    at.done("deployment create dep --config conf").await;
    let judged = async || (at.json("deployment get dep").await["status"] == "ERROR").then_some(());
    eventually("the registry has judged it", judged).await;

    let reports = async |status: &str, message: &str| {
        let body = json!({"status": status, "status_message": message, "model_provider_id": "default/sim"});
        let path = "/apis/models/v2/workspaces/default/deployments/dep/status";
        assert_eq!(at.gateway.post(path, &body).await.unwrap().status, 200);
    };
    reports("PENDING", "pulling the image").await;
    let (waited, ()) = tokio::join!(at.done("deployment wait dep"), async {
        reports("PENDING", "starting").await;
        reports("READY", "it runs").await;
    });
    for step in ["pulling the image", "starting", "it runs", "deployment dep is ready"] {
        assert!(waited.contains(step), "no {step:?} in {waited}");
    }
}
