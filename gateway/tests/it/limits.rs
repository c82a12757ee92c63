//! Limits of what clients send (security section 7): what is over them is answered at once, and the
//! connection ends where the rest can't be trusted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::{SOON, Scripted, json_reply};
use crate::harness::*;

/// A gateway whose provider must not be reached.
async fn world(change: impl FnOnce(&mut gateway::Limits)) -> World {
    World::limited(Routes::usual("http://127.0.0.1:9", "x/y"), change).await
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_a_byte_of_it_came() {
    let world = world(|limits| limits.body_bytes_max = 1000).await;
    for base in [OPENAI, MODEL] {
        let mut client = world.connect().await;
        client.send(Ask::post(&format!("{base}{CHAT}"), vec![b' '; 1001]).head()).await;
        let reply = client.reply().await;
        reply.assert_refusal(413, "body_too_large");
        assert!(reply.json()["detail"].as_str().unwrap().contains("1000"), "it names the limit");
        assert_eq!(reply.header("connection"), Some("close"));
        client.assert_closed().await;
    }
}

#[tokio::test]
async fn a_chunked_body_is_refused_when_it_grows_over_the_limit() {
    let world = world(|limits| limits.body_bytes_max = 1000).await;
    for base in [OPENAI, MODEL] {
        let mut client = world.connect().await;
        let ask = Ask::post(&format!("{base}{CHAT}"), vec![b' '; 1_000_000]).chunked(100);
        let reply = client.ask(&ask).await;
        reply.assert_refusal(413, "body_too_large");
        client.assert_closed().await;
    }
    world.settled().await;
}

#[tokio::test]
async fn a_body_at_the_limit_is_served() {
    let upstream = Scripted::obliging().await;
    let limit = CHAT_BODY.len();
    let world =
        World::limited(Routes::usual(&upstream.url(), "x"), |limits| limits.body_bytes_max = limit).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    let ask = Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).chunked(10);
    assert_eq!(world.ask(ask).await.status, 200);
    world
        .post(&format!("{OPENAI}{CHAT}"), format!("{CHAT_BODY} "))
        .await
        .assert_refusal(413, "body_too_large");
}

#[tokio::test]
async fn pass_through_routes_have_no_limit() {
    let upstream = Scripted::obliging().await;
    let world =
        World::limited(Routes::usual(&upstream.url(), "x"), |limits| limits.body_bytes_max = 10).await;
    assert_eq!(world.post(&format!("{PROVIDER}v1/files"), vec![b'x'; 100_000]).await.status, 200);
    let multipart = Ask::new("POST", &format!("{MODEL}v1/audio/transcriptions"));
    let multipart = multipart.header("content-type", "multipart/form-data; boundary=x");
    assert_eq!(world.ask(multipart.body(vec![b'x'; 100_000])).await.status, 200);
}

#[tokio::test]
async fn the_same_limits_hold_for_http2() {
    let world = world(|limits| limits.body_bytes_max = 1000).await;
    let mut client = H2Client::connect(world.address).await;
    for stated in [true, false] {
        let mut request = h2_client::post(&format!("{OPENAI}{CHAT}"));
        if stated {
            request = request.header("content-length", 100_000);
        }
        let (answer, mut up) = client.open(request).await;
        up.send_data(Bytes::from(vec![b' '; if stated { 1 } else { 2000 }]), false).unwrap();
        let reply = h2_client::collect(within("the refusal", answer).await.unwrap()).await;
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (413, &"body_too_large".into()));
    }
    let long = format!("/v1/{}", "x".repeat(9000));
    let reply = client.ask(h2_client::get(&long), "").await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (414, &"target_too_long".into()));
    let mut request = h2_client::get("/v1/models");
    for n in 0..150 {
        request = request.header(format!("x-{n}"), "1");
    }
    let reply = client.ask(request, "").await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (431, &"head_too_large".into()));
    // The connection is as good as before.
    assert_eq!(client.ask(h2_client::get("/v1/models"), "").await.status, 200);
}

#[tokio::test]
async fn bodies_that_can_not_be_read_are_refused_with_what_to_do() {
    let world = world(|_| {}).await;
    for (content_type, encoding, code) in [
        ("text/plain", None, "unsupported_media_type"),
        ("multipart/form-data; boundary=x", None, "unsupported_media_type"),
        ("application/json", Some("gzip"), "unsupported_content_encoding"),
        ("application/json; charset=utf-8", Some("br"), "unsupported_content_encoding"),
    ] {
        let mut ask = Ask::new("POST", &format!("{OPENAI}{CHAT}")).header("content-type", content_type);
        if let Some(encoding) = encoding {
            ask = ask.header("content-encoding", encoding);
        }
        let reply = world.ask(ask.body(CHAT_BODY)).await;
        reply.assert_refusal(415, code);
        assert!(reply.json()["detail"].as_str().unwrap().contains("provider route"), "{}", reply.text());
    }
    let ask = Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY).header("content-encoding", "zstd");
    world.ask(ask).await.assert_refusal(415, "unsupported_content_encoding");
}

