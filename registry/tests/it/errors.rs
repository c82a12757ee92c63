use http::Method;
use serde_json::{Value, json};

use crate::harness::{Harness, PROVIDERS};

#[tokio::test]
async fn every_fault_of_a_provider_is_refused_by_field() {
    let h = Harness::start().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "p1", "host_url": "http://127.0.0.1:9"});
        body[field] = value;
        body
    };
    for (field, value, status) in [
        ("name", json!(""), 422),
        ("name", json!(7), 422),
        ("name", json!("a--b"), 422),
        ("name", json!("x".repeat(300)), 422),
        ("host_url", json!("ftp://h"), 422),
        ("host_url", json!(""), 422),
        ("host_url", json!("http://me:key@h"), 422),
        ("host_url", json!("http://h/a?b"), 422),
        ("host_url", json!("http://169.254.169.254/"), 400),
        ("host_url", json!("http://127.0.0.1:2375"), 400),
        ("auth_header_format", json!("Authorization"), 422),
        ("auth_header_format", json!("Host: {{ auth_secret }}"), 422),
        ("api_key_secret_name", json!("absent"), 400),
        ("api_key_secret_name", json!("Not A Name"), 400),
        ("enabled_models", json!("tiny"), 422),
        ("enabled_models", json!([1]), 422),
        ("default_extra_body", json!([]), 422),
        ("default_extra_headers", json!({"Authorization": "Bearer k"}), 400),
        ("required_extra_headers", json!({"Cookie": "k"}), 400),
        ("required_extra_headers", json!({"Transfer-Encoding": "chunked"}), 400),
        ("required_extra_headers", json!({"X": "a\r\nb: c"}), 400),
        ("required_extra_headers", json!({"X": 1}), 422),
        ("timeouts", json!({"idle_timeout_ms": 0}), 422),
        ("timeouts", json!({"idle_timeout_ms": "1s"}), 422),
        ("replay", json!("always"), 422),
        ("status", json!("ready"), 422),
        ("status_message", json!("x".repeat(1001)), 422),
        ("description", json!("x".repeat(1001)), 422),
    ] {
        let shown = format!("{field} = {value}");
        let answer = h.post(PROVIDERS, with(field, value)).await;
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", answer.text);
        let param = answer.body["error"]["param"].as_str().unwrap_or_default();
        assert_eq!(param.split('.').next(), Some(field), "{shown}");
        if status == 422 {
            assert_eq!(answer.body["detail"][0]["loc"][1], field, "{shown}");
        } else {
            answer.message();
        }
        assert!(!answer.text.contains("me:key") && !answer.text.contains("Bearer k"), "{shown}");
    }
    assert_eq!(h.get(PROVIDERS).await.body["pagination"]["total_results"], 0, "nothing was half-written");
    assert_eq!(h.snapshot().generation, 1);
}

#[tokio::test]
async fn a_refused_address_names_the_setting() {
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let key = std::sync::Arc::new(proto_shared::KeyRing::generate().unwrap());
    let mut config = crate::harness::config(dir.path(), &key);
    config.egress = proto_shared::egress::EgressPolicy::default();
    let h = Harness::with(config, dir).await;
    let answer = h.post(PROVIDERS, json!({"name": "p1", "host_url": "http://10.0.0.1"})).await.expect(400);
    assert!(answer.message().contains("egress.allow"), "{}", answer.text);
}

#[tokio::test]
async fn bodies_that_are_not_an_object_in_json_are_refused() {
    let h = Harness::start().await;
    for (kind, body, fault) in [
        ("application/json", "{\"name\": }", "json_invalid"),
        ("application/json", "", "missing"),
        ("application/json", "[]", "model_attributes_type"),
        ("application/json", "null", "model_attributes_type"),
        ("text/plain", "{}", "model_attributes_type"),
    ] {
        let answer = h.raw(Method::POST, PROVIDERS, kind, body.as_bytes()).await.expect(422);
        assert_eq!(answer.body["detail"][0]["type"], fault, "{kind} {body}");
    }
    let both = h.post(PROVIDERS, json!({})).await.expect(422);
    assert_eq!(both.body["detail"].as_array().unwrap().len(), 2, "all faults together");
    let deep = "[".repeat(10_000);
    h.raw(Method::POST, PROVIDERS, "application/json", deep.as_bytes()).await.expect(422);
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(registry::config::REQUEST_BYTES_MAX));
    h.raw(Method::POST, PROVIDERS, "application/json", long.as_bytes()).await.expect(413).message();
}

#[tokio::test]
async fn unknown_routes_and_methods_have_the_usual_body() {
    let h = Harness::start().await;
    assert_eq!(h.get("/nope").await.expect(404).message(), "Not Found");
    let answer = h.delete("/health/live").await.expect(405);
    assert_eq!(answer.message(), "Method Not Allowed");
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
    h.get(&format!("{PROVIDERS}/%ff")).await.expect(400).message();
}

#[tokio::test]
async fn the_registry_says_that_it_lives() {
    let h = Harness::start().await;
    assert_eq!(h.get("/health/live").await.expect(200).body, json!({"status": "live"}));
    assert_eq!(h.get("/health/ready").await.expect(200).body, json!({"status": "ready"}));
    assert_eq!(h.get("/status").await.expect(200).body["status"], "healthy");
    assert_eq!(h.get("/cluster-info").await.expect(200).body["platform_version"], "0.3.0");
}
