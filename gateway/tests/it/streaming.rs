//! Streams as they should be: every frame goes out when it comes in, byte for byte, and nothing is
//! invented.

use bytes::BytesMut;

use crate::harness::h2_client::{self, H2Client, collect};
use crate::harness::paced::Paced;
use crate::harness::scripted::{LAST_CHUNK, SSE_HEAD, Scripted, chunk};
use crate::harness::*;

/// What the upstream sends, piece by piece, each with what a client of a rewriting route has to have
/// seen before the next is sent.
const PIECES: [(&str, &str); 9] = [
    ("data: {\"model\":\"x/y\",\"n\":1}\n\n", "data: {\"model\":\"default/m1\",\"n\":1}\n\n"),
    (": a comment\n", ": a comment\n"),
    ("\n", "\n"),
    ("event: delta\r\ndata: {\"n\":2", "event: delta\r\ndata: {\"n\":2"),
    (",\"model\":\"x/y\"}\r\n\r\n", ",\"model\":\"default/m1\"}\r\n\r\n"),
    ("data: {\"text\":\"half a \u{e9}", "data: {\"text\":\"half a \u{e9}"),
    (" sentence\",\"mod", " sentence\",\"mod"),
    ("el\":\"another\"}\n\n", "el\":\"another\"}\n\n"),
    ("data: [DONE]\n\n", "data: [DONE]\n\n"),
];

#[tokio::test]
async fn each_piece_of_a_stream_goes_out_before_the_next_one_comes() {
    let sent: Vec<&str> = PIECES.iter().map(|(sent, _)| *sent).collect();
    let paced = Paced::stream(&sent).await;
    let world = World::start(Routes::usual(&paced.upstream.url(), "x/y")).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let mut client = world.connect().await;
        client.send(Ask::post(&format!("{base}{CHAT}"), STREAM_BODY).encode()).await;
        paced.step();
        let head = client.head().await;
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        for (sent, rewritten) in PIECES {
            paced.step();
            let expected = if base == PROVIDER { sent } else { rewritten };
            let line = client.until(&format!("{expected}\r\n")).await;
            assert_eq!(line.split_once("\r\n").unwrap().1, format!("{expected}\r\n"), "{base}");
        }
        paced.step();
        assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
    }
}

#[tokio::test]
async fn the_same_holds_for_an_http2_client() {
    let sent: Vec<&str> = PIECES.iter().map(|(sent, _)| *sent).collect();
    let paced = Paced::stream(&sent).await;
    let world = World::start(Routes::usual(&paced.upstream.url(), "x/y")).await;
    let mut client = H2Client::connect(world.address).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        paced.step();
        let mut answer = client.start(h2_client::post(&format!("{base}{CHAT}")), STREAM_BODY).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        for (sent, rewritten) in PIECES {
            paced.step();
            let expected = if base == PROVIDER { sent } else { rewritten };
            let mut seen = BytesMut::new();
            h2_client::until(answer.body_mut(), &mut seen, expected).await;
            assert_eq!(seen, expected.as_bytes(), "{base}");
        }
        paced.step();
        let rest = collect(answer).await;
        assert!(rest.body.is_empty() && rest.error.is_none());
    }
}

#[tokio::test]
async fn an_answer_of_unknown_length_streams_whatever_it_is() {
    for content_type in ["text/plain", "application/octet-stream", "audio/mpeg", "application/x-ndjson"] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n");
        let paced = Paced::start(vec![head.into(), b"first".into(), b"\0\xff second".into()]).await;
        let world = World::start(Routes::usual(&paced.upstream.url(), "x/y")).await;
        for base in [PROVIDER, MODEL] {
            let mut client = world.connect().await;
            client.send(Ask::get(&format!("{base}x")).encode()).await;
            paced.step();
            client.head().await;
            paced.step();
            client.until("first\r\n").await;
            paced.step();
            client.until("second\r\n").await;
        }
    }
}

#[tokio::test]
async fn the_head_of_a_stream_goes_out_while_the_model_still_thinks() {
    let paced = Paced::stream(&["data: 1\n\n"]).await;
    let world = World::start(Routes::usual(&paced.upstream.url(), "x/y")).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let mut client = world.connect().await;
        client.send(Ask::post(&format!("{base}{CHAT}"), STREAM_BODY).encode()).await;
        paced.step();
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        paced.step();
        client.until("data: 1\n\n").await;
        paced.step();
        client.until(LAST_CHUNK).await;
    }
}

#[tokio::test]
async fn a_stream_without_its_end_mark_ends_without_one() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "x/y")).await;
    for base in [MODEL, OPENAI] {
        let reply = world.ask(Ask::post(&format!("{base}{CHAT}"), STREAM_BODY).fault("no-done")).await;
        assert!(reply.whole && !reply.text().contains("[DONE]"), "{}", reply.text());
        assert!(reply.text().contains("\"finish_reason\":\"stop\""));
    }
}

#[tokio::test]
async fn events_of_any_size_pass() {
    let padding = "x".repeat(5_000_000);
    let event = |name: &str| format!("data: {{\"padding\":\"{padding}\",\"model\":\"{name}\"}}\n\n");
    let answer = [SSE_HEAD.as_bytes(), &chunk(event("x/y")), LAST_CHUNK.as_bytes()].concat();
    let upstream = Scripted::answering(answer).await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for (base, name) in [(PROVIDER, "x/y"), (OPENAI, "default/m1")] {
        let reply = world.post(&format!("{base}{CHAT}"), STREAM_BODY).await;
        assert!(reply.whole && reply.body == event(name).as_bytes(), "{base}");
    }
}

#[tokio::test]
async fn a_burst_of_events_arrives_whole_and_is_counted() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "x/y")).await;
    let reply = world.ask(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault("tokens=500")).await;
    let text = reply.text();
    let frames = text.matches("\n\n").count();
    assert_eq!((reply.whole, frames), (true, 503), "a role, 500 tokens, the finish, the end mark");
    world.settled().await;
    let series = "nimgate_stream_frames_total{provider=\"p1\",workspace=\"default\"}";
    assert_eq!(world.metric(series), Some(503.0));
}

#[tokio::test]
async fn a_heads_fields_for_streams_pass() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n\
                x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let upstream = Scripted::answering(head).await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let reply = world.post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    assert!(reply.whole && reply.body.is_empty());
}

#[tokio::test]
async fn a_stream_that_announces_its_length_is_passed_with_it_where_nothing_changes() {
    let body = "data: {\"model\":\"x/y\"}\n\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let upstream = Scripted::answering(answer).await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let reply = world.post(&format!("{PROVIDER}{CHAT}"), STREAM_BODY).await;
    assert_eq!((&*reply.text(), reply.header("content-length")), (body, Some(&*body.len().to_string())));
    let reply = world.post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).await;
    assert_eq!((&*reply.text(), reply.whole), (&*body.replace("x/y", "default/m1"), true));
}
