//! Protocol upgrades: WebSocket through provider routes over HTTP/1.1, refused everywhere else.

use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::Scripted;
use crate::harness::tls::Authority;
use crate::harness::*;

const FAMILIES: [&str; 2] = [
    "/apis/inference-gateway/v2/workspaces/default/provider/p1/-/",
    "/v2/workspaces/default/inference/gateway/provider/p1/-/",
];

fn handshake(target: &str) -> Ask {
    Ask::get(target)
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Protocol", "realtime, other")
}

/// A text frame as a client sends it: masked.
fn masked(text: &str) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let payload = text.bytes().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    [0x81, 0x80 | text.len() as u8].into_iter().chain(mask).chain(payload).collect()
}

/// The same as a server sends it.
fn unmasked(text: &str) -> String {
    format!("\u{81}{}{text}", char::from(text.len() as u8))
}

async fn echo_works(world: &World, base: &str) {
    let mut client = world.connect().await;
    client.send(handshake(&format!("{base}v1/realtime?model=m1")).encode()).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for (name, value) in [
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "realtime"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
    ] {
        assert_eq!(raw::header_values(&head, name), [value], "{head}");
    }
    assert_eq!(raw::header_values(&head, "x-request-id").len(), 1);
    for text in ["hello", "once more"] {
        client.send(masked(text)).await;
        let frame: Vec<u8> = unmasked(text).chars().map(|c| c as u8).collect();
        while client.seen.len() < frame.len() {
            within("the echo", tokio::io::AsyncReadExt::read_buf(&mut client.stream, &mut client.seen))
                .await
                .unwrap();
        }
        assert_eq!(client.seen.split(), frame);
    }
    // A close frame is echoed, then both connections end.
    client.send([0x88, 0x80, 0, 0, 0, 0]).await;
    let (rest, _) = client.rest().await;
    assert_eq!(rest, [0x88, 0]);
}

#[tokio::test]
async fn a_websocket_works_through_a_provider_route() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions::default()).await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "m1")).await;
    for base in FAMILIES {
        echo_works(&world, base).await;
    }
    assert_eq!(sim.requests()[0].target, "/v1/realtime?model=m1");
    world.settled().await;
    eventually("the upstream's connections are closed", || sim.stats().open_connections == 0).await;
}

#[tokio::test]
async fn a_websocket_works_to_an_upstream_that_would_rather_speak_http2() {
    let authority = Authority::new();
    let options = nim_sim::SimOptions { tls: Some(authority.pair()), ..Default::default() };
    let sim = nim_sim::Sim::start(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = authority.root_in(folder.path());
    let world =
        World::start_with(Routes::usual(&sim.url(), "m1"), |config| config.upstream_ca = Some(root)).await;
    // An HTTP/2 connection is there already.
    assert_eq!(world.get(&format!("{PROVIDER}v1/models")).await.status, 200);
    assert_eq!(sim.requests()[0].version, http::Version::HTTP_2);
    for base in FAMILIES {
        echo_works(&world, base).await;
    }
}

#[tokio::test]
async fn whoever_ends_a_websocket_ends_it_for_both() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await;
        line.write(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi!",
        )
        .await;
        if line.wire.until("end!").await == "you end!" {
            return;
        }
        line.left().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    client.send(handshake(&format!("{PROVIDER}x")).encode()).await;
    client.until("\r\n\r\nhi!").await;
    client.send("you end!").await;
    client.assert_closed().await;
    upstream.left_alone().await;
    let mut client = world.connect().await;
    client.send(handshake(&format!("{PROVIDER}x")).encode()).await;
    client.until("\r\n\r\nhi!").await;
    client.send("I end!").await;
    drop(client);
    upstream.left_alone().await;
    world.settled().await;
}

#[tokio::test]
async fn nothing_is_passed_on_before_the_upstream_agrees() {
    let upstream = Scripted::start(|mut line| async move {
        line.head().await.unwrap();
        assert!(line.wire.seen.is_empty());
        line.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
            .await;
        let early = line.wire.until("early").await;
        line.write(format!("got {early}")).await;
        line.left().await;
    })
    .await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    client.send([&handshake(&format!("{PROVIDER}x")).encode()[..], b"early"].concat()).await;
    client.until("got early").await;
}

#[tokio::test]
async fn an_upstream_that_does_not_agree_is_heard_and_the_connection_ends() {
    let upstream = Scripted::answering("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno").await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = world.connect().await;
    let smuggled = format!("GET {PROVIDER}smuggled HTTP/1.1\r\nhost: h\r\n\r\n");
    client.send([&handshake(&format!("{PROVIDER}x")).encode()[..], smuggled.as_bytes()].concat()).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, &*reply.text(), reply.header("connection")), (426, "no", Some("close")));
    client.assert_closed().await;
    assert_eq!(upstream.heard().len(), 1);
}

#[tokio::test]
async fn routes_that_read_json_refuse_to_upgrade() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [MODEL, OPENAI, "/"] {
        let mut client = world.connect().await;
        let reply = client.ask(&handshake(&format!("{base}v1/realtime"))).await;
        reply.assert_refusal(400, "upgrade_not_supported");
        client.assert_closed().await;
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn other_upgrades_are_not_passed_on() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for (connection, upgrade) in
        [("upgrade, http2-settings", "h2c"), ("upgrade", "TLS/1.2"), ("close", "websocket")]
    {
        let ask =
            Ask::get(&format!("{PROVIDER}x")).header("connection", connection).header("upgrade", upgrade);
        assert_eq!(world.ask(ask).await.status, 200, "{upgrade}");
        let heard = upstream.heard().pop().unwrap();
        assert_eq!((heard.header("upgrade"), heard.header("connection")), (None, None));
    }
}

#[tokio::test]
async fn http2_clients_can_not_upgrade() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    let mut client = H2Client::connect(world.address).await;
    let request = h2_client::get(&format!("{PROVIDER}x")).method("CONNECT");
    let request = request.extension(h2::ext::Protocol::from_static("websocket"));
    let mut failed = false;
    if let Ok(mut send) = client.ready().await {
        failed = match send.send_request(request.body(()).unwrap(), true) {
            Ok((answer, _)) => {
                within("the refusal", answer).await.map_or(true, |answer| !answer.status().is_success())
            }
            Err(_) => true,
        };
    }
    assert!(failed);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(world.get("/health/live").await.status, 200);
}
