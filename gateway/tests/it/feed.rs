//! The table and the feed: what is pushed is served at once, what must not be is refused, and the
//! gateway goes on without its registry (security section 10).

use proto_shared::feed::FeedMessage;
use serde_json::json;

use crate::harness::fake_registry::{Answer, FakeRegistry};
use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::{LAST_CHUNK, SOON, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

#[tokio::test]
async fn before_the_first_table_the_gateway_says_why_it_can_not_serve() {
    let world = World::without_routes(|_| {}).await;
    let mut targets: Vec<String> =
        [OPENAI, MODEL, PROVIDER].iter().map(|base| format!("{base}{CHAT}")).collect();
    targets.push("/v1/chat/completions".into());
    for target in targets {
        let reply = world.post(&target, CHAT_BODY).await;
        reply.assert_refusal(503, "no_routes_yet");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    for target in
        ["/v1/models", "/v1/models/m1", "/v2/workspaces/default/inference/gateway/provider/p1/ready"]
    {
        // "There are no models" would be another answer.
        world.get(target).await.assert_refusal(503, "no_routes_yet");
    }
    assert_eq!(world.get("/health/live").await.status, 200);
    let ready = world.get("/health/ready").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("waiting for the registry"), "{}", ready.text());
    world.publish(Routes::new()).await;
    assert_eq!(world.get("/health/ready").await.status, 200);
    assert_eq!(world.get("/v1/models").await.status, 200);
}

#[tokio::test]
async fn a_pushed_table_is_served_at_once() {
    let (first, second) =
        (Scripted::answering(json_reply("1")).await, Scripted::answering(json_reply("2")).await);
    let world = World::start(Routes::usual(&first.url(), "x/y")).await;
    let mut client = world.connect().await;
    let ask = Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY);
    assert_eq!(client.ask(&ask).await.text(), "1");
    world.publish(Routes::usual(&second.url(), "x/y")).await;
    assert_eq!(client.ask(&ask).await.text(), "2");
    world.publish(Routes::new().provider("p2", &second.url())).await;
    client.ask(&ask).await.assert_refusal(404, "model_not_found");
    world.get(&format!("{PROVIDER}x")).await.assert_refusal(404, "provider_not_found");
    assert_eq!(world.get(&format!("{}x", PROVIDER.replace("p1", "p2"))).await.status, 200);
}

#[tokio::test]
async fn what_is_under_way_ends_with_the_table_it_began_with() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "x/y")).await;
    let mut client = world.connect().await;
    client.send(Ask::post("/v1/chat/completions", STREAM_BODY).fault("tokens=20,token-ms=10").encode()).await;
    client.until("data: ").await;
    world.publish(Routes::new()).await;
    let rest = client.until("\r\n0\r\n\r\n").await;
    assert!(rest.contains("default/m1") && rest.contains("[DONE]"), "{rest}");
    world.settled().await;
}

