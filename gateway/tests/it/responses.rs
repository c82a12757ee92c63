//! The Responses API at a provider that speaks chat alone: translated both ways, as far as the engine
//! has a part in it. What becomes of each item and event is specified beside the translation.

use proto_shared::ProviderRoute;
use proto_shared::backend::BackendFormat;
use serde_json::{Value, json};

use crate::harness::full_queue::refusing_url;
use crate::harness::h2_client::{self, H2Client};
use crate::harness::paced::Paced;
use crate::harness::routes::sealed;
use crate::harness::scripted::{SOON, SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

const RESPONSES: &str = "v1/responses";
const ASK: &str = r#"{"model":"m1","input":"hello"}"#;
pub const ASK_STREAM: &str = r#"{"model":"m1","input":"hello","stream":true}"#;
const CHAT_REPLY: &str = r#"{"id":"c1","object":"chat.completion","model":"served","choices":[{"index":0,
    "message":{"role":"assistant","content":"Hi."},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

/// All ways to ask model `m1`, or provider `p1` for it.
pub const TARGETS: [&str; 4] = [
    "/v1/responses",
    "/v2/workspaces/default/inference/gateway/openai/-/v1/responses",
    "/v2/workspaces/default/inference/gateway/model/m1/-/v1/responses",
    "/v2/workspaces/default/inference/gateway/provider/p1/-/v1/responses",
];

async fn world(upstream: &Scripted) -> World {
    World::start(Routes::usual(&upstream.url(), "served")).await
}

pub fn piece(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "index": 0, "delta": { "content": text } }] }))
}

pub const FINISH: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// The events of a stream, without the word that ends it.
pub fn events(stream: &str) -> Vec<Value> {
    let frames = stream.split_terminator("\n\n").filter(|frame| *frame != "data: [DONE]");
    let event = |frame: &str| {
        let (kind, data) = frame.split_once("\ndata: ").unwrap_or_else(|| panic!("no event: {frame:?}"));
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(kind, format!("event: {}", data["type"].as_str().unwrap()));
        data
    };
    let events: Vec<_> = frames.map(event).collect();
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], n, "{stream}");
    }
    events
}

/// Requests that ended so, on whatever route.
pub fn outcome(world: &World, outcome: &str) -> f64 {
    let text = world.app.metrics.render();
    let label = format!("outcome=\"{outcome}\"");
    let lines =
        text.lines().filter(|line| line.starts_with("nimgate_requests_total{") && line.contains(&label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn assert_typed(reply: &Reply, status: u16, kind: &str, code: Option<&str>) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let error = &reply.json()["error"];
    assert_eq!(error["type"], kind, "{error}");
    assert_eq!(error["code"].as_str(), code, "{error}");
    assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    assert!(error.get("param").is_some(), "{error}");
}

#[tokio::test]
async fn a_response_is_made_of_a_chat_completion_on_every_route() {
    let upstream = Scripted::answering(json_reply(CHAT_REPLY)).await;
    let world = world(&upstream).await;
    for target in TARGETS {
        let ask = Ask::post(&format!("{target}?a=b"), ASK).header("accept-encoding", "gzip");
        let reply = world.ask(ask).await;
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        let on_provider = target.contains("/provider/");
        let shown = if on_provider { "m1" } else { "default/m1" };
        let answer = reply.json();
        assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
        assert_eq!(answer["model"], shown);
        assert_eq!(answer["output"][0]["content"][0]["text"], "Hi.");
        assert_eq!(answer["usage"]["output_tokens"], 2);
        assert_eq!(reply.all("content-type"), ["application/json"]);
        assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
        let heard = upstream.heard().pop().unwrap();
        assert_eq!(heard.target(), "/v1/chat/completions?a=b");
        assert_eq!(heard.header("accept-encoding"), None, "what is read here must not be packed");
        let sent: Value = serde_json::from_slice(&heard.body).unwrap();
        assert_eq!(sent["model"], if on_provider { "m1" } else { "served" });
        assert_eq!(sent["messages"], json!([{ "role": "user", "content": "hello" }]));
    }
    world.settled().await;
}

#[tokio::test]
async fn an_explanation_says_what_is_translated_and_where_it_goes() {
    let upstream = Scripted::obliging().await;
    let world = world(&upstream).await;
    for target in TARGETS {
        let explained = gateway::explain::explain(&world.app.routes.load(), target, Some("m1"));
        let candidate = &explained.candidates[0];
        assert_eq!(candidate.translated_into, Some("chat completions"));
        assert_eq!(candidate.url, format!("{}/v1/chat/completions", upstream.url()));
    }
    let chat = gateway::explain::explain(&world.app.routes.load(), &format!("{MODEL}{CHAT}"), None);
    assert_eq!(chat.candidates[0].translated_into, None);
}

#[tokio::test]
async fn headers_about_the_original_body_stay_behind_and_others_pass() {
    let upstream = Scripted::answering(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\
         content-language: en\r\netag: \"1\"\r\ncache-control: max-age=60\r\ndigest: x\r\n\
         x-ratelimit-remaining-requests: 7\r\nopenai-processing-ms: 12\r\n\r\n{CHAT_REPLY}",
        CHAT_REPLY.len()
    ))
    .await;
    let world = world(&upstream).await;
    for body in [ASK, ASK_STREAM] {
        let reply = world.post(TARGETS[0], body).await;
        assert_eq!((reply.status, reply.all("content-type").len()), (200, 1));
        for gone in ["content-language", "etag", "digest"] {
            assert_eq!(reply.header(gone), None, "{gone}");
        }
        assert_eq!(reply.header("cache-control"), (body == ASK_STREAM).then_some("no-cache"));
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some("7"));
        assert_eq!(reply.header("openai-processing-ms"), Some("12"));
    }
}

