//! Providers that are served at several addresses: how requests are spread, what a dead address costs,
//! and that addresses come and go without a request noticing.

use proto_shared::HostUrl;
use proto_shared::feed::BusyAddress;
use proto_shared::snapshot::Replay;

use crate::harness::fake_registry::FakeRegistry;
use crate::harness::full_queue::{FullQueue, refusing_url};
use crate::harness::scripted::{LAST_CHUNK, SOON, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

const SOON_MS: u64 = SOON.as_millis() as u64;

/// Provider `p1` at these addresses, and model `m1`.
fn at(urls: &[&str]) -> Routes {
    at_with(urls, |_| {})
}

fn at_with(urls: &[&str], change: impl FnOnce(&mut proto_shared::ProviderRoute)) -> Routes {
    Routes::usual_with(urls[0], "x/y", |provider| {
        provider.replicas = urls.iter().map(|url| HostUrl::parse(url).unwrap()).collect();
        change(provider);
    })
}

fn urls(upstreams: &[Scripted]) -> Vec<String> {
    upstreams.iter().map(Scripted::url).collect()
}

async fn obliging(count: usize) -> Vec<Scripted> {
    let mut upstreams = vec![];
    for _ in 0..count {
        upstreams.push(Scripted::obliging().await);
    }
    upstreams
}

/// An upstream that takes requests and answers none.
async fn hanging() -> Scripted {
    Scripted::start(|mut line| async move {
        line.request().await;
        line.hang().await;
    })
    .await
}

#[tokio::test]
async fn requests_are_spread_over_all_addresses_on_every_route() {
    let upstreams = obliging(3).await;
    let urls = urls(&upstreams);
    let world = World::start(at(&urls.iter().map(String::as_str).collect::<Vec<_>>())).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let before: Vec<usize> = upstreams.iter().map(|upstream| upstream.heard().len()).collect();
        for _ in 0..60 {
            assert_eq!(world.post(&format!("{base}{CHAT}"), CHAT_BODY).await.status, 200);
        }
        for (upstream, before) in upstreams.iter().zip(before) {
            let heard = upstream.heard();
            // One in 60 would be a chance of one in a thousand million.
            assert!(heard.len() > before + 1, "{base}: {} of 60", heard.len() - before);
            assert_eq!(heard[before].header("host"), Some(&*upstream.address.to_string()));
        }
    }
    assert_eq!(
        world.metric("nimgate_requests_total{outcome=\"ok\",provider=\"p1\",route=\"openai\""),
        Some(60.0)
    );
    world.settled().await;
}

#[tokio::test]
async fn an_address_that_is_busy_gets_nothing_while_the_other_is_idle() {
    let (slow, quick) = (hanging().await, Scripted::obliging().await);
    let world = World::start(at(&[&slow.url(), &quick.url()])).await;
    // Idle, both are asked: sooner or later the slow one holds a request.
    let mut waiting = vec![];
    while slow.heard().is_empty() {
        let mut client = world.connect().await;
        client.send(Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).encode()).await;
        waiting.push(client);
        let asked = waiting.len();
        eventually("the request is at an upstream", || slow.heard().len() + quick.heard().len() >= asked)
            .await;
        eventually("the quick one is done", || in_flight(&world) == slow.heard().len()).await;
    }
    let before = quick.heard().len();
    for _ in 0..30 {
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
        eventually("the quick one is idle again", || in_flight(&world) == 1).await;
    }
    assert_eq!((slow.heard().len(), quick.heard().len()), (1, before + 30));
    drop(waiting);
    world.settled().await;
}

fn in_flight(world: &World) -> usize {
    world.metric("nimgate_provider_in_flight{").unwrap_or(0.0) as usize
}

#[tokio::test]
async fn an_address_that_can_not_be_reached_costs_no_request() {
    let good = Scripted::obliging().await;
    let (refusing, full) = (refusing_url().await, FullQueue::new());
    let routes = at_with(&[&refusing, &good.url(), &full.url()], |p| p.timeouts.connect_timeout_ms = SOON_MS);
    let world = World::start(routes).await;
    for n in 1..=5 {
        for base in [PROVIDER, MODEL, OPENAI] {
            assert_eq!(world.post(&format!("{base}{CHAT}"), CHAT_BODY).await.status, 200);
        }
        assert_eq!(good.heard().len(), n * 3);
    }
    assert!(
        world.metric("nimgate_upstream_attempts_total{provider=\"p1\",result=\"connect_failed\"").unwrap()
            > 0.0
    );
    world.settled().await;
}