#[tokio::test]
async fn json_under_any_of_its_media_types_is_read() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x")).await;
    for content_type in ["application/json", "Application/JSON;charset=UTF-8", "application/vnd.api+json"] {
        let ask = Ask::new("POST", &format!("{OPENAI}{CHAT}")).header("content-type", content_type);
        assert_eq!(world.ask(ask.body(CHAT_BODY)).await.status, 200, "{content_type}");
    }
    let ask = Ask::new("POST", &format!("{OPENAI}{CHAT}")).header("content-encoding", "identity");
    assert_eq!(world.ask(ask.body(CHAT_BODY)).await.status, 200, "without a media type");
}

#[tokio::test]
async fn heads_over_the_limits_are_refused_and_end_the_connection() {
    let world = world(|_| {}).await;
    let long = |bytes: usize| "x".repeat(bytes);
    let lines = |count: usize| -> String { (0..count).map(|n| format!("x-{n}: 1\r\n")).collect() };
    for (head, status, code) in [
        (format!("GET /v1/{} HTTP/1.1\r\nhost: h\r\n\r\n", long(8192)), 414, "target_too_long"),
        (format!("GET /v1/{}", long(40_000)), 414, "target_too_long"),
        (format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", long(33_000)), 431, "head_too_large"),
        (format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}", long(40_000)), 431, "head_too_large"),
        (format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", lines(100)), 431, "head_too_large"),
        (format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", lines(1000)), 431, "head_too_large"),
    ] {
        let mut client = world.connect().await;
        client.send(&head).await;
        let reply = client.reply().await;
        reply.assert_refusal(status, code);
        client.assert_closed().await;
    }
    let ninety_nine = format!("GET /health/live HTTP/1.1\r\nhost: h\r\n{}\r\n", lines(99));
    let mut client = world.connect().await;
    client.send(ninety_nine).await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn a_head_that_comes_drop_by_drop_is_cut_off_by_the_deadline_for_the_whole() {
    let world = world(|limits| limits.head_timeout = SOON).await;
    for begin in ["", "GET /health/live HTTP/1.1\r\nhost: h\r\n\r\n"] {
        let mut client = world.connect().await;
        if !begin.is_empty() {
            // The next request of a connection has a deadline of its own.
            client.send(begin).await;
            assert_eq!(client.reply().await.status, 200);
        }
        let dripping = async {
            for drop in "GET /health/live HTTP/1.1\r\nhost: h\r\nx: ".bytes().chain(std::iter::repeat(b'y')) {
                if tokio::io::AsyncWriteExt::write_all(&mut client.stream, &[drop]).await.is_err() {
                    break;
                }
                // Each drop comes well before any limit on one read.
                let mut answer = [0; 1];
                let waited = tokio::time::timeout(SOON / 10, client.stream.peek(&mut answer)).await;
                if waited.is_ok() {
                    break;
                }
            }
        };
        within("the gateway loses its patience", dripping).await;
        let reply = client.reply().await;
        reply.assert_refusal(408, "head_timeout");
        client.assert_closed().await;
    }
}

#[tokio::test]
async fn a_crowd_that_drips_is_cut_off_and_nobody_else_is_kept_waiting() {
    let world = world(|limits| limits.head_timeout = 4 * SOON).await;
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let mut client = world.connect().await;
        crowd.spawn(async move {
            let drops = "GET /health/live HTTP/1.1\r\nhost: h\r\nx: ".bytes().chain(std::iter::repeat(b'y'));
            for drop in drops {
                let sent = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &[drop]).await;
                let waited = tokio::time::timeout(SOON / 10, client.stream.peek(&mut [0; 1])).await;
                if sent.is_err() || waited.is_ok() {
                    break;
                }
            }
            client.reply().await.assert_refusal(408, "head_timeout");
        });
    }
    within("everybody is cut off", async {
        while !crowd.is_empty() {
            assert_eq!(world.get("/health/live").await.status, 200);
            while let Some(done) = crowd.try_join_next() {
                done.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_never_says_a_word_is_closed_without_one() {
    let world = world(|limits| limits.head_timeout = SOON).await;
    let mut silent = world.connect().await;
    silent.assert_closed().await;
    // Nor does the beginning of HTTP/2's preface keep it open.
    let mut slow = world.connect().await;
    slow.send("PRI * HT").await;
    slow.assert_closed().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_keep_alive_limit() {
    let world = world(|limits| limits.keep_alive_timeout = SOON).await;
    let mut client = world.connect().await;
    assert_eq!(client.ask(&Ask::get("/health/live")).await.status, 200);
    client.assert_closed().await;
    let mut h2 = world.connect().await;
    h2.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let (_, end) = h2.rest().await;
    assert_eq!(end, raw::End::Fin, "an idle HTTP/2 connection is closed too");
    eventually("connections are counted down", || world.app.open_connections() == 0).await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let limits = |limits: &mut gateway::Limits| {
        limits.body_rate_grace = SOON;
        limits.body_rate_bytes_per_s = 1_000_000;
    };
    let upstream = Scripted::obliging().await;
    let world = World::limited(Routes::usual(&upstream.url(), "x"), limits).await;
    for base in [OPENAI, MODEL, PROVIDER] {
        for ask in [
            Ask::post(&format!("{base}{CHAT}"), CHAT_BODY),
            Ask::post(&format!("{base}{CHAT}"), CHAT_BODY).chunked(9),
        ] {
            let mut client = world.connect().await;
            let all = ask.encode();
            client.send(&all[..all.len() - 10]).await;
            let reply = client.reply().await;
            reply.assert_refusal(408, "body_timeout");
            client.assert_closed().await;
        }
    }
    assert_eq!(upstream.heard().len(), 0, "half a request is no request");
    world.settled().await;
}

#[tokio::test]
async fn a_body_read_here_has_a_deadline_however_fast_it_comes() {
    let world = world(|limits| limits.body_timeout = SOON).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&format!("{OPENAI}{CHAT}"), "").chunked(1).head()).await;
    client.send("5\r\nhello\r\n").await;
    client.reply().await.assert_refusal(408, "body_timeout");
}

#[tokio::test]
async fn an_http2_body_that_stalls_is_given_up() {
    let world = world(|limits| limits.body_rate_grace = SOON).await;
    let mut client = H2Client::connect(world.address).await;
    let (answer, mut up) = client.open(h2_client::post(&format!("{OPENAI}{CHAT}"))).await;
    up.send_data(Bytes::from_static(b"{"), false).unwrap();
    let reply = h2_client::collect(within("the refusal", answer).await.unwrap()).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (408, &"body_timeout".into()));
}

#[tokio::test]
async fn buffered_bodies_together_are_bounded_and_what_is_over_is_told_to_come_again() {
    let upstream = Scripted::obliging().await;
    let world =
        World::limited(Routes::usual(&upstream.url(), "x"), |limits| limits.buffered_bytes_max = 100_000)
            .await;
    let padded = |bytes: usize| format!("{CHAT_BODY}{}", " ".repeat(bytes));
    let mut holding = world.connect().await;
    let all = Ask::post(&format!("{OPENAI}{CHAT}"), padded(60_000)).encode();
    holding.send(&all[..all.len() - 1]).await;
    eventually("the first body takes its room", || world.app.buffered_bytes() >= 60_000).await;
    for ask in [
        Ask::post(&format!("{OPENAI}{CHAT}"), padded(60_000)),
        Ask::post(&format!("{OPENAI}{CHAT}"), padded(60_000)).chunked(1000),
    ] {
        let reply = world.ask(ask).await;
        reply.assert_refusal(503, "overloaded");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), padded(1000)).await.status, 200);
    holding.send(&all[all.len() - 1..]).await;
    assert_eq!(holding.reply().await.status, 200);
    eventually("all room is given back", || world.app.buffered_bytes() == 0).await;
}

#[tokio::test]
async fn bodies_that_wait_and_those_kept_for_another_try_count_over_both_protocols() {
    let ends = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&ends);
    let slow = Scripted::start(move |mut line| {
        let gate = Arc::clone(&gate);
        async move {
            while line.request().await.is_some() {
                gate.acquire().await.unwrap().forget();
                line.write(json_reply("{}")).await;
            }
        }
    })
    .await;
    let failing = Scripted::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
    let routes = Routes::new()
        .provider("p1", &failing.url())
        .provider_with("p2", &slow.url(), |provider| provider.backend.num_concurrent_requests = 1)
        .model("m1", "m1", &["p1", "p2"]);
    let world = World::limited(routes, |limits| limits.buffered_bytes_max = 150_000).await;
    let chat = format!("{OPENAI}{CHAT}");
    let padded = format!("{CHAT_BODY}{}", " ".repeat(60_000));
    // It failed at one provider, and is kept while the other works on it.
    let mut first = world.connect().await;
    first.send(Ask::post(&chat, &padded).encode()).await;
    eventually("it is at the other", || slow.heard().len() == 1).await;
    assert!(world.app.buffered_bytes() >= 60_000);
    let mut client = H2Client::connect(world.address).await;
    let (second, mut up) = client.open(h2_client::post(&chat)).await;
    up.send_data(Bytes::from(padded.clone()), true).unwrap();
    eventually("it waits in line", || world.metric("nimgate_provider_waiting{provider=\"p2\"") == Some(1.0))
        .await;
    assert!(world.app.buffered_bytes() >= 120_000, "one budget for both");
    world.post(&chat, &padded).await.assert_refusal(503, "overloaded");
    let refused = client.ask(h2_client::post(&chat), padded.clone()).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &"overloaded".into()));
    ends.add_permits(2);
    assert_eq!(first.reply().await.status, 200);
    let second = h2_client::collect(within("its turn", second).await.unwrap()).await;
    assert_eq!(second.status, 200);
    eventually("all room is given back", || world.app.buffered_bytes() == 0).await;
}

