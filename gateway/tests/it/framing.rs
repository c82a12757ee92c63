//! HTTP/1.1 as it is on the wire: continue, answers without bodies, old clients, pipelining, trailers,
//! and messages two parsers could read differently (R5.2 to R5.5).

use crate::harness::h2_client::{self, H2Client};
use crate::harness::raw::End;
use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

#[tokio::test]
async fn a_client_that_waits_for_continue_is_told_to_go_on_when_its_body_is_wanted() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [OPENAI, MODEL, PROVIDER] {
        for chunk_bytes in [None, Some(9)] {
            let ask = Ask::post(&format!("{base}{CHAT}"), CHAT_BODY).header("Expect", "100-continue");
            let ask = chunk_bytes.map_or(ask.clone(), |bytes| ask.chunked(bytes));
            let mut client = world.connect().await;
            let (head, all) = (ask.head(), ask.encode());
            client.send(&head).await;
            client.until("HTTP/1.1 100 Continue\r\n\r\n").await;
            client.send(&all[head.len()..]).await;
            let reply = client.reply().await;
            assert_eq!(reply.status, 200, "{base}");
            let heard = upstream.heard().pop().unwrap();
            assert_eq!((heard.header("expect"), &*heard.body), (None, CHAT_BODY.as_bytes()));
        }
    }
}

#[tokio::test]
async fn continue_is_said_once_and_not_to_a_client_that_did_not_wait() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [OPENAI, PROVIDER] {
        let ask = Ask::post(&format!("{base}{CHAT}"), CHAT_BODY).header("expect", "100-continue");
        let mut client = world.connect().await;
        client.send(ask.encode()).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"), "{base}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_continue_is_refused_without_it() {
    let world =
        World::limited(Routes::usual("http://127.0.0.1:9", "m1"), |limits| limits.body_bytes_max = 10);
    let world = world.await;
    for (target, status) in
        [(format!("{OPENAI}{CHAT}"), 413), ("/nothing".into(), 404), (format!("{PROVIDER}{CHAT}"), 502)]
    {
        let mut client = world.connect().await;
        let ask = Ask::post(&target, CHAT_BODY).header("expect", "100-continue");
        client.send(ask.head()).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        assert!(head.contains("connection: close"), "{head}");
    }
}

#[tokio::test]
async fn other_expectations_are_refused() {
    let world = World::start(Routes::usual("http://127.0.0.1:9", "m1")).await;
    let ask = Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).header("expect", "200-ok");
    world.ask(ask).await.assert_refusal(417, "expectation_failed");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_headers_and_the_connection() {
    let upstream = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            line.write(match heard.target() {
                "/204" => "HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 99\r\n\r\n",
                "/empty" => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                // To HEAD: the length of what GET would have brought.
                _ => "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1234\r\n\r\n",
            })
            .await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let (mut h1, mut h2) = (world.connect().await, H2Client::connect(world.address).await);
    for base in [PROVIDER, MODEL] {
        for (method, path, status, length) in [
            ("GET", "204", 204, None),
            ("GET", "304", 304, Some("99")),
            ("GET", "empty", 200, Some("0")),
            ("HEAD", "any", 200, Some("1234")),
        ] {
            let reply = h1.ask(&Ask::new(method, &format!("{base}{path}"))).await;
            assert_eq!((reply.status, reply.header("content-length")), (status, length), "{method} {path}");
            assert_eq!((reply.header("transfer-encoding"), reply.header("connection")), (None, None));
            let request = h2_client::get(&format!("{base}{path}")).method(method);
            let reply = h2.ask(request, "").await;
            assert_eq!(
                (reply.status, reply.header("content-length")),
                (status, length),
                "h2 {method} {path}"
            );
            assert!(reply.body.is_empty() && reply.error.is_none());
        }
    }
    assert_eq!(upstream.connections(), 1, "the upstream's connection is kept as well");
    world.settled().await;
}

#[tokio::test]
async fn a_head_request_is_answered_from_here_without_a_body() {
    let world = World::start(Routes::usual("http://127.0.0.1:9", "m1")).await;
    let mut client = world.connect().await;
    for (target, status) in [("/v1/models", 200), ("/nothing", 404), (&format!("{PROVIDER}x"), 502)] {
        let reply = client.ask(&Ask::new("HEAD", target)).await;
        assert_eq!(reply.status, status);
        assert!(reply.header("content-length").unwrap().parse::<u64>().unwrap() > 0);
    }
    // A body after one of them would be read as this answer.
    assert_eq!(client.ask(&Ask::get("/health/live")).await.text(), r#"{"status":"live"}"#);
}

#[tokio::test]
async fn trailers_of_an_answer_reach_clients_of_both_protocols() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions::default()).await.unwrap();
    let upstream = Scripted::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\nset-cookie: canary\r\ncontent-length: 7\r\n\r\n",
    )
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1").provider("p2", &sim.url())).await;
    let second = PROVIDER.replace("p1", "p2");
    let reply = world.get(&format!("{PROVIDER}x")).await;
    assert_eq!((&*reply.text(), &*reply.trailers, reply.whole), ("ok", "x-sum: 1\n", true));
    let reply = world.ask(Ask::get(&format!("{second}v1/models")).header("x-sim-trailers", "1")).await;
    assert_eq!(reply.trailers, "x-sim-trailer: done\n");
    let mut client = H2Client::connect(world.address).await;
    let reply = client.ask(h2_client::get(&format!("{PROVIDER}x")), "").await;
    let trailers = reply.trailers.unwrap();
    assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &"1".parse().unwrap()));
    let request = h2_client::get(&format!("{second}v1/models")).header("x-sim-trailers", "1");
    assert_eq!(client.ask(request, "").await.trailers.unwrap()["x-sim-trailer"], "done");
}

