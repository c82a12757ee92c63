//! What the server remembers.

use crate::wire::{CHAT, DEADLINE, STREAM, chat, connect, get, post, raw, read_until, sim};
use base64::Engine as _;
use nim_sim::Outcome;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_request_is_kept_as_it_came() {
    let sim = sim().await;
    let head = "POST /echo//a/../b%2Fc?x=1&x=2 HTTP/1.1\r\nHost: sim\r\nX-One:  1 \r\nx-two: 2\r\nX-ONE: 3\r\n\
        Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    raw(sim.addr(), format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").as_bytes()).await;
    let seen = sim.requests().remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/echo//a/../b%2Fc?x=1&x=2"));
    assert_eq!(seen.path(), "/echo//a/../b%2Fc");
    let names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "X-One", "x-two", "X-ONE", "Connection", "Transfer-Encoding"]);
    assert_eq!(seen.header("x-one"), Some("1"));
    assert_eq!(seen.raw_head.as_deref(), Some(head.as_bytes()));
    assert_eq!((&seen.body[..], seen.body_complete), (&b"abcde"[..], true));
    assert_eq!((seen.status, seen.outcome), (Some(200), Outcome::Answered));
}

#[tokio::test]
async fn requests_of_one_connection_share_its_number() {
    let sim = sim().await;
    let mut stream = connect(sim.addr()).await;
    for path in ["/v1/health/live", "/v1/version"] {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: sim\r\n\r\n").as_bytes()).await.unwrap();
        read_until(&mut stream, "}").await;
    }
    raw(sim.addr(), &get("/v1/models", "")).await;
    let numbers: Vec<u64> = sim.requests().iter().map(|r| r.connection).collect();
    assert_eq!(numbers, [1, 1, 2]);
    assert_eq!(sim.stats().accepted_connections, 2);
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_stream_is_seen() {
    let sim = sim().await;
    let mut stream = connect(sim.addr()).await;
    let request = post("/v1/chat/completions", "x-sim-fault: tokens=100000,token-ms=5\r\n", STREAM);
    stream.write_all(&request).await.unwrap();
    read_until(&mut stream, "said").await;
    assert_eq!(sim.stats().in_flight, 1);
    drop(stream);
    sim.wait_for(|all| all[0].client_left(), DEADLINE).await.unwrap();
    assert_eq!((sim.stats().cancelled, sim.stats().in_flight), (1, 0));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_or_in_its_upload_is_seen() {
    let sim = sim().await;
    for body in ["", &CHAT[..20]] {
        sim.clear();
        let mut stream = connect(sim.addr()).await;
        let length = if body.is_empty() { 0 } else { CHAT.len() };
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: sim\r\nx-sim-fault: hang\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        sim.wait_for(|all| !all.is_empty(), DEADLINE).await.unwrap();
        drop(stream);
        let seen = sim.wait_for(|all| all[0].client_left(), DEADLINE).await.unwrap();
        assert_eq!(&seen[0].body[..], body.as_bytes());
    }
}

#[tokio::test]
async fn a_wait_that_fails_tells_what_was_received() {
    let sim = sim().await;
    raw(sim.addr(), &get("/v1/models", "")).await;
    let error = sim.wait_for(|all| all.len() > 1, Duration::from_millis(10)).await.unwrap_err();
    assert!(error.to_string().contains("GET /v1/models"), "{error}");
}

#[tokio::test]
async fn records_are_read_and_cleared_over_http() {
    let sim = sim().await;
    chat(&sim, "", CHAT).await;
    let view = raw(sim.addr(), &get("/__sim/requests", "")).await.json();
    assert_eq!(view[0]["target"], "/v1/chat/completions");
    assert_eq!(view[0]["headers"][0], serde_json::json!(["host", "sim"]));
    let body = view[0]["body"].as_str().unwrap();
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(body).unwrap(), CHAT.as_bytes());
    assert_eq!(raw(sim.addr(), &get("/__sim/stats", "")).await.json()["answered"], 1);
    let delete = String::from_utf8(get("/__sim/requests", "")).unwrap().replacen("GET", "DELETE", 1);
    assert_eq!(raw(sim.addr(), delete.as_bytes()).await.status(), 204);
    assert!(sim.requests().is_empty());
}

#[tokio::test]
async fn shutdown_ends_open_requests_and_the_listener() {
    let sim = sim().await;
    let addr = sim.addr();
    let mut stream = connect(addr).await;
    stream.write_all(&post("/v1/chat/completions", "x-sim-fault: hang\r\n", CHAT)).await.unwrap();
    sim.wait_for(|all| all.iter().any(|r| r.body_complete), DEADLINE).await.unwrap();
    sim.shutdown().await;
    assert_eq!(crate::wire::rest(&mut stream).await.head, "");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