#[tokio::test]
async fn an_address_that_can_not_be_reached_is_not_tried_by_every_request() {
    let (good, full) = (Scripted::obliging().await, FullQueue::new());
    let routes = at_with(&[&good.url(), &full.url()], |p| p.timeouts.connect_timeout_ms = SOON_MS);
    let world = World::start(routes).await;
    let begin = std::time::Instant::now();
    for _ in 0..60 {
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    }
    let failed = world.metric("nimgate_upstream_attempts_total{provider=\"p1\",result=\"connect_failed\"");
    // Once a second, where by chance alone it would be every other request.
    assert!(failed.unwrap_or(0.0) <= 1.0 + begin.elapsed().as_secs_f64(), "{failed:?}");
}

#[tokio::test]
async fn the_next_candidate_is_asked_after_each_address_of_the_one_before_once() {
    let (one, two, good) = (refusing_url().await, refusing_url().await, Scripted::obliging().await);
    let routes = at(&[&one, &two, &one]).provider("p2", &good.url()).model("m2", "x/y", &["p1", "p2"]);
    let world = World::start(routes).await;
    let body = CHAT_BODY.replace("m1", "m2");
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), &body).await.status, 200);
    let failed = world.metric("nimgate_upstream_attempts_total{provider=\"p1\",result=\"connect_failed\"");
    assert_eq!(failed, Some(2.0));
    world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.assert_refusal(502, "upstream_connect");
}

#[tokio::test]
async fn attempts_are_bounded_however_many_addresses_there_are() {
    let mut dead = vec![];
    for _ in 0..6 {
        dead.push(refusing_url().await);
    }
    let world = World::start(at(&dead.iter().map(String::as_str).collect::<Vec<_>>())).await;
    world.post(&format!("{PROVIDER}{CHAT}"), CHAT_BODY).await.assert_refusal(502, "upstream_connect");
    assert_eq!(
        world.metric("nimgate_upstream_attempts_total{provider=\"p1\",result=\"connect_failed\""),
        Some(3.0)
    );
}

#[tokio::test]
async fn what_may_have_been_executed_goes_to_no_other_address_unless_that_is_harmless() {
    let closing = || {
        Scripted::start(|mut line| async move {
            line.request().await;
        })
    };
    let (one, two) = (closing().await, closing().await);
    let world = World::start(at(&[&one.url(), &two.url()])).await;
    world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.assert_refusal(502, "upstream_ambiguous");
    assert_eq!(one.heard().len() + two.heard().len(), 1);

    let good = Scripted::obliging().await;
    let world = World::start(at_with(&[&one.url(), &good.url()], |p| p.replay = Replay::Safe)).await;
    for n in 1..=10 {
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
        assert_eq!(good.heard().len(), n);
    }
}

#[tokio::test]
async fn connections_and_counts_of_addresses_that_stay_outlive_a_change_of_the_list() {
    let upstreams = obliging(3).await;
    let urls = urls(&upstreams);
    let [a, b, c] = &urls[..] else { unreachable!() };
    let world = World::start(at(&[a, b])).await;
    while upstreams[..2].iter().any(|upstream| upstream.heard().is_empty()) {
        world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await;
    }
    let stays = upstreams[1].connections();
    world.publish(at(&[b, c])).await;
    upstreams[0].left_alone().await;
    let before = upstreams[0].heard().len();
    for _ in 0..40 {
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    }
    assert_eq!(upstreams[0].heard().len(), before, "it has left the list");
    assert!(!upstreams[2].heard().is_empty(), "it is new");
    assert_eq!(upstreams[1].connections(), stays, "its idle connection is still used");
    assert_eq!(world.metric("nimgate_table_generation"), Some(2.0));
}

#[tokio::test]
async fn an_address_that_leaves_while_it_streams_finishes_its_stream() {
    let (sender, release) = tokio::sync::watch::channel(false);
    let old = Scripted::start(move |mut line| {
        let mut release = release.clone();
        async move {
            line.request().await;
            line.write(SSE_HEAD).await;
            line.write(chunk("data: 1\n\n")).await;
            let _ = release.wait_for(|now| *now).await;
            line.write(chunk("data: [DONE]\n\n")).await;
            line.write(LAST_CHUNK).await;
            line.left().await;
        }
    })
    .await;
    let new = Scripted::obliging().await;
    let world = World::start(at(&[&old.url()])).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).encode()).await;
    client.until("data: 1").await;
    world.publish(at(&[&new.url()])).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    assert_eq!((old.heard().len(), new.heard().len()), (1, 1));
    let report = world.registry.reported("the new table", |report| report.generation == 2).await;
    assert_eq!(report.busy, [BusyAddress { url: HostUrl::parse(&old.url()).unwrap(), in_flight: 1 }]);
    let dump = RawClient::connect(world.admin).await.ask(&Ask::get("/routes")).await.json();
    assert_eq!(dump["departed"], serde_json::json!([{ "url": old.url(), "in_flight": 1 }]));
    sender.send_replace(true);
    client.until("[DONE]").await;
    world.registry.reported("the end of the stream", |report| report.busy.is_empty()).await;
    world.settled().await;
    assert_eq!(world.registry.reports().len(), 3, "one for each table, and one for the end");
}

