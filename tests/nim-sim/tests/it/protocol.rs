//! HTTP itself: versions, TLS, trailers, HEAD, WebSocket.

use crate::wire::{CHAT, DEADLINE, STREAM, connect, get, post, raw, read_until, sim, sim_with};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nim_sim::{Outcome, Sim, SimOptions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

type Sender = http2::SendRequest<Full<Bytes>>;

async fn h2(sim: &Sim) -> Sender {
    let io = TokioIo::new(connect(sim.addr()).await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn h2_chat(sender: &mut Sender, fault: &str, body: &'static str) -> Response<hyper::body::Incoming> {
    let request = Request::post("http://sim/v1/chat/completions").header("x-sim-fault", fault);
    let request = request.body(Full::from(body)).unwrap();
    timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap()
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge() {
    let sim = sim().await;
    let reply = h2_chat(&mut h2(&sim).await, "close", CHAT).await;
    assert_eq!((reply.status().as_u16(), reply.version()), (200, Version::HTTP_2));
    let seen = sim.requests();
    assert_eq!((seen[0].version, seen[0].target.as_str()), (Version::HTTP_2, "/v1/chat/completions"));
    assert_eq!(seen[0].body, CHAT.as_bytes());
}

#[tokio::test]
async fn a_cut_ends_one_http2_stream_and_a_reset_the_connection() {
    let sim = sim().await;
    let mut sender = h2(&sim).await;
    let mut cut = h2_chat(&mut sender, "cut-after=300", STREAM).await.into_body();
    let mut bytes = 0;
    let error = loop {
        match timeout(DEADLINE, cut.frame()).await.unwrap().unwrap() {
            Ok(frame) => bytes += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert_eq!(bytes, 300, "{error}");
    assert_eq!(h2_chat(&mut sender, "", CHAT).await.status().as_u16(), 200);
    let reset = h2_chat(&mut sender, "reset-after=300", STREAM).await;
    assert!(timeout(DEADLINE, reset.into_body().collect()).await.unwrap().is_err());
    assert!(timeout(DEADLINE, sender.ready()).await.unwrap().is_err());
}

#[tokio::test]
async fn leaving_one_http2_stream_is_seen_for_that_stream_alone() {
    let sim = sim().await;
    let mut sender = h2(&sim).await;
    let stays = h2_chat(&mut sender, "tokens=20,token-ms=5", STREAM).await;
    let mut leaves = h2_chat(&mut sender, "tokens=100000,token-ms=5", STREAM).await.into_body();
    timeout(DEADLINE, leaves.frame()).await.unwrap().unwrap().unwrap();
    drop(leaves);
    assert!(timeout(DEADLINE, stays.into_body().collect()).await.unwrap().is_ok());
    let seen = sim.wait_for(|all| all[1].client_left(), DEADLINE).await.unwrap();
    assert_eq!(seen[0].outcome, Outcome::Answered);
}

#[tokio::test]
async fn trailers_come_when_asked_for() {
    let sim = sim().await;
    for body in [CHAT, STREAM] {
        let reply = raw(sim.addr(), &post("/v1/chat/completions", "x-sim-trailers: 1\r\n", body)).await;
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        assert_eq!((reply.trailers.as_str(), reply.complete), ("x-sim-trailer: done\r\n\r\n", true));
    }
    assert!(sim.requests().iter().all(|r| r.header("te").is_none() && r.outcome == Outcome::Answered));
    let request = Request::get("http://sim/echo/x").header("x-sim-trailers", "1");
    let reply = h2(&sim).await.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    let collected = reply.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sim-trailer"], "done");
}

#[tokio::test]
async fn echo_tells_what_arrived() {
    let sim = sim().await;
    let request =
        "PATCH /echo//a?b=1 HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    let echo = raw(sim.addr(), request.as_bytes()).await.json();
    assert_eq!((&echo["method"], &echo["target"]), (&json!("PATCH"), &json!("/echo//a?b=1")));
    assert_eq!(echo["body_len"], 3);
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(echo["body_sha256"], sha256);
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let sim = sim().await;
    let head = String::from_utf8(get("/echo/x", "")).unwrap().replacen("GET", "HEAD", 1);
    let reply = raw(sim.addr(), head.as_bytes()).await;
    assert_eq!((reply.status(), reply.body.len()), (200, 0));
    assert!(reply.header("content-length").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(sim.requests()[0].outcome, Outcome::Answered);
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body() {
    let sim = sim().await;
    let mut stream = connect(sim.addr()).await;
    let head = "POST /echo/x HTTP/1.1\r\nhost: sim\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 100"));
    stream.write_all(b"hi").await.unwrap();
    assert!(read_until(&mut stream, "}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_websocket_echoes_and_closes() {
    let sim = sim().await;
    let mut stream = connect(sim.addr()).await;
    let head = "GET /v1/realtime?model=m HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"));
    assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    // "hi" and a close frame, masked with 0x01020304.
    stream.write_all(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2, 0x88, 0x80, 1, 2, 3, 4]).await.unwrap();
    let mut echoed = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(echoed, [0x81, 2, b'h', b'i', 0x88, 0]);
    sim.wait_for(|all| all[0].outcome == Outcome::Answered, DEADLINE).await.unwrap();
    assert_eq!(raw(sim.addr(), &get("/v1/realtime", "")).await.status(), 426);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_offers_both_versions_and_cuts_without_a_close() {
    use rcgen::generate_simple_self_signed;
    use std::sync::Arc;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};

    let identity = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pem = (identity.cert.pem(), identity.signing_key.serialize_pem());
    let options = SimOptions { tls: Some(pem), models: vec!["m".to_owned()], ..SimOptions::default() };
    let sim = sim_with(options).await;
    assert!(sim.url().starts_with("https://"));
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for protocol in ["h2", "http/1.1"] {
        config.alpn_protocols = vec![protocol.into()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config.clone()));
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, connect(sim.addr()).await).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        if protocol == "http/1.1" {
            let request = post("/v1/chat/completions", "x-sim-fault: cut-after=300\r\n", STREAM);
            stream.write_all(&request).await.unwrap();
            let mut bytes = Vec::new();
            let error = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
            assert!(bytes.starts_with(b"HTTP/1.1 200"));
        }
    }
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_at_the_start() {
    let fault = SimOptions { fault: Some("explode".to_owned()), ..SimOptions::default() };
    assert!(Sim::start(fault).await.err().unwrap().to_string().contains("explode"));
    let tls = SimOptions { tls: Some(("x".to_owned(), "y".to_owned())), ..SimOptions::default() };
    assert!(Sim::start(tls).await.err().unwrap().to_string().contains("tls"));
}