#[tokio::test]
async fn a_history_without_its_reasoning_is_held_beside_it_and_counts_too() {
    let upstream = Scripted::obliging().await;
    let routes =
        Routes::usual_with(&upstream.url(), "m1", |provider| provider.backend.uses_reasoning_parser = true);
    let world = World::limited(routes, |limits| limits.buffered_bytes_max = 100_000).await;
    let padded = format!("{CHAT_BODY}{}", " ".repeat(60_000));
    world.post(&format!("{OPENAI}{CHAT}"), &padded).await.assert_refusal(503, "overloaded");
    assert_eq!(world.post(&format!("{OPENAI}v1/completions"), &padded).await.status, 200);
}

#[tokio::test]
async fn a_length_that_is_only_announced_takes_no_room_from_others() {
    let upstream = Scripted::obliging().await;
    let world =
        World::limited(Routes::usual(&upstream.url(), "x"), |limits| limits.buffered_bytes_max = 100_000)
            .await;
    let mut boasting = vec![];
    for _ in 0..4 {
        let mut client = world.connect().await;
        let ask = Ask::post(&format!("{OPENAI}{CHAT}"), vec![b' '; 90_000]).header("expect", "100-continue");
        client.send(ask.head()).await;
        client.until("100 Continue").await;
        boasting.push(client);
    }
    let padded = format!("{CHAT_BODY}{}", " ".repeat(50_000));
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), padded).await.status, 200);
}