#[tokio::test]
async fn chunked_and_announced_bodies_are_read_alike_and_a_failed_stream_costs_no_connection() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        line.write(chunk(piece("Hello"))).await;
    })
    .await;
    let world = world(&upstream).await;
    let mut client = world.connect().await;
    for ask in [Ask::post(TARGETS[0], ASK_STREAM), Ask::post(TARGETS[0], ASK_STREAM).chunked(7)] {
        let reply = client.ask(&ask.header("expect", "100-continue")).await;
        assert!(reply.whole, "{}", reply.text());
        assert_eq!(*kinds(&events(&reply.text())).last().unwrap(), "response.failed");
    }
}

#[tokio::test]
async fn the_base_path_of_a_provider_says_its_version_once() {
    let upstream = Scripted::answering(json_reply(CHAT_REPLY)).await;
    for (base, path) in [
        ("/v1", "/v1/chat/completions"),
        ("/inference/v1/", "/inference/v1/chat/completions"),
        ("/v1beta/openai", "/v1beta/openai/chat/completions"),
        ("", "/v1/chat/completions"),
    ] {
        let pins =
            |provider: &mut ProviderRoute| provider.backend.pinned_model = Some("pinned/name".to_owned());
        let url = format!("{}{base}", upstream.url());
        let world = World::start(Routes::usual_with(&url, "served", pins)).await;
        for target in TARGETS {
            let answer = world.post(target, ASK).await.json();
            let shown = if target.contains("/provider/") { "pinned/name" } else { "default/m1" };
            assert_eq!(answer["model"], shown, "{answer}");
            let heard = upstream.heard().pop().unwrap();
            assert_eq!(heard.target(), path);
            assert_eq!(serde_json::from_slice::<Value>(&heard.body).unwrap()["model"], "pinned/name");
        }
    }
}

