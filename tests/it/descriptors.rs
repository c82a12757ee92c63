//! When the process has no file descriptor left: new connections wait, streams go on, nobody is blamed for it, and
//! it ends by itself.

use http::Method;
use integration_tests::client::{open, read_until, request, stream_body};
use integration_tests::{Home, eventually, within};
use nim_sim::{Sim, SimOptions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CHAT: &str = "/v1/chat/completions";
/// Enough to start with, and soon used up.
const DESCRIPTORS: usize = 96;

/// Sends a chat on a connection that is open already, and gives the answer.
async fn chat_on(connection: &mut TcpStream) -> String {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json");
    let ask = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    connection.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("the answer", connection.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_file_descriptors_new_connections_wait_and_streams_go_on() {
    let mut home = Home::new().await;
    home.launcher = Some(format!("ulimit -n {DESCRIPTORS}; exec \"$@\""));
    let sim = Sim::start(SimOptions { models: vec!["m".into()], ..SimOptions::default() }).await.unwrap();
    let mut gateway = home.up(&[]).await;
    gateway.add_provider(&home, "sim", &sim.url(), "m").await;

    let prompt = "[[sim: tokens=100000,token-ms=20]] hello";
    let asked = request(Method::POST, CHAT, Some(&stream_body("m", prompt)));
    let mut stream = open(gateway.address, asked).await.unwrap().into_body();
    read_until(&mut stream, |text| text.contains("said")).await;

    let mut crowd = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        // Those beyond the limit stand in the kernel's queue.
        crowd.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    let said = "no file descriptor is left";
    gateway.process.prints("that there is none", |text| text.contains(said).then_some(())).await;
    for _ in 0..3 {
        read_until(&mut stream, |text| text.len() > 1_000).await;
    }
    let refused = chat_on(&mut crowd[0]).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\"overloaded\""), "{refused}");
    assert!(refused.to_lowercase().contains("retry-after: 1"), "{refused}");

    let served = tokio::spawn({
        let mut last = crowd.pop().unwrap();
        async move { chat_on(&mut last).await }
    });
    drop(crowd);
    let served = within("who waited is served", served).await.unwrap();
    assert!(served.starts_with("HTTP/1.1 200"), "the server was not blamed: {served}");
    read_until(&mut stream, |text| text.len() > 1_000).await;
    let again = async || gateway.process.printed().contains("file descriptors again").then_some(());
    eventually("it says that there are some", again).await;
    let counted = async || {
        let scrape = request(Method::GET, "/metrics", None);
        let metrics = integration_tests::client::send(gateway.admin, scrape).await.ok()?.text();
        let line = metrics.lines().find(|line| line.starts_with("nimgate_without_descriptors"))?.to_owned();
        (!line.ends_with(" 0")).then_some(())
    };
    eventually("it is counted", counted).await;
    let printed = gateway.process.printed();
    assert_eq!(printed.matches(said).count(), 1, "{printed}");
    assert!(!printed.contains("left out") && !printed.contains("Accept() failed"), "{printed}");
}
