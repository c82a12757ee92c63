//! Translated answers while they are under way: over HTTP/2, with clients that leave or don't read,
//! many at once, and with routes that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, server};
use http::Response;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::harness::h2_client::{self, H2Client};
use crate::harness::h2_upstream::{self, H2Upstream};
use crate::harness::paced::Paced;
use crate::harness::scripted::{LAST_CHUNK, SSE_HEAD, Scripted, chunk};
use crate::harness::*;
use crate::responses::{ASK_STREAM, FINISH, TARGETS, events, outcome, piece};

/// An HTTP/2 upstream that sends one piece and, when it is told, ends the stream or resets it.
async fn over_http2(breaks: bool, told: &Arc<Notify>) -> H2Upstream {
    let told = Arc::clone(told);
    let script = move |mut line: h2_upstream::Line, _, heard: h2_upstream::Heard, told: Arc<Notify>| async move {
        while let Some((_request, mut respond)) = heard.next(&mut line).await {
            let head = Response::builder().header("content-type", "text/event-stream").body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from(piece("Hello")), false).unwrap();
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                told.notified().await;
                if breaks {
                    stream.send_reset(Reason::INTERNAL_ERROR);
                } else {
                    stream.send_data(Bytes::from(FINISH), true).unwrap();
                }
            });
        }
    };
    let script = move |line, number, heard| script(line, number, heard, Arc::clone(&told));
    H2Upstream::start(server::Builder::new(), script).await
}

