use proto_shared::egress::EgressPolicy;
use registry::{Applied, DeclaredProvider};
use serde_json::{Value, json};

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, PROVIDERS, SECRETS};

fn declared(body: &Value) -> DeclaredProvider {
    DeclaredProvider::parse("default", body, &EgressPolicy::local()).unwrap()
}

#[tokio::test]
async fn a_declared_provider_is_made_once_changed_when_its_file_changes_and_never_twice() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    let first =
        json!({"name": "p1", "host_url": fake.url(), "api_key_secret_name": "p1", "pinned_model": "m"});
    let declare = async |body: &Value, key: Option<&str>| {
        h.registry.declare(&declared(body), key.map(|key| key.to_owned().into())).await
    };
    assert_eq!(declare(&first, Some("sk-1")).await.unwrap(), Applied::Created);
    assert_eq!(declare(&first, Some("sk-1")).await.unwrap(), Applied::Unchanged);
    assert_eq!(declare(&first, None).await.unwrap(), Applied::Unchanged, "the stored key stays");
    let secret = h.get(&format!("{SECRETS}/p1")).await.expect(200).body;
    assert_eq!(declare(&first, Some("sk-2")).await.unwrap(), Applied::Updated);
    assert_eq!(h.get(&format!("{SECRETS}/p1")).await.expect(200).body["created_at"], secret["created_at"]);

    let second = json!({"name": "p1", "host_url": fake.url(), "num_concurrent_requests": 4});
    assert_eq!(declare(&second, None).await.unwrap(), Applied::Updated);
    let stored = h.get(&format!("{PROVIDERS}/p1")).await.expect(200).body;
    assert_eq!(stored["num_concurrent_requests"], 4);
    assert!(stored.get("pinned_model").is_none());
}

#[tokio::test]
async fn what_can_not_be_declared_is_refused_and_leaves_nothing() {
    let h = Harness::start().await;
    let keyless = json!({"name": "p1", "host_url": "http://127.0.0.1:1", "api_key_secret_name": "absent"});
    let refused = h.registry.declare(&declared(&keyless), None).await.unwrap_err();
    assert!(refused.to_string().contains("absent"), "{refused}");
    h.get(&format!("{PROVIDERS}/p1")).await.expect(404);

    let mine = json!({"name": "p2", "host_url": "http://127.0.0.1:1", "model_deployment_id": "default/d"});
    h.post(PROVIDERS, mine).await.expect(201);
    let taken = json!({"name": "p2", "host_url": "http://127.0.0.1:2"});
    let refused = h.registry.declare(&declared(&taken), None).await.unwrap_err();
    assert!(refused.to_string().contains("deployment"), "{refused}");
}
