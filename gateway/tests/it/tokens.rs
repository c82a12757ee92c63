//! Tokens are counted as answers say them, whatever becomes of the answer on its way down.

use proto_shared::backend::BackendFormat;

use crate::harness::scripted::{Scripted, json_reply};
use crate::harness::*;

const ANSWER: &str = r#"{"model":"served","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":34,"total_tokens":46}}"#;

fn counted(world: &World, model: &str, kind: &str) -> Option<f64> {
    world.metric(&format!(
        "nimgate_tokens_total{{kind=\"{kind}\",model=\"{model}\",provider=\"p1\",workspace=\"default\"}}"
    ))
}

fn stream(events: &[&str]) -> String {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn whole_answers_are_counted_by_the_model_that_was_asked_for() {
    let upstream = Scripted::answering(json_reply(ANSWER)).await;
    // With the model's name replaced, and without.
    for served in ["served", "default/m1"] {
        let world = World::start(Routes::usual(&upstream.url(), served)).await;
        for route in [OPENAI, MODEL, PROVIDER] {
            assert_eq!(world.post(&format!("{route}{CHAT}"), CHAT_BODY).await.status, 200);
        }
        world.settled().await;
        let both = |model| (counted(&world, model, "input"), counted(&world, model, "output"));
        assert_eq!(both("default/m1"), (Some(24.0), Some(68.0)));
        assert_eq!(both(""), (Some(12.0), Some(34.0)), "who names the provider may ask for any model");
        assert_eq!(counted(&world, "default/m1", "cached_input"), None);
    }
}

#[tokio::test]
async fn streams_are_counted_when_they_say_it_and_once() {
    let told = stream(&[
        r#"{"model":"served","choices":[{"delta":{"content":"usage"}}],"usage":null}"#,
        r#"{"model":"served","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
        r#"{"model":"served","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#,
        "[DONE]",
    ]);
    let silent = stream(&[r#"{"model":"served","choices":[{"delta":{"content":"hi"}}]}"#, "[DONE]"]);
    for (answer, said) in [(told, Some(7.0)), (silent, None)] {
        let upstream = Scripted::answering(answer).await;
        let world = World::start(Routes::usual(&upstream.url(), "served")).await;
        assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), STREAM_BODY).await.status, 200);
        world.settled().await;
        assert_eq!(counted(&world, "default/m1", "output"), said);
    }
}

#[tokio::test]
async fn a_translated_answer_is_counted_as_its_upstream_says_it() {
    let upstream = Scripted::answering(json_reply(ANSWER)).await;
    let routes = Routes::usual_with(&upstream.url(), "served", |provider| {
        provider.backend.format = BackendFormat::OpenaiChat;
    });
    let world = World::start(routes).await;
    let reply = world.post(&format!("{OPENAI}v1/responses"), r#"{"model":"m1","input":"hello"}"#).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    world.settled().await;
    assert_eq!(counted(&world, "default/m1", "input"), Some(12.0));
}

#[tokio::test]
async fn errors_say_nothing_of_tokens() {
    let error = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let upstream = Scripted::answering(error).await;
    let world = World::start(Routes::usual(&upstream.url(), "served")).await;
    assert_eq!(world.post(&format!("{OPENAI}{CHAT}"), CHAT_BODY).await.status, 400);
    world.settled().await;
    assert_eq!(counted(&world, "default/m1", "input"), None);
}
