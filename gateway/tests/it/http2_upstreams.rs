//! HTTP/2 upstreams that refuse, reset and go away: what was not processed may go elsewhere, what may
//! have been is never sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::{Reason, server};
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::harness::h2_client::{self, H2Client};
use crate::harness::h2_upstream::{H2Upstream, answer};
use crate::harness::scripted::Scripted;
use crate::harness::tls::Authority;
use crate::harness::*;

fn chat() -> Ask {
    Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY)
}

/// One HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The next HEADERS frame's stream; other frames are passed over.
async fn next_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        if head[3] == HEADERS {
            return Some(head[8]);
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
/// `:status: 200`, and no more to come.
const STATUS_200: &[u8] = &[0x88];

#[tokio::test]
async fn a_request_the_upstream_did_not_look_at_goes_out_again_on_a_new_connection() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["h2"]);
    let wrap = move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    };
    let upstream = Scripted::over(wrap, |mut line| async move {
        line.wire.until("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let seen = std::mem::take(&mut line.wire.seen);
        line.write([frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[])].concat()).await;
        let (mut read, mut write) = tokio::io::split(&mut line.wire.stream);
        let mut input = std::io::Cursor::new(seen).chain(&mut read);
        while let Some(stream) = next_request(&mut input).await {
            let answer = match stream {
                1 => [frame(HEADERS, 4, stream, STATUS_200), frame(DATA, 1, stream, b"1")].concat(),
                // The last stream it looked at was the first.
                _ => frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
            };
            write.write_all(&answer).await.unwrap();
            write.flush().await.unwrap();
        }
    })
    .await;
    let files = tempfile::tempdir().unwrap();
    let root = authority.root_in(files.path());
    let routes = Routes::usual(&format!("https://{}", upstream.address), "x/y");
    let world = World::start_with(routes, |config| config.upstream_ca = Some(root)).await;
    for n in 1..=3 {
        assert_eq!(world.ask(chat()).await.text(), "1");
        assert_eq!(upstream.connections(), n);
    }
    world.settled().await;
}

#[tokio::test]
async fn a_refused_stream_goes_out_again() {
    let upstream = H2Upstream::start(server::Builder::new(), |mut line, number, heard| async move {
        let mut served = 0;
        while let Some((_, mut respond)) = heard.next(&mut line).await {
            if number == 0 && served == 1 {
                respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                answer(respond, "1");
            }
            served += 1;
        }
    })
    .await;
    let world = upstream.world().await;
    for _ in 0..3 {
        assert_eq!(world.ask(chat()).await.text(), "1");
    }
    assert_eq!(upstream.heard().len(), 4, "one was refused");
}

#[tokio::test]
async fn a_stream_that_is_reset_otherwise_may_have_been_executed() {
    for reason in [Reason::INTERNAL_ERROR, Reason::PROTOCOL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM]
    {
        let upstream = H2Upstream::start(server::Builder::new(), move |mut line, _, heard| async move {
            while let Some((_, mut respond)) = heard.next(&mut line).await {
                respond.send_reset(reason);
            }
        })
        .await;
        let world = upstream.world().await;
        for n in 1..=2 {
            world.ask(chat()).await.assert_refusal(502, "upstream_ambiguous");
            assert_eq!(upstream.heard().len(), n, "{reason}: sent once");
        }
        world.settled().await;
    }
}

#[tokio::test]
async fn a_connection_that_goes_away_with_an_error_may_have_executed_what_it_had() {
    let upstream = H2Upstream::start(server::Builder::new(), |mut line, _, heard| async move {
        let _ask = heard.next(&mut line).await;
        line.abrupt_shutdown(Reason::INTERNAL_ERROR);
        let _ = std::future::poll_fn(|cx| line.poll_closed(cx)).await;
    })
    .await;
    let world = upstream.world().await;
    world.ask(chat()).await.assert_refusal(502, "upstream_ambiguous");
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn a_connection_that_went_away_while_idle_is_no_clients_problem() {
    let upstream = H2Upstream::start(server::Builder::new(), |mut line, _, heard| async move {
        let (_, respond) = heard.next(&mut line).await.unwrap();
        answer(respond, "1");
        line.graceful_shutdown();
        while line.accept().await.is_some() {}
    })
    .await;
    let world = upstream.world().await;
    for n in 1..=5 {
        assert_eq!(world.ask(chat()).await.text(), "1");
        assert_eq!(upstream.heard().len(), n);
    }
}

#[tokio::test]
async fn an_answer_shorter_or_longer_than_announced_is_cut() {
    for body in ["x", "xxxxxxxxxxxxxxxxxxxx"] {
        let upstream = H2Upstream::start(server::Builder::new(), move |mut line, _, heard| async move {
            while let Some((_, mut respond)) = heard.next(&mut line).await {
                let head = Response::builder().header("content-length", 10).body(()).unwrap();
                let mut stream = respond.send_response(head, false).unwrap();
                stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
            }
        })
        .await;
        let world = upstream.world().await;
        let reply = world.get(&format!("{PROVIDER}x")).await;
        assert!(!reply.whole || reply.status == 502, "{body:?}: {reply:?}");
        world.settled().await;
    }
}

#[tokio::test]
async fn an_early_answer_of_an_http2_upstream_reaches_the_client() {
    let upstream = H2Upstream::start(server::Builder::new(), |mut line, _, heard| async move {
        while let Some((request, mut respond)) = heard.next(&mut line).await {
            let head = Response::builder().status(413).header("content-length", 5).body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from_static(b"sorry"), true).unwrap();
            // Not reading on tells the gateway to stop, by a reset without an error.
            drop(request);
        }
    })
    .await;
    let world = upstream.world().await;
    for size in [10, 1_000_000] {
        let ask = Ask::new("POST", &format!("{PROVIDER}v1/files")).body(vec![b'x'; size]);
        let reply = world.ask(ask).await;
        assert_eq!((reply.status, &*reply.text(), reply.whole), (413, "sorry", true), "{size} bytes");
    }
    world.settled().await;
}

