//! Streams that break (R8.3): what was delivered is an exact prefix, the client is told in its own
//! dialect, and no cut answer looks finished.

use proto_shared::ProviderRoute;
use proto_shared::backend::BackendFormat;

use crate::harness::h2_client::{self, H2Client, collect};
use crate::harness::raw::End;
use crate::harness::scripted::{SOON, SSE_HEAD, Scripted, chunk};
use crate::harness::*;

/// How an upstream breaks off.
#[derive(Clone, Copy, Debug)]
enum Break {
    Fin,
    Reset,
    Garbage,
}

/// An upstream that sends `answer` and breaks off.
async fn breaking(answer: impl AsRef<[u8]>, how: Break) -> Scripted {
    let answer: std::sync::Arc<[u8]> = answer.as_ref().into();
    Scripted::start(move |mut line| {
        let answer = std::sync::Arc::clone(&answer);
        async move {
            line.request().await;
            line.write(&answer).await;
            match how {
                Break::Fin => {}
                // Once the gateway has read everything: a reset overtakes bytes.
                Break::Reset => {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    line.reset();
                }
                Break::Garbage => line.write("no chunk\r\n").await,
            }
        }
    })
    .await
}

/// The events of a stream as a client dispatches them: name and data.
fn events(text: &str) -> Vec<(String, String)> {
    let (mut all, mut name, mut data) = (vec![], String::new(), vec![]);
    for line in text.lines() {
        match line.split_once(':') {
            _ if line.is_empty() => {
                if !data.is_empty() {
                    all.push((std::mem::take(&mut name), data.join("\n")));
                }
                (name, data) = (String::new(), vec![]);
            }
            Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
            Some(("event", value)) => name = value.trim().to_owned(),
            _ => {}
        }
    }
    all
}

/// Fails unless `text` is a prefix of `stream` and then one error event in the form of `tail`.
fn assert_cut_in_dialect(text: &str, stream: &str, tail: &str, code: &str) {
    let (name, data) = events(text).pop().expect("no event at all");
    let json: serde_json::Value = serde_json::from_str(&data)
        .unwrap_or_else(|error| panic!("{error}: the last event is {data:?} of {text:?}"));
    match tail {
        "v1/responses" => {
            assert_eq!(
                (&*name, &json["type"], &json["code"]),
                ("error", &"error".into(), &code.into()),
                "{json}"
            );
            assert!(json["message"].is_string());
        }
        "v1/messages" => {
            assert_eq!((&*name, &json["type"]), ("error", &"error".into()));
            assert!(json["error"]["message"].is_string() && json["error"]["type"] == "api_error", "{json}");
        }
        _ => {
            assert_eq!((&*name, &json["error"]["code"]), ("", &code.into()));
            assert!(json["error"]["message"].is_string() && json["error"]["type"].is_string(), "{json}");
        }
    }
    let (before, _) = text.rsplit_once("data: ").unwrap();
    let before = before.strip_suffix("event: error\n").unwrap_or(before);
    let exact =
        [before, before.strip_suffix("\n\n").unwrap_or(before), before.strip_suffix('\n').unwrap_or(before)];
    assert!(exact.iter().any(|prefix| stream.starts_with(prefix)), "{before:?} is no prefix of {stream:?}");
}

/// Its answers pass as they are, those to Responses too.
fn speaks_responses(provider: &mut ProviderRoute) {
    provider.backend.format = BackendFormat::OpenaiResponses;
}

const STREAM: &str = "data: {\"id\":\"a\",\"model\":\"other\",\"text\":\"n\u{e9}\"}\n\n: ping\n\nevent: x\r\ndata: {\"b\":1}\r\n\r\ndata: [DONE]\n\n";

#[tokio::test]
async fn a_stream_cut_at_any_byte_ends_in_an_error_event_of_the_clients_dialect() {
    for cut in 0..=STREAM.len() {
        let part = &STREAM.as_bytes()[..cut];
        let body = if part.is_empty() { vec![] } else { chunk(part) };
        let upstream = breaking([SSE_HEAD.as_bytes(), &body].concat(), Break::Fin).await;
        let world = World::start(Routes::usual_with(&upstream.url(), "x/y", speaks_responses)).await;
        let mut client = world.connect().await;
        // Half a character can't be compared as text, but what follows it can.
        let readable = std::str::from_utf8(part).is_ok();
        for (base, tail) in [
            (OPENAI, "v1/chat/completions"),
            (MODEL, "v1/responses"),
            (PROVIDER, "v1/messages"),
            (PROVIDER, "v1/chat/completions"),
        ] {
            client = world.connect().await;
            let reply = client.ask(&Ask::post(&format!("{base}{tail}"), STREAM_BODY)).await;
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            assert_eq!((reply.status, reply.whole), (200, false), "cut at {cut}: {text:?}");
            if readable {
                assert_cut_in_dialect(&text, STREAM, tail, "upstream_incomplete");
            } else {
                assert!(reply.body.starts_with(part) && text.contains("rror"), "cut at {cut}: {text:?}");
            }
            client.assert_closed().await;
        }
        drop(client);
        world.settled().await;
    }
}

