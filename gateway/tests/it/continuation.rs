//! Streams whose server dies and that go on at another: the client sees one stream, or the error event.

use std::collections::BTreeSet;
use std::time::Duration;

use nim_sim::{Sim, SimOptions};
use proto_shared::snapshot::{Replay, Watch};
use proto_shared::{HostUrl, ProviderRoute};
use serde_json::{Value, json};

use crate::harness::scripted::{LAST_CHUNK, SSE_HEAD, Scripted, chunk};
use crate::harness::*;

async fn sim() -> Sim {
    Sim::start(SimOptions { models: vec!["x/y".into()], ..SimOptions::default() }).await.unwrap()
}

fn asks_twice(provider: &mut ProviderRoute) {
    provider.replay = Replay::Safe;
}

fn is_local(provider: &mut ProviderRoute) {
    provider.local = true;
}

/// Model `m1`, which resumes, at `one` and then at `other`.
fn fleet(one: &str, other: &str) -> Routes {
    Routes::new()
        .provider_with("p1", one, asks_twice)
        .provider_with("p2", other, asks_twice)
        .model("m1", "x/y", &["p1", "p2"])
        .but(|model| model.resume = true)
}

fn question(more: Value) -> String {
    let words: Vec<String> = (0..200).map(|n| format!("w{n}")).collect();
    let mut body = json!({ "model": "m1", "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": words.join(" ") }] });
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    body.to_string()
}

async fn ask(world: &World, body: impl AsRef<[u8]>) -> Reply {
    world.post(&format!("{OPENAI}{CHAT}"), body).await
}

/// Text, finish and usage of a stream that is whole and of one answer.
fn told(reply: &Reply) -> (String, Value, Value) {
    assert!(reply.whole && reply.status == 200, "{}", reply.text());
    let text = reply.text();
    let body = text.strip_suffix("data: [DONE]\n\n").expect("it ends once");
    let chunks: Vec<Value> = body
        .split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let ids: BTreeSet<&str> = chunks.iter().map(|chunk| chunk["id"].as_str().unwrap()).collect();
    let models: BTreeSet<&str> = chunks.iter().map(|chunk| chunk["model"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), models), (1, BTreeSet::from(["default/m1"])));
    let choices: Vec<&Value> = chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).collect();
    assert_eq!(choices.iter().filter(|choice| choice["delta"].get("role").is_some()).count(), 1);
    let finishes: Vec<&Value> =
        choices.iter().map(|choice| &choice["finish_reason"]).filter(|finish| !finish.is_null()).collect();
    assert_eq!(finishes.len(), 1);
    let said = choices.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
    (said, finishes[0].clone(), chunks.last().unwrap()["usage"].clone())
}

/// The same, at those of which it is learned that they can, as soon as `knows` says so of what is shown of both.
async fn learning(dying: &Sim, other: &Sim, knows: impl Fn([&Value; 2]) -> bool) -> World {
    let routes = fleet(&dying.url(), &other.url()).but(|model| {
        (model.resume, model.resume_where_known) = (false, true);
    });
    let routes = routes.each_provider(|provider| provider.watch = Some(Watch::default()));
    let world = World::limited(routes, |limits| {
        limits.watch.probe_interval = Duration::from_millis(10);
        limits.watch.doubt_interval = Duration::from_millis(10);
        limits.watch.table_interval = Duration::from_millis(10);
        limits.watch.rest_max = Duration::from_millis(20);
    })
    .await;
    until_explained(&world, |shown| knows([&shown[0], &shown[1]])).await;
    world
}

