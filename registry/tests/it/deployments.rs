use std::sync::Arc;
use std::time::Duration;

use proto_shared::KeyRing;
use serde_json::{Value, json};

use crate::fake_provider::FakeProvider;
use crate::harness::{CONFIGS, DEPLOYMENTS, Harness, PROVIDERS, config};

const NAMED: &str = "/apis/models/v2/workspaces/default/deployments/dep";

async fn with_config() -> Harness {
    let h = Harness::start().await;
    h.post(CONFIGS, json!({ "name": "cfg", "nim_deployment": { "gpu": 0 } })).await.expect(201);
    h
}

async fn with_deployment() -> Harness {
    let h = with_config().await;
    h.post(DEPLOYMENTS, json!({ "name": "dep", "config": "cfg" })).await.expect(201);
    h
}

async fn in_status(h: &Harness, status: &str) -> Value {
    h.answer_where(NAMED, |answer| answer.body["status"] == status).await.body
}

fn statuses(deployment: &Value) -> Vec<&str> {
    let history = deployment["status_history"].as_array().unwrap();
    history.iter().map(|entry| entry["status"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_new_deployment_is_created_pins_a_version_and_says_that_nothing_can_run_it() {
    let h = with_config().await;
    let order = json!({ "name": "dep", "config": "cfg", "project": "p" });
    let made = h.post(DEPLOYMENTS, order.clone()).await.expect(201).body;
    assert!(made["id"].as_str().unwrap().starts_with("model-deployment-"));
    assert_eq!((&made["status"], &made["status_message"]), (&json!("CREATED"), &json!("Deployment created")));
    assert_eq!(made["status_history"], json!([]));
    assert_eq!((&made["entity_version"], &made["config_version"]), (&json!(1), &json!(1)));
    assert_eq!((&made["model_provider_id"], &made["project"]), (&Value::Null, &json!("p")));

    let failed = in_status(&h, "ERROR").await;
    assert_eq!(statuses(&failed), ["CREATED", "ERROR"]);
    let last = &failed["status_history"][1];
    assert_eq!(last["status_message"], failed["status_message"]);
    assert!(last["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(failed["status_message"].as_str().unwrap().contains("nimgate provider create"));
    h.post(DEPLOYMENTS, order).await.expect(409);
}

#[tokio::test]
async fn every_fault_of_a_deployment_is_refused() {
    let h = with_config().await;
    for (body, status, text) in [
        (json!({ "config": "cfg" }), 422, "name"),
        (json!({ "name": "dep" }), 422, "config"),
        (json!({ "name": "x".repeat(61), "config": "cfg" }), 422, "name"),
        (json!({ "name": "dep", "config": "cfg", "config_version": "1" }), 422, "config_version"),
        (json!({ "name": "dep", "config": "none" }), 400, "Deployment config 'default/none' does not exist"),
        (json!({ "name": "dep", "config": "default/cfg" }), 400, "does not exist"),
        (json!({ "name": "dep", "config": "cfg", "config_version": 2 }), 400, "version '2' does not exist"),
        (json!({ "name": "dep", "config": "cfg", "config_version": 0 }), 400, "does not exist"),
    ] {
        let answer = h.post(DEPLOYMENTS, body).await.expect(status);
        assert!(answer.text.contains(text), "{}", answer.text);
    }
    assert_eq!(h.get(DEPLOYMENTS).await.body["pagination"]["total_results"], 0);
    assert_eq!(h.get(DEPLOYMENTS).await.body["pagination"]["total_pages"], 1);
    assert_eq!(h.get(NAMED).await.expect(404).message(), "Deployment 'default/dep' not found");
    h.post(NAMED, json!({ "config": "cfg" })).await.expect(400);
    h.delete(NAMED).await.expect(404);
    h.post(&format!("{NAMED}/status"), json!({ "status": "READY" })).await.expect(404);
    h.get(&format!("{NAMED}/models")).await.expect(404);
    assert_eq!(h.get(&format!("{NAMED}/versions")).await.expect(200).body, json!([]));
    let nowhere = "/apis/models/v2/workspaces/nows/deployments";
    h.post(nowhere, json!({ "name": "dep", "config": "cfg" })).await.expect(422);
    h.get(nowhere).await.expect(404);
}

#[tokio::test]
async fn a_controller_moves_it_on_and_is_not_fought() {
    let h = with_deployment().await;
    in_status(&h, "ERROR").await;
    let status = format!("{NAMED}/status");
    for (state, message) in [("PENDING", "pulling"), ("PENDING", "starting"), ("READY", "running")] {
        let body = json!({ "status": state, "status_message": message });
        let shown = h.post(&status, body).await.expect(200).body;
        let last = shown["status_history"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["status"], &last["status_message"]), (&json!(state), &json!(message)));
    }
    let before = h.get(NAMED).await.body;
    let again = h.post(&status, json!({ "status": "READY", "status_message": "running" })).await.expect(200);
    assert_eq!(again.body, before, "the same again changes nothing");
    // Something else for the reconciler to do; then it has looked at everything.
    h.post(DEPLOYMENTS, json!({ "name": "other", "config": "cfg" })).await.expect(201);
    h.answer_where(&format!("{DEPLOYMENTS}/other"), |answer| answer.body["status"] == "ERROR").await;
    assert_eq!(h.get(NAMED).await.body, before);

    for (body, code) in [
        (json!({ "status_message": "x" }), 422),
        (json!({ "status": "FAILED" }), 422),
        (json!({ "status": "READY", "status_message": "x".repeat(1001) }), 422),
        (json!({ "status": "READY", "model_provider_id": "no-slash" }), 422),
        (json!({ "status": "CREATED" }), 409),
    ] {
        h.post(&status, body).await.expect(code);
    }
    h.post(&format!("{status}?version=x"), json!({ "status": "READY" })).await.expect(400);
    h.post(&format!("{status}?version=7"), json!({ "status": "READY" })).await.expect(404);
    assert_eq!(h.get(NAMED).await.body, before);
}

#[tokio::test]
async fn an_update_is_a_new_version_and_the_old_one_stays_readable() {
    let h = with_deployment().await;
    let ready = json!({ "status": "READY", "model_provider_id": "default/p1" });
    h.post(&format!("{NAMED}/status?version=1"), ready).await.expect(200);
    h.post(&format!("{CONFIGS}/cfg"), json!({ "nim_deployment": { "gpu": 1 } })).await.expect(201);
    let second = h.post(NAMED, json!({ "config": "cfg" })).await.expect(201).body;
    assert_eq!(second["status"], "PENDING");
    assert_eq!(second["status_message"], "Deployment update pending");
    assert_eq!((&second["entity_version"], &second["config_version"]), (&json!(2), &json!(2)));
    assert_eq!(second["model_provider_id"], "default/p1", "what serves goes on serving");
    assert_eq!(statuses(&in_status(&h, "ERROR").await), ["PENDING", "ERROR"]);

    let versions = h.get(&format!("{NAMED}/versions")).await.expect(200).body;
    let numbers: Vec<_> = versions.as_array().unwrap().iter().map(|v| &v["entity_version"]).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(h.get(&format!("{NAMED}/versions/1")).await.expect(200).body["status"], "READY");
    h.get(&format!("{NAMED}/versions/x")).await.expect(400);
    let missing = h.get(&format!("{NAMED}/versions/3")).await.expect(404);
    assert_eq!(missing.message(), "Deployment 'default/dep' version '3' not found");
    let total = async |query: &str| {
        h.get(&format!("{DEPLOYMENTS}?{query}")).await.expect(200).body["pagination"]["total_results"].clone()
    };
    assert_eq!(total("").await, 1);
    assert_eq!(total("all_versions=true").await, 2);
    assert_eq!(total("all_versions=true&filter[status]=READY").await, 1);
    assert_eq!(total("filter[status]=READY").await, 0, "the latest is not");
    assert_eq!(total("filter[model_provider_id]=default/p1").await, 1);
    h.get(&format!("{DEPLOYMENTS}?all_versions=maybe")).await.expect(422);

    h.delete(&format!("{NAMED}/versions/1")).await.expect(202);
    h.answer_where(&format!("{NAMED}/versions/1"), |answer| answer.status == 404).await;
    assert_eq!(h.get(NAMED).await.expect(200).body["entity_version"], 2);
}

#[tokio::test]
async fn deletion_is_seen_step_by_step_and_ends_with_nothing() {
    let h = with_deployment().await;
    in_status(&h, "ERROR").await;
    let asked = h.delete(NAMED).await.expect(202);
    assert_eq!(asked.text, "null");
    let deleted = in_status(&h, "DELETED").await;
    assert_eq!(statuses(&deleted), ["CREATED", "ERROR", "DELETING", "DELETED"]);
    let late = h.post(&format!("{NAMED}/status"), json!({ "status": "READY" })).await.expect(409);
    assert_eq!(late.headers["x-should-retry"], "false");
    assert_eq!(h.delete(NAMED).await.expect(202).text, "null");
    h.get(NAMED).await.expect(404);
}

#[tokio::test]
async fn the_record_of_a_deleted_one_goes_by_itself_and_its_name_is_free_before_that() {
    let h = with_deployment().await;
    h.delete(NAMED).await.expect(202);
    in_status(&h, "DELETED").await;
    let again = h.post(DEPLOYMENTS, json!({ "name": "dep", "config": "cfg" })).await.expect(201).body;
    assert_eq!((&again["entity_version"], &again["status"]), (&json!(1), &json!("CREATED")));

    let dir = Arc::new(tempfile::tempdir().unwrap());
    let key = Arc::new(KeyRing::generate().unwrap());
    let mut short = config(dir.path(), &key);
    short.deployments.deleted_kept = Duration::from_millis(50);
    let h = Harness::with(short, dir).await;
    h.post(CONFIGS, json!({ "name": "cfg", "nim_deployment": { "gpu": 0 } })).await.expect(201);
    h.post(DEPLOYMENTS, json!({ "name": "dep", "config": "cfg" })).await.expect(201);
    h.delete(NAMED).await.expect(202);
    h.answer_where(NAMED, |answer| answer.status == 404).await;
}

#[tokio::test]
async fn a_deployment_knows_its_provider_and_models_and_takes_them_along_when_it_goes() {
    let h = with_deployment().await;
    assert_eq!(
        h.get(&format!("{NAMED}/models")).await.expect(200).body,
        json!({ "workspace": "default", "name": "dep", "models": [] })
    );
    let fake = FakeProvider::listing(&["meta/tiny"]).await;
    let provider = json!({ "name": "p1", "host_url": fake.url(), "model_deployment_id": "default/dep" });
    h.post(PROVIDERS, provider).await.expect(201);
    h.post(&format!("{NAMED}/status"), json!({ "status": "READY" })).await.expect(200);
    assert_eq!(h.get(NAMED).await.body["model_provider_id"], "default/p1");
    let found = h.get(&format!("{DEPLOYMENTS}?filter[model_provider_id]=default/p1")).await.expect(200).body;
    assert_eq!(found["data"][0]["model_provider_id"], "default/p1");
    h.provider_where("p1", |p| p["status"] == "READY").await;
    let models = h.get(&format!("{NAMED}/models")).await.expect(200).body;
    assert_eq!(
        models["models"],
        json!([{ "workspace": "default", "name": "meta-tiny", "model_entity_id": "default/meta-tiny",
            "served_model_name": "meta/tiny" }])
    );

    h.delete(NAMED).await.expect(202);
    let gone = in_status(&h, "DELETED").await;
    assert_eq!(gone["model_provider_id"], Value::Null);
    h.get(&format!("{PROVIDERS}/p1")).await.expect(404);
    assert!(h.snapshot_where(|snapshot| snapshot.providers.is_empty()).await.models.is_empty());
}

#[tokio::test]
async fn what_was_left_undone_is_done_after_a_restart() {
    let h = with_deployment().await;
    in_status(&h, "ERROR").await;
    let (dir, key) = h.stop().await;
    // As a kill after the answer would leave them: one just asked for, one just to be deleted.
    let database = rusqlite::Connection::open(dir.path().join("data/nimgate.sqlite")).unwrap();
    database.busy_timeout(crate::harness::DEADLINE).unwrap();
    database
        .execute_batch(
            "UPDATE deployments SET status = 'DELETING', status_message = 'asked';
             INSERT INTO deployments (seq, id, workspace, name, version, config, config_version, status,
               status_message, status_us, status_history, latest, created_us, updated_us)
             SELECT 99, 'x', workspace, 'fresh', 1, config, 1, 'CREATED', 'new', status_us, '[]', 1, created_us,
               updated_us FROM deployments",
        )
        .unwrap();
    drop(database);
    let h = Harness::with(config(dir.path(), &key), dir).await;
    in_status(&h, "DELETED").await;
    h.answer_where(&format!("{DEPLOYMENTS}/fresh"), |answer| answer.body["status"] == "ERROR").await;
}
