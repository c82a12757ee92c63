//! A hosted provider stands in for a deployment while that is starting or down; once it is READY, the very next request
//! goes there.

use std::time::Duration;

use integration_tests::client::chat_body;
use integration_tests::{Serving, eventually};
use nim_sim::{Sim, SimOptions};
use tokio::time::Instant;

use crate::at::At;
use crate::deployments_run::{command, misbehaving, provider_url, serving_on};
use crate::docker::{docker, has_containers};

const OWN: &str = "default/own";
const HOSTED: &str = "default/hosted";
const MODEL: &str = "sim-echo-8b";
/// Long enough that requests come before it is over.
const LOADING_MS: &str = "3000";

/// Who answers a chat; it is answered.
async fn served_by(gateway: &Serving) -> String {
    let reply = gateway.post("/v1/chat/completions", &chat_body(MODEL, "hi")).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-nimgate-served-by").unwrap_or_default().to_owned()
}

/// How often the deployment became READY.
async fn times_ready(at: &At) -> usize {
    let deployment = at.json("deployment get own").await;
    let history = deployment["status_history"].as_array().unwrap();
    history.iter().filter(|entry| entry["status"] == "READY").count()
}

/// Asks on and on while the stand-in answers, until the deployment is READY for the `n`th time. Then the very next request
/// is its own.
async fn back_when_ready(at: &At, n: usize) {
    let answered = std::cell::Cell::new(None);
    let ready = async {
        eventually("it is READY", async || (times_ready(at).await >= n).then_some(())).await;
        Instant::now()
    };
    let asking = async {
        loop {
            let by = served_by(&at.gateway).await;
            assert!([OWN, HOSTED].contains(&&*by), "{by}");
            if by == OWN && answered.get().is_none() {
                answered.set(Some(Instant::now()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ready = tokio::select! {
        ready = ready => ready,
        () = asking => unreachable!("it asks without end"),
    };
    assert_eq!(served_by(&at.gateway).await, OWN, "READY is told when it is so for requests");
    match answered.get() {
        Some(answered) => {
            println!("its own answer {:?} before READY was seen", ready.duration_since(answered))
        }
        None => println!("its own answer {:?} after READY was seen", ready.elapsed()),
    }
}

/// A model that `own` serves, and `hosted` while it can't.
async fn with_a_stand_in(runtime: &str) -> (At, Sim) {
    let at = serving_on(runtime).await;
    let hosted = Sim::start(SimOptions::default()).await.unwrap();
    at.done(&format!("provider create hosted --url {} --locality hosted", hosted.url())).await;
    at.gateway.serves(MODEL).await;
    at.done(&format!("model route {MODEL} --tier own=0 --tier hosted=1")).await;
    (at, hosted)
}

async fn taken_over_and_given_back(at: &At, kill: impl AsyncFn()) {
    assert_eq!(served_by(&at.gateway).await, HOSTED, "it is PENDING");
    back_when_ready(at, 1).await;
    let address = provider_url(at, "own").await.trim_start_matches("http://").to_owned();
    kill().await;
    let is_gone = async || tokio::net::TcpStream::connect(&address).await.is_err().then_some(());
    eventually("nobody listens any more", is_gone).await;
    assert_eq!(served_by(&at.gateway).await, HOSTED, "it is down");
    back_when_ready(at, 2).await;
    at.done("deployment delete own --wait").await;
    assert_eq!(served_by(&at.gateway).await, HOSTED, "it is deleted");
}

#[tokio::test]
async fn a_process_is_stood_in_for_until_it_is_ready_and_when_it_dies() {
    let (at, _hosted) = with_a_stand_in("process").await;
    let loading = command(&["--ready-after-ms", LOADING_MS]);
    at.fed("deploy own --file -", &loading).await.expect_done();
    taken_over_and_given_back(&at, async || {
        let instances = std::fs::read_dir(at.home.path().join("data/processes/instances")).unwrap();
        for instance in instances {
            let record = std::fs::read(instance.unwrap().path().join("instance.json")).unwrap();
            let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
            let pid = record["state"]["pid"].to_string();
            tokio::process::Command::new("kill").args(["-9", &pid]).status().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_is_stood_in_for_until_it_is_ready_and_when_it_dies() {
    if !has_containers().await {
        return;
    }
    let (at, _hosted) = with_a_stand_in("docker").await;
    let loading = misbehaving(&["--ready-after-ms", LOADING_MS], 60);
    at.fed("deploy own --file -", &loading).await.expect_done();
    let url = async || provider_url(&at, "own").await;
    taken_over_and_given_back(&at, async || {
        // Of all containers, the one that listens there is ours.
        let port = url().await.rsplit(':').next().unwrap().to_owned();
        let publishes = format!("publish={port}");
        let id = docker(&["ps", "--quiet", "--filter", &publishes]).await;
        docker(&["kill", &id]).await;
    })
    .await;
}
