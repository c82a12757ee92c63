//! How many requests a provider or model takes, at once and a minute: what is more goes elsewhere, waits or is refused
//! before any upstream is asked.

use proto_shared::{ProviderRoute, RequestLimits};
use tokio::task::JoinHandle;

use crate::harness::scripted::{SOON, Scripted};
use crate::harness::*;

fn a_minute(limit: u32) -> impl Fn(&mut ProviderRoute) {
    move |provider| provider.backend.requests_per_minute = Some(limit)
}

async fn chat(world: &World) -> Reply {
    world.post(&format!("{MODEL}{CHAT}"), CHAT_BODY).await
}

fn retry_after(reply: &Reply) -> u32 {
    reply.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test]
async fn when_the_rate_of_one_provider_is_used_up_the_other_is_asked() {
    let (one, other) = (Scripted::obliging().await, Scripted::obliging().await);
    let routes = Routes::new().provider_with("p1", &one.url(), a_minute(8)).provider_with(
        "p2",
        &other.url(),
        a_minute(12),
    );
    let world = World::start(routes.model("m1", "m1", &["p1", "p2"])).await;
    for _ in 0..5 {
        assert_eq!(chat(&world).await.status, 200);
    }
    assert_eq!((one.heard().len(), other.heard().len()), (2, 3), "a quarter of a minute's each");
    for _ in 0..3 {
        let reply = chat(&world).await;
        reply.assert_refusal(429, "provider_rate_limited");
        assert!((1..=8).contains(&retry_after(&reply)), "{}", retry_after(&reply));
        assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
        assert!(reply.json()["detail"].as_str().unwrap().contains("requests_per_minute"), "{}", reply.text());
    }
    assert_eq!((one.heard().len(), other.heard().len()), (2, 3), "nobody is asked for what is refused");
}

#[tokio::test]
async fn the_rate_of_a_model_counts_whoever_serves_it_and_outlives_tables() {
    let upstream = Scripted::obliging().await;
    let routes = |limit| {
        let limits = RequestLimits { requests_per_minute: limit, concurrency: None };
        Routes::usual(&upstream.url(), "m1").but(move |model| model.limits = limits).model(
            "m2",
            "m1",
            &["p1"],
        )
    };
    let world = World::start(routes(Some(4))).await;
    assert_eq!(chat(&world).await.status, 200);
    for base in [MODEL, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        reply.assert_refusal(429, "model_rate_limited");
        assert!((10..=15).contains(&retry_after(&reply)));
        assert!(reply.json()["detail"].as_str().unwrap().contains("default/m1"));
    }
    assert_eq!(world.post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).await.status, 200, "it is the model's");
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), r#"{"model":"m2"}"#).await.status, 200);
    world.publish(routes(Some(4))).await;
    chat(&world).await.assert_refusal(429, "model_rate_limited");
    world.publish(routes(None)).await;
    assert_eq!(chat(&world).await.status, 200);
    assert_eq!(world.metric("nimgate_refusals_total{reason=\"model_rate_limited\""), Some(3.0));
}

#[tokio::test]
async fn a_model_is_answered_as_often_at_once_as_its_owner_wants() {
    let upstream = Scripted::start(|mut line| async move {
        while line.request().await.is_some() {
            line.left().await;
        }
    })
    .await;
    let limited = |concurrency| {
        let limits = RequestLimits { concurrency: Some(concurrency), requests_per_minute: None };
        Routes::usual(&upstream.url(), "m1").but(move |model| model.limits = limits)
    };
    let world = World::limited(limited(2), |limits| {
        limits.waiting_timeout = 4 * SOON;
        limits.waiting_per_model_max = 1;
    })
    .await;
    let ask = |world: &World| -> JoinHandle<Reply> {
        let address = world.address;
        tokio::spawn(async move {
            RawClient::connect(address).await.ask(&Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY)).await
        })
    };
    let inside = [ask(&world), ask(&world)];
    eventually("both are there", || upstream.heard().len() == 2).await;
    let third = ask(&world);
    eventually("it waits", || world.metric("nimgate_waiting_for_model") == Some(1.0)).await;
    let refused = chat(&world).await;
    refused.assert_refusal(429, "model_busy");
    assert_eq!(refused.header("retry-after"), Some("2"));
    within("it waited in vain", third).await.unwrap().assert_refusal(429, "model_busy");
    let fourth = ask(&world);
    eventually("it waits", || world.metric("nimgate_waiting_for_model") == Some(1.0)).await;
    world.publish(limited(3)).await;
    eventually("there is a place more", || upstream.heard().len() == 3).await;
    for task in inside.iter().chain([&fourth]) {
        task.abort();
    }
    world.settled().await;
}