#[tokio::test]
async fn an_http2_upstream_is_translated_and_its_reset_is_a_failure() {
    for (breaks, last) in [(false, "response.completed"), (true, "response.failed")] {
        let told = Arc::new(Notify::new());
        let upstream = over_http2(breaks, &told).await;
        let world = upstream.world().await;
        let mut client = world.connect().await;
        client.send(Ask::post(TARGETS[0], ASK_STREAM).encode()).await;
        client.until(r#""delta":"Hello""#).await;
        told.notify_one();
        let rest = client.until("data: [DONE]\n\n").await;
        assert!(rest.contains(&format!("event: {last}\n")), "{rest}");
        client.until("0\r\n\r\n").await;
        assert_eq!(upstream.heard(), ["POST /v1/chat/completions"]);
        world.settled().await;
    }
}

/// An upstream that answers with `head` and one piece, and stays.
async fn staying(answer: String) -> Scripted {
    Scripted::start(move |mut line| {
        let answer = answer.clone();
        async move {
            line.request().await;
            line.write(answer).await;
            line.left().await;
        }
    })
    .await
}

#[tokio::test]
async fn however_and_whenever_a_client_leaves_the_upstream_is_let_go() {
    let streaming = format!("{SSE_HEAD}{}", String::from_utf8(chunk(piece("Hello"))).unwrap());
    let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{".to_owned();
    for answer in [String::new(), half, streaming] {
        let upstream = staying(answer).await;
        let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
        for reset in [false, true] {
            let mut client = world.connect().await;
            client.send(Ask::post(TARGETS[0], ASK_STREAM).encode()).await;
            eventually("it is asked", || upstream.open() == 1 && !upstream.heard().is_empty()).await;
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            eventually("the upstream is let go", || upstream.open() == 0).await;
        }
        let mut client = H2Client::connect(world.address).await;
        let (answer, mut up) = client.open(h2_client::post(TARGETS[0])).await;
        up.send_data(ASK_STREAM.into(), true).unwrap();
        upstream.heard_requests(3).await;
        up.send_reset(Reason::CANCEL);
        drop((answer, up));
        eventually("the upstream is let go", || upstream.open() == 0).await;
        world.settled().await;
        assert_eq!(outcome(&world, "cancelled"), 3.0);
    }
}

#[tokio::test]
async fn an_upstream_waits_for_a_client_that_does_not_read_its_events() {
    // Few and large: what it costs to translate them is no part of this.
    const PIECES: usize = 1_000;
    /// What the sockets of two connections may hold, and some more.
    const ON_THE_WAY_MAX: usize = 750;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let upstream = Scripted::start(move |mut line| {
        let count = Arc::clone(&count);
        async move {
            line.request().await;
            line.write(SSE_HEAD).await;
            // Each event is kept by the translation until its end: together less than it keeps.
            let chunk = chunk(piece(&"x".repeat(30_000)));
            for _ in 0..PIECES {
                line.write(&chunk).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
            line.write(chunk_of_finish()).await;
            line.write(LAST_CHUNK).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    client.send(Ask::post(TARGETS[0], ASK_STREAM).encode()).await;
    let mut before = usize::MAX;
    within("it stops", async {
        while before != sent.load(Ordering::Relaxed) || before == 0 {
            before = sent.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
    assert!(before < ON_THE_WAY_MAX, "{before} pieces are on their way");
    let reply = client.long_reply().await;
    let text = reply.text();
    assert_eq!(text.matches("event: response.output_text.delta\n").count(), PIECES);
    assert!(text.ends_with("data: [DONE]\n\n"));
}

fn chunk_of_finish() -> Vec<u8> {
    chunk(FINISH)
}

#[tokio::test]
async fn many_streams_at_once_lose_no_event() {
    const STREAMS: usize = 100;
    const PIECES: usize = 20;
    let upstream = Scripted::start(|mut line| async move {
        while line.request().await.is_some() {
            line.write(SSE_HEAD).await;
            for n in 0..PIECES {
                line.write(chunk(piece(&format!("{n} ")))).await;
                tokio::task::yield_now().await;
            }
            line.write(chunk_of_finish()).await;
            line.write(LAST_CHUNK).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let expected: String = (0..PIECES).map(|n| format!("{n} ")).collect();
    let asking = (0..STREAMS).map(|_| {
        let address = world.address;
        tokio::spawn(async move {
            RawClient::connect(address).await.ask(&Ask::post(TARGETS[0], ASK_STREAM)).await
        })
    });
    for reply in asking.collect::<Vec<_>>() {
        let reply = within("an answer", reply).await.unwrap();
        let events = events(&reply.text());
        let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas, expected);
        assert_eq!(events.last().unwrap()["response"]["output"][0]["content"][0]["text"], expected);
    }
    world.settled().await;
    assert_eq!(outcome(&world, "ok"), STREAMS as f64);
}

#[tokio::test]
async fn a_stream_under_way_goes_on_as_it_began_when_its_provider_changes() {
    let paced = Paced::stream(&[&piece("Hel"), &piece("lo"), FINISH]).await;
    let world = World::start(Routes::usual(&paced.upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    client.send(Ask::post(TARGETS[0], ASK_STREAM).encode()).await;
    paced.step();
    paced.step();
    client.until(r#""delta":"Hel""#).await;
    let speaks = Routes::usual_with(&paced.upstream.url(), "m1", |provider| {
        provider.backend.format = proto_shared::backend::BackendFormat::OpenaiResponses;
        provider.backend.pinned_model = Some("other".into());
    });
    world.publish(speaks).await;
    for _ in 0..3 {
        paced.step();
    }
    let rest = client.until("data: [DONE]\n\n").await;
    assert!(rest.contains(r#""delta":"lo""#) && rest.contains("event: response.completed"), "{rest}");
    assert!(rest.contains(r#""model":"default/m1""#), "{rest}");
}

#[tokio::test]
async fn an_upstream_that_answers_before_it_heard_all_is_believed() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        let error = json!({ "error": { "message": "too much" } }).to_string();
        line.write(format!("HTTP/1.1 413 X\r\ncontent-length: {}\r\n\r\n{error}", error.len())).await;
        line.wire.stream.shutdown().await.unwrap();
        line.left().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let body = json!({ "model": "m1", "input": "x".repeat(16 * 1024 * 1024) }).to_string();
    let reply = world.post(TARGETS[0], body).await;
    let said: Value = reply.json();
    assert_eq!((reply.status, &said["error"]["message"]), (413, &json!("too much")), "{said}");
}
