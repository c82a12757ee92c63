use serde_json::json;

use crate::fake_provider::{Behaviour, FakeProvider};
use crate::harness::{Harness, PROVIDERS, SECRETS};

const CANARY: &str = "sk-canary-5f1d";

#[tokio::test]
async fn a_secret_is_in_no_answer_no_feed_line_and_no_file() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    let mut answers = vec![
        h.post(SECRETS, json!({"name": "key1", "value": CANARY})).await.expect(201),
        h.post(SECRETS, json!({"name": "key1", "value": CANARY})).await.expect(409),
        h.post(SECRETS, json!({"name": "KEY", "value": CANARY})).await.expect(422),
        h.post(SECRETS, json!({"value": CANARY})).await.expect(422),
        h.post(SECRETS, json!({"name": "key2", "value": [CANARY]})).await.expect(422),
        h.raw(http::Method::POST, SECRETS, "text/plain", CANARY.as_bytes()).await.expect(422),
        h.raw(http::Method::POST, SECRETS, "application/json", CANARY.as_bytes()).await.expect(422),
    ];
    let provider = json!({"name": "p1", "host_url": fake.url(), "api_key_secret_name": "key1"});
    answers.push(h.post(PROVIDERS, provider).await.expect(201));
    h.provider_where("p1", |p| p["status"] == "READY").await;
    assert_eq!(fake.last_header("authorization"), Some(format!("Bearer {CANARY}")), "it is in use");
    fake.behave(Behaviour::Says(CANARY.into()));
    h.provider_where("p1", |p| p["status_message"] != "").await;
    answers
        .push(h.patch(&format!("{SECRETS}/key1"), json!({"value": format!("{CANARY}-2")})).await.expect(200));
    for path in [SECRETS, PROVIDERS, &format!("{SECRETS}/key1"), &format!("{PROVIDERS}/p1"), "/status"] {
        answers.push(h.get(path).await.expect(200));
    }
    answers.push(h.get(&format!("{SECRETS}/key1/access")).await.expect(403));
    for answer in answers {
        assert!(!answer.text.contains(CANARY), "{}", answer.text);
    }
    let published = h.registry.snapshots();
    let line = published.borrow().line.clone();
    assert!(!contains(&line, CANARY) && contains(&line, "wrapped_key"));
    assert!(!contains(&h.files(), CANARY));
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