#[tokio::test]
async fn connections_outlive_a_table_that_does_not_concern_them() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for n in 0..5 {
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
        world
            .publish(Routes::usual(&upstream.url(), "x/y").provider(&format!("q{n}"), "http://127.0.0.1:9"))
            .await;
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn snapshots_that_are_old_foreign_or_of_a_newer_format_change_nothing() {
    let upstream = Scripted::obliging().await;
    let good = || Routes::usual(&upstream.url(), "x/y");
    let world = World::start(good()).await;
    world.publish(good()).await;
    let refused = || world.metric("nimgate_snapshots_refused_total ").unwrap();
    world.registry.push(&Routes::new().snapshot(1));
    world.registry.push(&Routes::new().snapshot(2));
    // One after the other: of snapshots that pile up, only the newest is looked at.
    for (n, bad) in [
        Routes::new().installation("another").snapshot(1),
        Routes::new().installation("another").snapshot(99),
        Routes::new().format(proto_shared::snapshot::SNAPSHOT_FORMAT + 1).snapshot(100),
    ]
    .iter()
    .enumerate()
    {
        world.registry.push(bad);
        eventually("it is counted as refused", || refused() == (n + 1) as f64).await;
    }
    assert_eq!(world.app.routes.generation(), 2);
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    // The next good one is taken.
    world.publish(good().model("m2", "x/z", &["p1"])).await;
    assert_eq!(world.get("/v1/models/m2").await.status, 200);
}

#[tokio::test]
async fn words_of_tomorrow_change_what_they_are_about_and_nothing_else() {
    let (one, other) = (Scripted::obliging().await, Scripted::obliging().await);
    let routes = |model: &str| {
        let routes = Routes::new().provider("p1", &one.url()).provider("p2", &other.url());
        routes.model("m1", "x/y", &["p1", "p2"]).model(model, "x/z", &["p2"])
    };
    let world = World::start(routes("m2")).await;
    let mut line = serde_json::to_value(FeedMessage::Snapshot(routes("m3").snapshot(2).into())).unwrap();
    line["snapshot"]["models"][0]["routing"] =
        json!({"strategy": "cheapest", "sticky": "cookie", "budget": 3});
    line["snapshot"]["providers"][1]["backend"]["format"] = json!("OPENAI_REALTIME");
    world.registry.push_line(&line.to_string());
    // What is no snapshot hides none.
    world.registry.push_line(r#"{"notice":{"text":"hello"}}"#);
    assert!(world.app.routes.wait_for(2, DEADLINE).await);
    let unknown = || world.metric("nimgate_routes_unknown_words");
    eventually("they are counted", || unknown() == Some(3.0)).await;
    let ask = |model: &str| world.post("/v1/chat/completions", format!(r#"{{"model":"{model}"}}"#));
    assert_eq!(ask("m1").await.status, 200);
    assert_eq!(
        (one.heard().len(), other.heard().len()),
        (1, 0),
        "in their order, without the one that is left out"
    );
    assert_eq!((ask("m2").await.status, ask("m3").await.status), (404, 404));
    world.publish(routes("m2")).await;
    eventually("there are none now", || unknown() == Some(0.0)).await;
    assert_eq!(ask("m2").await.status, 200);
}

#[tokio::test]
async fn a_feed_that_makes_no_sense_is_left_and_tried_again() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    for line in ["not json", "{}", r#"{"snapshot":{"format":1}}"#, r#"{"heartbeat":{"generation":1}}"#] {
        world.registry.push_line(line);
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    }
    world.publish(Routes::usual(&upstream.url(), "x/y").model("m2", "x/z", &["p1"])).await;
    assert_eq!(world.get("/v1/models/m2").await.status, 200);
}

#[tokio::test]
async fn inference_goes_on_without_the_registry_and_follows_it_when_it_is_back() {
    let upstream = Scripted::obliging().await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    world.registry.die();
    eventually("the loss is noticed", || world.metric("nimgate_feed_connected ") == Some(0.0)).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    assert_eq!(world.get("/health/ready").await.status, 200, "a gateway without its registry is still one");
    let reply = world.get("/apis/models/v2/workspaces/default/providers").await;
    reply.assert_refusal(503, "registry_unavailable");
    assert_eq!(reply.header("retry-after"), Some("1"));

    let back = FakeRegistry::start(&world.folder.path().join("registry.sock"));
    back.push(&Routes::usual(&upstream.url(), "x/y").model("m2", "x/z", &["p1"]).snapshot(7));
    assert!(world.app.routes.wait_for(7, DEADLINE).await);
    assert_eq!(world.get("/v1/models/m2").await.status, 200);
}

#[tokio::test]
async fn a_gateway_boots_from_what_it_served_last_with_the_registry_dead() {
    const KEY: &str = "sk-canary-in-the-snapshot";
    let upstream = Scripted::obliging().await;
    let routes =
        Routes::usual_with(&upstream.url(), "x/y", |p| p.api_key = Some(crate::harness::routes::sealed(KEY)));
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("routes.snapshot");
    let keep = |config: &mut gateway::GatewayConfig| config.snapshot_path = Some(snapshot.clone());
    let world = World::in_folder(folder, keep).await.unwrap();
    let saved = || std::fs::read_to_string(&snapshot).unwrap_or_default();
    world.publish(Routes::new()).await;
    eventually("the first table is saved", || saved().contains("\"generation\":1")).await;
    world.publish(routes).await;
    eventually("the second table is saved", || saved().contains("\"generation\":2")).await;
    assert!(!saved().contains(KEY), "keys stay sealed");
    let folder = world.end().await;

    let keep = |config: &mut gateway::GatewayConfig| {
        config.snapshot_path = Some(snapshot.clone());
        config.registry = gateway::RegistryAddress::Unix("/nowhere/registry.sock".into());
    };
    let world = World::in_folder(folder, keep).await.unwrap();
    assert_eq!(world.get("/health/ready").await.status, 200);
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
    assert_eq!(upstream.heard()[0].header("authorization"), Some(&*format!("Bearer {KEY}")));
    let folder = world.end().await;

    std::fs::write(&snapshot, "nimgate-snapshot 1 damaged").unwrap();
    let keep = |config: &mut gateway::GatewayConfig| config.snapshot_path = Some(snapshot.clone());
    let world = World::in_folder(folder, keep).await.unwrap();
    assert_eq!(world.app.routes.generation(), 1, "the one before it is served");
    world.publish(Routes::usual(&upstream.url(), "x/y")).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_tables_fails_no_request() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "x/y")).await;
    let address = world.address;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..8 {
        let stopped = stopped.clone();
        crowd.spawn(async move {
            let mut client = RawClient::connect(address).await;
            let body = if n % 2 == 0 { CHAT_BODY } else { STREAM_BODY };
            let mut served = 0;
            while !*stopped.borrow() {
                let reply = client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), body)).await;
                assert!(reply.status == 200 && reply.whole, "{}", reply.head);
                assert!(String::from_utf8_lossy(&reply.body).contains("default/m1"));
                served += 1;
            }
            served
        });
    }
    for n in 0..200 {
        let more = (0..n % 7).fold(Routes::usual(&sim.url(), "x/y"), |routes, k| {
            routes.provider(&format!("q{k}"), "http://127.0.0.1:9").model(
                &format!("n{k}"),
                "z",
                &[&format!("q{k}")],
            )
        });
        world.publish(more).await;
    }
    stop.send(true).unwrap();
    while let Some(served) = crowd.join_next().await {
        assert!(served.unwrap() > 0);
    }
    assert_eq!(world.app.routes.generation(), 201);
}

