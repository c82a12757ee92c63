//! Clients of hosted providers that leave: where the provider says so its answer is read on, within bounds, and what it
//! cost is known. Everybody else is told to stop.

use std::sync::Arc;

use gateway::{Limits, Stop};
use proto_shared::ProviderRoute;
use proto_shared::backend::LeavingClients;
use tokio::sync::watch;

use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::{LAST_CHUNK, Line, SOON, SSE_HEAD, Scripted, chunk};
use crate::harness::*;

const BEGUN: &str = "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const REST: &str = "data: {\"id\":\"a\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":22,\"total_tokens\":33}}\n\ndata: [DONE]\n\n";
const WHOLE: &str = r#"{"id":"a","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":22}}"#;

fn drains(provider: &mut ProviderRoute) {
    provider.backend.leaving_clients = LeavingClients::Drain;
}

fn chat() -> String {
    format!("{OPENAI}{CHAT}")
}

/// Begins its answers, and ends them when the test says so.
struct Slow {
    upstream: Scripted,
    go_on: Arc<watch::Sender<bool>>,
}

impl Slow {
    async fn start(first: impl AsRef<[u8]>, rest: impl AsRef<[u8]>) -> Self {
        let go_on = Arc::new(watch::Sender::new(false));
        let (heard, first, rest) =
            (Arc::clone(&go_on), Arc::<[u8]>::from(first.as_ref()), Arc::<[u8]>::from(rest.as_ref()));
        let upstream = Scripted::start(move |mut line: Line| {
            let (heard, first, rest) = (Arc::clone(&heard), Arc::clone(&first), Arc::clone(&rest));
            async move {
                while line.request().await.is_some() {
                    line.write(&first).await;
                    let mut heard = heard.subscribe();
                    tokio::select! {
                        _ = heard.wait_for(|go_on| *go_on) => {}
                        () = line.left() => return,
                    }
                    line.write(&rest).await;
                }
            }
        });
        Self { upstream: upstream.await, go_on }
    }

    /// A stream whose end tells what it cost.
    async fn stream() -> Self {
        Self::start(
            [SSE_HEAD.as_bytes(), &chunk(BEGUN)].concat(),
            [&chunk(REST), LAST_CHUNK.as_bytes()].concat(),
        )
        .await
    }

    fn go_on(&self) {
        self.go_on.send_replace(true);
    }

    fn routes(&self, change: impl FnOnce(&mut ProviderRoute)) -> Routes {
        Routes::usual_with(&self.upstream.url(), "m1", change)
    }
}

/// A client that leaves in the middle of its stream.
async fn leave(world: &World) {
    let mut client = world.connect().await;
    client.send(Ask::post(&chat(), STREAM_BODY).encode()).await;
    client.until("\"Hi\"").await;
    drop(client);
}

async fn is_read_on(world: &World, count: f64) {
    eventually("it is read on", || world.metric("nimgate_left_behind_answers ") == Some(count)).await;
}

fn ended(world: &World, end: &str) -> Option<f64> {
    world.metric(&format!("nimgate_left_behind_answers_total{{end=\"{end}\"}}"))
}

fn tokens(world: &World, kind: &str) -> Option<f64> {
    world.metric(&format!("nimgate_tokens_total{{kind=\"{kind}\","))
}

fn cancelled(world: &World) -> Option<f64> {
    world.metric("nimgate_requests_total{outcome=\"cancelled\",")
}

#[tokio::test]
async fn what_a_stream_cost_is_learned_after_its_client_has_left() {
    let slow = Slow::stream().await;
    let world = World::start(slow.routes(drains)).await;
    leave(&world).await;
    is_read_on(&world, 1.0).await;
    assert_eq!(world.metric("nimgate_requests_in_flight "), Some(1.0), "it is still work");
    slow.go_on();
    world.settled().await;
    assert_eq!((tokens(&world, "input"), tokens(&world, "output")), (Some(11.0), Some(22.0)));
    assert_eq!((ended(&world, "whole"), cancelled(&world)), (Some(1.0), Some(1.0)));
    assert!(world.post(&chat(), STREAM_BODY).await.whole);
    assert_eq!(slow.upstream.connections(), 1, "the connection was read to its end, and serves on");
}

#[tokio::test]
async fn over_http2_too_however_the_client_leaves() {
    for vanishes in [false, true] {
        let slow = Slow::stream().await;
        let world = World::start(slow.routes(drains)).await;
        let mut client = H2Client::connect(world.address).await;
        let answer = client.start(h2_client::post(&chat()), STREAM_BODY).await;
        drop(answer);
        if vanishes {
            client.vanish();
        }
        is_read_on(&world, 1.0).await;
        slow.go_on();
        world.settled().await;
        assert_eq!((tokens(&world, "output"), ended(&world, "whole")), (Some(22.0), Some(1.0)));
    }
}

#[tokio::test]
async fn who_leaves_before_the_answer_begins_leaves_it_behind_too() {
    let whole = scripted::json_reply(WHOLE);
    let stream = [SSE_HEAD.as_bytes(), &chunk(REST), LAST_CHUNK.as_bytes()].concat();
    for (answer, body) in [(whole.into_bytes(), CHAT_BODY), (stream, STREAM_BODY)] {
        let slow = Slow::start("", answer).await;
        let world = World::start(slow.routes(drains)).await;
        let mut client = world.connect().await;
        client.send(Ask::post(&chat(), body).encode()).await;
        slow.upstream.heard_requests(1).await;
        drop(client);
        is_read_on(&world, 1.0).await;
        slow.go_on();
        world.settled().await;
        assert_eq!((tokens(&world, "output"), ended(&world, "whole")), (Some(22.0), Some(1.0)));
        assert_eq!(world.metric("nimgate_responses_total{code=\"200\","), None, "nobody was answered");
    }
}

#[tokio::test]
async fn servers_of_ones_own_are_told_to_stop_whatever_they_say_and_so_is_who_says_nothing() {
    let own = |provider: &mut ProviderRoute| {
        drains(provider);
        provider.local = true;
    };
    for change in [own as fn(&mut ProviderRoute), |_| {}] {
        let slow = Slow::stream().await;
        let world = World::start(slow.routes(change)).await;
        leave(&world).await;
        slow.upstream.left_alone().await;
        world.settled().await;
        assert_eq!((ended(&world, "cut"), cancelled(&world)), (None, Some(1.0)));
    }
}

#[tokio::test]
async fn it_is_read_on_for_so_long_and_for_so_many_bytes() {
    let short = |limits: &mut Limits| limits.left_behind_timeout = SOON;
    let small = |limits: &mut Limits| limits.left_behind_bytes_max = REST.len() - 1;
    for (limit, goes_on, end) in [(short as fn(&mut Limits), false, "too_long"), (small, true, "too_large")] {
        let slow = Slow::start([SSE_HEAD.as_bytes(), &chunk(BEGUN)].concat(), chunk(REST)).await;
        let world = World::limited(slow.routes(drains), limit).await;
        leave(&world).await;
        if goes_on {
            is_read_on(&world, 1.0).await;
            slow.go_on();
        }
        slow.upstream.left_alone().await;
        world.settled().await;
        assert_eq!((ended(&world, end), cancelled(&world)), (Some(1.0), Some(1.0)), "{end}");
    }
}

#[tokio::test]
async fn there_are_so_many_at_once_and_the_next_is_told_to_stop() {
    let slow = Slow::stream().await;
    let world = World::limited(slow.routes(drains), |limits| limits.left_behind_max = 1).await;
    leave(&world).await;
    is_read_on(&world, 1.0).await;
    leave(&world).await;
    eventually("the second is let go", || slow.upstream.open() == 1).await;
    assert_eq!(world.metric("nimgate_left_behind_answers "), Some(1.0));
    slow.go_on();
    world.settled().await;
    assert_eq!((ended(&world, "whole"), cancelled(&world)), (Some(1.0), Some(2.0)));
}

#[tokio::test]
async fn its_place_is_taken_until_it_ends() {
    let slow = Slow::stream().await;
    let routes = slow.routes(|provider| {
        drains(provider);
        provider.backend.num_concurrent_requests = 1;
    });
    let world = World::start(routes).await;
    leave(&world).await;
    is_read_on(&world, 1.0).await;
    let mut next = world.connect().await;
    next.send(Ask::post(&chat(), STREAM_BODY).encode()).await;
    eventually("the next waits", || world.metric("nimgate_provider_waiting{") == Some(1.0)).await;
    assert_eq!(slow.upstream.heard().len(), 1);
    slow.go_on();
    assert!(next.reply().await.whole);
    world.settled().await;
}

#[tokio::test]
async fn what_breaks_off_is_not_asked_for_again() {
    let dying = Slow::start([SSE_HEAD.as_bytes(), &chunk(BEGUN)].concat(), "zz\r\n").await;
    let other = Scripted::obliging().await;
    let safe = |provider: &mut ProviderRoute| {
        drains(provider);
        provider.replay = proto_shared::snapshot::Replay::Safe;
    };
    let routes = Routes::new().provider_with("p1", &dying.upstream.url(), safe).provider_with(
        "p2",
        &other.url(),
        safe,
    );
    let routes = routes.model("m1", "m1", &["p1", "p2"]).but(|model| model.resume = true);
    let world = World::start(routes).await;
    leave(&world).await;
    is_read_on(&world, 1.0).await;
    dying.go_on();
    world.settled().await;
    assert_eq!((ended(&world, "cut"), other.connections()), (Some(1.0), 0));
    assert_eq!(world.metric("nimgate_continued_answers_total"), None);
}

#[tokio::test]
async fn it_ends_with_the_process() {
    for by_http2 in [false, true] {
        let slow = Slow::stream().await;
        let world = World::limited(slow.routes(drains), |limits| limits.drain_timeout = SOON).await;
        if by_http2 {
            let mut client = H2Client::connect(world.address).await;
            drop(client.start(h2_client::post(&chat()), STREAM_BODY).await);
        } else {
            leave(&world).await;
        }
        is_read_on(&world, 1.0).await;
        let app = Arc::clone(&world.app);
        let _ = world.stop.send(Stop::Drain);
        // What is in flight is waited for, and then not.
        eventually("it is ended", || {
            app.metrics.render().contains("nimgate_left_behind_answers_total{end=\"stopped\"} 1")
        })
        .await;
        slow.upstream.left_alone().await;
        world.end().await;
    }
}

#[tokio::test]
async fn a_request_that_was_not_sent_whole_is_given_up() {
    let upstream = Scripted::start(|mut line: Line| async move {
        line.head().await;
        line.wire.until("begin").await;
        line.hang().await;
    })
    .await;
    let world = World::start(Routes::usual_with(&upstream.url(), "m1", drains)).await;
    let mut client = world.connect().await;
    client.send(Ask::new("POST", &format!("{PROVIDER}{CHAT}")).header("content-length", "1000").head()).await;
    client.send("begin").await;
    upstream.accepted(1).await;
    drop(client);
    upstream.left_alone().await;
    world.settled().await;
    assert_eq!(ended(&world, "cut"), None);
}
