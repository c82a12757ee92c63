//! Request bodies of any size, in any framing, on routes that read them and on routes that pass them.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::harness::h2_client::{self, H2Client, collect};
use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

/// Around every buffer size on the way, up to 10 MB.
const SIZES: [usize; 9] = [0, 1, 1_000, 8_191, 16_385, 65_536, 65_537, 1_000_000, 10_000_000];

/// A JSON body of about `size` bytes with `model` at its end, as it is sent and as it has to arrive.
fn json_bodies(size: usize, served: &str) -> (Vec<u8>, Vec<u8>) {
    let padding: String = ('!'..='~').filter(|c| !matches!(c, '"' | '\\')).cycle().take(size).collect();
    let body = |name: &str| format!(r#"{{"messages":"{padding}","model":"{name}"}}"#).into_bytes();
    (body("m1"), body(served))
}

/// Bytes that are no text.
fn noise(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// Compares without printing megabytes.
fn assert_same(arrived: &[u8], expected: &[u8], case: &str) {
    assert_eq!(arrived.len(), expected.len(), "{case}");
    assert_eq!(Sha256::digest(arrived), Sha256::digest(expected), "{case}");
}

#[tokio::test]
async fn bodies_of_all_sizes_arrive_whole_over_http1() {
    let upstream = Scripted::obliging().await;
    let routes =
        Routes::usual_with(&upstream.url(), "served/m1", |p| p.timeouts.pool_idle_timeout_ms = 600_000);
    let world = World::start(routes).await;
    let mut client = world.connect().await;
    for size in SIZES {
        let (json, spliced) = json_bodies(size, "served/m1");
        let raw = noise(size);
        for (base, sent, arrives) in [
            (OPENAI, &json, &spliced),
            (MODEL, &json, &spliced),
            (PROVIDER, &json, &json),
            (PROVIDER, &raw, &raw),
        ] {
            for chunk_bytes in [None, Some(10_000), Some(1_000_000)] {
                let case = format!("{size} bytes, chunks {chunk_bytes:?}, {base}");
                let ask = Ask::post(&format!("{base}{CHAT}"), sent);
                let ask = chunk_bytes.map_or(ask.clone(), |bytes| ask.chunked(bytes));
                let reply = client.ask(&ask).await;
                assert_eq!(reply.status, 200, "{case}: {}", reply.text());
                assert_same(&upstream.heard().pop().unwrap().body, arrives, &case);
            }
        }
    }
    assert_eq!(upstream.connections(), 1, "upstream connections are used again");
}

#[tokio::test]
async fn bodies_of_all_sizes_arrive_whole_over_http2() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "served/m1")).await;
    let mut client = H2Client::connect(world.address).await;
    for size in SIZES {
        let (json, spliced) = json_bodies(size, "served/m1");
        for (base, arrives) in [(OPENAI, &spliced), (MODEL, &spliced), (PROVIDER, &json)] {
            for stated in [true, false] {
                let case = format!("{size} bytes, length stated: {stated}, {base}");
                let mut request = h2_client::post(&format!("{base}{CHAT}"));
                if stated {
                    request = request.header("content-length", json.len());
                }
                let reply = client.ask(request, json.clone()).await;
                assert_eq!(reply.status, 200, "{case}: {}", reply.text());
                assert_same(&upstream.heard().pop().unwrap().body, arrives, &case);
            }
        }
    }
}

#[tokio::test]
async fn tiny_chunks_and_chunk_extensions_arrive_as_one_body() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [OPENAI, MODEL, PROVIDER] {
        let reply = world.ask(Ask::post(&format!("{base}{CHAT}"), CHAT_BODY).chunked(1)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(upstream.heard().pop().unwrap().body, CHAT_BODY.as_bytes());
        let mut client = world.connect().await;
        let head = Ask::post(&format!("{base}{CHAT}"), "").chunked(1).head();
        client.send(head).await;
        let (first, second) = CHAT_BODY.split_at(20);
        client.send(format!("{:X};name=\"value\"\r\n{first}\r\n", first.len())).await;
        client.send(format!("00{:x}\r\n{second}\r\n0;last\r\n\r\n", second.len())).await;
        assert_eq!(client.reply().await.status, 200);
        assert_eq!(upstream.heard().pop().unwrap().body, CHAT_BODY.as_bytes());
    }
}

#[tokio::test]
async fn a_head_and_a_body_that_come_byte_by_byte_make_one_request() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [OPENAI, PROVIDER] {
        for ask in [
            Ask::post(&format!("{base}{CHAT}"), CHAT_BODY),
            Ask::post(&format!("{base}{CHAT}"), CHAT_BODY).chunked(7),
        ] {
            let mut client = world.connect().await;
            for byte in ask.encode() {
                client.send([byte]).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(client.reply().await.status, 200);
            assert_eq!(upstream.heard().pop().unwrap().body, CHAT_BODY.as_bytes());
        }
    }
}

