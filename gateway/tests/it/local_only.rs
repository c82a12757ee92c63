//! What is marked as local only reaches no hosted provider, on any route.

use proto_shared::snapshot::Replay;
use proto_shared::{LocalOnly, LocalRule};

use crate::harness::failing::{Failing, Failure};
use crate::harness::scripted::{SSE_HEAD, Scripted, chunk};
use crate::harness::tls::Authority;
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

/// Model `m1`, local only, at `p1` on this machine; its snapshot names hosted `p2` as well.
fn with_a_hosted_one(
    url: &str,
    change: impl Fn(&mut proto_shared::ProviderRoute),
    hosted: &Scripted,
) -> Routes {
    Routes::new()
        .provider_with("p1", url, |provider| {
            change(provider);
            provider.local = true;
        })
        // Nothing but the mark keeps requests from it.
        .provider_with("p2", &hosted.url(), |provider| provider.replay = Replay::Safe)
        .model("m1", "m1", &["p1", "p2"])
        .but(|model| model.local_only = marked(&[]))
}

#[tokio::test]
async fn whatever_fails_no_hosted_provider_is_connected_to() {
    let authority = Authority::new();
    let hosted = Scripted::obliging().await;
    for failure in Failure::ALL {
        let failing = Failing::start(failure, &authority).await;
        let routes = with_a_hosted_one(&failing.url, failing.settings(), &hosted);
        let files = tempfile::tempdir().unwrap();
        let root = authority.root_in(files.path());
        let world = World::start_with(routes, |config| config.upstream_ca = Some(root)).await;
        // Often enough that it is left out as well, where it is a fault.
        for body in [CHAT_BODY, STREAM_BODY, CHAT_BODY, STREAM_BODY] {
            let reply = world.post(&format!("{OPENAI}{CHAT}"), body).await;
            assert!(reply.status >= 400, "{failure:?}: {}", reply.status);
        }
        assert_eq!(hosted.connections(), 0, "{failure:?}");
    }
}

#[tokio::test]
async fn neither_is_one_when_the_local_one_is_full() {
    let (own, hosted) =
        (Scripted::start(|mut line| async move { line.hang().await }).await, Scripted::obliging().await);
    let one_place = |provider: &mut proto_shared::ProviderRoute| provider.backend.num_concurrent_requests = 1;
    let routes = with_a_hosted_one(&own.url(), one_place, &hosted);
    let world = World::limited(routes, |limits| limits.waiting_per_provider_max = 0).await;
    let mut first = world.connect().await;
    first.send(Ask::post(&format!("{OPENAI}{CHAT}"), BODY).encode()).await;
    own.accepted(1).await;
    world.post(&format!("{OPENAI}{CHAT}"), BODY).await.assert_refusal(429, "provider_busy");
    assert_eq!(hosted.connections(), 0);
}

#[tokio::test]
async fn a_stream_that_breaks_off_does_not_go_on_at_a_hosted_one() {
    let own = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        let delta = r#"{"choices":[{"index":0,"delta":{"content":"so far"}}]}"#;
        line.write(chunk(format!("data: {delta}\n\n"))).await;
    })
    .await;
    let hosted = Scripted::obliging().await;
    let routes = with_a_hosted_one(&own.url(), |_| {}, &hosted).but(|model| model.resume = true);
    let world = World::start(routes).await;
    let reply = world.post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).await;
    assert!(reply.text().contains("so far") && !reply.text().contains("[DONE]"), "{}", reply.text());
    assert_eq!(hosted.connections(), 0);
}
