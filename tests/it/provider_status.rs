//! What gateways see of servers, as whoever runs them sees it.

use integration_tests::{Home, client, eventually};
use nim_sim::{Sim, SimOptions};
use serde_json::Value;

use crate::at::At;
use crate::deployments_run::command;

#[tokio::test]
async fn a_provider_whose_only_server_dies_is_shown_so_in_seconds_and_back_without_a_request() {
    let home = Home::new().await;
    let quick = ["--set", "limits.watch_lone_interval_ms=50", "--set", "limits.watch_doubt_interval_ms=50"];
    let gateway = home.up(&quick).await;
    let at = At { home, gateway };
    let sim = Sim::start(SimOptions { models: vec!["m".into()], ..SimOptions::default() }).await.unwrap();
    at.done(&format!("provider create own --url {}", sim.url())).await;
    let generation =
        async || at.gateway.get("/status").await.unwrap().json()["gateways"][0]["generation"].clone();
    let before = generation().await;

    sim.set_fault("status=500").unwrap();
    let own = async || at.json("provider get own").await;
    let is_out = async || (own().await["status"] == "ERROR").then_some(());
    eventually("it is shown to be out of use", is_out).await;
    let table = at.done("provider list").await;
    assert!(table.contains("Out of use: answers 500"), "{table}");
    let listed = at.names("provider list --filter status=ERROR").await;
    assert_eq!(listed, ["own"]);
    assert_eq!(own().await["served_models"].as_array().map(Vec::len), Some(1), "its routes stay");

    sim.set_fault("").unwrap();
    let is_back = async || (own().await["status"] == "READY").then_some(());
    eventually("it is shown to be back", is_back).await;
    assert_eq!(own().await["status_message"], "");
    assert_eq!(generation().await, before, "nothing was published");
    assert!(at.done("chat m Hello").await.contains("You said: Hello"));
}

#[tokio::test]
async fn a_deployment_is_asked_where_its_engine_and_its_config_say() {
    let home = Home::new().await;
    let gateway = home.up(&["--runtime", "process"]).await;
    let at = At { home, gateway };
    let config =
        command(&[]).replace("\"generic\"", "\"nim\"").replace("/v1/health/ready", "/v1/health/live");
    at.fed("deploy own --wait --file -", &config).await.expect_done();
    at.done("deployment scale own 2 --wait").await;
    let url = at.json("provider get own").await["host_url"].as_str().unwrap().to_owned();
    let address = url.trim_start_matches("http://").parse().unwrap();
    let asked = async |path: &str| {
        let request = client::request(http::Method::GET, "/__sim/requests", None);
        let requests = client::send(address, request).await.unwrap().json();
        let is_it = |request: &&Value| request["target"] == path;
        requests.as_array().unwrap().iter().filter(is_it).count()
    };
    let is_known = async || (asked("/v1/metrics").await > 1).then_some(());
    eventually("it is asked for its load", is_known).await;
    assert!(asked("/v1/health/live").await > 1);
    for guess in ["/metrics", "/v1/health/ready", "/health"] {
        assert_eq!(asked(guess).await, 0, "{guess}");
    }
    at.done("deployment delete own --wait").await;
}