/// An upstream that begins a stream for each request, and ends all of them together.
async fn ending_together(go_on: tokio::sync::watch::Receiver<u32>) -> Scripted {
    Scripted::start(move |mut line| {
        let mut go_on = go_on.clone();
        async move {
            line.request().await;
            line.write(SSE_HEAD).await;
            loop {
                let round = *go_on.borrow_and_update();
                line.write(chunk(format!("data: {round}\n\n"))).await;
                if go_on.changed().await.is_err() {
                    break;
                }
            }
            line.write([&chunk("data: [DONE]\n\n")[..], LAST_CHUNK.as_bytes()].concat()).await;
            line.left().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_outlive_hundreds_of_tables_with_their_provider_changed_gone_and_back() {
    const STREAMS: usize = 100;
    const TABLES: u32 = 300;
    let (round, go_on) = tokio::sync::watch::channel(0);
    let (old, new) = (ending_together(go_on).await, Scripted::obliging().await);
    let here = |n: u32| {
        Routes::usual_with(&old.url(), "x/y", |provider| {
            provider.timeouts.first_byte_timeout_ms += u64::from(n % 5);
            provider.backend.num_concurrent_requests = 1_000 + n % 2;
        })
    };
    let world = World::start(here(0)).await;
    let mut streams = tokio::task::JoinSet::new();
    for n in 0..STREAMS {
        let address = world.address;
        streams.spawn(async move {
            if n % 5 == 0 {
                let mut client = H2Client::connect(address).await;
                let reply = client.ask(h2_client::post(&format!("{OPENAI}{CHAT}")), STREAM_BODY).await;
                (reply.error.is_none(), reply.text())
            } else {
                let ask = Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY);
                let reply = RawClient::connect(address).await.ask(&ask).await;
                (reply.whole, reply.text())
            }
        });
    }
    old.heard_requests(STREAMS).await;
    for n in 1..=TABLES {
        // Changed, gone, and at another address, by turns.
        world
            .publish([here(n), Routes::new(), Routes::usual(&new.url(), "x/y")][n as usize % 3].clone())
            .await;
        if n % 3 == 2 {
            assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 200);
        }
        if n % 30 == 0 {
            round.send_replace(n);
        }
    }
    assert_eq!(old.open(), STREAMS, "none has ended");
    drop(round);
    while let Some(stream) = streams.join_next().await {
        let (whole, text) = stream.unwrap();
        assert!(whole && text.starts_with("data: ") && text.ends_with("data: [DONE]\n\n"), "{text}");
    }
    world.settled().await;
}

const CONTROL: &str = "/apis/models/v2/workspaces/default/providers";

#[tokio::test]
async fn control_calls_go_to_the_registry_as_they_are() {
    let world = World::start(Routes::new()).await;
    world.registry.answer_next(Answer {
        status: 201,
        headers: vec![("etag", "\"1\"".into())],
        body: r#"{"a":1}"#,
    });
    let ask = Ask::post(&format!("{CONTROL}?a=1&a=2&b=%2F"), r#"{"name":"p1"}"#)
        .header("authorization", "Bearer admin")
        .header("cookie", "canary=1")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-nimgate-generation", "99")
        .header("if-match", "\"0\"");
    let reply = world.ask(ask).await;
    assert_eq!((reply.status, &*reply.text(), reply.header("etag")), (201, r#"{"a":1}"#, Some("\"1\"")));
    let call = world.registry.called().await;
    assert_eq!((&*call.method, &*call.target), ("POST", &*format!("{CONTROL}?a=1&a=2&b=%2F")));
    assert_eq!(call.body, r#"{"name":"p1"}"#);
    let header = |name: &str| call.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!((header("authorization"), header("if-match")), (Some("Bearer admin"), Some("\"0\"")));
    for name in ["cookie", "x-forwarded-for", "x-nimgate-generation"] {
        assert_eq!(header(name), None, "{name}");
    }
    for path in ["/status", "/cluster-info", "/openapi.json", "/apis/secrets/v2/workspaces/default/secrets"] {
        assert_eq!(world.get(path).await.status, 200);
        assert_eq!(world.registry.calls().pop().unwrap().target, path);
    }
}

#[tokio::test]
async fn a_change_is_answered_when_it_is_served_here() {
    let upstream = Scripted::obliging().await;
    let world = World::limited(Routes::new(), |limits| limits.apply_wait_max = DEADLINE).await;
    let changed = |generation: u64| Answer {
        status: 200,
        headers: vec![(proto_shared::feed::GENERATION_HEADER, generation.to_string())],
        body: "{}",
    };
    world.registry.answer_next(changed(2));
    let mut client = world.connect().await;
    client.send(Ask::post(CONTROL, "{}").encode()).await;
    world.registry.called().await;
    // The answer is there, and held back until the table is.
    let held = tokio::time::timeout(SOON, client.stream.readable()).await;
    assert!(held.is_err(), "it was answered too early");
    world.publish(Routes::usual(&upstream.url(), "x/y")).await;
    let reply = client.reply().await;
    assert_eq!((reply.status, reply.header(proto_shared::feed::GENERATION_HEADER)), (200, None));
    let reply = client.ask(&Ask::post(&format!("{OPENAI}{CHAT}"), CHAT_BODY)).await;
    assert_eq!(reply.status, 200, "the very next request can use it");
    // A generation that is served already holds nothing up.
    world.registry.answer_next(changed(1));
    assert_eq!(client.ask(&Ask::post(CONTROL, "{}")).await.status, 200);
}

#[tokio::test]
async fn a_change_is_answered_after_a_while_even_if_it_is_not_served_yet() {
    let world = World::limited(Routes::new(), |limits| limits.apply_wait_max = SOON).await;
    let headers = vec![(proto_shared::feed::GENERATION_HEADER, "50".to_owned())];
    world.registry.answer_next(Answer { status: 200, headers, body: "{}" });
    assert_eq!(world.post(CONTROL, "{}").await.status, 200);
}

#[tokio::test]
async fn the_feed_itself_is_not_reachable_from_outside() {
    let world = World::start(Routes::new()).await;
    for path in [
        "/internal/feed",
        "/internal/gateways/0123456789abcdef0123456789abcdef",
        "/apis/../internal/feed",
        "/apis/%2e%2e/internal/feed",
        "/apis/x/..//../internal/feed",
    ] {
        let reply = world.get(path).await;
        assert!((400..500).contains(&reply.status), "{path}: {}", reply.text());
    }
    assert!(world.registry.calls().is_empty(), "{:?}", world.registry.calls());
}