#[tokio::test]
async fn interim_answers_of_an_upstream_are_not_taken_for_the_answer() {
    let reply = json_reply(r#"{"a":1}"#);
    let answer =
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n{reply}");
    let upstream = Scripted::answering(answer).await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [PROVIDER, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        assert_eq!((reply.status, &*reply.text()), (200, r#"{"a":1}"#));
    }
}

#[tokio::test]
async fn an_http10_client_gets_an_answer_it_can_read() {
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let upstream = Scripted::answering(chunked).await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    client.send(format!("GET {PROVIDER}x HTTP/1.0\r\n\r\n")).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, &*reply.text(), reply.header("transfer-encoding")), (200, "ok", None));
    assert_eq!(reply.header("connection"), Some("close"));
    // Without chunks its connection can be kept.
    let mut client = world.connect().await;
    for _ in 0..2 {
        client.send("GET /health/live HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").await;
        let reply = client.reply().await;
        assert_eq!((reply.status, reply.header("connection")), (200, Some("keep-alive")));
    }
    client.send("GET /health/live HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.reply().await.header("connection"), Some("close"));
    client.assert_closed().await;
}

#[tokio::test]
async fn an_http10_upstream_is_understood() {
    for (answer, length) in [
        ("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it", None),
        ("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it", None),
        ("HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nall of it", Some("9")),
    ] {
        let upstream = Scripted::start(move |mut line| async move {
            line.request().await;
            line.write(answer).await;
        })
        .await;
        let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
        let mut client = world.connect().await;
        for n in 1..=2 {
            let reply = client.ask(&Ask::get(&format!("{PROVIDER}x"))).await;
            assert_eq!((reply.status, &*reply.text(), reply.whole), (200, "all of it", true));
            assert_eq!((reply.header("content-length"), reply.header("connection")), (length, None));
            assert_eq!(upstream.connections(), n);
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            line.write(json_reply(&format!("\"{}\"", heard.target()))).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    let mut all = vec![];
    for n in 0..20 {
        let ask = match n % 4 {
            0 => Ask::get(&format!("{PROVIDER}{n}")),
            1 => Ask::post(&format!("{OPENAI}{n}"), CHAT_BODY),
            2 => Ask::post(&format!("{OPENAI}{n}"), CHAT_BODY).chunked(11),
            _ => Ask::post(&format!("{PROVIDER}{n}"), CHAT_BODY).chunked(11),
        };
        all.extend(ask.encode());
    }
    client.send(all).await;
    for n in 0..20 {
        assert_eq!(client.reply().await.text(), format!("\"/{n}\""));
    }
}

#[tokio::test]
async fn a_large_request_may_wait_behind_a_slow_one() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions::default()).await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "m1")).await;
    let body: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    for chunk_bytes in [None, Some(5000)] {
        let client = world.connect().await;
        let slow = Ask::get(&format!("{PROVIDER}v1/models")).fault("delay-ms=100");
        let large = Ask::new("PUT", &format!("{PROVIDER}echo/x")).body(&body);
        let large = chunk_bytes.map_or(large.clone(), |bytes| large.chunked(bytes));
        let all = [slow.encode(), large.encode()].concat();
        let (read, mut write) = client.stream.into_split();
        let sending = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut write, &all).await.unwrap();
            write
        });
        let mut client = RawClient::over(tokio::io::join(read, tokio::io::sink()));
        assert_eq!(client.reply().await.json()["object"], "list");
        assert_eq!(client.reply().await.json()["body_len"], body.len());
        let _write = within("sending", sending).await.unwrap();
        assert!(sim.requests().pop().unwrap().body == body);
    }
}

#[tokio::test]
async fn a_request_that_comes_during_a_streamed_answer_does_not_cut_it() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["m1".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "m1")).await;
    let mut client = world.connect().await;
    client.send(Ask::post("/v1/chat/completions", STREAM_BODY).fault("tokens=20,token-ms=5").encode()).await;
    let begin = client.until("data: ").await;
    assert!(begin.starts_with("HTTP/1.1 200"), "{begin}");
    client.send(Ask::get("/health/live").encode()).await;
    let rest = client.until("\r\n0\r\n\r\n").await;
    assert!(rest.contains("[DONE]"), "{rest}");
    assert_eq!(client.reply().await.text(), r#"{"status":"live"}"#);
}

