//! What gateways see of a provider becomes its status and message, calmly, and changes no route.

use proto_shared::feed::GATEWAYS_PATH;
use serde_json::{Value, json};

use crate::fake_provider::{Behaviour, FakeProvider};
use crate::feed::Feed;
use crate::harness::{DEADLINE, Harness, PROVIDERS};

/// A gateway that follows and says what it has out of use.
struct FakeGateway {
    path: String,
    feed: Feed,
}

impl FakeGateway {
    async fn follow(h: &Harness, number: u8) -> Self {
        let id = format!("{number:032x}");
        let mut feed = Feed::of_gateway(h, &id).await;
        feed.next().await;
        Self { path: format!("{GATEWAYS_PATH}/{id}"), feed }
    }

    async fn says(&self, h: &Harness, out: &[(&str, &str, &str)]) {
        let out = out.iter().map(|(name, url, why)| json!({ "provider": name, "url": url, "why": why }));
        let report = json!({ "generation": 1, "busy": [], "out": out.collect::<Vec<_>>() });
        h.post(&self.path, report).await.expect(204);
    }
}

const OWN: &str = "default/own";

async fn own(h: &Harness) -> Value {
    h.get(&format!("{PROVIDERS}/own")).await.expect(200).body
}

async fn becomes(h: &Harness, status: &str, message: &str) -> Value {
    let looking = async {
        loop {
            let shown = own(h).await;
            if shown["status"] == status && shown["status_message"] == message {
                return shown;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(DEADLINE, looking).await {
        Ok(shown) => shown,
        Err(_) => panic!("it is not {status}, {message:?}: {}", own(h).await),
    }
}

/// A provider that works, as far as discovery can tell.
async fn working() -> (Harness, FakeProvider) {
    let (h, fake) = (Harness::start().await, FakeProvider::listing(&["tiny"]).await);
    h.post(PROVIDERS, json!({ "name": "own", "host_url": fake.url() })).await.expect(201);
    becomes(&h, "READY", "").await;
    (h, fake)
}

#[tokio::test]
async fn a_provider_that_its_gateway_can_not_use_is_shown_so_and_no_route_changes() {
    let (h, fake) = working().await;
    let gateway = FakeGateway::follow(&h, 1).await;
    let before = h.snapshot();
    let out = [(OWN, &*fake.url(), "connection refused"), ("default/other", &fake.url(), "answers 503")];
    gateway.says(&h, &out).await;
    becomes(&h, "ERROR", "Out of use: connection refused").await;
    for (status, count) in [("ERROR", 1), ("READY", 0)] {
        let listed = h.get(&format!("{PROVIDERS}?filter%5Bstatus%5D={status}")).await.expect(200);
        assert_eq!(listed.body["data"].as_array().unwrap().len(), count, "{status}");
    }
    let seen = &h.get("/status").await.expect(200).body["gateways"][0]["out_of_use"];
    assert_eq!(seen[0], json!({ "provider": OWN, "url": fake.url(), "reason": "connection refused" }));
    gateway.says(&h, &[]).await;
    becomes(&h, "READY", "").await;
    let after = h.snapshot();
    assert_eq!(after.generation, before.generation, "nothing is pushed");
    assert!(after.providers[0].ready && !after.models[0].candidates.is_empty());
}

#[tokio::test]
async fn of_several_gateways_it_is_told_how_many_see_it_and_who_is_gone_is_forgotten() {
    let (h, fake) = working().await;
    let (one, other) = (FakeGateway::follow(&h, 1).await, FakeGateway::follow(&h, 2).await);
    one.says(&h, &[(OWN, &fake.url(), "connection refused")]).await;
    becomes(&h, "ERROR", "Out of use: connection refused").await;
    other.says(&h, &[]).await;
    becomes(&h, "READY", "Out of use at 1 of 2 gateways: connection refused").await;
    other.says(&h, &[(OWN, &fake.url(), "no answer in time")]).await;
    becomes(&h, "ERROR", "Out of use at all 2 gateways: connection refused or no answer in time").await;
    drop(one.feed);
    becomes(&h, "ERROR", "Out of use: no answer in time").await;
    drop(other.feed);
    becomes(&h, "READY", "").await;
}

#[tokio::test]
async fn what_discovery_finds_wrong_stands_and_is_looked_at_again_when_a_gateway_sees_it_back() {
    let (h, fake) = working().await;
    let gateway = FakeGateway::follow(&h, 1).await;
    gateway.says(&h, &[(OWN, &fake.url(), "answers 500")]).await;
    becomes(&h, "ERROR", "Out of use: answers 500").await;
    fake.behave(Behaviour::Status(500));
    becomes(&h, "ERROR", "Provider discovery failed: answered 500").await;
    fake.behave(Behaviour::Lists(vec!["tiny"]));
    becomes(&h, "ERROR", "Out of use: answers 500").await;
    gateway.says(&h, &[]).await;
    becomes(&h, "READY", "").await;
}

#[tokio::test]
async fn nothing_is_written_while_gateways_say_the_same() {
    let (h, fake) = working().await;
    let gateway = FakeGateway::follow(&h, 1).await;
    gateway.says(&h, &[(OWN, &fake.url(), "answers 503")]).await;
    let shown = becomes(&h, "ERROR", "Out of use: answers 503").await;
    for _ in 0..20 {
        gateway.says(&h, &[("default/other", &fake.url(), "x"), (OWN, &fake.url(), "answers 503")]).await;
        gateway.says(&h, &[(OWN, &fake.url(), "answers 503")]).await;
    }
    gateway.says(&h, &[(OWN, &fake.url(), "answers 503"), (OWN, "http://127.0.0.1:9", "gone")]).await;
    // Another provider is made and shown meanwhile, so whatever was to be written is.
    h.post(PROVIDERS, json!({ "name": "other", "host_url": fake.url() })).await.expect(201);
    gateway.says(&h, &[(OWN, &fake.url(), "answers 503"), ("default/other", &fake.url(), "x")]).await;
    let looking = async {
        while h.get(&format!("{PROVIDERS}/other")).await.body["status_message"] != "Out of use: x" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.expect("the other is shown");
    assert_eq!(own(&h).await["updated_at"], shown["updated_at"]);
}

#[tokio::test]
async fn a_registry_that_restarts_waits_for_its_gateways_and_forgets_those_that_do_not_come() {
    let (h, fake) = working().await;
    let gateway = FakeGateway::follow(&h, 1).await;
    gateway.says(&h, &[(OWN, &fake.url(), "answers 503")]).await;
    let shown = becomes(&h, "ERROR", "Out of use: answers 503").await;
    drop(gateway);
    let h = h.restart().await;
    assert_eq!(own(&h).await["updated_at"], shown["updated_at"], "it is as it was");
    assert_eq!(own(&h).await["status"], "ERROR");
    becomes(&h, "READY", "").await;
}

#[tokio::test]
async fn a_gateway_that_has_just_begun_takes_nothing_back() {
    let (h, fake) = working().await;
    let gateway = FakeGateway::follow(&h, 1).await;
    gateway.says(&h, &[(OWN, &fake.url(), "answers 503")]).await;
    becomes(&h, "ERROR", "Out of use: answers 503").await;
    let next = FakeGateway::follow(&h, 2).await;
    h.post(&next.path, json!({ "generation": 1 })).await.expect(204);
    drop(gateway);
    let looking = async {
        while h.get("/status").await.body["gateways"].as_array().unwrap().len() > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.expect("the first is gone");
    assert_eq!(own(&h).await["status"], "ERROR");
    next.says(&h, &[]).await;
    becomes(&h, "READY", "").await;
}

#[tokio::test]
async fn where_an_owner_moves_a_provider_nothing_is_said_of_where_it_was() {
    let (h, fake) = working().await;
    let gateway = FakeGateway::follow(&h, 1).await;
    gateway.says(&h, &[(OWN, &fake.url(), "answers 503")]).await;
    becomes(&h, "ERROR", "Out of use: answers 503").await;
    let other = FakeProvider::listing(&["tiny"]).await;
    h.put(&format!("{PROVIDERS}/own"), json!({ "host_url": other.url() })).await.expect(200);
    becomes(&h, "READY", "").await;
}