#[tokio::test]
async fn a_provider_that_speaks_responses_gets_them_byte_for_byte() {
    let upstream = Scripted::answering(json_reply(r#"{"object":"response", "model":"x"}"#)).await;
    for format in [BackendFormat::OpenaiResponses, BackendFormat::AnthropicMessages] {
        let speaks = |provider: &mut ProviderRoute| provider.backend.format = format;
        let world = World::start(Routes::usual_with(&upstream.url(), "m1", speaks)).await;
        let body = r#"{"model" : "m1", "input":"é\u00e9", "previous_response_id":"resp_1","n":1e400}"#;
        for target in TARGETS {
            let reply = world.post(target, body).await;
            assert_eq!(reply.text(), r#"{"object":"response", "model":"x"}"#);
            let heard = upstream.heard().pop().unwrap();
            assert_eq!((heard.target(), &*heard.body), ("/v1/responses", body.as_bytes()));
        }
        let reply = world.get(&format!("{PROVIDER}{RESPONSES}/resp_1")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(upstream.heard().pop().unwrap().target(), "/v1/responses/resp_1");
        for target in TARGETS {
            let reply = world.post(&format!("{target}/input_tokens"), body).await;
            assert_eq!(reply.status, 200, "{target}: {}", reply.text());
            assert_eq!(upstream.heard().pop().unwrap().target(), "/v1/responses/input_tokens");
        }
    }
}

#[tokio::test]
async fn each_delta_leaves_when_it_came() {
    let paced = Paced::stream(&[&piece("Hel"), &piece("lo"), FINISH]).await;
    let world = world(&paced.upstream).await;
    for target in TARGETS {
        let mut client = world.connect().await;
        client.send(Ask::post(target, ASK_STREAM).encode()).await;
        paced.step();
        let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
        for line in [
            "content-type: text/event-stream\r\n",
            "cache-control: no-cache\r\n",
            "x-accel-buffering: no\r\n",
        ] {
            assert_eq!(head.matches(line).count(), 1, "{head}");
        }
        client.until("event: response.in_progress").await;
        paced.step();
        client.until(r#""delta":"Hel""#).await;
        paced.step();
        client.until(r#""delta":"lo""#).await;
        paced.step();
        client.until("event: response.completed").await;
        client.until("data: [DONE]\n\n").await;
        paced.step();
        client.until("0\r\n\r\n").await;
    }
    world.settled().await;
    assert_eq!(outcome(&world, "ok"), 4.0);
}

#[tokio::test]
async fn the_events_of_one_piece_go_in_one_write() {
    let paced = Paced::stream(&[&[piece("a"), piece("b")].concat(), FINISH]).await;
    let world = world(&paced.upstream).await;
    let mut client = world.connect().await;
    client.send(Ask::post(TARGETS[0], ASK_STREAM).encode()).await;
    paced.step();
    client.until("event: response.in_progress").await;
    client.until("\r\n").await;
    paced.step();
    // One chunk: its size, then both deltas, then its end.
    client.until("\r\n").await;
    let chunk = client.until("\r\n").await;
    assert!(chunk.contains(r#""delta":"a""#) && chunk.contains(r#""delta":"b""#), "{chunk}");
    assert!(chunk.ends_with("\n\n\r\n"), "{chunk}");
}

#[tokio::test]
async fn a_provider_that_does_not_stream_is_made_to_look_as_if_it_did() {
    let upstream = Scripted::answering(json_reply(CHAT_REPLY)).await;
    let world = world(&upstream).await;
    let reply = world.post(TARGETS[0], ASK_STREAM).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let events = events(&reply.text());
    assert_eq!(kinds(&events).first(), Some(&"response.created"));
    assert_eq!(events.last().unwrap()["response"]["output"][0]["content"][0]["text"], "Hi.");
}

#[tokio::test]
async fn http2_clients_get_the_same() {
    let paced = Paced::stream(&[&piece("Hello"), FINISH]).await;
    let world = world(&paced.upstream).await;
    for _ in 0..4 {
        paced.step();
    }
    let mut client = H2Client::connect(world.address).await;
    let reply = client.ask(h2_client::post(TARGETS[0]), ASK_STREAM).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/event-stream")));
    assert!(reply.error.is_none());
    assert_eq!(*kinds(&events(&reply.text())).last().unwrap(), "response.completed");
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_a_failure_and_finishes_nothing() {
    let call = r#"data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","function":
        {"name":"f","arguments":"{}"}}]}}]}"#
        .replace('\n', "");
    let whole = [piece("Hello"), format!("{call}\n\n")].concat();
    for cut in [0, 1, whole.len() / 2, piece("Hello").len(), whole.len() - 1, whole.len()] {
        let sent = whole[..cut].to_owned();
        let upstream = Scripted::start(move |mut line| {
            let sent = sent.clone();
            async move {
                line.request().await;
                line.write(SSE_HEAD).await;
                if !sent.is_empty() {
                    line.write(chunk(&sent)).await;
                }
            }
        })
        .await;
        let world = world(&upstream).await;
        let reply = world.post(TARGETS[0], ASK_STREAM).await;
        assert_eq!(reply.status, 200);
        let text = reply.text();
        let events = events(&text);
        let kinds = kinds(&events);
        assert_eq!(*kinds.last().unwrap(), "response.failed", "cut at {cut}: {text}");
        // The call closes the text before it; nothing closes the call.
        let done = kinds.iter().filter(|kind| **kind == "response.output_item.done").count();
        assert_eq!(done, usize::from(cut == whole.len()), "cut at {cut}: {text}");
        assert!(!text.contains("arguments.done"), "cut at {cut}: {text}");
        let failed = &events.last().unwrap()["response"];
        assert_eq!(failed["status"], "failed");
        assert!(failed["error"]["message"].is_string());
        world.settled().await;
        assert_eq!(outcome(&world, "incomplete"), 1.0);
    }
}

#[tokio::test]
async fn a_silent_upstream_is_covered_for_and_given_up_in_the_end() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        line.write(chunk(piece("Hello"))).await;
        line.hang().await;
    })
    .await;
    let routes = Routes::usual_with(&upstream.url(), "served", |provider| {
        provider.timeouts.idle_timeout_ms = 10 * SOON.as_millis() as u64;
    });
    let world = World::limited(routes, |limits| limits.stream_keep_alive = SOON).await;
    let reply = world.post(TARGETS[0], ASK_STREAM).await;
    let events = events(&reply.text());
    let kinds = kinds(&events);
    let said = kinds.iter().position(|kind| *kind == "response.output_text.delta").unwrap();
    let beats = kinds[said..].iter().filter(|kind| **kind == "response.in_progress").count();
    assert!((1..=10).contains(&beats), "{kinds:?}");
    assert_eq!(*kinds.last().unwrap(), "response.failed");
    eventually("the upstream is let go", || upstream.open() == 0).await;
}

