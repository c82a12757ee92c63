use serde_json::json;

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, PROVIDERS, SECRETS};

#[tokio::test]
async fn a_secret_is_made_listed_changed_and_deleted() {
    let h = Harness::start().await;
    let made = h.post(SECRETS, json!({"name": "key1", "value": "v", "description": "d"})).await.expect(201);
    assert_eq!(made.generation(), None, "nobody uses it yet");
    let fields: Vec<_> = made.body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["name", "workspace", "description", "created_at", "updated_at"]);
    assert_eq!(made.body["created_at"].as_str().unwrap().len(), "2026-11-21T19:09:23.106587".len());

    h.post(SECRETS, json!({"name": "key1", "value": "v"})).await.expect(409);
    let page = h.get(SECRETS).await.expect(200).body;
    assert_eq!(page["pagination"]["page_size"], 10);
    assert_eq!(page["data"][0]["name"], "key1");
    assert!(!page.as_object().unwrap().contains_key("filter"));

    let unchanged = h.patch(&format!("{SECRETS}/key1"), json!({})).await.expect(200);
    assert_eq!(unchanged.body, made.body);
    let cleared = h.patch(&format!("{SECRETS}/key1"), json!({"description": null})).await.expect(200);
    assert!(cleared.body["description"].is_null());

    let gone = h.delete(&format!("{SECRETS}/key1")).await.expect(204);
    assert_eq!(
        (gone.text.as_str(), &gone.headers["content-type"]),
        ("", &"application/json".parse().unwrap())
    );
    let missing = h.get(&format!("{SECRETS}/key1")).await.expect(404);
    assert_eq!(missing.message(), "Secret default/key1 not found");
    h.delete(&format!("{SECRETS}/key1")).await.expect(404);
    h.patch(&format!("{SECRETS}/key1"), json!({"value": "x"})).await.expect(404);
}

#[tokio::test]
async fn faults_of_a_secret_are_named_and_its_value_is_not() {
    let h = Harness::start().await;
    let answer = h.post(SECRETS, json!({"name": "B", "value": ""})).await.expect(422);
    let fields: Vec<_> = answer.body["detail"].as_array().unwrap().iter().map(|d| &d["loc"][1]).collect();
    assert_eq!(fields, ["name", "value"]);
    h.post(SECRETS, json!({"name": "ok", "value": 12345678})).await.expect(422);
    let elsewhere = "/apis/secrets/v2/workspaces/nows/secrets";
    let answer = h.post(elsewhere, json!({"name": "ok", "value": "v"})).await.expect(422);
    assert_eq!(answer.message(), "Workspace 'nows' does not exist. Please create the workspace first.");
    h.get(elsewhere).await.expect(404);
}

#[tokio::test]
async fn a_key_that_changes_goes_or_is_detached_changes_what_is_sent_at_once() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    h.post(SECRETS, json!({"name": "key1", "value": "first"})).await.expect(201);
    let provider = json!({"name": "p1", "host_url": fake.url(), "api_key_secret_name": "key1"});
    h.post(PROVIDERS, provider).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    assert_eq!(fake.last_header("authorization").as_deref(), Some("Bearer first"));
    let version = |s: &proto_shared::RouteSnapshot| s.providers[0].api_key.as_ref().map(|key| key.version);
    let first = version(&h.snapshot()).unwrap();

    let changed = h.patch(&format!("{SECRETS}/key1"), json!({"value": "second"})).await.expect(200);
    let generation = changed.generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    assert!(version(&snapshot).unwrap() > first);

    let deleted = h.delete(&format!("{SECRETS}/key1")).await.expect(204).generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= deleted).await;
    assert_eq!(version(&snapshot), None);
    assert_eq!(snapshot.providers[0].missing_secret.as_ref().map(|name| name.as_str()), Some("key1"));
    let told = h.provider_where("p1", |p| p["status"] == "ERROR").await;
    assert!(told["status_message"].as_str().unwrap().contains("'key1' does not exist"), "{told}");

    let back = h.post(SECRETS, json!({"name": "key1", "value": "third"})).await.expect(201);
    let generation = back.generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    assert!(version(&snapshot).unwrap() > first + 1, "a version is never used again");
    h.provider_where("p1", |p| p["status"] == "READY").await;

    let detached = h.put(&format!("{PROVIDERS}/p1"), json!({"host_url": fake.url()})).await.expect(200);
    assert!(detached.body["api_key_secret_name"].is_null());
    let generation = detached.generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    assert_eq!(version(&snapshot), None);
}