#[tokio::test]
async fn trailers_of_a_request_pass_through_unless_they_could_change_its_meaning() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&format!("{PROVIDER}{CHAT}"), "").chunked(1).head()).await;
    client
        .send("2\r\nhi\r\n0\r\nx-checksum: abc\r\nauthorization: canary\r\ncontent-length: 9\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 200);
    assert_eq!(upstream.heard()[0].trailers, "x-checksum: abc\n");
}

#[tokio::test]
async fn an_empty_post_says_that_it_is_empty() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [PROVIDER, MODEL] {
        assert_eq!(world.ask(Ask::new("POST", &format!("{base}v1/x"))).await.status, 200);
        assert_eq!(upstream.heard().pop().unwrap().header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn a_pass_through_body_goes_up_while_it_comes_in() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        line.wire.until("first part").await;
        line.write("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n").await;
        line.write("3\r\ngot\r\n").await;
        line.wire.until("second part").await;
        line.write("4\r\nboth\r\n0\r\n\r\n").await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&format!("{PROVIDER}{CHAT}"), "").chunked(1).head()).await;
    client.send("a\r\nfirst part\r\n").await;
    client.until("got\r\n").await;
    client.send("b\r\nsecond part\r\n0\r\n\r\n").await;
    client.until("both\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn the_same_holds_for_http2_in_both_directions() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        line.wire.until("first part").await;
        line.write("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n").await;
        line.write("3\r\ngot\r\n").await;
        line.wire.until("second part").await;
        line.write("4\r\nboth\r\n0\r\n\r\n").await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = H2Client::connect(world.address).await;
    let (answer, mut up) = client.open(h2_client::post(&format!("{PROVIDER}{CHAT}"))).await;
    up.send_data(Bytes::from_static(b"first part"), false).unwrap();
    let mut answer = within("the head", answer).await.unwrap();
    assert_eq!(within("a byte", answer.body_mut().data()).await.unwrap().unwrap(), "got");
    up.send_data(Bytes::from_static(b"second part"), true).unwrap();
    let reply = collect(answer).await;
    assert_eq!((&*reply.text(), reply.error.is_none()), ("both", true));
}

#[tokio::test]
async fn an_upstreams_early_answer_reaches_a_client_that_still_uploads() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        line.write("HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsorry").await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for size in [200_000, 10_000_000] {
        let mut client = world.connect().await;
        client.send(Ask::new("POST", &format!("{PROVIDER}v1/files")).body(noise(size)).head()).await;
        client.send(noise(100_000)).await;
        let reply = client.reply().await;
        assert_eq!((reply.status, &*reply.text(), reply.whole), (413, "sorry", true));
        assert_eq!(
            reply.header("connection"),
            Some("close"),
            "the rest of the body can't be told from a request"
        );
        client.assert_closed().await;
    }
    world.settled().await;
}

#[tokio::test]
async fn an_early_answer_survives_an_upstream_that_closes_right_after_it() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions::default()).await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "m1")).await;
    for fault in ["early=0", "early=1000", "early=100000", "early=1000,status=401"] {
        let status = if fault.contains("401") { 401 } else { 413 };
        let ask = Ask::post(&format!("{PROVIDER}{CHAT}"), noise(3_000_000)).fault(fault);
        let reply = world.ask(ask.clone()).await;
        assert_eq!((reply.status, reply.whole), (status, true), "{fault}");
        let reply = world.ask(ask.chunked(50_000)).await;
        assert_eq!((reply.status, reply.whole), (status, true), "{fault}, chunked");
    }
    world.settled().await;
}

#[tokio::test]
async fn an_early_answer_reaches_an_http2_client_that_still_uploads() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions::default()).await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "m1")).await;
    let mut client = H2Client::connect(world.address).await;
    let request = h2_client::post(&format!("{PROVIDER}{CHAT}")).header("x-sim-fault", "early=1000");
    let (answer, mut up) = client.open(request).await;
    up.send_data(noise(300_000).into(), false).unwrap();
    let reply = collect(within("the early answer", answer).await.unwrap()).await;
    assert_eq!(reply.status, 413);
    assert!(reply.json()["error"].is_object(), "{}", reply.text());
    // The connection is as good as new.
    let reply = client.ask(h2_client::get(&format!("{PROVIDER}v1/models")), "").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn what_is_left_of_a_body_is_never_read_as_a_request() {
    let upstream = Scripted::answering(json_reply("{}")).await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let smuggled = format!("GET {PROVIDER}smuggled HTTP/1.1\r\nhost: h\r\n\r\n");
    // Answered from here without a look at the body.
    for target in ["/nothing".to_owned(), PROVIDER.replace("p1", "nope"), format!("{PROVIDER}a/../b")] {
        let mut client = world.connect().await;
        client.send(Ask::new("POST", &target).body(&smuggled).encode()).await;
        let reply = client.reply().await;
        assert!((400..500).contains(&reply.status));
        assert_eq!(reply.header("connection"), Some("close"));
        client.assert_closed().await;
    }
    assert_eq!(upstream.connections(), 0);
}