#[tokio::test]
async fn comments_of_the_upstream_do_not_count_as_words() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(SOON / 10) => line.write(chunk(": PROCESSING\n\n")).await,
                () = line.left() => return,
            }
        }
    })
    .await;
    let routes = Routes::usual(&upstream.url(), "served");
    let world = World::limited(routes, |limits| limits.stream_keep_alive = SOON).await;
    let mut client = world.connect().await;
    client.send(Ask::post(TARGETS[0], ASK_STREAM).encode()).await;
    for _ in 0..3 {
        client.until("event: response.in_progress").await;
    }
}

#[tokio::test]
async fn a_failure_inside_a_stream_ends_it_though_the_upstream_goes_on() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        line.write(chunk(piece("Hello"))).await;
        line.write(chunk("data: {\"error\":{\"message\":\"out of luck\",\"code\":502}}\n\n")).await;
        line.hang().await;
    })
    .await;
    let world = world(&upstream).await;
    let reply = world.post(TARGETS[0], ASK_STREAM).await;
    let events = events(&reply.text());
    assert_eq!(*kinds(&events).last().unwrap(), "response.failed");
    assert_eq!(events.last().unwrap()["response"]["error"]["message"], "out of luck");
    eventually("the upstream is let go", || upstream.open() == 0).await;
    world.settled().await;
    assert_eq!(outcome(&world, "incomplete"), 1.0);
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_upstream_and_frees_its_place() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        line.write(chunk(piece("Hello"))).await;
        line.left().await;
    })
    .await;
    let routes =
        Routes::usual_with(&upstream.url(), "m1", |provider| provider.backend.num_concurrent_requests = 1);
    let world = World::start(routes).await;
    for _ in 0..3 {
        let mut client = world.connect().await;
        client.send(Ask::post(TARGETS[0], ASK_STREAM).encode()).await;
        client.until(r#""delta":"Hello""#).await;
        drop(client);
        eventually("the upstream is let go", || upstream.open() == 0).await;
    }
    world.settled().await;
}

