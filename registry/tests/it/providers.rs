use serde_json::json;

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, MODELS, PROVIDERS, names_in};

/// Refuses every connection: the port of a listener that is gone.
async fn dead_url() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_provider_reads_back_as_it_was_written() {
    let h = Harness::start().await;
    let body = json!({
        "name": "p1",
        "host_url": dead_url().await,
        "description": "d",
        "project": "a/b",
        "auth_header_format": "X-Api-Key: {{ auth_secret }}",
        "enabled_models": ["meta/llama"],
        "default_extra_body": {"a": {"deep": [1, null]}, "seed": 18446744073709551615_u64},
        "required_extra_headers": {"X-Team": "t"},
        "timeouts": {"connect_timeout_ms": 5},
        "replay": "safe",
        "unknown_field": {"is": "ignored"},
    });
    let made = h.post(PROVIDERS, body.clone()).await.expect(201);
    for field in ["name", "host_url", "project", "enabled_models", "default_extra_body", "replay"] {
        assert_eq!(made.body[field], body[field], "{field}");
    }
    assert_eq!(made.body["status"], "CREATED");
    assert_eq!(made.body["status_message"], "Model provider created");
    assert_eq!(made.body["served_models"], json!([]));
    assert_eq!(made.body["timeouts"]["connect_timeout_ms"], 5);
    assert_eq!(made.body["timeouts"]["idle_timeout_ms"], 120_000);
    assert!(made.body["default_extra_headers"].is_null());
    assert!(made.body["id"].as_str().unwrap().starts_with("model-provider-"));

    let generation = made.generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    let route = &snapshot.providers[0];
    assert_eq!(route.auth_header_format.header(), "x-api-key");
    assert_eq!(route.required_extra_headers["X-Team"], "t");
    assert_eq!(route.timeouts.connect_timeout_ms, 5);
    assert!(!route.ready);
}

#[tokio::test]
async fn put_creates_then_replaces_everything_and_keeps_what_was_found_out() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny", "big"]).await;
    let path = format!("{PROVIDERS}/p1");
    let made = h.put(&path, json!({"host_url": fake.url(), "description": "d"})).await.expect(200);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    let replaced =
        h.put(&path, json!({"host_url": fake.url(), "enabled_models": ["tiny"]})).await.expect(200);
    assert!(replaced.body["description"].is_null());
    assert_eq!(replaced.body["id"], made.body["id"]);
    assert_eq!(replaced.body["status"], "READY");
    let served = json!([{"model_entity_id": "default/tiny", "served_model_name": "tiny"}]);
    assert_eq!(replaced.body["served_models"], served, "narrowed at once");
    h.put(&format!("{PROVIDERS}/Bad"), json!({"host_url": fake.url()})).await.expect(422);
}

#[tokio::test]
async fn deleting_a_provider_takes_its_routes_along_and_unlinks_its_models() {
    let h = Harness::start().await;
    let (one, two) = (FakeProvider::listing(&["both", "own"]).await, FakeProvider::listing(&["both"]).await);
    for (name, fake) in [("p1", &one), ("p2", &two)] {
        h.post(PROVIDERS, json!({"name": name, "host_url": fake.url()})).await.expect(201);
        h.provider_where(name, |p| p["status"] == "READY").await;
    }
    let model = h.get(&format!("{MODELS}/both")).await.expect(200).body;
    assert_eq!(model["model_providers"], json!(["default/p1", "default/p2"]));
    assert_eq!(model["api_endpoint"]["url"], one.url());

    let generation = h.delete(&format!("{PROVIDERS}/p1")).await.expect(204).generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    assert_eq!(snapshot.providers.len(), 1);
    assert_eq!(snapshot.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["both"]);
    let left = h.get(&format!("{MODELS}/both")).await.expect(200).body;
    assert_eq!((&left["id"], &left["model_providers"]), (&model["id"], &json!(["default/p2"])));
    let unlinked = h.get(&format!("{MODELS}/own")).await.expect(200).body;
    assert_eq!(unlinked["model_providers"], json!([]));
    let gone = h.get(&format!("{PROVIDERS}/p1")).await.expect(404);
    assert_eq!(gone.message(), "Model provider not found: default/p1");
}

