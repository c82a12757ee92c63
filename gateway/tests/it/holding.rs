//! Busy is not broken: what servers say they can't take now waits here, in order and not for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proto_shared::{HoldBack, ProviderRoute};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::harness::scripted::{SOON, Scripted, json_reply};
use crate::harness::*;

const WAITING: &str = "nimgate_waiting_for_room";

fn own(provider: &mut ProviderRoute) {
    provider.local = true;
}

/// Says that it is busy to its first request, for so many seconds; then it obliges.
async fn busy_once(seconds: u32) -> Scripted {
    let asked = Arc::new(AtomicUsize::new(0));
    Scripted::start(move |mut line| {
        let asked = Arc::clone(&asked);
        async move {
            while line.request().await.is_some() {
                if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                    let head =
                        format!("HTTP/1.1 429 Busy\r\nRetry-After: {seconds}\r\nContent-Length: 4\r\n\r\n");
                    line.write(head + "self").await;
                } else {
                    line.write(json_reply("{}")).await;
                }
            }
        }
    })
    .await
}

async fn chat(world: &World) -> Reply {
    world.post(&format!("{MODEL}{CHAT}"), CHAT_BODY).await
}

/// A chat of its own that names itself in its body.
fn asking(world: &World, name: &str) -> JoinHandle<Reply> {
    let (address, body) = (world.address, format!(r#"{{"model":"m1","name":"{name}"}}"#));
    let ask = Ask::post(&format!("{MODEL}{CHAT}"), body);
    tokio::spawn(async move { RawClient::connect(address).await.ask(&ask).await })
}

async fn waiting(world: &World, count: usize) {
    eventually("so many wait", || world.metric(WAITING) == Some(count as f64)).await;
}

#[tokio::test]
async fn who_asked_to_be_left_alone_is_waited_for_and_then_asked_in_order() {
    let upstream = busy_once(1).await;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", own)).await;
    assert_eq!(chat(&world).await.status, 429, "its own answer goes through");
    let mut others = Vec::new();
    for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
        others.push(asking(&world, name));
        waiting(&world, n + 1).await;
    }
    assert_eq!(upstream.heard().len(), 1, "it is left alone");
    for other in others {
        assert_eq!(within("its turn", other).await.unwrap().status, 200);
    }
    let heard = upstream.heard();
    let name = |body: &[u8]| String::from_utf8_lossy(body).split('"').nth(7).unwrap().to_owned();
    assert_eq!(heard[1..].iter().map(|heard| name(&heard.body)).collect::<String>(), "abc");
    world.settled().await;
    assert_eq!(world.metric(WAITING), Some(0.0));
}

#[tokio::test]
async fn one_refusal_with_a_long_rest_closes_the_only_server_to_nobody() {
    let upstream = busy_once(40).await;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", own)).await;
    assert_eq!(chat(&world).await.status, 429);
    for base in [PROVIDER, MODEL, OPENAI] {
        assert_eq!(world.post(&format!("{base}{CHAT}"), CHAT_BODY).await.status, 200);
    }
}

#[tokio::test]
async fn who_is_to_be_spared_and_wants_a_long_rest_is_not_waited_for() {
    let upstream = busy_once(40).await;
    let routes = Routes::usual_with(&upstream.url(), "m1", |provider| {
        own(provider);
        provider.backend.hold_back = HoldBack::Always;
    });
    let world = World::start(routes).await;
    assert_eq!(chat(&world).await.status, 429);
    for base in [PROVIDER, MODEL, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        reply.assert_refusal(503, "no_room");
        let seconds: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((30..=40).contains(&seconds), "{seconds}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("hold_back"), "{}", reply.text());
    }
    assert_eq!((upstream.heard().len(), world.metric(WAITING)), (1, Some(0.0)));
}

#[tokio::test]
async fn nobody_is_held_back_from_a_hosted_provider_unless_its_owner_says_so() {
    type Settings = fn(&mut ProviderRoute);
    let hosted: Settings = |_| {};
    let never: Settings = |provider| (provider.local, provider.backend.hold_back) = (true, HoldBack::Never);
    let always: Settings = |provider| provider.backend.hold_back = HoldBack::Always;
    for (settings, status) in [(hosted, 200), (never, 200), (always, 503)] {
        let upstream = busy_once(40).await;
        let routes = Routes::usual_with(&upstream.url(), "m1", settings);
        let world = World::limited(routes, |limits| limits.waiting_timeout = SOON).await;
        assert_eq!(chat(&world).await.status, 429);
        assert_eq!(chat(&world).await.status, status);
    }
}

#[tokio::test]
async fn another_server_with_room_is_asked_at_once() {
    let (busy, other) = (busy_once(40).await, Scripted::obliging().await);
    let routes = Routes::new().provider_with("p1", &busy.url(), own).provider_with("p2", &other.url(), own);
    let world = World::start(routes.model("m1", "m1", &["p1", "p2"])).await;
    for _ in 0..5 {
        assert_eq!(chat(&world).await.status, 200);
    }
    assert_eq!((busy.heard().len(), other.heard().len()), (1, 5));
}

#[tokio::test]
async fn the_line_is_bounded_and_who_leaves_it_is_gone_at_once() {
    let upstream = busy_once(2).await;
    let routes = Routes::usual_with(&upstream.url(), "m1", own);
    let world = World::limited(routes, |limits| limits.waiting_per_model_max = 1).await;
    assert_eq!(chat(&world).await.status, 429);
    // The first of them looks for room, and one may stand behind it.
    let mut clients = Vec::new();
    for n in 0..2 {
        let mut client = world.connect().await;
        client.send(Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY).encode()).await;
        clients.push(client);
        waiting(&world, n + 1).await;
    }
    let refused = chat(&world).await;
    refused.assert_refusal(503, "no_room");
    assert!(refused.header("retry-after").is_some());
    drop(clients);
    waiting(&world, 0).await;
    assert_eq!(chat(&world).await.status, 200);
    assert_eq!(upstream.heard().len(), 2, "nothing of those who left was sent");
}

#[tokio::test]
async fn nobody_waits_for_room_for_ever() {
    let gate = Arc::new(Semaphore::new(0));
    let (ends, asked) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let upstream = Scripted::start(move |mut line| {
        let (gate, asked) = (Arc::clone(&gate), Arc::clone(&asked));
        async move {
            while line.request().await.is_some() {
                if asked.fetch_add(1, Ordering::SeqCst) == 1 {
                    line.write("HTTP/1.1 429 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n").await;
                    continue;
                }
                gate.acquire().await.unwrap().forget();
                line.write(json_reply("{}")).await;
            }
        }
    })
    .await;
    let routes = Routes::usual_with(&upstream.url(), "m1", own);
    let world = World::limited(routes, |limits| limits.waiting_timeout = SOON).await;
    let first = asking(&world, "first");
    eventually("it is there", || upstream.heard().len() == 1).await;
    assert_eq!(chat(&world).await.status, 429);
    // It was found to be able to take nothing beside: so it is asked one at a time.
    chat(&world).await.assert_refusal(503, "no_room");
    ends.add_permits(2);
    assert_eq!(within("its answer", first).await.unwrap().status, 200);
    assert_eq!(chat(&world).await.status, 200, "now there is room");
}

/// Works on so many at once, for so long each; the others wait in it, or are refused. Gives it and the most that
/// were there at once since that was last set to zero.
async fn server(slots: usize, refuses: bool) -> (Scripted, Arc<AtomicUsize>) {
    let (places, there, most) =
        (Arc::new(Semaphore::new(slots)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let shown = Arc::clone(&most);
    let upstream = Scripted::start(move |mut line| {
        let (places, there, most) = (Arc::clone(&places), Arc::clone(&there), Arc::clone(&most));
        async move {
            while line.request().await.is_some() {
                if refuses && places.available_permits() == 0 {
                    line.write("HTTP/1.1 429 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n").await;
                    continue;
                }
                most.fetch_max(there.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let place = places.acquire().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(place);
                there.fetch_sub(1, Ordering::SeqCst);
                line.write(json_reply("{}")).await;
            }
        }
    })
    .await;
    (upstream, shown)
}

/// So many clients, each with as many requests one after the other. Gives how many were answered how.
async fn crowd(world: &World, clients: usize, requests: usize) -> Vec<u16> {
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let address = world.address;
            tokio::spawn(async move {
                let (mut client, mut statuses) = (RawClient::connect(address).await, Vec::new());
                for _ in 0..requests {
                    statuses.push(client.ask(&Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY)).await.status);
                }
                statuses
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(within("all answers", task).await.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_a_server_that_refuses_what_is_too_much() {
    let (upstream, _) = server(16, true).await;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", own)).await;
    let statuses = crowd(&world, 50, 20).await;
    let refused = statuses.iter().filter(|status| **status == 429).count();
    println!("{refused} of {} were refused", statuses.len());
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(refused <= 150, "{refused} were refused");
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_a_server_that_lets_them_wait_in_it() {
    let always = |provider: &mut ProviderRoute| provider.backend.hold_back = HoldBack::Always;
    let (upstream, most) = server(8, false).await;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", always)).await;
    // One after the other: how soon it answers when nobody waits.
    assert_eq!(crowd(&world, 2, 20).await.len(), 40);
    assert!(crowd(&world, 64, 8).await.iter().all(|status| *status == 200));
    most.store(0, Ordering::SeqCst);
    assert!(crowd(&world, 64, 8).await.iter().all(|status| *status == 200));
    let most = most.load(Ordering::SeqCst);
    println!("{most} at most were there at once");
    assert!(most < 48, "{most} of 64 were there at once");
    world.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_a_server_that_nothing_is_known_of_goes_through_at_once() {
    let (upstream, most) = server(1_000, false).await;
    let always = |provider: &mut ProviderRoute| provider.backend.hold_back = HoldBack::Always;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", always)).await;
    assert!(crowd(&world, 300, 1).await.iter().all(|status| *status == 200));
    println!("{} at once", most.load(Ordering::SeqCst));
    world.get("/health/live").await;
    assert_eq!(world.metric(WAITING), Some(0.0));
}