#[tokio::test]
async fn a_reset_and_broken_framing_are_told_like_a_cut() {
    for how in [Break::Reset, Break::Garbage] {
        let upstream = breaking([SSE_HEAD.as_bytes(), &chunk("data: {\"a\":1}\n\n")].concat(), how).await;
        let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
        for base in [OPENAI, PROVIDER] {
            let reply = world.post(&format!("{base}{CHAT}"), STREAM_BODY).await;
            assert!(!reply.whole, "{how:?}");
            assert_cut_in_dialect(&reply.text(), "data: {\"a\":1}\n\n", CHAT, "upstream_incomplete");
        }
        let incomplete = world.metric(
            "nimgate_requests_total{outcome=\"incomplete\",provider=\"p1\",route=\"openai\",workspace=\"default\"}",
        );
        assert_eq!(incomplete, Some(1.0));
    }
}

#[tokio::test]
async fn an_http2_client_sees_the_event_and_then_a_reset() {
    for how in [Break::Fin, Break::Reset, Break::Garbage] {
        let upstream = breaking([SSE_HEAD.as_bytes(), &chunk("data: {\"a\":1}\n\n")].concat(), how).await;
        let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
        let mut client = H2Client::connect(world.address).await;
        for base in [OPENAI, PROVIDER] {
            let reply = client.ask(h2_client::post(&format!("{base}{CHAT}")), STREAM_BODY).await;
            assert!(reply.error.as_ref().is_some_and(h2::Error::is_reset), "{how:?}: it ended properly");
            assert_cut_in_dialect(&reply.text(), "data: {\"a\":1}\n\n", CHAT, "upstream_incomplete");
        }
        // Only the stream is broken.
        assert_eq!(client.ask(h2_client::get("/health/live"), "").await.status, 200);
    }
}

#[tokio::test]
async fn simulated_cuts_are_told_too() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let world = World::start(Routes::usual(&sim.url(), "x/y")).await;
    for fault in ["cut-after=0", "cut-after=100", "reset-after=200", "cut-utf8", "cut-after=1000000"] {
        let reply = world.ask(Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault(fault)).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(!reply.whole && text.contains("upstream_incomplete"), "{fault}: {text}");
        let after_the_end = text.rsplit("upstream_incomplete").next().unwrap();
        assert!(!after_the_end.contains("[DONE]"), "{fault}");
    }
    world.settled().await;
}

#[tokio::test]
async fn a_cut_stream_of_announced_length_never_fills_up_to_it() {
    // The bytes that are missing are as many as an error event has.
    for missing in [1, 50, 150, 400] {
        let begin = "data: {\"a\":1}\n\n";
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{begin}",
            begin.len() + missing
        );
        let upstream = breaking(head, Break::Fin).await;
        let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
        let mut client = world.connect().await;
        let reply = client.ask(&Ask::post(&format!("{PROVIDER}{CHAT}"), STREAM_BODY)).await;
        assert!(!reply.whole, "{missing} missing: {}", reply.text());
        assert_eq!(reply.text(), begin);
        client.assert_closed().await;
        let mut client = H2Client::connect(world.address).await;
        let reply = client.ask(h2_client::post(&format!("{PROVIDER}{CHAT}")), STREAM_BODY).await;
        assert!(reply.error.is_some(), "{missing} missing");
        assert_eq!(reply.text(), begin);
    }
}

#[tokio::test]
async fn a_json_answer_cut_while_it_is_read_here_is_a_502() {
    for how in [Break::Fin, Break::Reset] {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"model\":\"x/y\"";
        let upstream = breaking(head, how).await;
        let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
        let reply = world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await;
        reply.assert_refusal(502, "upstream_ambiguous");
        assert_eq!(upstream.heard().len(), 1, "and it was not sent again");
    }
}

