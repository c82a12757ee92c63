//! Upstream answers that can't be believed (R5.7): the client gets a 502 that says why, and the
//! connection is never used again.

use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

/// An upstream that gives `answer` once per connection and then stays silent.
async fn once(answer: impl AsRef<[u8]>) -> Scripted {
    let answer: std::sync::Arc<[u8]> = answer.as_ref().into();
    Scripted::start(move |mut line| {
        let answer = std::sync::Arc::clone(&answer);
        async move {
            line.request().await;
            line.write(&answer).await;
            line.hang().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_head_that_can_not_be_believed_is_a_502_at_once() {
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(20_000));
    let many_lines = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(300));
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\x07b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 99 What\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 1000 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "garbage",
        "\r\n\r\n\r\n",
        "{\"choices\":[]}\n",
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        &huge,
        &endless,
        &many_lines,
        &"HTTP/1.1 100 Continue\r\n\r\n".repeat(50),
    ] {
        let upstream = once(answer).await;
        let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
        let mut client = world.connect().await;
        for base in [PROVIDER, OPENAI] {
            let reply = client.ask(&Ask::post(&format!("{base}{CHAT}"), CHAT_BODY)).await;
            assert_eq!(reply.status, 502, "{answer:.60?}: {}", reply.head);
            reply.assert_refusal(502, "upstream_bad_answer");
            assert!(reply.json()["detail"].as_str().unwrap().contains("default/p1"), "it names the provider");
        }
        // Each on a connection of its own, and sent once.
        assert_eq!((upstream.connections(), upstream.heard().len()), (2, 2), "{answer:.60?}");
        upstream.left_alone().await;
        world.settled().await;
    }
}

#[tokio::test]
async fn an_http2_client_hears_of_it_too() {
    let upstream = once("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = H2Client::connect(world.address).await;
    let reply = client.ask(h2_client::post(&format!("{OPENAI}{CHAT}")), CHAT_BODY).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (502, &"upstream_bad_answer".into()));
}

#[tokio::test]
async fn broken_chunks_of_an_answer_cut_it() {
    for broken in ["x\r\n", "5\r\nhelloXX", "-1\r\n", "fffffffffffffffff\r\n", "0\r\nbad trailer\r\n\r\n"] {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n";
        let upstream = once(format!("{head}{broken}")).await;
        let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
        let mut client = world.connect().await;
        let reply = client.ask(&Ask::get(&format!("{PROVIDER}x"))).await;
        assert!(!reply.whole && reply.text().starts_with("begin"), "{broken:?}: {reply:?}");
        client.assert_closed().await;
        upstream.left_alone().await;
        world.settled().await;
    }
}

#[tokio::test]
async fn bytes_after_an_answer_are_never_the_next_one() {
    let poison = json_reply(r#""poison""#);
    for extra in [poison.as_str(), "x", "\r\n"] {
        let upstream = Scripted::start({
            let answer = json_reply(r#""honest""#) + extra;
            move |mut line| {
                let answer = answer.clone();
                async move {
                    while line.request().await.is_some() {
                        line.write(&answer).await;
                    }
                }
            }
        })
        .await;
        let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
        let mut client = world.connect().await;
        for n in 1..=3 {
            let reply = client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY)).await;
            assert_eq!((reply.status, &*reply.text()), (200, "\"honest\""), "after {extra:?}");
            assert_eq!(upstream.connections(), n, "a new connection each time");
        }
    }
}

#[tokio::test]
async fn bytes_that_come_while_a_connection_is_idle_end_it() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(json_reply("1")).await;
        // Later, out of the blue.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        line.write(json_reply("\"poison\"")).await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = world.connect().await;
    assert_eq!(client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY)).await.text(), "1");
    upstream.left_alone().await;
    assert_eq!(client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY)).await.text(), "1");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_upstream_that_wants_to_close_is_not_used_again() {
    let close = "HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 1\r\n\r\n1";
    for answer in [close, "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n1"] {
        let upstream = once(answer).await;
        let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
        let mut client = world.connect().await;
        for _ in 0..2 {
            let reply = client.ask(&Ask::get(&format!("{PROVIDER}x"))).await;
            assert_eq!((reply.status, reply.header("connection")), (200, None));
        }
        assert_eq!(upstream.connections(), 2, "{answer}");
        upstream.left_alone().await;
    }
}

#[tokio::test]
async fn an_answer_before_the_request_was_sent_ends_the_upstreams_connection() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        line.write(json_reply("\"early\"")).await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&format!("{PROVIDER}{CHAT}"), "").chunked(1).head()).await;
    assert_eq!(client.reply().await.text(), "\"early\"");
    upstream.left_alone().await;
}
