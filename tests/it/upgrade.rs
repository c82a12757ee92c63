//! A new process takes over from a running one: no connection is refused, no request fails, streams end
//! where they began.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use http::Method;
use integration_tests::client::{chat_body, open, read_until, request, send, stream_body};
use integration_tests::process::Signal;
use integration_tests::{DEADLINE, Home, Serving, eventually, free_address};
use nim_sim::{Sim, SimOptions};
use tokio::time::timeout;

const CHAT: &str = "/v1/chat/completions";

/// New connections, one after the other, until told to stop. Gives how many requests went through, or
/// what went wrong.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Result<(), String>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopping, counter) = (Arc::clone(&stop), Arc::clone(&done));
        let task = tokio::spawn(async move {
            while !stopping.load(Relaxed) {
                let asked = request(Method::POST, CHAT, Some(&chat_body("m", "hi")));
                let reply = send(address, asked).await.map_err(|e| e.to_string())?;
                if reply.status != 200 {
                    return Err(reply.text());
                }
                counter.fetch_add(1, Relaxed);
            }
            Ok(())
        });
        Self { stop, done, task }
    }

    /// Waits for more requests to go through, or for a failure.
    async fn more(&self) {
        let enough = self.done.load(Relaxed) + 20;
        let reached = async || (self.done.load(Relaxed) >= enough || self.task.is_finished()).then_some(());
        eventually("requests go through", reached).await;
    }

    async fn finish(self) {
        self.stop.store(true, Relaxed);
        timeout(DEADLINE, self.task).await.unwrap().unwrap().unwrap();
    }
}

async fn sim() -> Sim {
    Sim::start(SimOptions { models: vec!["m".into()], ..SimOptions::default() }).await.unwrap()
}

/// Takes over from `old` under load, with a stream running.
async fn take_over(old: &mut Serving, next: impl Future<Output = Serving>) -> Serving {
    let load = Load::start(old.address);
    let prompt = "[[sim: tokens=200,token-ms=20]] hello";
    let asked = request(Method::POST, CHAT, Some(&stream_body("m", prompt)));
    let mut stream = open(old.address, asked).await.unwrap().into_body();
    read_until(&mut stream, |text| text.contains("said")).await;
    load.more().await;
    let signal = async {
        load.more().await;
        old.process.signal(Signal::Quit);
    };
    let (new, ()) = tokio::join!(next, signal);
    assert_eq!(new.address, old.address);
    load.more().await;
    let text = read_until(&mut stream, |text| text.contains("[DONE]")).await;
    assert!(!text.contains("\"error\""), "{text}");
    assert!(old.process.ended().await.success(), "{}", old.process.printed());
    load.more().await;
    load.finish().await;
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_hands_its_listeners_over_without_refusing_a_connection() {
    let home = Home::new().await;
    let (registry, _registry) = home.registry("127.0.0.1:0", &[]).await;
    let sim = sim().await;
    let (listen, admin) = (free_address(), free_address());
    let mut old = home.gateway_at("a", registry, [&listen, &admin], &[]).await;
    old.add_provider(&home, "sim", &sim.url(), "m").await;
    let next = home.gateway_at("a", registry, [&listen, &admin], &["--upgrade"]);
    let new = take_over(&mut old, next).await;
    let metrics = send(new.admin, request(Method::GET, "/metrics", None)).await.unwrap();
    assert_eq!(metrics.status, 200, "the admin listener is there too");
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_and_registry_of_one_process_are_handed_over_together() {
    let home = Home::new().await;
    let sim = sim().await;
    let (listen, admin) = (free_address(), free_address());
    let mut old = home.up_at(&listen, &admin, &[]).await;
    old.add_provider(&home, "sim", &sim.url(), "m").await;
    let new = take_over(&mut old, home.up_at(&listen, &admin, &["--upgrade"])).await;
    new.add_provider(&home, "again", &sim.url(), "m").await;
}
