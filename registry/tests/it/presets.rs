//! Presets, pinned models, and how a provider is spoken to.

use serde_json::{Value, json};

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, MODELS, PROVIDERS};

const PRESETS: &str = "/apis/models/v2/provider-presets";

/// Its providers are on their way out from the beginning, so that nobody asks the real ones for their models.
#[tokio::test]
async fn a_preset_fills_in_what_is_left_out_and_is_remembered() {
    let h = Harness::start().await;
    let body = json!({"name": "g1", "preset": "gemini", "status": "DELETING", "pinned_model": "gemini-2.5-pro",
                      "chat_traits": {"takes_audio": false}});
    let made = h.post(PROVIDERS, body).await.expect(201);
    assert_eq!(made.body["preset"], "gemini");
    assert_eq!(made.body["host_url"], "https://generativelanguage.googleapis.com/v1beta/openai");
    let traits = &made.body["chat_traits"];
    assert_eq!((&traits["thought_signatures"], &traits["takes_audio"]), (&json!(true), &json!(false)));

    let body = json!({"name": "a1", "preset": "anthropic", "status": "DELETING", "default_extra_headers": {"x-team": "t"}});
    let made = h.post(PROVIDERS, body).await.expect(201);
    assert_eq!(made.body["auth_header_format"], "x-api-key: {{ auth_secret }}");
    assert_eq!(made.body["default_extra_headers"], json!({"x-team": "t"}), "the owner's word stands");

    let generation = made.generation().unwrap();
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    let backend = &snapshot.providers.iter().find(|p| p.name.as_str() == "g1").unwrap().backend;
    assert!(backend.chat.tool_messages_named && !backend.chat.takes_audio);
    assert_eq!(backend.pinned_model.as_deref(), Some("gemini-2.5-pro"));
}

#[tokio::test]
async fn what_is_not_set_is_not_shown_and_what_is_left_out_of_a_put_is_reset() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    let path = format!("{PROVIDERS}/p1");
    let ours = ["preset", "backend_format", "pinned_model", "uses_reasoning_parser", "chat_traits"];
    let full = json!({"host_url": fake.url(), "backend_format": "OPENAI_RESPONSES", "uses_reasoning_parser": true,
                      "num_concurrent_requests": 16, "pinned_model": "m", "preset": "vllm",
                      "chat_traits": {"reasoning_replay": "think_tags", "omit_fields": ["user"]}});
    let made = h.put(&path, full.clone()).await.expect(200);
    for field in ours.into_iter().chain(["num_concurrent_requests"]) {
        assert!(made.body[field] == full[field] || field == "chat_traits", "{field}: {}", made.body[field]);
    }
    assert_eq!(made.body["host_url"], fake.url(), "what is given wins over the preset");
    let again = h.put(&path, made.body.clone()).await.expect(200);
    assert_eq!(again.body["chat_traits"], made.body["chat_traits"], "what was shown can be sent again");

    let reset = h.put(&path, json!({"host_url": fake.url(), "pinned_model": null})).await.expect(200);
    for field in ours {
        assert!(reset.body.get(field).is_none(), "{field}: {}", reset.body[field]);
    }
    h.provider_where("p1", |p| p["served_models"][0]["served_model_name"] == "tiny").await;
}

#[tokio::test]
async fn a_fault_of_a_setting_is_told_by_its_place() {
    let h = Harness::start().await;
    for (given, place) in [
        (json!({"preset": "tugether"}), json!(["body", "preset"])),
        (json!({"host_url": null}), json!(["body", "host_url"])),
        (json!({"preset": "generic"}), json!(["body", "host_url"])),
        (json!({"preset": "nvidia", "pinned_model": "a\nb"}), json!(["body", "pinned_model"])),
        (json!({"preset": "nvidia", "pinned_model": ""}), json!(["body", "pinned_model"])),
        (json!({"preset": "nvidia", "backend_format": "GRPC"}), json!(["body", "backend_format"])),
        (
            json!({"preset": "nvidia", "num_concurrent_requests": 0}),
            json!(["body", "num_concurrent_requests"]),
        ),
        (
            json!({"preset": "nvidia", "num_concurrent_requests": 100_001}),
            json!(["body", "num_concurrent_requests"]),
        ),
        (
            json!({"preset": "nvidia", "chat_traits": {"reasoning_replay": "loud"}}),
            json!(["body", "chat_traits", "reasoning_replay"]),
        ),
        (
            json!({"preset": "nvidia", "chat_traits": {"omit_fields": ["a", ""]}}),
            json!(["body", "chat_traits", "omit_fields", 1]),
        ),
    ] {
        let mut body = given.clone();
        body["name"] = json!("p1");
        let fault = h.post(PROVIDERS, body).await.expect(422);
        assert_eq!(fault.body["detail"][0]["loc"], place, "{given}: {}", fault.body);
    }
}

#[tokio::test]
async fn a_pinned_model_is_served_at_once_and_is_the_only_one() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["one", "two", "Org/Three.5"]).await;
    let body = json!({"name": "p1", "host_url": fake.url(), "pinned_model": "Org/Three.5"});
    let made = h.post(PROVIDERS, body).await.expect(201);
    let served = json!([{"model_entity_id": "default/org-three-5", "served_model_name": "Org/Three.5"}]);
    assert_eq!(made.body["served_models"], served);
    let ready = h.provider_where("p1", |p| p["status"] == "READY").await;
    assert_eq!((&ready["served_models"], &ready["status_message"]), (&served, &json!("")));
    h.get(&format!("{MODELS}/one")).await.expect(404);

    let other = json!({"host_url": fake.url(), "pinned_model": "unlisted"});
    let changed = h.put(&format!("{PROVIDERS}/p1"), other).await.expect(200).body;
    assert_eq!(changed["served_models"][0]["served_model_name"], "unlisted");
    let told = |p: &Value| p["status_message"].as_str().is_some_and(|m| m.contains("does not name"));
    assert_eq!(h.provider_where("p1", told).await["status"], "READY");
}

#[tokio::test]
async fn models_are_asked_for_at_the_root_of_the_api_wherever_that_is() {
    let h = Harness::start().await;
    for (name, base, asked) in [
        ("p1", "/v1beta/openai", "/v1beta/openai/models"),
        ("p2", "/v1/openai", "/v1/openai/models"),
        ("p3", "/inference/v1/", "/inference/v1/models"),
        ("p4", "", "/v1/models"),
    ] {
        let fake = FakeProvider::listing(&["tiny"]).await;
        h.post(PROVIDERS, json!({"name": name, "host_url": format!("{}{base}", fake.url())}))
            .await
            .expect(201);
        h.provider_where(name, |p| p["status"] == "READY").await;
        assert_eq!(fake.seen()[0].0, asked);
    }
}

#[tokio::test]
async fn the_presets_can_be_listed() {
    let h = Harness::start().await;
    let listed = h.get(PRESETS).await.expect(200).body;
    let data = listed["data"].as_array().unwrap();
    let named = |name: &str| data.iter().find(|preset| preset["name"] == name).unwrap().clone();
    assert!(data.len() >= 17);
    assert_eq!(named("together")["key_variable"], "TOGETHER_API_KEY");
    assert_eq!(named("nebius")["host_url"], "https://api.tokenfactory.nebius.com/v1/");
    assert_eq!(named("openai")["backend_format"], "OPENAI_RESPONSES");
    assert!(named("generic")["host_url"].is_null());
}