#[tokio::test]
async fn an_address_that_comes_back_while_it_is_in_use_goes_on_as_if_it_had_stayed() {
    let (slow, other) = (hanging().await, Scripted::obliging().await);
    let world = World::start(at(&[&slow.url()])).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).encode()).await;
    slow.heard_requests(1).await;
    world.publish(at(&[&other.url()])).await;
    world.registry.reported("it is in use", |report| report.busy.len() == 1).await;
    world.publish(at(&[&slow.url(), &other.url()])).await;
    world.registry.reported("it has not left", |r| r.generation == 3 && r.busy.is_empty()).await;
    for _ in 0..20 {
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
        eventually("the quick one is idle again", || in_flight(&world) == 1).await;
    }
    assert_eq!(slow.heard().len(), 1, "what is in flight there still counts");
}

#[tokio::test]
async fn a_gateway_reports_again_when_it_follows_anew_and_says_nothing_while_it_is_idle() {
    let upstream = Scripted::obliging().await;
    let mut world = World::start(at(&[&upstream.url()])).await;
    world.registry.reported("the table", |report| report.generation == 1).await;
    for _ in 0..5 {
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    }
    assert_eq!(world.registry.reports().len(), 1);
    world.registry.die();
    world.registry = FakeRegistry::start(&world.folder.path().join("registry.sock"));
    world.registry.push(&at(&[&upstream.url()]).snapshot(1));
    world.registry.reported("the table, to the new registry", |report| report.generation == 1).await;
}

#[tokio::test]
async fn a_request_whose_address_leaves_before_it_is_sent_goes_by_the_newer_table() {
    let (old, new) = (Scripted::obliging().await, Scripted::obliging().await);
    let world = World::start(at(&[&old.url()])).await;
    for base in [MODEL, OPENAI] {
        let bytes = Ask::post(&format!("{base}{CHAT}"), CHAT_BODY).chunked(20).encode();
        let (first, rest) = bytes.split_at(bytes.len() - 5);
        let mut client = world.connect().await;
        client.send(first).await;
        // The model route has found its model by now, as the body is being read.
        eventually("the body is being read", || world.app.buffered_bytes() > 0).await;
        world.publish(at(&[&new.url()])).await;
        client.send(rest).await;
        assert_eq!(client.reply().await.status, 200);
        eventually("the body is let go", || world.app.buffered_bytes() == 0).await;
        world.publish(at(&[&old.url()])).await;
    }
    assert_eq!((old.heard().len(), new.heard().len()), (0, 2));

    let bytes = Ask::post(&format!("{MODEL}{CHAT}"), CHAT_BODY).chunked(20).encode();
    let (first, rest) = bytes.split_at(bytes.len() - 5);
    let mut client = world.connect().await;
    client.send(first).await;
    eventually("the body is being read", || world.app.buffered_bytes() > 0).await;
    world.publish(Routes::new()).await;
    client.send(rest).await;
    client.reply().await.assert_refusal(404, "model_not_found");
    tokio::time::timeout(SOON, old.heard_requests(1)).await.unwrap_err();
}

#[tokio::test]
async fn the_route_dump_and_explain_show_addresses_and_what_is_in_flight_there() {
    let (slow, other) = (hanging().await, Scripted::answering(json_reply("1")).await);
    let world = World::start(at(&[&slow.url()])).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).encode()).await;
    slow.heard_requests(1).await;
    world.publish(at(&[&slow.url(), &other.url()])).await;
    let mut admin = RawClient::connect(world.admin).await;
    let dump = admin.ask(&Ask::get("/routes")).await.json();
    let provider = &dump["workspaces"][0]["providers"][0];
    assert_eq!(provider["in_flight"], 1);
    let counts: Vec<_> = [slow.url(), other.url()].into_iter().zip([1, 0]).collect();
    for (replica, (url, in_flight)) in counts.iter().enumerate() {
        let shown = &provider["replicas"][replica];
        assert_eq!((&shown["url"], &shown["in_flight"]), (&url.as_str().into(), &(*in_flight).into()));
    }
    let explained = admin.ask(&Ask::get("/explain?path=/v1/chat/completions&model=m1")).await.json();
    let replicas = &explained["candidates"][0]["replicas"];
    assert_eq!((&replicas[0]["in_flight"], &replicas[1]["in_flight"]), (&1.into(), &0.into()));
    assert_eq!(replicas[1]["url"], format!("{}/v1/chat/completions", other.url()));
}
