//! How a serving process ends: readiness first, streams to their end, and at once when idle.

use std::time::Duration;

use http::Method;
use integration_tests::client::{open, read_until, request, stream_body};
use integration_tests::process::Signal;
use integration_tests::{Home, Serving, eventually};
use nim_sim::{Sim, SimOptions};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const CHAT: &str = "/v1/chat/completions";
/// An idle process ends well before a drain limit would.
const IDLE_END_MAX: Duration = Duration::from_secs(5);

async fn serving(flags: &[&str]) -> (Home, Serving, Sim) {
    let home = Home::new().await;
    let sim = Sim::start(SimOptions { models: vec!["m".into()], ..SimOptions::default() }).await.unwrap();
    let gateway = home.up(flags).await;
    gateway.add_provider(&home, "sim", &sim.url(), "m").await;
    (home, gateway, sim)
}

/// A stream of `tokens` tokens whose first words have come.
async fn begun(gateway: &Serving, tokens: u32) -> hyper::body::Incoming {
    let prompt = format!("[[sim: tokens={tokens},token-ms=20]] hello");
    let asked = request(Method::POST, CHAT, Some(&stream_body("m", &prompt)));
    let mut body = open(gateway.address, asked).await.unwrap().into_body();
    read_until(&mut body, |text| text.contains("said")).await;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_ends_at_once_even_with_open_connections() {
    let (_home, mut gateway, _sim) = serving(&[]).await;
    // A connection that never asked, and one that did and stays.
    let _silent = TcpStream::connect(gateway.address).await.unwrap();
    gateway.get("/health/live").await.unwrap();
    gateway.process.signal(Signal::Terminate);
    let ended = timeout(IDLE_END_MAX, gateway.process.ended()).await;
    assert!(ended.is_ok_and(|status| status.success()), "{}", gateway.process.printed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_stream_comes_to_its_end_and_nothing_new_is_taken() {
    let (_home, mut gateway, _sim) = serving(&[]).await;
    let mut body = begun(&gateway, 100).await;
    gateway.process.signal(Signal::Terminate);
    // Refused, or answered with 503: either tells a balancer to go elsewhere.
    let turned_away = async || match gateway.get("/health/ready").await {
        Ok(reply) if reply.status == 200 => None,
        _ => Some(()),
    };
    eventually("readiness is off", turned_away).await;
    let refused = async || TcpStream::connect(gateway.address).await.is_err().then_some(());
    eventually("new connections are refused", refused).await;
    assert!(gateway.process.is_running(), "it waits for the stream");
    let text = read_until(&mut body, |text| text.contains("[DONE]")).await;
    assert!(!text.contains("error"), "{text}");
    assert!(gateway.process.ended().await.success(), "{}", gateway.process.printed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_beyond_the_drain_limit_is_cut_and_looks_cut() {
    let (_home, mut gateway, _sim) = serving(&["--set", "limits.drain_timeout_ms=300"]).await;
    let body = begun(&gateway, 100_000).await;
    gateway.process.signal(Signal::Terminate);
    assert!(gateway.process.ended().await.success(), "{}", gateway.process.printed());
    let rest = timeout(integration_tests::DEADLINE, http_body_util::BodyExt::collect(body)).await.unwrap();
    let clean = rest.is_ok_and(|all| String::from_utf8_lossy(&all.to_bytes()).contains("[DONE]"));
    assert!(!clean, "a cut stream must not look finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_now() {
    let (_home, mut gateway, sim) = serving(&[]).await;
    let _body = begun(&gateway, 100_000).await;
    gateway.process.signal(Signal::Terminate);
    gateway
        .process
        .prints("that it was asked to stop", |text| text.contains("asked to stop").then_some(()))
        .await;
    let asked = Instant::now();
    gateway.process.signal(Signal::Terminate);
    gateway.process.ended().await;
    assert!(asked.elapsed() < Duration::from_secs(20), "the drain limit is 30 s");
    let left = sim.wait_for(|all| all.iter().any(|one| one.client_left()), integration_tests::DEADLINE).await;
    left.unwrap();
}
