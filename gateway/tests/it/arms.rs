//! Two models of one provider under one name: each is an arm of its own.

use proto_shared::ProviderRoute;
use proto_shared::routing::{ProviderShare, Routing, StickyKey, Strategy};
use serde_json::Value;

use crate::harness::scripted::{SOON, Scripted};
use crate::harness::*;

const SMALL: &str = "x/8b";
const LARGE: &str = "x/70b";
const SERVED_BY: &str = "x-nimgate-served-by";

fn share(provider: &str, model: &str, weight: u32) -> ProviderShare {
    ProviderShare {
        workspace: "default".parse().unwrap(),
        provider: provider.parse().unwrap(),
        model: Some(model.to_owned()),
        weight,
        tier: None,
    }
}

/// Model `m1`: both models of `p1`, with these weights.
fn two_models(url: &str, [small, large]: [u32; 2], change: impl FnOnce(&mut ProviderRoute)) -> Routes {
    Routes::new().provider_with("p1", url, change).model("m1", SMALL, &["p1", "p1"]).but(|model| {
        model.candidates[1].served_name = LARGE.into();
        let providers = vec![share("p1", SMALL, small), share("p1", LARGE, large)];
        model.routing = Routing { strategy: Strategy::Weighted, sticky: StickyKey::Auto, providers };
    })
}

/// What the upstream was asked for, in order.
fn asked(upstream: &Scripted) -> Vec<String> {
    let model =
        |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["model"].as_str().map(str::to_owned);
    upstream.heard().iter().filter_map(|heard| model(&heard.body)).collect()
}

async fn arms_of_users(world: &World, users: std::ops::Range<usize>) -> Vec<String> {
    let mut arms = Vec::new();
    for user in users {
        let body = format!(r#"{{"model":"m1","user":"u{user}"}}"#);
        let reply = world.post(&format!("{OPENAI}{CHAT}"), body).await;
        assert_eq!(reply.status, 200);
        arms.push(reply.header(SERVED_BY).unwrap().to_owned());
    }
    arms
}

#[tokio::test]
async fn requests_are_split_by_weight_and_answers_say_by_which_model() {
    let upstream = Scripted::obliging().await;
    let world = World::start(two_models(&upstream.url(), [3, 1], |_| {})).await;
    let mut told = Vec::new();
    for _ in 0..40 {
        let reply = world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await;
        told.push(reply.header(SERVED_BY).unwrap().strip_prefix("default/p1:").unwrap().to_owned());
    }
    assert_eq!(asked(&upstream), told);
    let large = told.iter().filter(|model| *model == LARGE).count();
    assert!(large.abs_diff(10) <= 2, "{large} of 40");
}

#[tokio::test]
async fn explain_tells_both_models_and_what_each_gets() {
    let world = World::start(two_models("http://127.0.0.1:9", [3, 1], |_| {})).await;
    let table = world.app.routes.load_full();
    let told = gateway::explain::explain(&table, "/v1/chat/completions", Some("m1"));
    let of =
        |by: &gateway::explain::ExplainedCandidate| (by.served_model.clone().unwrap(), by.weight, by.tier);
    let expected = [(SMALL.to_owned(), Some(3), None), (LARGE.to_owned(), Some(1), None)];
    assert_eq!(told.candidates.iter().map(of).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn users_stay_and_come_back_when_an_arm_does() {
    let upstream = Scripted::obliging().await;
    let world = World::start(two_models(&upstream.url(), [1, 1], |_| {})).await;
    let before = arms_of_users(&world, 0..30).await;
    assert_eq!(arms_of_users(&world, 0..30).await, before);
    let large = before.iter().filter(|arm| arm.ends_with(LARGE)).count();
    // All at one of two has a chance of one in five hundred million.
    assert!((1..30).contains(&large), "{large} of 30");
    world.publish(two_models(&upstream.url(), [1, 0], |_| {})).await;
    assert!(arms_of_users(&world, 0..30).await.iter().all(|arm| arm.ends_with(SMALL)));
    world.publish(two_models(&upstream.url(), [1, 1], |_| {})).await;
    assert_eq!(arms_of_users(&world, 0..30).await, before);
}

#[tokio::test]
async fn the_providers_route_and_the_model_in_the_body_pin_one() {
    let upstream = Scripted::obliging().await;
    let world = World::start(two_models(&upstream.url(), [1, 0], |_| {})).await;
    let body = format!(r#"{{"model":"{LARGE}"}}"#);
    assert_eq!(world.post(&format!("{PROVIDER}{CHAT}"), body).await.status, 200);
    assert_eq!(asked(&upstream), [LARGE]);
}

#[tokio::test]
async fn who_waited_in_vain_for_a_place_does_not_wait_again_for_the_same_provider() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.hang().await;
    })
    .await;
    let routes = two_models(&upstream.url(), [1, 1], |p| p.backend.num_concurrent_requests = 1);
    let world = World::limited(routes, |limits| limits.waiting_timeout = SOON).await;
    let mut first = world.connect().await;
    first.send(Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY).encode()).await;
    upstream.heard_requests(1).await;
    world.post(&format!("{MODEL}{CHAT}"), CHAT_BODY).await.assert_refusal(429, "provider_busy");
    assert_eq!(world.metric("nimgate_provider_busy_total{"), Some(1.0));
}

#[tokio::test]
async fn an_answer_of_one_model_that_says_busy_is_bettered_by_the_other() {
    let upstream = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            let is_large = heard.body.windows(LARGE.len()).any(|text| text == LARGE.as_bytes());
            let status = if is_large { "200 OK" } else { "429 Too Many Requests" };
            line.write(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}")).await;
        }
    })
    .await;
    let world = World::start(two_models(&upstream.url(), [1_000, 1], |_| {})).await;
    let reply = world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await;
    assert_eq!((reply.status, reply.header(SERVED_BY)), (200, Some("default/p1:x/70b")));
    assert_eq!(asked(&upstream), [SMALL, LARGE]);
}
