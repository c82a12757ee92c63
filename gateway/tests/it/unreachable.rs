//! Nobody who serves a model can be reached: one request at a time finds out whether that is still so, and no other
//! waits for it.

use std::sync::Arc;

use proto_shared::ProviderRoute;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::harness::full_queue::FullQueue;
use crate::harness::scripted::{SOON, Scripted, json_reply};
use crate::harness::*;

/// How long connecting may take once the addresses are known not to answer: longer than any test.
const LONG_MS: u64 = 600_000;

fn connecting_within(ms: u64) -> impl Fn(&mut ProviderRoute) {
    move |provider| {
        provider.timeouts.connect_timeout_ms = ms;
        // A trial takes the only place there is, and nobody stands in line behind it.
        provider.backend.num_concurrent_requests = 1;
    }
}

fn served_by(urls: &[String], connect_ms: u64) -> Routes {
    let names = ["p1", "p2"];
    let providers = names.iter().zip(urls);
    let routes = providers.fold(Routes::new(), |routes, (name, url)| {
        routes.provider_with(name, url, connecting_within(connect_ms))
    });
    routes.model("m1", "m1", &names[..urls.len()])
}

fn asking(world: &World) -> JoinHandle<Reply> {
    let address = world.address;
    let ask = Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY);
    tokio::spawn(async move { RawClient::connect(address).await.ask(&ask).await })
}

async fn chat(world: &World) -> Reply {
    world.post(&format!("{MODEL}{CHAT}"), CHAT_BODY).await
}

fn attempts(world: &World, provider: &str, result: &str) -> f64 {
    let series = format!("nimgate_upstream_attempts_total{{provider=\"{provider}\",result=\"{result}\"");
    world.metric(&series).unwrap_or(0.0)
}

/// A port that refuses until somebody listens there.
fn port() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

#[tokio::test]
async fn one_request_for_each_black_hole_waits_and_all_others_are_refused_at_once() {
    for count in [1, 2] {
        let holes: Vec<_> = (0..count).map(|_| FullQueue::new()).collect();
        let urls: Vec<_> = holes.iter().map(FullQueue::url).collect();
        let world = World::start(served_by(&urls, SOON.as_millis() as u64)).await;
        chat(&world).await.assert_refusal(504, "upstream_timeout");
        world.publish(served_by(&urls, LONG_MS)).await;
        let trials: Vec<_> = (0..count).map(|_| asking(&world)).collect();
        let in_flight =
            |provider| world.metric(&format!("nimgate_provider_in_flight{{provider=\"{provider}\""));
        eventually("each has its trial", || {
            ["p1", "p2"][..count].iter().all(|provider| in_flight(provider) == Some(1.0))
        })
        .await;
        for _ in 0..50 {
            let reply = chat(&world).await;
            reply.assert_refusal(503, "none_reachable");
            assert_eq!(reply.header("retry-after"), Some("1"));
            assert!(reply.text().contains("model default/m1"), "{}", reply.text());
        }
        let refusal = world.post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).await;
        refusal.assert_refusal(503, "none_reachable");
        assert!(trials.iter().all(|trial| !trial.is_finished()), "they wait as long as connecting may take");
        assert_eq!(attempts(&world, "p1", "connect_failed"), 1.0);
        trials.into_iter().for_each(|trial| trial.abort());
        world.settled().await;
    }
}

#[tokio::test]
async fn those_who_stood_in_line_do_not_try_one_after_the_other() {
    let hole = FullQueue::new();
    let world = World::start(served_by(&[hole.url()], 4 * SOON.as_millis() as u64)).await;
    let first = asking(&world);
    eventually("it connects", || world.metric("nimgate_provider_in_flight{provider=\"p1\"") == Some(1.0))
        .await;
    let line: Vec<_> = (0..5).map(|_| asking(&world)).collect();
    eventually("they wait", || world.metric("nimgate_provider_waiting{provider=\"p1\"") == Some(5.0)).await;
    within("its time is over", first).await.unwrap().assert_refusal(504, "upstream_timeout");
    for waiting in line {
        within("an answer", waiting).await.unwrap().assert_refusal(503, "none_reachable");
    }
    assert_eq!(attempts(&world, "p1", "connect_failed"), 1.0);
}

