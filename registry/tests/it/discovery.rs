use serde_json::{Value, json};

use crate::fake_provider::{Behaviour, FakeProvider};
use crate::harness::{Harness, MODELS, PROVIDERS, SECRETS};

async fn ready(h: &Harness, name: &str, fake: &FakeProvider) -> Value {
    h.post(PROVIDERS, json!({"name": name, "host_url": fake.url()})).await.expect(201);
    h.provider_where(name, |p| p["status"] == "READY").await
}

#[tokio::test]
async fn a_new_provider_is_asked_for_its_models_and_they_become_routable() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["meta/llama-3.2-1b-instruct", "a:b", "a/b"]).await;
    let provider = ready(&h, "p1", &fake).await;
    assert_eq!(provider["status_message"], "");
    let served = provider["served_models"].as_array().unwrap();
    assert_eq!(served[0]["model_entity_id"], "default/meta-llama-3-2-1b-instruct");
    assert_ne!(served[1]["model_entity_id"], served[2]["model_entity_id"]);

    let snapshot = h.snapshot_where(|s| s.models.len() == 3).await;
    assert!(snapshot.providers[0].ready);
    let model = h.get(&format!("{MODELS}/meta-llama-3-2-1b-instruct")).await.expect(200).body;
    assert_eq!(model["model_providers"], json!(["default/p1"]));
    assert_eq!(model["description"], "Auto-discovered model from provider default/p1");
    assert_eq!(model["api_endpoint"]["model_id"], "meta-llama-3-2-1b-instruct");
    assert_eq!(model["backend_format"], "OPENAI_CHAT");
    assert_eq!(h.get(MODELS).await.expect(200).body["pagination"]["total_results"], 3);
}

#[tokio::test]
async fn probes_join_the_path_and_carry_key_and_headers() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    h.post(SECRETS, json!({"name": "key1", "value": "k-1\n"})).await.expect(201);
    let body = json!({
        "name": "p1",
        "host_url": format!("{}/base/v1/", fake.url()),
        "api_key_secret_name": "key1",
        "auth_header_format": "X-Api-Key: {{ auth_secret }}",
        "default_extra_headers": {"X-One": "default", "X-Two": "default"},
        "required_extra_headers": {"X-Two": "required"},
    });
    h.post(PROVIDERS, body).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    let (path, headers) = fake.seen().swap_remove(0);
    assert_eq!(path, "/base/v1/models");
    assert_eq!(headers["x-api-key"], "k-1");
    assert!(!headers.contains_key("authorization"));
    assert_eq!(
        (&headers["x-one"], &headers["x-two"]),
        (&"default".parse().unwrap(), &"required".parse().unwrap())
    );
    assert_eq!(headers["host"], fake.address.to_string());
}

#[tokio::test]
async fn enabled_models_narrow_what_is_routable() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["one", "two"]).await;
    let body = json!({"name": "p1", "host_url": fake.url(), "enabled_models": ["two", "absent"]});
    h.post(PROVIDERS, body).await.expect(201);
    let snapshot = h.snapshot_where(|s| !s.models.is_empty()).await;
    assert_eq!(snapshot.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["two"]);
}

#[tokio::test]
async fn a_ready_provider_that_dies_is_shown_as_such_keeps_its_routes_and_comes_back() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    ready(&h, "p1", &fake).await;
    fake.behave(Behaviour::Status(503));
    let dead = h.provider_where("p1", |p| p["status"] == "ERROR").await;
    assert_eq!(dead["status_message"], "Provider discovery failed: answered 503");
    let snapshot = h.snapshot_where(|s| !s.providers[0].ready).await;
    assert_eq!(snapshot.models.len(), 1);
    fake.behave(Behaviour::Lists(vec!["tiny", "more"]));
    h.provider_where("p1", |p| p["status"] == "READY").await;
    h.snapshot_where(|s| s.models.len() == 2 && s.providers[0].ready).await;
}

