//! A provider works on so many requests at once as it says; the others wait in line, and not for ever.

use std::sync::Arc;

use proto_shared::ProviderRoute;
use proto_shared::routing::{ProviderShare, Routing, StickyKey, Strategy};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::harness::full_queue::refusing_url;
use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::{LAST_CHUNK, SOON, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

const WAITING: &str = "nimgate_provider_waiting{";
const BUSY: &str = "nimgate_provider_busy_total{";

fn at_most(limit: u32) -> impl Fn(&mut ProviderRoute) {
    move |provider| provider.backend.num_concurrent_requests = limit
}

/// An upstream that answers with a stream, and ends one for each permit.
async fn streams() -> (Scripted, Arc<Semaphore>) {
    let ends = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&ends);
    let upstream = Scripted::start(move |mut line| {
        let gate = Arc::clone(&gate);
        async move {
            while line.request().await.is_some() {
                line.write(SSE_HEAD).await;
                line.write(chunk("data: {}\n\n")).await;
                tokio::select! {
                    permit = gate.acquire() => permit.unwrap().forget(),
                    () = line.left() => return,
                }
                line.write(LAST_CHUNK).await;
            }
        }
    })
    .await;
    (upstream, ends)
}

async fn waiting(world: &World, count: usize) {
    eventually("so many wait", || world.metric(WAITING) == Some(count as f64)).await;
}

/// Model `m1` at `p1`, which works on one request at once, and `p2`, which has more room.
fn narrow_and_wide(narrow: &Scripted, wide: &str, strategy: Strategy) -> Routes {
    let shares = ["p1", "p2"].map(|provider| ProviderShare {
        model: None,
        workspace: "default".parse().unwrap(),
        provider: provider.parse().unwrap(),
        weight: 1,
        tier: None,
    });
    Routes::new()
        .provider_with("p1", &narrow.url(), at_most(1))
        .provider_with("p2", wide, at_most(3))
        .model("m1", "m1", &["p1", "p2"])
        .but(|model| {
            model.routing = Routing { strategy, sticky: StickyKey::Auto, providers: shares.to_vec() }
        })
}

/// A request of its own that names itself in its body.
fn asking(world: &World, name: &str) -> JoinHandle<Reply> {
    let (address, body) = (world.address, format!(r#"{{"model":"m1","name":"{name}"}}"#));
    let ask = Ask::post(&format!("{MODEL}{CHAT}"), body);
    tokio::spawn(async move { RawClient::connect(address).await.ask(&ask).await })
}

async fn begun(world: &World) -> RawClient {
    let mut client = world.connect().await;
    client.send(Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY).encode()).await;
    client.until("data: {}").await;
    client
}

#[tokio::test]
async fn a_place_is_held_until_the_stream_ends_and_those_who_wait_are_served_in_order() {
    let (upstream, ends) = streams().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", at_most(1))).await;
    let first = begun(&world).await;
    let mut others = Vec::new();
    for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
        others.push(asking(&world, name));
        waiting(&world, n + 1).await;
    }
    assert_eq!(upstream.heard().len(), 1, "the head of an answer frees no place");
    assert_eq!(world.metric("nimgate_provider_in_flight{"), Some(1.0), "who waits is not worked on");
    ends.add_permits(4);
    for other in others {
        assert_eq!(within("its turn", other).await.unwrap().status, 200);
    }
    let heard = upstream.heard();
    let names: Vec<_> = heard[1..]
        .iter()
        .map(|heard| String::from_utf8(heard.body.clone()).unwrap().split('"').nth(7).unwrap().to_owned())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    drop(first);
    world.settled().await;
    assert_eq!(world.metric(WAITING), Some(0.0));
}

