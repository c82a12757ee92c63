//! Web pages: who may call from a browser, and what the browser is told.

use gateway::cors::AllowedOrigins;

use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

const LOCAL_PAGE: &str = "http://localhost:3000";
const FAR_PAGE: &str = "https://app.example";

fn preflight(origin: &str) -> Ask {
    Ask::new("OPTIONS", &format!("{OPENAI}{CHAT}"))
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,content-type")
}

async fn world_that_lets_in(rules: &[&str], upstream: &Scripted) -> World {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    World::start_with(Routes::usual(&upstream.url(), "m1"), |config| {
        config.cors = AllowedOrigins(rules);
    })
    .await
}

#[tokio::test]
async fn a_browser_that_asks_first_is_told_what_its_page_may_do() {
    let world = World::start(Routes::usual(&Scripted::obliging().await.url(), "m1")).await;
    let reply = world.ask(preflight(LOCAL_PAGE)).await;
    assert_eq!(reply.status, 200);
    for (name, value) in [
        ("access-control-allow-origin", LOCAL_PAGE),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", "authorization,content-type"),
        ("access-control-max-age", "600"),
        ("vary", "Origin"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{}", reply.head);
    }
    assert!(reply.header("access-control-allow-methods").unwrap().contains("DELETE"));
}

#[tokio::test]
async fn a_page_that_is_not_let_in_can_not_read_anything() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let refused = world.ask(preflight(FAR_PAGE)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "origin_not_allowed"));
    assert_eq!(refused.header("access-control-allow-origin"), None);
    assert!(upstream.heard().is_empty(), "a preflight went to the provider");
    for target in ["/v1/models", "/health/live"] {
        let reply = world.ask(Ask::get(target).header("Origin", FAR_PAGE)).await;
        assert_eq!(reply.header("access-control-allow-origin"), None, "{target}");
    }
}

#[tokio::test]
async fn every_kind_of_answer_says_that_an_allowed_page_may_read_it() {
    let upstream = Scripted::obliging().await;
    let world = world_that_lets_in(&[FAR_PAGE], &upstream).await;
    let chat = Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY);
    let refused = Ask::post(&format!("{OPENAI}{CHAT}"), r#"{"model":"unknown"}"#);
    for (ask, status) in [(chat, 200), (refused, 404), (Ask::get("/v1/models"), 200)] {
        let reply = world.ask(ask.header("Origin", FAR_PAGE)).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.all("access-control-allow-origin"), [FAR_PAGE], "{}", reply.head);
    }
    let plain = world.get("/v1/models").await;
    assert_eq!(plain.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn which_pages_may_read_is_not_the_providers_to_say() {
    let answer = json_reply("{}")
        .replace("HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n");
    let upstream = Scripted::answering(answer).await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let reply =
        world.ask(Ask::post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).header("Origin", FAR_PAGE)).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn a_page_that_is_not_let_in_opens_no_websocket() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let reply = world
        .ask(
            Ask::get(&format!("{PROVIDER}v1/realtime"))
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Origin", FAR_PAGE),
        )
        .await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "origin_not_allowed"));
    assert!(upstream.heard().is_empty());
}
