//! Chat with a provider whose reasoning parser is on: its history goes up without think blocks, its
//! reasoning comes down as one. What becomes of which message is specified beside the dialect.

use proto_shared::ProviderRoute;
use serde_json::{Value, json};

use crate::harness::paced::Paced;
use crate::harness::scripted::{SSE_HEAD, Scripted, chunk, json_reply};
use crate::harness::*;

const HISTORY: &str = r#"{"model":"m1","seed":123456789012345678901,"messages":[
    {"role":"assistant","content":"<think>hm</think>Hi."},{"role":"user","content":"<think>keep</think>"}]}"#;
const ANSWER: &str = r#"{"model":"served","prompt_token_ids":[1,2],"choices":[{"index":0,"token_ids":[3],
    "logprobs":{"content":[{"token":"Hi","logprob":-0.10}]},"finish_reason":"stop",
    "message":{"role":"assistant","reasoning_content":"hm","content":"Hi.","x":1e400}}],"new":{"a":1.0}}"#;

fn parses(provider: &mut ProviderRoute) {
    provider.backend.uses_reasoning_parser = true;
}

async fn world(upstream: &Scripted) -> World {
    World::start(Routes::usual_with(&upstream.url(), "served", parses)).await
}

#[tokio::test]
async fn without_the_parser_every_byte_passes() {
    let upstream = Scripted::answering(json_reply(ANSWER)).await;
    let world = World::start(Routes::usual(&upstream.url(), "m1")).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        let reply = world.post(&format!("{base}{CHAT}"), HISTORY).await;
        assert_eq!(reply.text(), ANSWER, "{base}");
        assert_eq!(upstream.heard().pop().unwrap().body, HISTORY.as_bytes(), "{base}");
    }
}

#[tokio::test]
async fn with_the_parser_only_reasoning_moves() {
    let upstream = Scripted::answering(json_reply(ANSWER)).await;
    let world = world(&upstream).await;
    for (base, sent, shown) in
        [(PROVIDER, "m1", "served"), (MODEL, "served", "default/m1"), (OPENAI, "served", "default/m1")]
    {
        let ask = Ask::post(&format!("{base}{CHAT}"), HISTORY).header("accept-encoding", "gzip");
        let reply = world.ask(ask).await;
        assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
        let expected = HISTORY.replacen("<think>hm</think>", "", 1).replacen("m1", sent, 1);
        let heard = upstream.heard().pop().unwrap();
        assert_eq!(String::from_utf8_lossy(&heard.body), expected, "{base}");
        assert_eq!(heard.header("accept-encoding"), None);
        let text = reply.text();
        assert!(text.contains(r#""content":"<think>hm</think>Hi.""#), "{text}");
        assert!(text.contains(&format!(r#"{{"model":"{shown}""#)), "{text}");
        for untouched in
            [r#""token_ids":[3]"#, r#""prompt_token_ids":[1,2]"#, "-0.10", "1e400", r#"{"a":1.0}"#]
        {
            assert!(text.contains(untouched), "{untouched} is not in {text}");
        }
        assert!(!text.contains("reasoning_content"), "{text}");
    }
    world.settled().await;
}

#[tokio::test]
async fn the_pinned_model_and_the_extra_body_go_in_all_the_same() {
    let upstream = Scripted::answering(json_reply(ANSWER)).await;
    let routes = Routes::usual_with(&upstream.url(), "served", |provider| {
        parses(provider);
        provider.backend.pinned_model = Some("pin".into());
        provider.default_extra_body.insert("top_k".into(), 5.into());
    });
    let world = World::start(routes).await;
    for base in [PROVIDER, MODEL, OPENAI] {
        world.post(&format!("{base}{CHAT}"), HISTORY).await;
        let heard: Value = serde_json::from_slice(&upstream.heard().pop().unwrap().body).unwrap();
        assert_eq!((&heard["model"], &heard["top_k"]), (&json!("pin"), &json!(5)));
        assert_eq!(heard["messages"][0]["content"], "Hi.");
    }
}

#[tokio::test]
async fn each_piece_of_reasoning_leaves_when_it_came() {
    let piece = |delta: Value| {
        format!("data: {}\n\n", json!({ "model": "served", "choices": [{ "index": 0, "delta": delta }] }))
    };
    let paced = Paced::stream(&[
        &piece(json!({ "reasoning_content": "h" })),
        &piece(json!({ "reasoning_content": "m" })),
        &piece(json!({ "content": "Hi." })),
        "data: [DONE]\n\n",
    ])
    .await;
    let world = world(&paced.upstream).await;
    for (base, shown) in [(PROVIDER, "served"), (OPENAI, "default/m1")] {
        let mut client = world.connect().await;
        client.send(Ask::post(&format!("{base}{CHAT}"), STREAM_BODY).encode()).await;
        paced.step();
        client.until("text/event-stream").await;
        paced.step();
        let seen = client.until("<think>h").await;
        assert!(seen.contains(&format!(r#""model":"{shown}""#)), "{seen}");
        paced.step();
        client.until(r#""content":"m""#).await;
        paced.step();
        client.until("</think>Hi.").await;
        paced.step();
        client.until("data: [DONE]\n\n").await;
        paced.step();
        client.until("0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_stream_that_breaks_in_its_reasoning_says_so() {
    let upstream = Scripted::start(|mut line| async move {
        line.request().await;
        line.write(SSE_HEAD).await;
        line.write(chunk("data: {\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}\n\ndata: {\"cho")).await;
    })
    .await;
    let world = world(&upstream).await;
    let reply = world.post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).await;
    assert!(!reply.whole);
    let text = reply.text();
    assert!(text.contains("<think>hm") && text.contains("upstream_incomplete"), "{text}");
    assert!(!text.contains("</think>"), "{text}");
}

#[tokio::test]
async fn large_answers_are_read_too_and_huge_ones_pass() {
    let padding = |bytes: usize| "x".repeat(bytes);
    for (bytes, moves) in [(1024 * 1024, true), (33 * 1024 * 1024, false)] {
        let answer = json!({ "model": "served", "padding": padding(bytes), "choices":
            [{ "message": { "reasoning": "hm", "content": "Hi." } }] })
        .to_string();
        let framed = json_reply(&answer);
        let chunked = [
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec(),
            chunk(&answer),
            b"0\r\n\r\n".to_vec(),
        ]
        .concat();
        for sent in [framed.into_bytes(), chunked] {
            let upstream = Scripted::answering(sent).await;
            let world = world(&upstream).await;
            let answer = world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.json();
            assert_eq!(answer["model"], "default/m1");
            let content = &answer["choices"][0]["message"]["content"];
            assert_eq!(content, if moves { "<think>hm</think>Hi." } else { "Hi." });
        }
    }
}

#[tokio::test]
async fn errors_and_other_paths_pass() {
    let error = r#"{"error":{"message":"no","reasoning":"x"}}"#;
    let upstream = Scripted::answering(format!(
        "HTTP/1.1 400 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{error}",
        error.len()
    ))
    .await;
    let reply = world(&upstream).await.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await;
    assert_eq!((reply.status, &*reply.text()), (400, error));
    let upstream = Scripted::answering(json_reply(ANSWER)).await;
    let reply = world(&upstream).await.post(&format!("{PROVIDER}v1/other"), HISTORY).await;
    assert_eq!(reply.text(), ANSWER);
    assert_eq!(upstream.heard().pop().unwrap().body, HISTORY.as_bytes());
}
