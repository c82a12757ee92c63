//! Upstreams that are silent for long: the client of a stream hears comments, the request may still go elsewhere,
//! and what fails in the end is told inside the stream.

use std::time::Duration;

use bytes::BytesMut;
use nim_sim::{Sim, SimOptions};
use proto_shared::snapshot::Replay;
use proto_shared::{BackendFormat, ProviderRoute};
use serde_json::Value;
use tokio::sync::watch;

use crate::harness::h2_client::{self, H2Client};
use crate::harness::scripted::{LAST_CHUNK, Line, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

const COMMENT: &str = ": waiting\n\n";
/// The least that counts.
const INTERVAL_MS: u32 = 100;

const EVENTS: &str = "data: {\"id\":\"a\",\"model\":\"default/m1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// Lets a scripted upstream speak when the test says so.
#[derive(Clone)]
struct Cue(std::sync::Arc<watch::Sender<bool>>);

impl Cue {
    fn new() -> Self {
        Self(std::sync::Arc::new(watch::Sender::new(false)))
    }

    fn give(&self) {
        self.0.send_replace(true);
    }

    async fn given(&self) {
        let mut given = self.0.subscribe();
        let _ = given.wait_for(|given| *given).await;
    }
}

/// Hears a request and says nothing until the cue; then what `answer` is, and closes.
async fn silent(cue: &Cue, answer: impl AsRef<[u8]>) -> Scripted {
    let (cue, answer) = (cue.clone(), std::sync::Arc::<[u8]>::from(answer.as_ref()));
    Scripted::start(move |mut line: Line| {
        let (cue, answer) = (cue.clone(), std::sync::Arc::clone(&answer));
        async move {
            line.request().await;
            cue.given().await;
            line.write(&answer).await;
        }
    })
    .await
}

fn stream(events: &str) -> Vec<u8> {
    [SSE_HEAD.as_bytes(), &chunk(events), LAST_CHUNK.as_bytes()].concat()
}

fn status(line: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn speaks_up(routes: Routes) -> Routes {
    routes.but(|model| model.stream_comment_interval_ms = Some(INTERVAL_MS))
}

/// Model `m1` at `one` and then at `other`.
fn both(one: &str, other: &str, change: impl Fn(&mut ProviderRoute)) -> Routes {
    let routes = Routes::new().provider_with("p1", one, &change).provider_with("p2", other, &change);
    speaks_up(routes.model("m1", "m1", &["p1", "p2"]))
}

/// Reads until `wanted` has come, and leaves it to be read again.
async fn see(client: &mut RawClient, wanted: &str) {
    let before = client.until(wanted).await;
    let after = client.seen.split();
    client.seen.extend_from_slice(before.as_bytes());
    client.seen.unsplit(after);
}

/// Asks for a stream, waits until comments came, gives the cue, and reads the rest. Gives all but the comments.
async fn ask_silent(world: &World, target: &str, body: &str, cue: &Cue) -> Reply {
    let mut client = world.connect().await;
    client.send(Ask::post(target, body).encode()).await;
    see(&mut client, &format!("{COMMENT}\r\n{:x}\r\n{COMMENT}", COMMENT.len())).await;
    cue.give();
    let mut reply = client.reply().await;
    let text = reply.text();
    assert!(text.starts_with(COMMENT), "{text}");
    reply.body = text.replace(COMMENT, "").into_bytes();
    reply
}

fn chat() -> String {
    format!("{OPENAI}{CHAT}")
}

fn assert_error_event(reply: &Reply, kind: &str, code: &str) -> String {
    let text = reply.text();
    assert!(!reply.whole && reply.status == 200, "{text}");
    let data = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n")).expect(&text);
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&event["error"]["type"], &event["error"]["code"]), (&kind.into(), &code.into()), "{event}");
    event["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn comments_come_while_nobody_speaks_and_then_the_answer_as_it_is() {
    let cue = Cue::new();
    let upstream = silent(&cue, stream(EVENTS)).await;
    let world = World::start(speaks_up(Routes::usual(&upstream.url(), "m1"))).await;
    let reply = ask_silent(&world, &chat(), STREAM_BODY, &cue).await;
    assert_eq!(reply.text(), EVENTS);
    assert!(reply.whole && reply.status == 200);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    assert!(reply.header("x-request-id").is_some());
    assert_eq!(reply.header("x-nimgate-served-by"), None, "nobody could know");
    world.settled().await;
    let series =
        "nimgate_requests_total{outcome=\"ok\",provider=\"p1\",route=\"openai\",workspace=\"default\"}";
    assert_eq!(world.metric(series), Some(1.0));
}

#[tokio::test]
async fn over_http2_too() {
    let cue = Cue::new();
    let upstream = silent(&cue, stream(EVENTS)).await;
    let world = World::start(speaks_up(Routes::usual(&upstream.url(), "m1"))).await;
    let mut client = H2Client::connect(world.address).await;
    let mut answer = client.start(h2_client::post(&chat()), STREAM_BODY).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut seen = BytesMut::new();
    h2_client::until(answer.body_mut(), &mut seen, &COMMENT.repeat(2)).await;
    cue.give();
    h2_client::until(answer.body_mut(), &mut seen, "[DONE]").await;
    let rest = h2_client::collect(answer).await;
    assert!(rest.error.is_none());
    let text = String::from_utf8([&seen[..], &rest.body].concat()).unwrap();
    assert_eq!(text.replace(COMMENT, ""), EVENTS);
}

#[tokio::test]
async fn a_head_that_comes_at_once_does_not_end_the_silence() {
    let cue = Cue::new();
    let said = cue.clone();
    let upstream = Scripted::start(move |mut line: Line| {
        let cue = said.clone();
        async move {
            line.request().await;
            line.write(SSE_HEAD.replace("\r\n\r\n", "\r\nx-own: yes\r\n\r\n")).await;
            cue.given().await;
            line.write([&chunk(EVENTS), LAST_CHUNK.as_bytes()].concat()).await;
        }
    })
    .await;
    let world = World::start(speaks_up(Routes::usual(&upstream.url(), "m1"))).await;
    let reply = ask_silent(&world, &chat(), STREAM_BODY, &cue).await;
    assert_eq!((reply.text().as_str(), reply.whole), (EVENTS, true));
    assert_eq!(reply.header("x-own"), Some("yes"), "it was early enough");
    assert_eq!(reply.header("x-nimgate-served-by"), Some("default/p1"));
}

#[tokio::test]
async fn who_asks_for_no_stream_or_a_model_without_the_setting_hears_nothing() {
    let cue = Cue::new();
    let upstream = silent(&cue, json_reply("{}")).await;
    let with = speaks_up(Routes::usual(&upstream.url(), "m1"));
    let no_stream = r#"{"model":"m1","stream":false,"messages":[]}"#;
    for (routes, body, path) in [
        (with.clone(), CHAT_BODY, CHAT),
        (with.clone(), no_stream, CHAT),
        (with, STREAM_BODY, "v1/embeddings"),
        (Routes::usual(&upstream.url(), "m1"), STREAM_BODY, CHAT),
    ] {
        let (world, cue) = (World::start(routes).await, cue.clone());
        let waiting = tokio::time::sleep(Duration::from_millis(3 * u64::from(INTERVAL_MS)));
        tokio::spawn(async move {
            waiting.await;
            cue.give();
        });
        let reply = world.post(&format!("{OPENAI}{path}"), body).await;
        assert_eq!((reply.text().as_str(), reply.header("content-length")), ("{}", Some("2")));
    }
}

#[tokio::test]
async fn providers_can_ask_for_it_also_on_their_own_routes() {
    for (base, body) in [(PROVIDER, STREAM_BODY), (OPENAI, STREAM_BODY), (MODEL, STREAM_BODY)] {
        let cue = Cue::new();
        let upstream = silent(&cue, stream(EVENTS)).await;
        let routes = Routes::usual_with(&upstream.url(), "m1", |provider| {
            provider.backend.stream_comment_interval_ms = Some(INTERVAL_MS);
        });
        let world = World::start(routes).await;
        let reply = ask_silent(&world, &format!("{base}{CHAT}"), body, &cue).await;
        assert_eq!((reply.text().as_str(), reply.whole), (EVENTS, true));
        if base == PROVIDER {
            assert_eq!(upstream.heard()[0].body, body.as_bytes(), "nothing was changed");
        }
    }
}

#[tokio::test]
async fn after_comments_another_still_answers() {
    let answers =
        [status("500 Failed", r#"{"error":{"message":"no"}}"#), status("429 Busy", "{}"), String::new()];
    for answer in answers {
        let cue = Cue::new();
        let (first, second) = (silent(&cue, &answer).await, Scripted::answering(stream(EVENTS)).await);
        // A cut is tried again only where that is harmless.
        let routes = both(&first.url(), &second.url(), |provider| provider.replay = Replay::Safe);
        let world = World::start(routes).await;
        let reply = ask_silent(&world, &chat(), STREAM_BODY, &cue).await;
        assert_eq!((reply.text().as_str(), reply.whole), (EVENTS, true), "after {answer:?}");
        assert_eq!((first.heard().len(), second.heard().len()), (1, 1));
        world.settled().await;
    }
}

#[tokio::test]
async fn after_a_first_byte_time_out_and_a_refused_connection_too() {
    let cue = Cue::new();
    let (first, second) = (silent(&cue, "").await, Scripted::answering(stream(EVENTS)).await);
    let impatient = |provider: &mut ProviderRoute| {
        provider.replay = Replay::Safe;
        provider.timeouts.first_byte_timeout_ms = 350;
    };
    let routes = Routes::new()
        .provider_with("p1", &first.url(), impatient)
        .provider("p2", "http://127.0.0.1:9")
        .provider("p3", &second.url());
    let world = World::start(speaks_up(routes.model("m1", "m1", &["p1", "p2", "p3"]))).await;
    let reply = world.post(&chat(), STREAM_BODY).await;
    let text = reply.text();
    assert!(text.starts_with(COMMENT) && reply.whole, "{text}");
    assert_eq!(text.replace(COMMENT, ""), EVENTS);
}

#[tokio::test]
async fn an_answer_that_is_a_refusal_comes_as_an_error_event_without_the_key() {
    let body = r#"{"error":{"message":"too long for sk-canary-1234","type":"invalid_request_error","code":"context_length_exceeded"}}"#;
    let cue = Cue::new();
    let upstream = silent(&cue, status("400 Bad", body)).await;
    let routes = Routes::usual_with(&upstream.url(), "m1", |provider| {
        provider.api_key = Some(routes::sealed("sk-canary-1234"));
    });
    let world = World::start(speaks_up(routes)).await;
    let reply = ask_silent(&world, &chat(), STREAM_BODY, &cue).await;
    let message = assert_error_event(&reply, "invalid_request_error", "context_length_exceeded");
    assert_eq!(message, "too long for **************");
    world.settled().await;
    let series = "nimgate_requests_total{outcome=\"client_error\",provider=\"p1\",route=\"openai\",workspace=\"default\"}";
    assert_eq!(world.metric(series), Some(1.0));
    assert_eq!(world.metric("nimgate_refusals_total{reason=\"upstream_error\"}"), Some(1.0));
}

#[tokio::test]
async fn what_fails_in_the_end_comes_as_an_error_event() {
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi";
    let zipped = SSE_HEAD.replace("\r\n\r\n", "\r\ncontent-encoding: gzip\r\n\r\n");
    for (answer, kind, code, says) in [
        (
            status("500 Failed", r#"{"message":"out of memory"}"#),
            "api_error",
            "upstream_error",
            "out of memory",
        ),
        (status("429 Busy", "{}"), "rate_limit_error", "upstream_error", "status 429"),
        (status("401 Who", r#"{"message":"bad key abc"}"#), "api_error", "upstream_error", "key"),
        (json_reply("{}"), "api_error", "upstream_error", "something else than the event stream"),
        (html.into(), "api_error", "upstream_error", "something else than the event stream"),
        (zipped, "api_error", "upstream_error", "compressed"),
        (String::new(), "api_error", "upstream_ambiguous", "broke after the request was sent"),
        ("what".into(), "api_error", "upstream_bad_answer", "broken answer"),
    ] {
        let cue = Cue::new();
        let upstream = silent(&cue, &answer).await;
        let world = World::start(speaks_up(Routes::usual(&upstream.url(), "m1"))).await;
        let reply = ask_silent(&world, &chat(), STREAM_BODY, &cue).await;
        let message = assert_error_event(&reply, kind, code);
        assert!(message.contains(says) && !message.contains("abc"), "{message}");
        world.settled().await;
    }
}

#[tokio::test]
async fn over_http2_the_stream_of_a_failure_is_reset() {
    let cue = Cue::new();
    let upstream = silent(&cue, status("500 Failed", "{}")).await;
    let world = World::start(speaks_up(Routes::usual(&upstream.url(), "m1"))).await;
    let mut client = H2Client::connect(world.address).await;
    let mut answer = client.start(h2_client::post(&chat()), STREAM_BODY).await;
    let mut seen = BytesMut::new();
    h2_client::until(answer.body_mut(), &mut seen, COMMENT).await;
    cue.give();
    let rest = h2_client::collect(answer).await;
    assert!(rest.text().contains("\"upstream_error\""), "{}", rest.text());
    assert!(rest.error.is_some_and(|error| error.is_reset()));
}

#[tokio::test]
async fn each_dialect_has_its_own_event() {
    let speaks = |format| {
        move |provider: &mut ProviderRoute| {
            provider.backend.format = format;
            provider.backend.stream_comment_interval_ms = Some(INTERVAL_MS);
        }
    };
    let formats = [
        (BackendFormat::AnthropicMessages, "v1/messages", r#"{"model":"m1","stream":true,"messages":[]}"#),
        (BackendFormat::OpenaiResponses, "v1/responses", r#"{"model":"m1","stream":true,"input":"hi"}"#),
        (BackendFormat::OpenaiChat, "v1/responses", r#"{"model":"m1","stream":true,"input":"hi"}"#),
    ];
    for (format, tail, body) in formats {
        let cue = Cue::new();
        let upstream = silent(&cue, status("429 Busy", r#"{"error":{"message":"later"}}"#)).await;
        let world = World::start(Routes::usual_with(&upstream.url(), "m1", speaks(format))).await;
        let reply = ask_silent(&world, &format!("{OPENAI}{tail}"), body, &cue).await;
        let text = reply.text();
        let last = text.trim_end_matches("data: [DONE]\n\n").trim_end().rsplit("\n\n").next().unwrap();
        let (kind, data) = last.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        match format {
            BackendFormat::AnthropicMessages => {
                assert_eq!((kind, &data["error"]["type"]), ("event: error", &"rate_limit_error".into()));
                assert_eq!(data["error"]["message"], "later");
                assert!(!reply.whole);
            }
            BackendFormat::OpenaiResponses => {
                assert_eq!((kind, &data["message"]), ("event: error", &"later".into()));
                assert!(!reply.whole);
            }
            BackendFormat::OpenaiChat => {
                assert!(text.starts_with("event: response.created\n"), "{text}");
                assert_eq!((kind, &data["response"]["status"]), ("event: response.failed", &"failed".into()));
                assert_eq!(data["response"]["error"]["message"], "later");
                assert!(reply.whole && text.ends_with("data: [DONE]\n\n"));
            }
        }
        world.settled().await;
    }
}

#[tokio::test]
async fn a_translated_stream_follows_its_comments_whole_or_made_of_a_whole_answer() {
    let whole = json_reply(
        r#"{"id":"a","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#,
    );
    for answer in [stream(EVENTS), whole.into_bytes()] {
        let cue = Cue::new();
        let upstream = silent(&cue, answer).await;
        let world = World::start(speaks_up(Routes::usual(&upstream.url(), "m1"))).await;
        let body = r#"{"model":"m1","stream":true,"input":"hi"}"#;
        let reply = ask_silent(&world, &format!("{OPENAI}v1/responses"), body, &cue).await;
        let text = reply.text();
        assert!(reply.whole && text.starts_with("event: response.created\n"), "{text}");
        assert!(text.contains("event: response.completed\n") && text.ends_with("data: [DONE]\n\n"), "{text}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_after_comments_says_so() {
    let cue = Cue::new();
    let upstream = silent(&cue, [SSE_HEAD.as_bytes(), &chunk("data: {\"a\":1}\n\n")].concat()).await;
    let world = World::start(speaks_up(Routes::usual(&upstream.url(), "m1"))).await;
    let reply = ask_silent(&world, &chat(), STREAM_BODY, &cue).await;
    let text = reply.text();
    assert!(text.starts_with("data: {\"a\":1}\n\ndata: {\"error\":"), "{text}");
    assert!(!reply.whole && text.contains("upstream_incomplete") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_stream_goes_on_elsewhere_after_comments_and_hears_some_again_meanwhile() {
    let sim = Sim::start(SimOptions { models: vec!["m1".into()], ..SimOptions::default() }).await.unwrap();
    sim.set_fault("silent-ms=350").unwrap();
    let begun = "data: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"You \"},\"finish_reason\":null}]}\n\n";
    let cue = Cue::new();
    let dying = silent(&cue, [SSE_HEAD.as_bytes(), &chunk(begun)].concat()).await;
    let routes = both(&dying.url(), &sim.url(), |provider| provider.replay = Replay::Safe);
    let world = World::start(routes.but(|model| model.resume = true)).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&chat(), STREAM_BODY).encode()).await;
    see(&mut client, COMMENT).await;
    cue.give();
    let reply = client.reply().await;
    let text = reply.text();
    assert!(reply.whole && text.ends_with("data: [DONE]\n\n"), "{text}");
    let (before, after) = text.split_once("\"You \"").expect("it begins at the first");
    assert!(before.contains(COMMENT) && after.contains(COMMENT), "{text}");
    assert_eq!(world.metric("nimgate_continued_answers_total{end=\"whole\"}"), Some(1.0));
    world.settled().await;
}

#[tokio::test]
async fn a_client_that_leaves_during_comments_frees_the_upstream() {
    let upstream = Scripted::start(|mut line: Line| async move {
        line.request().await;
        line.hang().await;
    })
    .await;
    let world = World::start(speaks_up(Routes::usual(&upstream.url(), "m1"))).await;
    let mut client = world.connect().await;
    client.send(Ask::post(&chat(), STREAM_BODY).encode()).await;
    client.until(COMMENT).await;
    drop(client);
    upstream.left_alone().await;
    world.settled().await;
    let series = "nimgate_requests_total{outcome=\"cancelled\",provider=\"p1\",route=\"openai\",workspace=\"default\"}";
    assert_eq!(world.metric(series), Some(1.0));
}

#[tokio::test]
async fn who_waits_in_line_hears_comments_and_is_told_when_there_is_no_place() {
    let cue = Cue::new();
    let upstream = silent(&cue, stream(EVENTS)).await;
    let routes = Routes::usual_with(&upstream.url(), "m1", |provider| {
        provider.backend.num_concurrent_requests = 1;
    });
    let world = World::limited(speaks_up(routes), |limits| {
        limits.waiting_timeout = Duration::from_millis(450);
    })
    .await;
    let mut first = world.connect().await;
    first.send(Ask::post(&chat(), CHAT_BODY).encode()).await;
    upstream.heard_requests(1).await;
    let reply = world.post(&chat(), STREAM_BODY).await;
    let text = reply.text();
    assert!(text.starts_with(COMMENT) && !reply.whole, "{text}");
    assert!(text.contains("\"code\":\"provider_busy\"") && text.contains("rate_limit_error"), "{text}");
    cue.give();
    assert!(first.reply().await.whole);
    world.settled().await;
}