#[tokio::test]
async fn the_line_is_bounded_and_who_finds_it_full_is_told_when_to_come_again() {
    let (upstream, ends) = streams().await;
    let routes = Routes::usual_with(&upstream.url(), "m1", at_most(1));
    let world = World::limited(routes, |limits| limits.waiting_per_provider_max = 1).await;
    let _first = begun(&world).await;
    let second = asking(&world, "second");
    waiting(&world, 1).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        reply.assert_refusal(429, "provider_busy");
        assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
        assert_eq!(reply.header("retry-after"), Some("2"));
    }
    assert_eq!(world.metric(BUSY), Some(3.0));
    ends.add_permits(2);
    assert_eq!(within("its turn", second).await.unwrap().status, 200);
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let (upstream, _ends) = streams().await;
    let routes = Routes::usual_with(&upstream.url(), "m1", at_most(1));
    let world = World::limited(routes, |limits| limits.waiting_timeout = SOON).await;
    let _first = begun(&world).await;
    world.post(&format!("{MODEL}{CHAT}"), CHAT_BODY).await.assert_refusal(429, "provider_busy");
    assert_eq!((world.metric(WAITING), upstream.heard().len()), (Some(0.0), 1));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_turn_at_once() {
    let (upstream, ends) = streams().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", at_most(1))).await;
    let _first = begun(&world).await;
    let whole = Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY).encode();
    // Of an upload that streams through, more than is read ahead, and not its end.
    let upload = Ask::new("POST", &format!("{PROVIDER}v1/files")).body(vec![b'x'; 200_000]).encode();
    for sent in [&whole[..], &upload[..100_000]] {
        for reset in [false, true] {
            let mut client = world.connect().await;
            client.send(sent).await;
            waiting(&world, 1).await;
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            waiting(&world, 0).await;
        }
    }
    let mut client = H2Client::connect(world.address).await;
    let (answer, mut up) = client.open(h2_client::post(&format!("{MODEL}{CHAT}"))).await;
    up.send_data(CHAT_BODY.into(), true).unwrap();
    waiting(&world, 1).await;
    up.send_reset(h2::Reason::CANCEL);
    drop((answer, up));
    waiting(&world, 0).await;
    let last = asking(&world, "last");
    waiting(&world, 1).await;
    ends.add_permits(2);
    assert_eq!(within("its turn", last).await.unwrap().status, 200);
    assert_eq!(upstream.heard().len(), 2, "nothing of those who left was sent");
}

#[tokio::test]
async fn an_answer_that_ends_badly_frees_its_place() {
    let (upstream, _ends) = streams().await;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", at_most(1))).await;
    for _ in 0..3 {
        // The client leaves in the middle of it; the next one gets its place.
        drop(begun(&world).await);
    }
    world.settled().await;
    let cutting = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
    })
    .await;
    world.publish(Routes::usual_with(&cutting.url(), "m1", at_most(1))).await;
    for _ in 0..3 {
        let reply = world.post(&format!("{MODEL}{CHAT}"), CHAT_BODY).await;
        assert_eq!(reply.status, 200);
    }
    world.settled().await;
}