#[tokio::test]
async fn streams_beyond_what_a_connection_takes_get_another() {
    for (settings, streams) in [(None, 150), (Some(1), 5)] {
        let mut builder = server::Builder::new();
        if let Some(streams) = settings {
            builder.max_concurrent_streams(streams);
        }
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let upstream = H2Upstream::start(builder, move |mut line, _, heard| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let mut waiting = vec![];
                while let Some((request, respond)) = heard.next(&mut line).await {
                    match request.uri().path() {
                        "/first" => answer(respond, "1"),
                        _ => waiting.push(respond),
                    }
                }
            }
        })
        .await;
        let world = upstream.world().await;
        // The upstream's settings are known from here on.
        assert_eq!(world.get(&format!("{PROVIDER}first")).await.status, 200);
        let mut clients = vec![];
        for _ in 0..streams {
            let mut client = world.connect().await;
            client.send(Ask::get(&format!("{PROVIDER}hang")).encode()).await;
            clients.push(client);
        }
        upstream.heard_requests(streams + 1).await;
        let opened = connections.load(Ordering::Relaxed);
        assert!(opened >= 2 && opened <= streams, "{opened} connections for {streams} streams");
        drop(clients);
        world.settled().await;
    }
}

#[tokio::test]
async fn the_head_of_a_request_is_made_for_http2() {
    let (tell, mut told) = tokio::sync::mpsc::channel(8);
    let upstream = H2Upstream::start(server::Builder::new(), move |mut line, _, heard| {
        let tell = tell.clone();
        async move {
            while let Some((request, respond)) = heard.next(&mut line).await {
                tell.send(request.into_parts().0).await.unwrap();
                answer(respond, "1");
            }
        }
    })
    .await;
    let world = upstream.world().await;
    let ask = Ask::post(&format!("{PROVIDER}a//b/-/c?x=1&x=2"), "{}")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .header("authorization", "Bearer canary")
        .header("X-Custom", "kept");
    assert_eq!(world.ask(ask).await.status, 200);
    let head = within("the head", told.recv()).await.unwrap();
    assert_eq!(head.uri.to_string(), format!("https://{}/a//b/-/c?x=1&x=2", upstream.address));
    for name in ["host", "connection", "x-hop", "te", "authorization", "transfer-encoding"] {
        assert!(head.headers.get(name).is_none(), "{name}");
    }
    assert_eq!(head.headers["x-custom"], "kept");
    assert_eq!(head.headers["content-length"], "2");
    assert!(head.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn each_frame_of_an_http2_upstream_goes_out_before_the_next_one_comes() {
    const EVENTS: [&str; 3] = ["data: {\"model\":\"x/y\"}\n\n", "data: {\"te", "xt\":1}\n\n"];
    let steps = Arc::new(tokio::sync::Semaphore::new(0));
    let gate = Arc::clone(&steps);
    let upstream = H2Upstream::start(server::Builder::new(), move |mut line, _, heard| {
        let gate = Arc::clone(&gate);
        async move {
            while let Some((_, mut respond)) = heard.next(&mut line).await {
                let head = Response::builder().header("content-type", "text/event-stream").body(()).unwrap();
                let mut stream = respond.send_response(head, false).unwrap();
                let gate = Arc::clone(&gate);
                // The connection's own task has to go on, or nothing leaves.
                tokio::spawn(async move {
                    for event in EVENTS {
                        gate.acquire().await.unwrap().forget();
                        stream.send_data(Bytes::from_static(event.as_bytes()), false).unwrap();
                    }
                    gate.acquire().await.unwrap().forget();
                    stream.send_data(Bytes::new(), true).unwrap();
                });
            }
        }
    })
    .await;
    let world = upstream.world().await;
    let mut h1 = world.connect().await;
    h1.send(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).encode()).await;
    h1.head().await;
    let mut h2 = H2Client::connect(world.address).await;
    for event in EVENTS {
        steps.add_permits(1);
        h1.until(&event.replace("x/y", "default/m1")).await;
    }
    steps.add_permits(1);
    h1.until("0\r\n\r\n").await;
    let mut answer = h2.start(h2_client::post(&format!("{OPENAI}{CHAT}")), STREAM_BODY).await;
    for event in EVENTS {
        steps.add_permits(1);
        let expected = event.replace("x/y", "default/m1");
        h2_client::until(answer.body_mut(), &mut bytes::BytesMut::new(), &expected).await;
    }
    steps.add_permits(1);
    assert!(h2_client::collect(answer).await.error.is_none());
    world.settled().await;
}