#[tokio::test]
async fn a_failure_is_told_as_a_class_and_never_in_the_providers_words() {
    let h = Harness::start().await;
    let elsewhere = FakeProvider::listing(&["stolen"]).await;
    let cases = [
        (Behaviour::Status(401), "answered 401"),
        (Behaviour::RedirectsTo(format!("{}/v1/models", elsewhere.url())), "answered 302"),
        (Behaviour::Hangs, "timed out"),
    ];
    for (number, (behaviour, class)) in cases.into_iter().enumerate() {
        let fake = FakeProvider::start(behaviour).await;
        let name = format!("p{number}");
        h.post(PROVIDERS, json!({"name": name, "host_url": fake.url()})).await.expect(201);
        let provider = h.provider_where(&name, |p| p["status"] == "ERROR").await;
        assert_eq!(provider["status_message"], format!("Provider discovery failed: {class}"));
        assert_eq!(provider["served_models"], json!([]));
    }
    assert!(elsewhere.seen().is_empty(), "a redirect was followed");

    h.post(PROVIDERS, json!({"name": "closed", "host_url": "http://127.0.0.1:9"})).await.expect(201);
    let closed = h.provider_where("closed", |p| p["status"] == "ERROR").await;
    assert_eq!(closed["status_message"], "Provider discovery failed: connection refused");
    let tls = format!("https://{}", elsewhere.address);
    h.post(PROVIDERS, json!({"name": "tls", "host_url": tls})).await.expect(201);
    let tls = h.provider_where("tls", |p| p["status"] == "ERROR").await;
    assert_eq!(tls["status_message"], "Provider discovery failed: TLS failed");
}

#[tokio::test]
async fn a_provider_without_a_model_list_is_ready_for_its_provider_route() {
    let h = Harness::start().await;
    for (number, behaviour) in
        [Behaviour::Status(404), Behaviour::Says("<html>".into())].into_iter().enumerate()
    {
        let fake = FakeProvider::start(behaviour).await;
        let provider = ready(&h, &format!("p{number}"), &fake).await;
        assert!(provider["status_message"].as_str().unwrap().contains("entity routing is disabled"));
    }
}

#[tokio::test]
async fn more_hung_providers_than_lanes_do_not_delay_the_others() {
    let h = Harness::start().await;
    let hung = FakeProvider::start(Behaviour::Hangs).await;
    let fine = FakeProvider::listing(&["tiny"]).await;
    for number in 0..20 {
        h.post(PROVIDERS, json!({"name": format!("h{number}"), "host_url": hung.url()})).await.expect(201);
    }
    h.provider_where("h0", |p| p["status"] == "ERROR").await;
    ready(&h, "fine", &fine).await;
}

#[tokio::test]
async fn looking_again_without_news_writes_nothing() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    let before = ready(&h, "p1", &fake).await;
    let generation = h.snapshot_where(|s| s.providers[0].ready).await.generation;
    let looks = fake.seen().len();
    h.provider_where("p1", |_| fake.seen().len() >= looks + 3).await;
    assert_eq!(h.snapshot().generation, generation);
    assert_eq!(h.get(&format!("{PROVIDERS}/p1")).await.body, before);
}

#[tokio::test]
async fn a_new_key_is_tried_at_once() {
    let h = Harness::start().await;
    let fake = FakeProvider::start(Behaviour::Status(401)).await;
    h.post(SECRETS, json!({"name": "key1", "value": "old"})).await.expect(201);
    let body = json!({"name": "p1", "host_url": fake.url(), "api_key_secret_name": "key1"});
    h.post(PROVIDERS, body).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "ERROR").await;
    fake.behave(Behaviour::Lists(vec!["tiny"]));
    h.patch(&format!("{SECRETS}/key1"), json!({"value": "new"})).await.expect(200);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    assert_eq!(fake.last_header("authorization").as_deref(), Some("Bearer new"));
}

#[tokio::test]
async fn a_list_longer_than_the_limit_is_not_read() {
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let key = std::sync::Arc::new(proto_shared::KeyRing::generate().unwrap());
    let mut config = crate::harness::config(dir.path(), &key);
    config.discovery.body_bytes_max = 100;
    let h = Harness::with(config, dir).await;
    let fake =
        FakeProvider::start(Behaviour::Says(format!("{{\"data\":[],\"x\":\"{}\"}}", "y".repeat(200)))).await;
    h.post(PROVIDERS, json!({"name": "p1", "host_url": fake.url()})).await.expect(201);
    let provider = h.provider_where("p1", |p| p["status"] == "ERROR").await;
    let message = "Provider discovery failed: its model list is longer than 100 bytes";
    assert_eq!(provider["status_message"], message);
}

#[tokio::test]
async fn a_provider_behind_the_operators_own_authority_is_asked_over_tls() {
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let key = std::sync::Arc::new(proto_shared::KeyRing::generate().unwrap());
    let (fake, certificate) = FakeProvider::listing_over_tls(&["tiny"]).await;
    let mut config = crate::harness::config(dir.path(), &key);
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, certificate).unwrap();
    config.discovery.upstream_ca = Some(path);
    let h = Harness::with(config, dir).await;
    let url = format!("https://localhost:{}", fake.address.port());
    h.post(PROVIDERS, json!({"name": "p1", "host_url": url})).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    h.snapshot_where(|s| s.models.len() == 1).await;
}
