//! HTTP/2 clients: prior knowledge, many streams on one connection, and what one stream may not do to
//! another.

use bytes::Bytes;

use crate::harness::h2_client::{self, H2Client, collect};
use crate::harness::scripted::{LAST_CHUNK, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

#[tokio::test]
async fn prior_knowledge_works_beside_http1_on_one_port() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "x/y")).await;
    let mut client = H2Client::connect(world.address).await;
    for base in [PROVIDER, MODEL, OPENAI, "/"] {
        let body = if base == PROVIDER { CHAT_BODY.replace("m1", "x/y") } else { CHAT_BODY.into() };
        let reply = client.ask(h2_client::post(&format!("{base}{CHAT}")), body).await;
        assert_eq!(reply.status, 200, "{base}: {}", reply.text());
        let model = if base == PROVIDER { "x/y" } else { "default/m1" };
        assert_eq!(reply.json()["model"], model);
        assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
        assert!(reply.header("x-request-id").is_some());
    }
    assert_eq!(world.get("/health/live").await.status, 200);
    let reply = client.ask(h2_client::get("/nothing"), "").await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &"no_such_path".into()));
}

#[tokio::test]
async fn many_streams_share_one_connection() {
    let upstream = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            line.write(json_reply(&format!("\"{}\"", heard.target()))).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = H2Client::connect(world.address).await;
    let mut answers = vec![];
    for n in 0..50 {
        let (answer, mut up) = client.open(h2_client::post(&format!("{PROVIDER}{n}"))).await;
        up.send_data(Bytes::from_static(b"{}"), true).unwrap();
        answers.push((n, answer));
    }
    for (n, answer) in answers {
        let reply = collect(within("an answer", answer).await.unwrap()).await;
        assert_eq!(reply.text(), format!("\"/{n}\""));
    }
    world.settled().await;
}

#[tokio::test]
async fn a_stream_that_is_reset_does_not_disturb_its_neighbours() {
    let upstream = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            if heard.target() == "/hang" {
                return line.hang().await;
            }
            line.write(json_reply("1")).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = H2Client::connect(world.address).await;
    let (hanging, mut up) = client.open(h2_client::get(&format!("{PROVIDER}hang"))).await;
    up.send_data(Bytes::new(), true).unwrap();
    upstream.heard_requests(1).await;
    assert_eq!(client.ask(h2_client::get(&format!("{PROVIDER}x")), "").await.text(), "1");
    up.send_reset(h2::Reason::CANCEL);
    drop(hanging);
    eventually("only the idle connection is left", || {
        world.metric("nimgate_requests_in_flight ") == Some(0.0)
    })
    .await;
    assert_eq!(client.ask(h2_client::get(&format!("{PROVIDER}x")), "").await.text(), "1");
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_holds_up_nobody_else() {
    let upstream = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            if heard.target() == "/big" {
                line.write("HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n").await;
                line.write(vec![b'x'; 10_000_000]).await;
            } else {
                line.write(json_reply("1")).await;
            }
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(8 * 1024 * 1024);
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let mut client = H2Client::with(builder, stream).await;
    let big = client.start(h2_client::get(&format!("{PROVIDER}big")), "").await;
    for _ in 0..5 {
        assert_eq!(client.ask(h2_client::get(&format!("{PROVIDER}x")), "").await.text(), "1");
    }
    let reply = collect(big).await;
    assert_eq!((reply.body.len(), reply.error.is_none()), (10_000_000, true));
}

#[tokio::test]
async fn clients_are_told_how_many_streams_a_connection_may_have() {
    let upstream = Scripted::obliging().await;
    let world =
        World::limited(Routes::usual(&upstream.url(), "m1"), |limits| limits.h2_streams_max = 3).await;
    let mut client = H2Client::connect(world.address).await;
    // The limit is known once the settings have come.
    assert_eq!(client.ask(h2_client::get(&format!("{PROVIDER}x")), "").await.status, 200);
    assert_eq!(client.ready().await.unwrap().current_max_send_streams(), 3);
    let mut answers = vec![];
    for _ in 0..10 {
        answers.push(client.open(h2_client::post(&format!("{PROVIDER}x"))).await);
    }
    for (answer, mut up) in answers {
        up.send_data(Bytes::from_static(b"{}"), true).unwrap();
        assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_reaches_no_upstream_whole() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for (announced, base) in [(5, PROVIDER), (500, PROVIDER), (5, OPENAI), (500, OPENAI)] {
        let mut client = H2Client::connect(world.address).await;
        let request = h2_client::post(&format!("{base}{CHAT}")).header("content-length", announced);
        let (answer, mut up) = client.open(request).await;
        up.send_data(Bytes::from_static(CHAT_BODY.as_bytes()), true).unwrap();
        let answer = within("the end of the stream", answer).await;
        assert!(answer.is_err_and(|error| error.is_reset() || error.is_go_away()), "{announced} {base}");
    }
    upstream.left_alone().await;
    assert_eq!(upstream.heard().len(), 0);
    world.settled().await;
}

#[tokio::test]
async fn a_client_that_vanishes_takes_all_its_streams_along() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        line.write(chunk("data: 1\n\n")).await;
        line.hang().await;
        line.write(LAST_CHUNK).await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = H2Client::connect(world.address).await;
    let mut answers = vec![];
    for _ in 0..10 {
        answers.push(client.start(h2_client::post(&format!("{PROVIDER}x")), "{}").await);
    }
    client.vanish();
    upstream.left_alone().await;
    world.settled().await;
    eventually("the connection is gone", || world.app.open_connections() == 0).await;
}

#[tokio::test]
async fn a_malformed_stream_is_refused_and_the_connection_goes_on() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = H2Client::connect(world.address).await;
    let reply = client.ask(h2_client::get(&format!("{PROVIDER}x")).method("TRACE"), "").await;
    assert_eq!(reply.status, 405);
    for _ in 0..3 {
        // Two names for one host.
        let request = h2_client::get(&format!("{PROVIDER}x")).header("host", "other.test");
        let mut send = client.ready().await.unwrap();
        let (answer, _) = send.send_request(request.body(()).unwrap(), true).unwrap();
        let answer = within("the refusal", answer).await;
        assert!(answer.map_or(true, |answer| answer.status() == 400));
    }
    assert_eq!(client.ask(h2_client::get(&format!("{PROVIDER}x")), "").await.status, 200);
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn a_client_that_opens_and_resets_streams_without_end_wears_nothing_out() {
    let upstream = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            if heard.target() == "/hang" {
                return line.hang().await;
            }
            line.write(json_reply("1")).await;
        }
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for _ in 0..3 {
        let mut client = H2Client::connect(world.address).await;
        for n in 0..2_000 {
            let Ok(mut send) = client.ready().await else { break };
            let request = h2_client::get(&format!("{PROVIDER}hang")).body(()).unwrap();
            let Ok((_, mut up)) = send.send_request(request, true) else { break };
            up.send_reset(h2::Reason::CANCEL);
            if n % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        drop(client);
    }
    world.settled().await;
    eventually("the connections are gone", || world.app.open_connections() == 0).await;
    upstream.left_alone().await;
    let mut client = H2Client::connect(world.address).await;
    assert_eq!(client.ask(h2_client::get(&format!("{PROVIDER}x")), "").await.text(), "1");
}