#[tokio::test]
async fn requests_one_after_the_other_each_try_and_the_first_that_can_gets_through() {
    let (socket, url) = port();
    let world = World::start(served_by(&[url], LONG_MS)).await;
    for n in 1..=8 {
        chat(&world).await.assert_refusal(502, "upstream_connect");
        assert_eq!(attempts(&world, "p1", "connect_failed"), f64::from(n));
    }
    let back = Scripted::at(
        socket.listen(8).unwrap(),
        |stream: TcpStream| async { Some(stream) },
        |mut line| async move {
            while line.request().await.is_some() {
                line.write(json_reply("1")).await;
            }
        },
    );
    assert_eq!((chat(&world).await.status, back.heard().len()), (200, 1));
}

#[tokio::test]
async fn who_gets_through_opens_the_way_for_the_others_before_it_is_answered() {
    let (socket, url) = port();
    let routes = || Routes::usual_with(&url, "m1", |p| p.timeouts.connect_timeout_ms = LONG_MS);
    let world = World::start(routes()).await;
    chat(&world).await.assert_refusal(502, "upstream_connect");
    let answers = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&answers);
    let back = Scripted::at(
        socket.listen(8).unwrap(),
        |stream: TcpStream| async { Some(stream) },
        move |mut line| {
            let gate = Arc::clone(&gate);
            async move {
                while line.request().await.is_some() {
                    gate.acquire().await.unwrap().forget();
                    line.write(json_reply("1")).await;
                }
            }
        },
    );
    let first = asking(&world);
    back.heard_requests(1).await;
    let second = asking(&world);
    back.heard_requests(2).await;
    answers.add_permits(2);
    for asking in [first, second] {
        assert_eq!(within("its answer", asking).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn who_fails_is_asked_before_who_can_not_be_reached_and_by_everybody() {
    let (_socket, refusing) = port();
    let failing = Scripted::answering("HTTP/1.1 500 Because\r\nContent-Length: 4\r\n\r\nself").await;
    let world = World::start(served_by(&[refusing, failing.url()], LONG_MS)).await;
    for _ in 0..20 {
        let reply = chat(&world).await;
        assert_eq!((reply.status, &*reply.text()), (500, "self"));
    }
    assert_eq!(failing.heard().len(), 20);
}

/// A server that takes requests and answers one for each permit.
async fn mute() -> (Scripted, Arc<Semaphore>) {
    let answers = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&answers);
    let upstream = Scripted::start(move |mut line| {
        let gate = Arc::clone(&gate);
        async move {
            while line.request().await.is_some() {
                tokio::select! {
                    permit = gate.acquire() => permit.unwrap().forget(),
                    () = line.left() => return,
                }
                line.write(json_reply("1")).await;
            }
        }
    })
    .await;
    (upstream, answers)
}

fn answering_within(urls: &[String], ms: u64) -> Routes {
    let names = ["p1", "p2"];
    let routes = names.iter().zip(urls).fold(Routes::new(), |routes, (name, url)| {
        routes.provider_with(name, url, |provider| provider.timeouts.first_byte_timeout_ms = ms)
    });
    routes.model("m1", "m1", &names[..urls.len()])
}

#[tokio::test]
async fn when_all_take_requests_and_answer_none_one_at_each_waits_and_all_others_are_refused_at_once() {
    let ((one, answers), (other, _silent)) = (mute().await, mute().await);
    let urls = [one.url(), other.url()];
    let world = World::start(answering_within(&urls, SOON.as_millis() as u64)).await;
    let ejected = |provider| {
        world
            .metric(&format!("nimgate_ejections_total{{provider=\"{provider}\""))
            .is_some_and(|count| count > 0.0)
    };
    within("both are known to be silent", async {
        while !ejected("p1") || !ejected("p2") {
            chat(&world).await.assert_refusal(504, "upstream_timeout");
        }
    })
    .await;
    // From now on answers may take longer than any test.
    world.publish(answering_within(&urls, LONG_MS)).await;
    let asked = (one.heard().len(), other.heard().len());
    let trials = [asking(&world), asking(&world)];
    eventually("each has its trial", || {
        (one.heard().len(), other.heard().len()) == (asked.0 + 1, asked.1 + 1)
    })
    .await;
    for _ in 0..50 {
        let reply = chat(&world).await;
        reply.assert_refusal(503, "none_reachable");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    assert!(trials.iter().all(|trial| !trial.is_finished()), "they wait for an answer");
    assert_eq!((one.heard().len(), other.heard().len()), (asked.0 + 1, asked.1 + 1));
    // The first answer opens the way for all.
    answers.add_permits(20);
    eventually("one is answered", || trials.iter().any(JoinHandle::is_finished)).await;
    for _ in 0..10 {
        assert_eq!(chat(&world).await.status, 200);
    }
    trials.into_iter().for_each(|trial| trial.abort());
    world.settled().await;
}