#[tokio::test]
async fn connections_of_both_sides_are_used_again() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = world.connect().await;
    for _ in 0..5 {
        for base in [PROVIDER, MODEL, OPENAI] {
            assert_eq!(client.ask(&Ask::post(&format!("{base}{CHAT}"), CHAT_BODY)).await.status, 200);
        }
    }
    assert_eq!(upstream.connections(), 1);
    let reply =
        client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).header("connection", "close")).await;
    assert_eq!(reply.header("connection"), Some("close"));
    client.assert_closed().await;
}

#[tokio::test]
async fn messages_two_parsers_could_read_differently_are_refused_and_end_the_connection() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let post =
        |headers: &str, body: &str| format!("POST {PROVIDER}x HTTP/1.1\r\nhost: h\r\n{headers}\r\n{body}");
    for (raw, status) in [
        (post("content-length: 1\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding: chunked\r\ncontent-length: 1\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("transfer-encoding : chunked\r\n", "0\r\n\r\n"), 400),
        (post("transfer_encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (post("content-length: 1\r\ncontent-length: 1\r\n", "x"), 400),
        (post("content-length: 1, 1\r\n", "x"), 400),
        (post("content-length: +1\r\n", "x"), 400),
        (post("content-length: -1\r\n", "x"), 400),
        (post("content-length: 1x\r\n", "x"), 400),
        (post("content-length: 18446744073709551617\r\n", "x"), 400),
        (post("host: h\r\n", ""), 400),
        (post("x: a\r\n b\r\n", ""), 400),
        (post("x: a\rb\r\n", ""), 400),
        (post("x: a\0b\r\n", ""), 400),
        (post("no colon\r\n", ""), 400),
        (format!("GET {PROVIDER}x HTTP/1.1\r\n\r\n"), 400),
        (format!("GET {PROVIDER}x HTTP/1.1\nhost: h\n\n"), 400),
        (format!("GET {PROVIDER}x HTTP/1.1\r\nhost: a/b\r\n\r\n"), 400),
        (format!("GET {PROVIDER}x HTTP/1.1\r\nhost: a, b\r\n\r\n"), 400),
        (format!("GET {PROVIDER}x HTTP/1.1\r\nhost: a@b\r\n\r\n"), 400),
        (format!("GET http://other{PROVIDER}x HTTP/1.1\r\nhost: h\r\n\r\n"), 400),
        (format!("GET {PROVIDER}x#f HTTP/1.1\r\nhost: h\r\n\r\n"), 400),
        (format!("GET  {PROVIDER}x HTTP/1.1\r\nhost: h\r\n\r\n"), 400),
        (format!("GET {PROVIDER}x HTTP/1.1 \r\nhost: h\r\n\r\n"), 400),
        (format!("GET {PROVIDER}x HTTP/2.0\r\nhost: h\r\n\r\n"), 505),
        (format!("POST {PROVIDER}x HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        ("CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n".into(), 400),
        (format!("TRACE {PROVIDER}x HTTP/1.1\r\nhost: h\r\n\r\n"), 405),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(), 400),
    ] {
        let mut client = world.connect().await;
        // What follows must not be served.
        client.send(format!("{raw}GET /health/live HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, status, "{raw:?}");
        let json = reply.json();
        assert_eq!(json["error"]["message"], json["detail"], "{raw:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{raw:?}");
        client.assert_closed().await;
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn broken_chunks_are_refused_and_end_the_connection() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [OPENAI, PROVIDER] {
        for chunks in [
            "x\r\n",
            "+2\r\nhi\r\n",
            "2\r\nhixx",
            "2\nhi\n",
            "fffffffffffffffff\r\n",
            "2\r\nhi\r\n0\r\nbad trailer\r\n\r\n",
        ] {
            let mut client = world.connect().await;
            client.send(Ask::post(&format!("{base}{CHAT}"), "").chunked(1).head()).await;
            client.send(chunks).await;
            let reply = client.reply().await;
            reply.assert_refusal(400, "bad_framing");
            client.assert_closed().await;
        }
    }
    assert_eq!(upstream.heard().len(), 0, "no broken body arrives whole");
    upstream.left_alone().await;
    world.settled().await;
}

#[tokio::test]
async fn an_absolute_target_is_served_when_it_names_the_host_it_was_sent_to() {
    let world = World::start(Routes::usual("http://127.0.0.1:9", "m1")).await;
    let mut client = world.connect().await;
    client.send("GET http://h:1/health/live?x HTTP/1.1\r\nhost: h:1\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_request_is_no_trouble() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [OPENAI, PROVIDER] {
        let all = Ask::post(&format!("{base}{CHAT}"), CHAT_BODY).encode();
        for cut in [1, 20, all.len() - 1] {
            for leaves_with in [End::Fin, End::Reset] {
                let mut client = world.connect().await;
                client.send(&all[..cut]).await;
                match leaves_with {
                    End::Fin => drop(client),
                    End::Reset => client.reset(),
                }
            }
        }
    }
    eventually("all connections are gone", || world.app.open_connections() == 0).await;
    upstream.left_alone().await;
    assert_eq!(upstream.heard().len(), 0);
    world.settled().await;
}