#[tokio::test]
async fn a_changed_limit_counts_at_once_and_nothing_else_of_a_swap_frees_a_place() {
    let (upstream, ends) = streams().await;
    let routes = |limit: u32, idle_timeout_ms: u64| {
        Routes::usual_with(&upstream.url(), "m1", |provider| {
            at_most(limit)(provider);
            provider.timeouts.idle_timeout_ms = idle_timeout_ms;
        })
    };
    let world = World::start(routes(1, 20_000)).await;
    let first = begun(&world).await;
    world.publish(routes(1, 30_000)).await;
    let (second, third) = (asking(&world, "second"), asking(&world, "third"));
    waiting(&world, 2).await;
    world.publish(routes(2, 30_000)).await;
    waiting(&world, 1).await;
    upstream.heard_requests(2).await;
    world.publish(routes(1, 30_000)).await;
    drop(first);
    eventually("the first is gone", || upstream.open() == 1).await;
    assert_eq!(world.metric(WAITING), Some(1.0), "one is still there, and one is the limit now");
    ends.add_permits(2);
    for asking in [second, third] {
        assert_eq!(within("its turn", asking).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn all_addresses_of_a_provider_share_its_places() {
    let (one, ends_one) = streams().await;
    let (other, ends_other) = streams().await;
    let routes = Routes::usual_with(&one.url(), "m1", |provider| {
        at_most(2)(provider);
        provider.replicas =
            [one.url(), other.url()].iter().map(|url| proto_shared::HostUrl::parse(url).unwrap()).collect();
    });
    let world = World::start(routes).await;
    let (_first, _second) = (begun(&world).await, begun(&world).await);
    assert_eq!((one.heard().len(), other.heard().len()), (1, 1));
    let third = asking(&world, "third");
    waiting(&world, 1).await;
    ends_one.add_permits(2);
    ends_other.add_permits(2);
    assert_eq!(within("its turn", third).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_request_that_gets_no_place_goes_to_the_next_provider() {
    let (upstream, _ends) = streams().await;
    let other = Scripted::answering(json_reply(r#"{"from":"p2"}"#)).await;
    let routes = Routes::new()
        .provider_with("p1", &upstream.url(), at_most(1))
        .provider("p2", &other.url())
        .model("m1", "m1", &["p1", "p2"]);
    let world = World::limited(routes, |limits| limits.waiting_per_provider_max = 0).await;
    let _first = begun(&world).await;
    assert_eq!(world.post(&format!("{MODEL}{CHAT}"), CHAT_BODY).await.text(), r#"{"from":"p2"}"#);
}

#[tokio::test]
async fn nobody_waits_for_one_provider_while_another_has_room() {
    for strategy in [Strategy::Priority, Strategy::LeastBusy, Strategy::RoundRobin, Strategy::PrefixAffinity]
    {
        let ((narrow, ends_narrow), (wide, ends_wide)) = (streams().await, streams().await);
        let world = World::start(narrow_and_wide(&narrow, &wide.url(), strategy)).await;
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(begun(&world).await);
        }
        assert_eq!((narrow.heard().len(), wide.heard().len()), (1, 3), "{strategy:?}");
        let last = asking(&world, "last");
        eventually("all are full, so it waits", || {
            let waiting =
                |provider| world.metric(&format!("{WAITING}provider=\"{provider}\"")).unwrap_or(0.0);
            waiting("p1") + waiting("p2") == 1.0
        })
        .await;
        ends_narrow.add_permits(2);
        ends_wide.add_permits(4);
        assert_eq!(within("its turn", last).await.unwrap().status, 200);
        drop(held);
        world.settled().await;
    }
}

#[tokio::test]
async fn a_users_arm_of_a_split_is_waited_for_although_the_other_has_room() {
    let ((narrow, ends), (wide, _ends_wide)) = (streams().await, streams().await);
    let world = World::start(narrow_and_wide(&narrow, &wide.url(), Strategy::Weighted)).await;
    let ask = |user: usize| {
        let body = format!("{{\"model\":\"m1\",\"user\":\"u{user}\"}}");
        Ask::post(&format!("{MODEL}{CHAT}"), body)
    };
    let (mut user, mut first) = (0, world.connect().await);
    loop {
        first.send(ask(user).encode()).await;
        first.until("data: {}").await;
        if !narrow.heard().is_empty() {
            break;
        }
        (user, first) = (user + 1, world.connect().await);
    }
    let others = wide.heard().len();
    let address = world.address;
    let again = ask(user);
    let second = tokio::spawn(async move { RawClient::connect(address).await.ask(&again).await });
    eventually("it waits for its arm", || world.metric(&format!("{WAITING}provider=\"p1\"")) == Some(1.0))
        .await;
    ends.add_permits(2);
    assert_eq!(within("its turn", second).await.unwrap().status, 200);
    assert_eq!((narrow.heard().len(), wide.heard().len()), (2, others));
}

#[tokio::test]
async fn a_provider_that_is_broken_is_no_room() {
    let (narrow, ends) = streams().await;
    let refusing = refusing_url().await;
    let world = World::start(narrow_and_wide(&narrow, &refusing, Strategy::Priority)).await;
    let broken = "/v2/workspaces/default/inference/gateway/provider/p2/-/";
    world.post(&format!("{broken}{CHAT}"), CHAT_BODY).await.assert_refusal(502, "upstream_connect");
    let attempts =
        || world.metric("nimgate_upstream_attempts_total{provider=\"p2\",result=\"connect_failed\"");
    assert_eq!(attempts(), Some(1.0));
    let _first = begun(&world).await;
    let second = asking(&world, "second");
    eventually("it waits", || world.metric(&format!("{WAITING}provider=\"p1\"")) == Some(1.0)).await;
    ends.add_permits(2);
    assert_eq!(within("its turn", second).await.unwrap().status, 200);
    assert_eq!(attempts(), Some(1.0));
}

#[tokio::test]
async fn a_provider_that_asked_to_be_left_alone_is_no_room() {
    let (narrow, ends) = streams().await;
    let busy =
        Scripted::answering("HTTP/1.1 429 Busy\r\nRetry-After: 60\r\nContent-Length: 4\r\n\r\nself").await;
    let world = World::start(narrow_and_wide(&narrow, &busy.url(), Strategy::Priority)).await;
    let pinned = "/v2/workspaces/default/inference/gateway/provider/p2/-/";
    assert_eq!(world.post(&format!("{pinned}{CHAT}"), CHAT_BODY).await.status, 429);
    let _first = begun(&world).await;
    let second = asking(&world, "second");
    eventually("it waits", || world.metric(&format!("{WAITING}provider=\"p1\"")) == Some(1.0)).await;
    ends.add_permits(2);
    assert_eq!(within("its turn", second).await.unwrap().status, 200);
    assert_eq!((narrow.heard().len(), busy.heard().len()), (2, 1));
}
