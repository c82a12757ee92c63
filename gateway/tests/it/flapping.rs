//! Servers that come and go, crowds that leave, and everybody failing at once: clients see none of it while somebody
//! works, and nobody is asked more than is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use proto_shared::routing::{Routing, StickyKey, Strategy};
use tokio::task::JoinSet;

use crate::harness::failing::good;
use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

const CROWD: usize = 40;

fn two(one: &Scripted, other: &Scripted, strategy: Strategy) -> Routes {
    Routes::new()
        .provider("p1", &one.url())
        .provider("p2", &other.url())
        .model("m1", "x/y", &["p1", "p2"])
        .but(|model| model.routing = Routing { strategy, sticky: StickyKey::Auto, providers: vec![] })
}

fn answer(status: u16, more: &str) -> String {
    format!("HTTP/1.1 {status} Because\r\nContent-Length: 4\r\n{more}\r\nself")
}

fn ejections(world: &World) -> f64 {
    world.metric("nimgate_ejections_total{provider=\"p1\"").unwrap_or(0.0)
}

/// A server that answers by turns what `answers` say.
async fn by_turns(answers: Vec<String>) -> Scripted {
    let turn = Arc::new(AtomicUsize::new(0));
    let answers = Arc::new(answers);
    Scripted::start(move |mut line| {
        let (turn, answers) = (Arc::clone(&turn), Arc::clone(&answers));
        async move {
            while line.request().await.is_some() {
                line.write(&answers[turn.fetch_add(1, SeqCst) % answers.len()]).await;
            }
        }
    })
    .await
}

/// Sends `body` `count` times, from many connections at once. Gives the statuses.
async fn crowd(world: &World, count: usize, body: &'static str) -> Vec<u16> {
    let mut clients = JoinSet::new();
    for _ in 0..CROWD {
        let address = world.address;
        clients.spawn(async move {
            let mut client = RawClient::connect(address).await;
            let mut statuses = Vec::new();
            for _ in 0..count / CROWD {
                statuses.push(client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), body)).await.status);
            }
            statuses
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

#[tokio::test]
async fn nobody_sees_a_server_that_fails_every_other_time_and_it_is_left_out() {
    for failing in [answer(500, ""), answer(503, ""), answer(429, "")] {
        let (flapping, good) = (by_turns(vec![json_reply("{}"), failing.clone()]).await, good().await);
        let world = World::start(two(&flapping, &good, Strategy::Priority)).await;
        for _ in 0..200 {
            assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200, "{failing}");
        }
        let is_broken = !failing.starts_with("HTTP/1.1 429");
        assert_eq!(ejections(&world) > 0.0, is_broken, "who is busy is not broken: {failing}");
        world.settled().await;
    }
}

#[tokio::test]
async fn nobody_sees_a_server_that_goes_away_and_comes_back() {
    let good = good().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let routes = Routes::new()
        .provider("p1", &format!("http://{address}"))
        .provider("p2", &good.url())
        .model("m1", "x/y", &["p1", "p2"]);
    let world = World::start(routes).await;
    for _ in 0..2 {
        let before = good.heard().len();
        for n in 1..=5 {
            assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
            assert_eq!(good.heard().len(), before + n);
        }
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let back = Scripted::at(
            socket.listen(64).unwrap(),
            |stream: tokio::net::TcpStream| async { Some(stream) },
            |mut line| async move {
                while line.request().await.is_some() {
                    line.write(json_reply("{}")).await;
                }
            },
        );
        within("it is used again", async {
            while back.heard().len() < 3 {
                assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
                tokio::task::yield_now().await;
            }
        })
        .await;
        back.end().await;
    }
    assert!(ejections(&world) >= 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_everybody_fails_a_crowd_causes_little_more_attempts_than_requests() {
    const REQUESTS: usize = 2_000;
    for failing in [answer(503, ""), answer(503, "Retry-After: 0\r\n"), answer(500, ""), answer(429, "")] {
        let (one, other) = (Scripted::answering(&failing).await, Scripted::answering(&failing).await);
        let world = World::start(two(&one, &other, Strategy::RoundRobin)).await;
        let statuses = crowd(&world, REQUESTS, CHAT_BODY).await;
        let own: u16 = failing[9..12].parse().unwrap();
        assert!(statuses.iter().all(|status| *status == own), "nobody hears anything but their own words");
        let attempts = one.heard().len() + other.heard().len();
        println!("{attempts} attempts for {REQUESTS} requests that are answered {own}");
        assert!(attempts * 10 <= REQUESTS * 12, "{attempts} attempts for {REQUESTS} requests: {failing}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_asks_wrongly_or_leaves_says_nothing_about_the_server() {
    const REQUESTS: usize = 2_000;
    let refusing = Scripted::start(|mut line| async move {
        while let Some(heard) = line.request().await {
            match &heard.body[..] {
                body if memchr::memmem::find(body, b"wrong").is_some() => line.write(answer(400, "")).await,
                body if memchr::memmem::find(body, b"leaves").is_some() => line.hang().await,
                _ => line.write(json_reply("1")).await,
            }
        }
    })
    .await;
    let other = good().await;
    let world = World::start(two(&refusing, &other, Strategy::Priority)).await;
    let statuses = crowd(&world, REQUESTS, r#"{"model":"m1","wrong":1}"#).await;
    assert!(statuses.iter().all(|status| *status == 400));
    let before = refusing.heard().len();
    let mut leaving = JoinSet::new();
    for _ in 0..CROWD {
        let address = world.address;
        leaving.spawn(async move {
            for _ in 0..REQUESTS / CROWD {
                let mut client = RawClient::connect(address).await;
                let ask = Ask::post(&format!("{OPENAI}{CHAT}"), r#"{"model":"m1","leaves":1}"#);
                client.send(ask.encode()).await;
                client.reset();
            }
        });
    }
    leaving.join_all().await;
    world.settled().await;
    assert!(refusing.heard().len() > before, "some left when their request was there");
    assert_eq!((ejections(&world), other.connections()), (0.0, 0));
    let reply = world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await;
    assert_eq!((reply.status, &*reply.text()), (200, "1"));
}

#[tokio::test]
async fn users_stay_in_their_arm_across_a_table_and_a_restart() {
    const USERS: usize = 200;
    let (one, other) =
        (Scripted::answering(json_reply("1")).await, Scripted::answering(json_reply("2")).await);
    let arms = async |world: &World| {
        let (mut client, mut arms) = (world.connect().await, String::new());
        for user in 0..USERS {
            let body = format!(r#"{{"model":"m1","user":"user-{user}"}}"#);
            arms += &client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), body)).await.text();
        }
        arms
    };
    let world = World::start(two(&one, &other, Strategy::Weighted)).await;
    let before = arms(&world).await;
    assert!(before.contains('1') && before.contains('2'));
    let more = two(&one, &other, Strategy::Weighted).provider("p0", "http://127.0.0.1:9");
    world.publish(more).await;
    assert_eq!(arms(&world).await, before, "across another table");
    let again = World::start(two(&one, &other, Strategy::Weighted)).await;
    assert_eq!(arms(&again).await, before, "at another gateway, and after a restart");
}