#[tokio::test]
async fn a_large_request_and_a_large_answer_go_through() {
    let text = "a".repeat(6 * 1024 * 1024);
    let answer = json!({ "choices": [{ "message": { "content": text }, "finish_reason": "stop" }] });
    let upstream = Scripted::answering(json_reply(&answer.to_string())).await;
    let world = world(&upstream).await;
    let image = format!("data:image/png;base64,{text}");
    let body = json!({ "model": "m1", "input": [{ "role": "user", "content":
        [{ "type": "input_image", "image_url": image }] }] });
    let reply = world.post(TARGETS[0], body.to_string()).await;
    assert_eq!(reply.json()["output"][0]["content"][0]["text"], text);
    let sent: Value = serde_json::from_slice(&upstream.heard().pop().unwrap().body).unwrap();
    assert_eq!(sent["messages"][0]["content"][0]["image_url"]["url"], image);
}

#[tokio::test]
async fn a_providers_errors_keep_their_meaning_and_lose_what_is_ours_to_hide() {
    const KEY: &str = "sk-canary-0123456789";
    let reply = |status: u16, headers: &str, body: &str| {
        format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    };
    let json_type = "content-type: application/json\r\n";
    let too_long = r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#;
    let invalid = "invalid_request_error";
    for (answer, status, kind, code) in [
        (reply(400, json_type, too_long), 400, invalid, Some("context_length_exceeded")),
        (reply(422, json_type, r#"{"detail":"bad"}"#), 422, invalid, None),
        (reply(400, json_type, r#"[{"error":{"code":400,"message":"no"}}]"#), 400, invalid, None),
        (reply(401, json_type, &format!("{{\"error\":\"key {KEY} is bad\"}}")), 502, "server_error", None),
        (reply(403, "", ""), 502, "server_error", None),
        (reply(429, "retry-after: 7\r\n", "slow down"), 429, "rate_limit_error", None),
        (reply(500, json_type, &format!("{{\"error\":\"{KEY}\"}}")), 502, "server_error", None),
        (reply(503, "content-type: text/html\r\n", "<html>no</html>"), 502, "server_error", None),
        (reply(302, "location: http://elsewhere.test/\r\n", ""), 502, "server_error", None),
        (reply(200, json_type, r#"{"error":{"message":"no"}}"#), 502, "server_error", None),
        (reply(200, json_type, "{\"choices\":["), 502, "server_error", None),
        (reply(200, "", ""), 502, "server_error", None),
        (reply(204, "", ""), 502, "server_error", None),
    ] {
        let upstream = Scripted::answering(&answer).await;
        let routes = Routes::usual_with(&upstream.url(), "served", |provider| {
            provider.api_key = Some(sealed(KEY));
        });
        let world = World::start(routes).await;
        for body in [ASK, ASK_STREAM] {
            let reply = world.post(TARGETS[0], body).await;
            assert_typed(&reply, status, kind, code);
            assert!(!format!("{}{}", reply.head, reply.text()).contains(KEY), "{}", reply.text());
            assert_eq!(reply.header("location"), None);
            assert_eq!(reply.header("retry-after"), (status == 429).then_some("7"));
        }
        world.settled().await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_an_error_with_a_status() {
    let cut_head = Scripted::start(|mut line| async move {
        line.request().await;
    })
    .await;
    let cut_body = Scripted::start(|mut line| async move {
        line.request().await;
        line.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{").await;
    })
    .await;
    let packed = Scripted::answering(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\
         content-length: 2\r\n\r\nxx",
    )
    .await;
    let gone = refusing_url().await;
    for url in [cut_head.url(), cut_body.url(), packed.url(), gone] {
        let world = World::start(Routes::usual(&url, "served")).await;
        let reply = world.post(TARGETS[0], ASK_STREAM).await;
        assert_eq!((reply.status, &reply.json()["error"]["type"]), (502, &json!("server_error")), "{url}");
    }
    let silent = Scripted::start(|mut line| async move { line.hang().await }).await;
    let routes = Routes::usual_with(&silent.url(), "served", |provider| {
        provider.timeouts.first_byte_timeout_ms = SOON.as_millis() as u64;
    });
    let reply = World::start(routes).await.post(TARGETS[0], ASK).await;
    assert_typed(&reply, 504, "server_error", Some("upstream_timeout"));
}

#[tokio::test]
async fn an_error_whose_body_is_cut_keeps_its_status() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write("HTTP/1.1 429 X\r\nretry-after: 3\r\ncontent-length: 99\r\n\r\nslow").await;
    })
    .await;
    let reply = world(&upstream).await.post(TARGETS[0], ASK).await;
    assert_typed(&reply, 429, "rate_limit_error", None);
    assert_eq!(reply.header("retry-after"), Some("3"));
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_place_and_without_a_call() {
    let upstream = Scripted::answering(json_reply(CHAT_REPLY)).await;
    let world = world(&upstream).await;
    for target in TARGETS {
        for (body, param, code) in [
            (
                r#"{"model":"m1","input":"x","previous_response_id":"resp_1"}"#,
                Some("previous_response_id"),
                Some("previous_response_not_found"),
            ),
            (
                r#"{"model":"m1","input":"x","background":true}"#,
                Some("background"),
                Some("unsupported_parameter"),
            ),
            (
                r#"{"model":"m1","input":[{"role":"user","content":[{"type":"secret-stuff"}]}]}"#,
                Some("input[0].content[0].type"),
                None,
            ),
            (r#"{"model":"m1"}"#, Some("input"), None),
            ("{\"model\":", None, Some("body_not_json")),
            ("[]", None, Some("body_not_an_object")),
        ] {
            let reply = world.post(target, body).await;
            assert_eq!(reply.status, 400, "{target} {body}: {}", reply.text());
            let error = &reply.json()["error"];
            assert_eq!(error["type"], "invalid_request_error");
            assert_eq!(error["param"].as_str(), param, "{error}");
            assert!(code.is_none_or(|code| error["code"] == code), "{error}");
        }
        let empty = world.ask(Ask::new("POST", target)).await;
        assert_eq!((empty.status, &empty.json()["error"]["type"]), (400, &json!("invalid_request_error")));
        let form = Ask::new("POST", target).header("content-type", "text/plain").body("a=b");
        assert_eq!(world.ask(form).await.status, 415);
    }
    assert!(upstream.heard().is_empty());
    world.settled().await;
    assert_eq!((outcome(&world, "failed"), outcome(&world, "client_error")), (0.0, 16.0));
}

#[tokio::test]
async fn refusals_have_the_types_of_the_responses_api() {
    let upstream = Scripted::obliging().await;
    let world = world(&upstream).await;
    let unknown = world.post(TARGETS[0], r#"{"model":"nobody","input":"x"}"#).await;
    assert_typed(&unknown, 404, "invalid_request_error", Some("model_not_found"));
    assert_eq!(unknown.json()["error"]["param"], "model");
    let missing = world.post(TARGETS[3], r#"{"input":"x"}"#).await;
    assert_typed(&missing, 400, "invalid_request_error", Some("model_missing"));
}

#[tokio::test]
async fn the_tail_may_be_encoded_as_the_stock_sdks_do() {
    let upstream = Scripted::answering(json_reply(CHAT_REPLY)).await;
    let world = world(&upstream).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let target = format!("{base}v1%2Fresponses");
        assert_eq!(world.post(&target, ASK).await.json()["object"], "response", "{base}");
        assert_eq!(upstream.heard().pop().unwrap().target(), "/v1/chat/completions");
    }
    let refused = world.post(&format!("{MODEL}v1%2Fresponses%2Fcompact"), ASK).await;
    assert_typed(&refused, 404, "invalid_request_error", Some("responses_not_stored"));
}

#[tokio::test]
async fn a_provider_without_a_place_left_is_told_in_the_dialect() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        line.left().await;
    })
    .await;
    let routes =
        Routes::usual_with(&upstream.url(), "m1", |provider| provider.backend.num_concurrent_requests = 1);
    let world = World::limited(routes, |limits| limits.waiting_per_provider_max = 0).await;
    let mut first = world.connect().await;
    first.send(Ask::post(TARGETS[0], ASK_STREAM).encode()).await;
    first.until("response.in_progress").await;
    let reply = world.post(TARGETS[0], ASK).await;
    assert_typed(&reply, 429, "rate_limit_error", Some("provider_busy"));
    assert_eq!(reply.header("retry-after"), Some("2"));
}

#[tokio::test]
async fn what_is_held_beside_a_body_counts_too() {
    let upstream = Scripted::answering(json_reply(CHAT_REPLY)).await;
    let body = json!({ "model": "m1", "input": "x".repeat(600_000) }).to_string();
    let routes = || Routes::usual(&upstream.url(), "served");
    let world = World::limited(routes(), |limits| limits.buffered_bytes_max = 1_000_000).await;
    let reply = world.post(TARGETS[0], &body).await;
    assert_typed(&reply, 503, "server_error", Some("overloaded"));
    assert!(upstream.heard().is_empty());
    let world = World::limited(routes(), |limits| limits.buffered_bytes_max = 1_300_000).await;
    assert_eq!(world.post(TARGETS[0], &body).await.status, 200);
    eventually("the room is free again", || world.app.buffered_bytes() == 0).await;
}

#[tokio::test]
async fn nothing_is_stored_and_nothing_is_upgraded() {
    let upstream = Scripted::obliging().await;
    let world = world(&upstream).await;
    for target in TARGETS {
        for (method, tail) in [
            ("GET", "/resp_1"),
            ("DELETE", "/resp_1"),
            ("POST", "/resp_1/cancel"),
            ("GET", "/resp_1/input_items?limit=2"),
            ("POST", "/compact"),
            ("POST", "/input_tokens"),
            ("GET", ""),
        ] {
            let bare = Ask::new(method, &format!("{target}{tail}"));
            let bodies = if method == "POST" { &[ASK, "{}"][..] } else { &[] };
            let full = bodies.iter().map(|body| Ask::post(&format!("{target}{tail}"), body));
            for ask in full.chain([bare]) {
                let reply = world.ask(ask).await;
                assert_typed(&reply, 404, "invalid_request_error", Some("responses_not_stored"));
            }
        }
        let upgrade = Ask::get(target)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
        let reply = world.ask(upgrade).await;
        assert!(matches!(reply.status, 400 | 404), "{}", reply.text());
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    }
    assert!(upstream.heard().is_empty());
}

#[tokio::test]
async fn each_candidate_gets_its_own_dialect() {
    let speaks = Scripted::answering(json_reply(r#"{"object":"response"}"#)).await;
    let routes = Routes::new()
        .provider("p1", &refusing_url().await)
        .provider_with("p2", &speaks.url(), |p| p.backend.format = BackendFormat::OpenaiResponses)
        .model("m1", "served", &["p1", "p2"]);
    let world = World::start(routes).await;
    assert_eq!(world.post(TARGETS[0], ASK).await.text(), r#"{"object":"response"}"#);
    let heard = speaks.heard().pop().unwrap();
    assert_eq!(heard.target(), "/v1/responses");
    assert_eq!(heard.body, br#"{"model":"served","input":"hello"}"#);
}
