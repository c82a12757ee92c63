//! What a scrape shows: what clients got beside what upstreams answered, and how each address is.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::paced::Paced;
use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

/// The labels that the text form sorts in between.
fn of(provider: &str, code: u16) -> String {
    format!("{{code=\"{code}\",provider=\"{provider}\",workspace=\"default\"}}")
}

fn at(name: &str, provider: &str, url: &str) -> String {
    format!("{name}{{address=\"{url}\",provider=\"{provider}\",workspace=\"default\"}}")
}

#[tokio::test]
async fn what_the_gateway_hid_from_clients_is_visible() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
    let (busy, well) = (Scripted::answering(busy).await, Scripted::answering(json_reply("{}")).await);
    let routes = Routes::new()
        .provider("p1", &busy.url())
        .provider("p2", &well.url())
        .model("m1", "m1", &["p1", "p2"])
        .but(|model| model.routing.strategy = proto_shared::routing::Strategy::Priority);
    let world = World::start(routes).await;
    assert_eq!(world.post("/v1/chat/completions", CHAT_BODY).await.status, 200);
    world.settled().await;
    let count = |name: &str, provider, code| world.metric(&format!("{name}{}", of(provider, code)));
    assert_eq!(count("nimgate_upstream_responses_total", "p1", 503), Some(1.0));
    assert_eq!(count("nimgate_upstream_responses_total", "p2", 200), Some(1.0));
    assert_eq!(count("nimgate_responses_total", "p1", 503), None, "no client saw it");
    assert_eq!(count("nimgate_responses_total", "p2", 200), Some(1.0));
    assert_eq!(world.metric("nimgate_retries_spent "), Some(1.0));
    assert!(world.metric("nimgate_retries_allowed ").is_some_and(|allowed| allowed >= 1.0));
    world.post("/v1/chat/completions", r#"{"model":"nobody"}"#).await.assert_refusal(404, "model_not_found");
    let refused = "nimgate_responses_total{code=\"404\",provider=\"\",workspace=\"\"}";
    assert_eq!(world.metric(refused), Some(1.0), "what is answered from here has no provider");
}

#[tokio::test]
async fn an_address_is_shown_as_long_as_it_is_in_the_table() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let value = |name: &str| world.metric(&at(name, "p1", &upstream.url()));
    assert_eq!(value("nimgate_address_breaker"), Some(0.0));
    assert_eq!(value("nimgate_address_in_flight"), Some(0.0));
    assert_eq!(value("nimgate_address_first_byte_seconds_count"), None, "nothing was seen yet");
    assert_eq!(world.post("/v1/chat/completions", CHAT_BODY).await.status, 200);
    assert_eq!(value("nimgate_address_first_byte_seconds_count"), Some(1.0));
    assert!(value("nimgate_address_concurrency_limit").is_some_and(|limit| limit >= 1.0));

    let down = "http://127.0.0.1:1";
    world.publish(Routes::usual(down, "m1")).await;
    world.post("/v1/chat/completions", CHAT_BODY).await.assert_refusal(502, "upstream_connect");
    let text = world.app.metrics.render();
    assert!(!text.contains(&upstream.url()), "{text}");
    assert_eq!(world.metric(&at("nimgate_address_breaker", "p1", down)), Some(2.0));
    assert_eq!(world.metric(&at("nimgate_address_standing", "p1", down)), Some(3.0));
}

#[tokio::test]
async fn the_silence_between_two_events_of_a_stream_is_measured_and_the_wait_for_the_first_is_not() {
    let paced = Paced::stream(&["data: {\"n\":0}\n\n", "data: {\"n\":1}\n\n", "data: {\"n\":2}\n\n"]).await;
    let url = paced.upstream.url();
    let world = World::start(Routes::usual(&url, "m1")).await;
    let mut client = world.connect().await;
    client.send(Ask::post("/v1/chat/completions", STREAM_BODY).encode()).await;
    paced.step();
    client.head().await;
    for n in 0..3 {
        paced.step();
        client.until(&format!("\"n\":{n}")).await;
    }
    paced.step();
    let count = |name: &str| world.metric(&at(&format!("{name}_count"), "p1", &url));
    eventually("both silences are counted", || count("nimgate_address_event_gap_seconds") == Some(2.0)).await;
    assert_eq!(count("nimgate_address_first_byte_seconds"), Some(1.0));
}

/// Names of metrics in a text.
fn names(text: &str, after: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let parts = text.split(after).skip(1);
    let name = |part: &str| format!("nimgate_{}", part.split(|c| !is_name(c)).next().unwrap());
    parts.map(name).collect()
}

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else {
            text.push_str(std::fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap());
        }
    }
}

#[test]
fn each_metric_is_in_the_readme_and_each_in_the_readme_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    let readme = std::fs::read_to_string(root.join("../README.md")).unwrap();
    let table: String = readme.lines().filter(|line| line.starts_with("| `nimgate_")).collect();
    let (made, documented) = (names(&code, "\"nimgate_"), names(&table, "`nimgate_"));
    assert!(made.len() > 30, "{made:?}");
    let missing: Vec<_> = made.symmetric_difference(&documented).collect();
    assert!(missing.is_empty(), "not in the README's table, or only there: {missing:?}");
}