/// What is explained of the address of each candidate.
async fn until_explained(world: &World, holds: impl Fn(&[Value]) -> bool) {
    let target = format!("/explain?path={OPENAI}{CHAT}&model=m1");
    let looking = async {
        loop {
            let reply = RawClient::connect(world.admin).await.ask(&Ask::get(&target)).await;
            let explained: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(explained["resume"], "where known");
            let all = explained["candidates"].as_array().unwrap().iter();
            let shown: Vec<Value> = all.map(|candidate| candidate["replicas"][0].clone()).collect();
            if holds(&shown) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("it is explained", looking).await;
}

fn asked_for_schema(sim: &Sim) -> usize {
    sim.requests().iter().filter(|request| request.target == "/openapi.json").count()
}

#[tokio::test]
async fn a_stream_goes_on_at_a_server_that_says_that_it_can_and_says_so_once() {
    let (dying, healthy) = (sim().await, sim().await);
    let world = learning(&dying, &healthy, |both| both.iter().all(|at| at["continues"] == "yes")).await;
    dying.set_fault("cut-after=9000,path=/v1/chat").unwrap();
    let (said, ..) = told(&ask(&world, question(json!({}))).await);
    assert!(said.ends_with("w198 w199"));
    let probes = || healthy.requests().iter().filter(|request| request.target == "/v1/health/ready").count();
    let before = probes();
    eventually("it is probed on", || probes() > before + 20).await;
    assert_eq!(asked_for_schema(&healthy), 1);
}

#[tokio::test]
async fn a_stream_ends_in_the_error_event_where_nobody_is_known_to_continue() {
    let (dying, other) = (sim().await, sim().await);
    other.set_fault("no-continue").unwrap();
    let world = learning(&dying, &other, |both| both[1]["continues"] == "no").await;
    dying.set_fault("cut-after=9000,path=/v1/chat").unwrap();
    let before = other.requests().iter().filter(|request| request.method == "POST").count();
    assert_cut(&ask(&world, question(json!({}))).await);
    other.set_fault("status=404,path=/openapi.json").unwrap();
    let silent = learning(&sim().await, &other, |both| both[0]["continues"] == "yes").await;
    eventually("it is asked again", || asked_for_schema(&other) > 3).await;
    until_explained(&silent, |shown| shown[1]["state"] == "up" && shown[1].get("continues").is_none()).await;
    let posts = || other.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts(), before, "it got no request that it does not understand");
}

#[tokio::test]
async fn where_nothing_was_said_yet_anybody_may_begin_again() {
    let (dying, other) = (sim().await, sim().await);
    other.set_fault("no-continue").unwrap();
    let world = learning(&dying, &other, |both| both[1]["continues"] == "no").await;
    dying.set_fault("cut-after=1,path=/v1/chat").unwrap();
    assert!(told(&ask(&world, question(json!({}))).await).0.ends_with("w198 w199"));
}

#[tokio::test]
async fn a_server_that_comes_back_is_asked_again_what_it_can_do() {
    let (dying, other) = (sim().await, sim().await);
    let world = learning(&dying, &other, |both| both[1]["continues"] == "yes").await;
    other.set_fault("refuse").unwrap();
    until_explained(&world, |shown| shown[1]["state"] == "down" && shown[1].get("continues").is_none()).await;
    other.set_fault("no-continue").unwrap();
    until_explained(&world, |shown| shown[1]["state"] == "up" && shown[1]["continues"] == "no").await;
}

#[tokio::test]
async fn who_says_that_it_can_and_begins_anew_is_noticed_and_not_asked_again() {
    let (dying, liar) = (sim().await, sim().await);
    let world = learning(&dying, &liar, |both| both[1]["continues"] == "yes").await;
    dying.set_fault("cut-after=9000,path=/v1/chat").unwrap();
    liar.set_fault("no-continue,path=/v1/chat").unwrap();
    let posts = || liar.requests().iter().filter(|request| request.method == "POST").count();
    assert_cut(&ask(&world, question(json!({}))).await);
    assert_eq!(posts(), 1);
    until_explained(&world, |shown| shown[1]["continues"] == "no").await;
    assert_cut(&ask(&world, question(json!({ "user": "again" }))).await);
    assert_eq!(posts(), 1);
}

#[tokio::test]
async fn a_promise_is_kept_to_whatever_was_learned() {
    let (dying, healthy) = (sim().await, sim().await);
    healthy.set_fault("status=404,path=/openapi.json").unwrap();
    dying.set_fault("cut-after=9000").unwrap();
    let both = fleet(&dying.url(), &healthy.url()).but(|model| model.resume_where_known = true);
    let world = World::start(both).await;
    assert!(told(&ask(&world, question(json!({}))).await).0.ends_with("w198 w199"));
}

/// The answer as far as it came, and then the error event.
fn assert_cut(reply: &Reply) {
    let text = reply.text();
    assert!(!reply.whole && text.contains("upstream_incomplete") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_stream_goes_on_as_if_its_server_had_not_died() {
    let (dying, healthy) = (sim().await, sim().await);
    for more in [json!({}), json!({ "max_tokens": 190 })] {
        let body = question(more);
        let world = World::start(fleet(&healthy.url(), &dying.url())).await;
        let uncut = told(&ask(&world, &body).await);
        for death in (1..30_000).step_by(1_499) {
            dying.set_fault(&format!("cut-after={death}")).unwrap();
            let world = World::start(fleet(&dying.url(), &healthy.url())).await;
            assert_eq!(told(&ask(&world, &body).await), uncut, "death after {death} bytes");
            assert_eq!(world.metric("nimgate_continued_answers_total{end=\"whole\"}"), Some(1.0));
            world.settled().await;
        }
    }
}

#[tokio::test]
async fn servers_of_ones_own_need_no_further_permission() {
    let (dying, healthy) = (sim().await, sim().await);
    dying.set_fault("cut-after=9000").unwrap();
    let routes = Routes::new()
        .provider_with("p1", &dying.url(), is_local)
        .provider_with("p2", &healthy.url(), is_local)
        .model("m1", "x/y", &["p1", "p2"])
        .but(|model| model.resume = true);
    let world = World::start(routes).await;
    assert!(told(&ask(&world, question(json!({}))).await).0.ends_with("w198 w199"));
}

#[tokio::test]
async fn a_reset_and_a_server_that_falls_silent_are_deaths_too() {
    let (dying, healthy) = (sim().await, sim().await);
    let body = question(json!({}));
    dying.set_fault("reset-after=9000").unwrap();
    let world = World::start(fleet(&dying.url(), &healthy.url())).await;
    let (said, ..) = told(&ask(&world, &body).await);
    assert!(said.ends_with("w198 w199"));
    let first = "data: {\"id\":\"a\",\"model\":\"x/y\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"You said: w0\"}}]}\n\n";
    let silent = Scripted::start(move |mut line| async move {
        line.request().await;
        line.write([SSE_HEAD.as_bytes(), &chunk(first)].concat()).await;
        line.hang().await;
    });
    let silent = silent.await;
    let routes = Routes::new()
        .provider_with("p1", &silent.url(), |provider| {
            asks_twice(provider);
            provider.timeouts.idle_timeout_ms = 100;
        })
        .provider_with("p2", &healthy.url(), asks_twice)
        .model("m1", "x/y", &["p1", "p2"])
        .but(|model| model.resume = true);
    let world = World::start(routes).await;
    assert_eq!(told(&ask(&world, &body).await).0, said);
}

#[tokio::test]
async fn nothing_goes_on_where_nobody_said_so() {
    let (dying, healthy) = (sim().await, sim().await);
    dying.set_fault("cut-after=9000").unwrap();
    let silent_model = fleet(&dying.url(), &healthy.url()).but(|model| model.resume = false);
    let billed = Routes::new()
        .provider_with("p1", &dying.url(), asks_twice)
        .provider("p2", &healthy.url())
        .model("m1", "x/y", &["p1", "p2"])
        .but(|model| model.resume = true);
    let other_model =
        fleet(&dying.url(), &healthy.url()).but(|model| model.candidates[1].served_name = "x/z".into());
    for routes in [silent_model, billed, other_model] {
        let world = World::start(routes).await;
        assert_cut(&ask(&world, question(json!({}))).await);
    }
    let world = World::start(fleet(&dying.url(), &healthy.url())).await;
    for more in
        [json!({ "n": 2 }), json!({ "logprobs": true }), json!({ "response_format": { "type": "text" } })]
    {
        assert_cut(&ask(&world, question(more)).await);
    }
    assert!(healthy.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_will_not_go_on_or_begins_anew_leaves_the_answer_cut() {
    let dying = sim().await;
    dying.set_fault("cut-after=9000").unwrap();
    let refusing = Scripted::answering("HTTP/1.1 400 Bad\r\ncontent-length: 4\r\n\r\nwhat").await;
    let event = |text: &str| json!({ "id": "b", "model": "x/y", "choices": [{ "index": 0, "delta": { "content": text } }] });
    let anew = format!("data: {}\n\ndata: [DONE]\n\n", event("You said: w0 w1 w2 w3 w4 w5 w6 w7 w8 w9"));
    let anew = [SSE_HEAD.as_bytes(), &chunk(anew), LAST_CHUNK.as_bytes()].concat();
    let anew = Scripted::answering(anew).await;
    for other in [refusing, anew] {
        let world = World::start(fleet(&dying.url(), &other.url())).await;
        let reply = ask(&world, question(json!({}))).await;
        assert_cut(&reply);
        assert_eq!(reply.text().matches("\"w0 \"").count(), 1, "{}", reply.text());
        assert_eq!(other.heard().len(), 1);
        assert_eq!(world.metric("nimgate_continued_answers_total{end=\"cut\"}"), Some(1.0));
        world.settled().await;
    }
}

#[tokio::test]
async fn an_answer_that_lacks_nothing_but_its_end_is_ended() {
    let finish = "data: {\"id\":\"a\",\"model\":\"x/y\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\n";
    let dying = Scripted::start(move |mut line| async move {
        line.request().await;
        line.write([SSE_HEAD.as_bytes(), &chunk(finish)].concat()).await;
    });
    let (dying, healthy) = (dying.await, sim().await);
    let world = World::start(fleet(&dying.url(), &healthy.url())).await;
    let (said, finish, _) = told(&ask(&world, question(json!({ "stream_options": null }))).await);
    assert_eq!((&*said, finish), ("Hi", json!("stop")));
    assert!(healthy.requests().is_empty());
    world.settled().await;
}

#[tokio::test]
async fn all_streams_of_a_dead_replica_go_on_at_the_one_that_is_left() {
    const STREAMS: usize = 60;
    let (dying, healthy) = (sim().await, sim().await);
    dying.set_fault("cut-after=9000,token-ms=5").unwrap();
    let routes = Routes::new()
        .provider_with("p1", &dying.url(), |provider| {
            asks_twice(provider);
            provider.replicas =
                [dying.url(), healthy.url()].map(|url| HostUrl::parse(&url).unwrap()).to_vec();
        })
        .model("m1", "x/y", &["p1"])
        .but(|model| model.resume = true);
    let world = std::sync::Arc::new(World::start(routes).await);
    let body = question(json!({}));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..STREAMS {
        let (world, body) = (std::sync::Arc::clone(&world), body.clone());
        clients.spawn(async move { told(&ask(&world, body).await).0 });
    }
    let said: BTreeSet<String> = clients.join_all().await.into_iter().collect();
    assert!(said.len() == 1 && said.iter().all(|text| text.ends_with("w198 w199")));
    let continued = world.metric("nimgate_continued_answers_total{end=\"whole\"}").unwrap_or_default();
    assert!(continued > 10.0 && dying.requests().len() as f64 == continued, "{continued}");
    world.settled().await;
}