#[tokio::test]
async fn the_status_call_changes_only_what_it_is_sent() {
    let h = Harness::start().await;
    let made = h.post(PROVIDERS, json!({"name": "p1", "host_url": dead_url().await})).await.expect(201);
    let path = format!("{PROVIDERS}/p1/status");
    let served = json!([{"model_entity_id": "default/mine", "served_model_name": "Org/Mine"}]);
    let set = h.put(&path, json!({"served_models": served, "status": "DELETING"})).await.expect(200);
    assert_eq!(set.body["served_models"], served);
    assert_eq!(set.body["host_url"], made.body["host_url"]);
    let generation = set.generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    assert_eq!(snapshot.models[0].candidates[0].served_name, "Org/Mine");

    let told = h.put(&path, json!({"status_message": "on its way out"})).await.expect(200);
    assert_eq!(told.generation(), None, "no route changed");
    assert_eq!(told.body["status"], "DELETING");

    for bad in [
        json!({"status": "GREAT"}),
        json!({"served_models": [{"model_entity_id": "mine", "served_model_name": "x"}]}),
        json!({"served_models": [{"model_entity_id": "system/mine", "served_model_name": "x"}]}),
        json!({"served_models": [served[0], served[0]]}),
    ] {
        h.put(&path, bad).await.expect(422);
    }
    let missing = h.put(&format!("{PROVIDERS}/zzz/status"), json!({"status": "READY"})).await.expect(404);
    assert_eq!(missing.message(), "Model provider default/zzz not found");
}

#[tokio::test]
async fn a_status_that_comes_along_is_taken_with_its_message_or_none() {
    let h = Harness::start().await;
    let url = dead_url().await;
    for (name, given, message) in [
        ("p1", json!({"status": "DELETING"}), ""),
        ("p2", json!({"status": "DELETING", "status_message": "soon"}), "soon"),
        ("p3", json!({"status_message": "hello"}), "hello"),
    ] {
        let mut body = given.clone();
        body["name"] = json!(name);
        body["host_url"] = json!(url);
        let made = h.post(PROVIDERS, body).await.expect(201).body;
        assert_eq!(made["status_message"], message, "{name}");
        assert_eq!(made["status"], given.get("status").cloned().unwrap_or(json!("CREATED")), "{name}");
    }
    let twice = h.post(PROVIDERS, json!({"name": "p1", "host_url": url})).await.expect(409);
    assert_eq!(twice.message(), "Model provider default/p1 already exists");
}

#[tokio::test]
async fn providers_are_filtered_and_sorted_by_each_of_their_fields() {
    let h = Harness::start().await;
    let url = dead_url().await;
    for body in [
        json!({"name": "aa", "status": "DELETING", "project": "p", "model_deployment_id": "default/d"}),
        json!({"name": "bb", "status": "DELETED", "description": "the second"}),
    ] {
        let mut body = body;
        body["host_url"] = json!(url);
        h.post(PROVIDERS, body).await.expect(201);
    }
    for (query, wanted) in [
        ("filter[name]=bb", "bb"),
        ("filter[status]=DELETING", "aa"),
        ("filter[project]=p", "aa"),
        ("filter[model_deployment_id]=default/d", "aa"),
        ("filter[description][$like]=SECOND", "bb"),
        ("filter[host_url][$like]=127.0.0.1&sort=-status", "aa bb"),
        ("filter[host_url][$like]=127.0.0.1&sort=status", "bb aa"),
        ("filter[workspace]=system", ""),
        ("filter[created_at][$lt]=2020-01-01", ""),
    ] {
        let page = h.get(&format!("{PROVIDERS}?{query}")).await.expect(200);
        assert_eq!(names_in(&page.body), wanted, "{query}");
    }
}