#[tokio::test]
async fn a_connection_ends_after_its_number_of_requests() {
    let world = world(|limits| limits.requests_per_connection_max = 3).await;
    let mut client = world.connect().await;
    for last in [false, false, true] {
        let reply = client.ask(&Ask::get("/health/live")).await;
        assert_eq!((reply.status, reply.header("connection")), (200, last.then_some("close")));
    }
    client.assert_closed().await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once_and_places_come_back() {
    let world = world(|limits| limits.connections_max = 2).await;
    let mut first = world.connect().await;
    let mut second = world.connect().await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask(&Ask::get("/health/live")).await.status, 200);
    }
    let mut third = world.connect().await;
    third.assert_closed().await;
    assert_eq!(first.ask(&Ask::get("/health/live")).await.status, 200, "those inside are not disturbed");
    drop(second);
    eventually("the place is free", || world.app.open_connections() == 1).await;
    assert_eq!(world.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_dropped_and_its_upstream_freed() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
        let block = vec![b'x'; 1_000_000];
        for _ in 0..100 {
            line.write(&block).await;
        }
    })
    .await;
    let world =
        World::limited(Routes::usual(&upstream.url(), "x"), |limits| limits.write_stall_timeout = SOON);
    let world = world.await;
    let mut client = world.connect().await;
    client.send(Ask::get(&format!("{PROVIDER}big")).encode()).await;
    client.head().await;
    upstream.left_alone().await;
    world.settled().await;
    let (rest, _) = client.rest().await;
    assert!(rest.len() < 100_000_000, "the answer must not look whole");
}

#[tokio::test]
async fn time_limits_of_a_slow_but_steady_client_do_not_run_out() {
    let upstream = Scripted::obliging().await;
    let world = World::limited(Routes::usual(&upstream.url(), "x"), |limits| {
        limits.body_rate_grace = Duration::from_millis(150);
        limits.body_rate_bytes_per_s = 10;
    })
    .await;
    for base in [OPENAI, PROVIDER] {
        let mut client = world.connect().await;
        let ask = Ask::post(&format!("{base}{CHAT}"), CHAT_BODY);
        client.send(ask.head()).await;
        // Ten times the least rate, for four times the grace.
        for part in CHAT_BODY.as_bytes().chunks(2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            client.send(part).await;
        }
        assert_eq!(client.reply().await.status, 200);
    }
}
