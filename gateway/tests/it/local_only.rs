//! What is marked as local only reaches no hosted provider, on any route.

use proto_shared::{LocalOnly, LocalRule};

use crate::harness::scripted::Scripted;
use crate::harness::*;

const BODY: &str = r#"{"model":"m1"}"#;

fn marked(left_out: &[&str]) -> Option<LocalOnly> {
    let left_out = left_out.iter().map(|name| (*name).to_owned()).collect();
    Some(LocalOnly { by: LocalRule::Model("default/m1".into()), left_out })
}

#[tokio::test]
async fn the_provider_routes_of_such_a_workspace_lead_to_local_providers_alone() {
    let (hosted, own) = (Scripted::obliging().await, Scripted::obliging().await);
    let routes = Routes::new()
        .provider("p1", &hosted.url())
        .provider_with("p2", &own.url(), |provider| provider.local = true)
        .local_only();
    let world = World::start(routes).await;
    let reply = world.post(&format!("{PROVIDER}{CHAT}"), BODY).await;
    reply.assert_refusal(403, "local_only");
    assert!(reply.text().contains("workspace default") && reply.text().contains("default/p1"));
    assert_eq!(hosted.connections(), 0);
    let local = PROVIDER.replace("p1", "p2");
    assert_eq!(world.post(&format!("{local}{CHAT}"), BODY).await.status, 200);
}

#[tokio::test]
async fn a_model_that_lost_all_who_serve_it_says_which_rule_took_them() {
    let hosted = Scripted::obliging().await;
    let routes = Routes::new()
        .provider("p1", &hosted.url())
        .model("m1", "m1", &[])
        .but(|model| model.local_only = marked(&["default/p1"]))
        .model("m2", "m2", &[])
        .but(|model| model.local_only = marked(&[]));
    let world = World::start(routes).await;
    let reply = world.post("/v1/chat/completions", BODY).await;
    reply.assert_refusal(403, "local_only");
    assert!(reply.text().contains("model default/m1 is local_only") && reply.text().contains("default/p1"));
    let nobody = world.post("/v1/chat/completions", r#"{"model":"m2"}"#).await;
    nobody.assert_refusal(404, "model_not_served");
}

#[tokio::test]
async fn a_hosted_candidate_that_a_snapshot_still_names_is_passed_over() {
    let (hosted, own) = (Scripted::obliging().await, Scripted::obliging().await);
    let routes = Routes::new()
        .provider("p1", &hosted.url())
        .provider_with("p2", &own.url(), |provider| provider.local = true)
        .model("m1", "m1", &["p1", "p2"])
        .but(|model| model.local_only = marked(&[]));
    let world = World::start(routes).await;
    for _ in 0..4 {
        assert_eq!(world.post("/v1/chat/completions", BODY).await.status, 200);
    }
    assert_eq!(hosted.connections(), 0);
}
