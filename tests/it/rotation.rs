//! A new master key, while a gateway serves: no request fails, and a kill in between costs nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use integration_tests::client::{chat_body, request, send};
use integration_tests::process::Signal;
use integration_tests::{Ended, Home, Process, eventually};
use nim_sim::{Sim, SimOptions};
use serde_json::json;
use tokio::task::JoinHandle;

const ANY_PORT: &str = "127.0.0.1:0";
const CHAT: &str = "/v1/chat/completions";
const SECRETS: &str = "/apis/secrets/v2/workspaces/default/secrets";
const SECRETS_MADE: usize = 200;

async fn reload(process: &mut Process, times: usize) {
    process.signal(Signal::Hangup);
    let read = |text: &str| (text.matches("master keys read again").count() >= times).then_some(());
    process.prints("that it read its keys", read).await;
}

async fn keyed(home: &Home, command: &str, more: &[&str]) -> Ended {
    let key = home.key_file();
    let args = ["registry", command, "--data-dir", "registry", "--master-key-file", key.to_str().unwrap()];
    home.run(args.iter().chain(more)).await
}

/// Chats without end; gives how many there were, or the first answer that was not a success.
fn chats(gateway: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<Result<usize, String>> {
    tokio::spawn(async move {
        let mut done = 0;
        while !stop.load(Ordering::Relaxed) {
            let reply = send(gateway, request(Method::POST, CHAT, Some(&chat_body("m", "hi")))).await;
            match reply {
                Ok(reply) if reply.status == 200 => done += 1,
                Ok(reply) => return Err(reply.text()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(done)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_master_key_changes_and_the_registry_is_killed() {
    let home = Home::new().await;
    let options =
        SimOptions { models: vec!["m".into()], api_key: Some("sim-key".into()), ..SimOptions::default() };
    let sim = Sim::start(options).await.unwrap();
    let (address, mut registry) = home.registry(ANY_PORT, &[]).await;
    let mut gateway = home.gateway("a", address, &[]).await;
    for number in 0..SECRETS_MADE {
        let body = json!({"name": format!("s{number}"), "value": "sim-key"});
        assert_eq!(send(address, request(Method::POST, SECRETS, Some(&body))).await.unwrap().status, 201);
    }
    let url = gateway.url();
    let create = ["provider", "create", "p1", "--url", &sim.url(), "--secret", "s99", "--gateway-url", &url];
    home.run(create).await.expect_done();
    gateway.serves("m").await;
    let stop = Arc::new(AtomicBool::new(false));
    let chatting = chats(gateway.address, stop.clone());

    let key = home.key_file();
    home.run(["keygen", "--add", "--file", key.to_str().unwrap()]).await.expect_done();
    let early = keyed(&home, "rotate", &["--listen", &address.to_string()]).await;
    assert_eq!(early.code, Some(1), "nobody has read the new key yet");
    assert!(early.stderr.contains("SIGHUP"), "{}", early.stderr);
    reload(&mut gateway.process, 1).await;
    reload(&mut registry, 1).await;

    // Killed wherever it is; the rest is done by a process of its own.
    let asked =
        tokio::spawn(send(address, request(Method::POST, "/apis/secrets/v2/rotate-encryption-keys", None)));
    let progress = async || {
        let path = "/apis/secrets/v2/rotate-encryption-keys";
        let now = send(address, request(Method::GET, path, None)).await.ok()?.json();
        (now["waiting"].as_u64()? < SECRETS_MADE as u64).then_some(())
    };
    eventually("the rotation has begun", progress).await;
    registry.kill().await;
    let _ = asked.await;
    keyed(&home, "rotate", &[]).await.expect_done();
    let verified = keyed(&home, "verify", &[]).await.expect_done().stdout;
    assert!(verified.starts_with(&format!("{SECRETS_MADE} secrets open")), "{verified}");

    // The old key goes.
    let keys = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, keys.lines().next().unwrap()).unwrap();
    let (_, mut registry) = home.registry(&address.to_string(), &[]).await;
    reload(&mut gateway.process, 2).await;
    reload(&mut registry, 1).await;
    stop.store(true, Ordering::Relaxed);
    let done = chatting.await.unwrap().unwrap_or_else(|answer| panic!("a chat failed: {answer}"));
    assert!(done > 0);

    let again = home.gateway("b", address, &[]).await;
    again.serves("m").await;
    let reply = again.post(CHAT, &chat_body("m", "hi")).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_still_needed_can_not_be_taken_away() {
    let home = Home::new().await;
    let (address, mut registry) = home.registry(ANY_PORT, &[]).await;
    let store = |name: &str| {
        let body = json!({"name": name, "value": "v"});
        send(address, request(Method::POST, SECRETS, Some(&body)))
    };
    assert_eq!(store("s1").await.unwrap().status, 201);
    let key = home.key_file();
    let kept = std::fs::read_to_string(&key).unwrap();
    home.run(["keygen", "--add", "--file", key.to_str().unwrap()]).await.expect_done();
    let new = std::fs::read_to_string(&key).unwrap().lines().next().unwrap().to_owned();
    std::fs::write(&key, &new).unwrap();
    registry.signal(Signal::Hangup);
    let refused = |text: &str| text.contains("stay as they were").then_some(());
    registry.prints("that it keeps its keys", refused).await;
    assert_eq!(store("s2").await.unwrap().status, 201);
    registry.kill().await;

    let start = ["registry", "--listen", ANY_PORT, "--data-dir", "registry", "--master-key-file"];
    let ended = home.run(start.iter().copied().chain([key.to_str().unwrap()])).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("a master key is missing"), "{}", ended.stderr);
    std::fs::write(&key, format!("{new}\n{kept}")).unwrap();
    let (address, _registry) = home.registry(ANY_PORT, &[]).await;
    let there = send(address, request(Method::GET, &format!("{SECRETS}/s2"), None)).await.unwrap();
    assert_eq!(there.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_gets_the_new_key_too_late_serves_again_as_soon_as_it_has_it() {
    let home = Home::new().await;
    let options =
        SimOptions { models: vec!["m".into()], api_key: Some("sim-key".into()), ..SimOptions::default() };
    let sim = Sim::start(options).await.unwrap();
    let (address, mut registry) = home.registry(ANY_PORT, &[]).await;
    let gateway = home.gateway("a", address, &[]).await;
    let body = json!({"name": "key1", "value": "sim-key"});
    assert_eq!(gateway.post(SECRETS, &body).await.unwrap().status, 201);
    let url = gateway.url();
    let create = ["provider", "create", "p1", "--url", &sim.url(), "--secret", "key1", "--gateway-url", &url];
    home.run(create).await.expect_done();
    gateway.serves("m").await;
    let key = home.key_file();
    home.run(["keygen", "--add", "--file", key.to_str().unwrap()]).await.expect_done();
    reload(&mut registry, 1).await;
    keyed(&home, "rotate", &["--listen", &address.to_string()]).await.expect_done();

    let route = format!("/v2/workspaces/default/inference/gateway/provider/p1/-{CHAT}");
    let chat = async || gateway.post(&route, &chat_body("m", "hi")).await.unwrap();
    let unusable = async || {
        let reply = chat().await;
        (reply.status == 424).then(|| reply.text())
    };
    let why = eventually("the provider's key does not open", unusable).await;
    assert!(why.contains("master key"), "{why}");
    gateway.process.signal(Signal::Hangup);
    eventually("it serves again", async || (chat().await.status == 200).then_some(())).await;
}
