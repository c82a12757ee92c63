//! Reading a secret's value, and the one secret that the environment gives.

use proto_shared::Caller;
use registry::SecretAccess;
use serde_json::json;

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, SECRETS, config};

const NGC: &str = "/apis/secrets/v2/workspaces/system/secrets";

#[tokio::test]
async fn a_value_is_given_to_callers_on_this_machine_and_denied_by_default() {
    let h = Harness::start().await;
    h.post(SECRETS, json!({"name": "key1", "value": "sk-1"})).await.expect(201);
    let path = format!("{SECRETS}/key1/access");
    let given = h.get_for(Caller::Loopback, &path).await.expect(200);
    assert_eq!(given.body, json!({"name": "key1", "workspace": "default", "value": "sk-1"}));
    assert_eq!(given.headers["cache-control"], "no-store");
    for refused in [h.get_for(Caller::Other, &path).await, h.get(&path).await] {
        let refused = refused.expect(403);
        assert!(refused.message().contains("127.0.0.1"), "{}", refused.text);
        assert!(!refused.text.contains("sk-1"));
    }
    let missing = h.get_for(Caller::Loopback, &format!("{SECRETS}/nope/access")).await.expect(404);
    assert_eq!(missing.message(), "Secret default/nope not found");
}

#[tokio::test]
async fn the_setting_switches_reading_off_and_the_answer_names_it() {
    let h = Harness::start().await;
    h.post(SECRETS, json!({"name": "key1", "value": "sk-1"})).await.expect(201);
    let (dir, key) = h.stop().await;
    let mut config = config(dir.path(), &key);
    config.secret_access = SecretAccess::Off;
    let h = Harness::with(config, dir).await;
    let refused = h.get_for(Caller::Loopback, &format!("{SECRETS}/key1/access")).await.expect(403);
    assert!(refused.message().contains("secrets.access = true"), "{}", refused.text);
}

#[tokio::test]
async fn the_ngc_key_is_what_the_environment_says_and_can_not_be_changed_here() {
    let h = Harness::start().await;
    h.get(&format!("{NGC}/ngc-api-key")).await.expect(404);
    h.get_for(Caller::Loopback, &format!("{NGC}/ngc-api-key/access")).await.expect(404);
    let taken = h.post(NGC, json!({"name": "ngc-api-key", "value": "mine"})).await.expect(403);
    assert!(taken.message().starts_with("Cannot overwrite the default NGC API key secret"));

    let mut made = Vec::new();
    let mut restarted = h;
    for value in ["nvapi-1", "nvapi-1", "nvapi-2"] {
        let (dir, key) = restarted.stop().await;
        let mut config = config(dir.path(), &key);
        config.ngc_api_key = Some(value.to_owned().into());
        restarted = Harness::with(config, dir).await;
        let given = restarted.get_for(Caller::Loopback, &format!("{NGC}/ngc-api-key/access")).await;
        assert_eq!(given.expect(200).body["value"], value);
        made.push(restarted.get(&format!("{NGC}/ngc-api-key")).await.expect(200).body);
        assert_eq!(restarted.get(NGC).await.expect(200).body["pagination"]["total_results"], 1);
    }
    assert_eq!(made[0], made[1], "nothing changes while the value does not");
    assert_ne!(made[1]["updated_at"], made[2]["updated_at"]);
    restarted.patch(&format!("{NGC}/ngc-api-key"), json!({"value": "mine"})).await.expect(403);
    restarted.delete(&format!("{NGC}/ngc-api-key")).await.expect(403);

    let gone = restarted.restart().await;
    gone.get(&format!("{NGC}/ngc-api-key")).await.expect(404);
}

#[tokio::test]
async fn a_provider_of_its_workspace_may_use_the_ngc_key() {
    let fake = FakeProvider::listing(&["tiny"]).await;
    let (dir, key) = Harness::start().await.stop().await;
    let mut config = config(dir.path(), &key);
    config.ngc_api_key = Some("nvapi-1".to_owned().into());
    let h = Harness::with(config, dir).await;
    let provider = json!({"name": "p1", "host_url": fake.url(), "api_key_secret_name": "ngc-api-key"});
    h.post("/apis/models/v2/workspaces/system/providers", provider).await.expect(201);
    h.snapshot_where(|s| s.providers.iter().any(|p| p.api_key.is_some() && p.ready)).await;
    assert_eq!(fake.last_header("authorization").as_deref(), Some("Bearer nvapi-1"));
}
