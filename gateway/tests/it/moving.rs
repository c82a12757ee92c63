//! Names whose addresses change: whoever moved is found by the next request, and what runs where it was goes on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway::Names;
use parking_lot::Mutex;
use proto_shared::snapshot::Watch;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::failing::{good, good_answer};
use crate::harness::scripted::{LAST_CHUNK, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

/// A name service that says what a test says.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<IpAddr>>>);

impl Book {
    fn names(&self) -> Names {
        let book = self.clone();
        Names::Given(Arc::new(move |_| book.0.lock().clone()))
    }

    fn says(&self, places: &[SocketAddr]) {
        *self.0.lock() = places.iter().map(SocketAddr::ip).collect();
    }

    /// A gateway that asks this book; all the time where `looks_often`.
    async fn world(&self, port: u16, looks_often: bool) -> World {
        let routes = Routes::usual(&format!("http://moves.test:{port}"), "x/y");
        World::start_with(routes, |config| {
            config.names = self.names();
            if looks_often {
                config.limits.lookup_interval = Duration::from_millis(1);
            }
        })
        .await
    }
}

/// Two addresses of this machine at the same port.
async fn two_places() -> [TcpListener; 2] {
    loop {
        let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = SocketAddr::new([127, 0, 0, 2].into(), here.local_addr().unwrap().port());
        if let Ok(there) = TcpListener::bind(there).await {
            return [here, there];
        }
    }
}

fn answering(listener: TcpListener, answer: &'static str) -> Scripted {
    Scripted::at(
        listener,
        |stream: TcpStream| async { Some(stream) },
        move |mut line| async move {
            while line.request().await.is_some() {
                line.write(json_reply(answer)).await;
            }
        },
    )
}

async fn chat(world: &World) -> Reply {
    world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await
}

#[tokio::test]
async fn the_first_request_after_a_server_moved_finds_it() {
    let [here, there] = two_places().await;
    let (old, new) = (answering(here, "1"), there.local_addr().unwrap());
    let book = Book::default();
    book.says(&[old.address]);
    let world = book.world(new.port(), false).await;
    assert_eq!(chat(&world).await.text(), "1");
    old.end().await;
    let new = answering(there, "2");
    book.says(&[new.address]);
    let reply = chat(&world).await;
    assert_eq!((reply.status, &*reply.text()), (200, "2"));
    world.settled().await;
}

#[tokio::test]
async fn probes_find_a_server_that_moved_before_any_request_does() {
    let [here, there] = two_places().await;
    let (old, new) = (answering(here, "{}"), there.local_addr().unwrap());
    let book = Book::default();
    book.says(&[old.address]);
    let routes = Routes::usual_with(&format!("http://moves.test:{}", new.port()), "x/y", |provider| {
        provider.watch = Some(Watch::default());
    });
    let world = World::start_with(routes, |config| {
        config.names = book.names();
        config.limits.watch.lone_interval = Duration::from_millis(10);
        config.limits.watch.doubt_interval = Duration::from_millis(10);
        config.limits.watch.table_interval = Duration::from_millis(10);
    })
    .await;
    old.heard_requests(3).await;
    old.end().await;
    let new = answering(there, "{}");
    book.says(&[new.address]);
    let heard = new.heard_requests(3).await;
    assert!(heard.iter().all(|heard| heard.target() == "/v1/health/ready"));
    drop(world);
}

#[tokio::test]
async fn a_name_that_had_no_address_is_looked_up_again_when_it_is_asked_for() {
    let server = good().await;
    let book = Book::default();
    let world = book.world(server.address.port(), false).await;
    chat(&world).await.assert_refusal(502, "upstream_dns");
    book.says(&[server.address]);
    // Once a second somebody looks.
    within("it is found", async {
        while chat(&world).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_follow_a_name_and_streams_stay_where_they_are() {
    let (go_on, gate) = tokio::sync::watch::channel(());
    let [here, there] = two_places().await;
    let old = Scripted::at(
        here,
        |stream: TcpStream| async { Some(stream) },
        move |mut line| {
            let mut gate = gate.clone();
            async move {
                while let Some(heard) = line.request().await {
                    if good_answer(&heard.body).starts_with('{') {
                        line.write(json_reply("1")).await;
                        continue;
                    }
                    line.write([SSE_HEAD.as_bytes(), &chunk("data: 1\n\n")].concat()).await;
                    let _ = gate.changed().await;
                    line.write([&chunk("data: [DONE]\n\n")[..], LAST_CHUNK.as_bytes()].concat()).await;
                }
            }
        },
    );
    let new = answering(there, "2");
    let book = Book::default();
    book.says(&[old.address]);
    let world = book.world(new.address.port(), true).await;
    let mut stream = world.connect().await;
    stream.send(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).encode()).await;
    stream.until("data: 1").await;
    assert_eq!(chat(&world).await.text(), "1");
    book.says(&[new.address]);
    // All the time there is an idle connection to the old one, and it goes on answering.
    within("requests go to the new one", async {
        loop {
            let reply = chat(&world).await;
            assert_eq!(reply.status, 200);
            if reply.text() == "2" {
                break;
            }
        }
    })
    .await;
    let before = old.heard().len();
    for _ in 0..20 {
        assert_eq!(chat(&world).await.text(), "2");
    }
    assert_eq!(old.heard().len(), before);
    go_on.send_replace(());
    stream.until("[DONE]").await;
    world.settled().await;
}