#[tokio::test]
async fn other_answers_break_off_where_the_upstreams_did() {
    let fixed = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"part";
    let chunked =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n6\r\n{\"part\r\n";
    for answer in [fixed, chunked] {
        for how in [Break::Fin, Break::Reset] {
            let upstream = breaking(answer, how).await;
            let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
            let mut client = world.connect().await;
            let reply = client.ask(&Ask::get(&format!("{PROVIDER}x"))).await;
            assert_eq!((&*reply.text(), reply.whole), ("{\"part", false), "{how:?}");
            client.assert_closed().await;
            let mut client = H2Client::connect(world.address).await;
            let reply = client.ask(h2_client::get(&format!("{PROVIDER}x")), "").await;
            assert_eq!((&*reply.text(), reply.error.is_some()), ("{\"part", true), "{how:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_cut_by_a_reset_only() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\npart";
    for (how, whole) in [(Break::Fin, true), (Break::Reset, false)] {
        let upstream = breaking(answer, how).await;
        let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
        let reply = world.get(&format!("{PROVIDER}x")).await;
        assert_eq!((&*reply.text(), reply.whole), ("part", whole));
    }
}

#[tokio::test]
#[ignore = "open: the framework's stream gives no way to set SO_LINGER, so the connection ends with a FIN"]
async fn an_http10_client_can_tell_a_cut_answer_by_the_reset() {
    let chunked =
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";
    let upstream = breaking(chunked, Break::Fin).await;
    let world = World::start(Routes::usual(&upstream.url(), "x/y")).await;
    let mut client = world.connect().await;
    client.send(format!("GET {PROVIDER}x HTTP/1.0\r\n\r\n")).await;
    client.until("part").await;
    let (_, end) = client.rest().await;
    assert_eq!(end, End::Reset, "without chunks an orderly end is a clean end");
}

#[tokio::test]
async fn a_cut_error_answer_does_not_look_whole() {
    let answer = "HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"part";
    let upstream = breaking(answer, Break::Fin).await;
    let routes = Routes::usual_with(&upstream.url(), "x/y", |p| {
        p.api_key = Some(crate::harness::routes::sealed("sk-0123456789"));
    });
    let world = World::start(routes).await;
    for base in [PROVIDER, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), CHAT_BODY).await;
        assert_eq!((reply.status, reply.whole), (500, false), "{base}");
    }
}

/// An upstream that sends a head and one event, and then nothing.
async fn stalling() -> Scripted {
    Scripted::start(|mut line| async move {
        line.request().await;
        line.write([SSE_HEAD.as_bytes(), &chunk("data: {\"a\":1}\n\n")].concat()).await;
        line.hang().await;
    })
    .await
}

#[tokio::test]
async fn a_stalled_stream_ends_in_an_error_event_after_the_idle_limit() {
    let upstream = stalling().await;
    let limit = u64::try_from(SOON.as_millis()).unwrap();
    let routes = Routes::usual_with(&upstream.url(), "x/y", |p| {
        speaks_responses(p);
        p.timeouts.idle_timeout_ms = limit;
    });
    let world = World::start(routes).await;
    for (base, tail) in [(OPENAI, CHAT), (MODEL, "v1/responses"), (PROVIDER, "v1/messages")] {
        let reply = world.post(&format!("{base}{tail}"), STREAM_BODY).await;
        assert!(!reply.whole);
        assert_cut_in_dialect(&reply.text(), "data: {\"a\":1}\n\n", tail, "upstream_stalled");
    }
    upstream.left_alone().await;
    world.settled().await;
}

#[tokio::test]
async fn a_stream_that_goes_on_for_ever_ends_in_an_error_event_after_the_total_limit() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let routes = Routes::usual_with(&sim.url(), "x/y", |p| p.timeouts.total_timeout_ms = 300);
    let world = World::start(routes).await;
    let ask = Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault("tokens=1000000,token-ms=5");
    let reply = world.ask(ask).await;
    let (_, last) = events(&reply.text()).pop().unwrap();
    assert!(!reply.whole && last.contains("request_timeout"), "{last}");
    sim.wait_for(|seen| seen[0].client_left(), DEADLINE).await.unwrap();
}

#[tokio::test]
async fn pauses_shorter_than_the_idle_limit_are_no_stall() {
    let sim = nim_sim::Sim::start(nim_sim::SimOptions { models: vec!["x/y".into()], ..Default::default() });
    let sim = sim.await.unwrap();
    let routes = Routes::usual_with(&sim.url(), "x/y", |p| p.timeouts.idle_timeout_ms = 2_000);
    let world = World::start(routes).await;
    // All pauses together are longer than the limit.
    let ask = Ask::post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).fault("tokens=30,token-ms=100");
    let reply = world.ask(ask).await;
    assert!(reply.whole && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
}

#[tokio::test]
async fn a_cut_stream_is_closed_at_the_client_while_others_go_on() {
    let upstream = stalling().await;
    let limit = u64::try_from(SOON.as_millis()).unwrap();
    let routes = Routes::usual_with(&upstream.url(), "x/y", |p| p.timeouts.idle_timeout_ms = limit);
    let world = World::start(routes).await;
    let mut client = H2Client::connect(world.address).await;
    let first = client.start(h2_client::post(&format!("{OPENAI}{CHAT}")), STREAM_BODY).await;
    assert_eq!(client.ask(h2_client::get("/health/live"), "").await.status, 200);
    let reply = collect(first).await;
    assert!(reply.error.is_some_and(|error| error.is_reset()));
}
