//! Both halves together: what a provider said, sent back by a client that keeps what it got, is what it said.

use proptest::prelude::*;
use serde_json::{Value, json};

use proto_shared::backend::Backend;

use super::reply::{Opening, whole};
use super::request::{Target, Translated, translate};

const SETTINGS: &str = r#"{"uses_reasoning_parser":true,"chat":{"reasoning_replay":"reasoning_content","thought_signatures":true}}"#;

fn sent(request: &Value) -> (Value, Translated) {
    let backend: Backend = serde_json::from_str(SETTINGS).unwrap();
    let target = Target { backend: &backend, model: "m", shown_model: "shown", extra: None };
    let translated = translate(request.to_string().as_bytes(), &target).unwrap();
    (serde_json::from_slice(&translated.body).unwrap(), translated)
}

fn tools() -> Value {
    json!([
        {"type": "function", "name": "plain"},
        {"type": "function", "name": "long_".repeat(30)},
        {"type": "custom", "name": "free"},
        {"type": "namespace", "name": "space", "tools": [
            {"type": "function", "name": "inner"}, {"type": "custom", "name": "free_".repeat(20)},
        ]},
    ])
}

/// A call as a provider makes it: which tool, with what, and whether it is signed.
fn call() -> impl Strategy<Value = (usize, String, Option<String>)> {
    (0..5usize, "\\PC{0,8}[\"\\\\\n]{0,2}", prop::option::of("[A-Za-z0-9+/=]{1,40}"))
}

proptest! {
    #[test]
    fn what_was_said_comes_back_as_it_was_said(
        text in "[a-zé\"\\\\\n ]{0,12}",
        reasoning in "[a-zé\"\\\\\n ]{0,12}",
        calls in prop::collection::vec(call(), 0..4),
    ) {
        prop_assume!(!text.is_empty() || !calls.is_empty());
        let first = json!({"input": "Hi", "tools": tools()});
        let (chat, translated) = sent(&first);
        let calls: Vec<Value> = calls.into_iter().enumerate().map(|(index, (tool, said, signature))| {
            let name = chat["tools"][tool]["function"]["name"].clone();
            let arguments = json!({"input": said}).to_string();
            let function = json!({"name": name, "arguments": arguments});
            let mut call = json!({"id": format!("call_{index}"), "type": "function", "function": function});
            if let Some(signature) = signature {
                call["extra_content"] = json!({"google": {"thought_signature": signature}});
            }
            call
        }).collect();
        let mut message = json!({"role": "assistant", "content": null});
        if !text.is_empty() {
            message["content"] = text.into();
        }
        if !reasoning.is_empty() {
            message["reasoning_content"] = reasoning.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let answer = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
        let opening = Opening { turn: translated.turn, now_s: 0, nonce: 1 };
        let reply = whole(opening, answer.to_string().as_bytes(), 0).unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();

        let mut input = vec![json!({"role": "user", "content": "Hi"})];
        let items = reply["output"].as_array().unwrap();
        input.extend(items.iter().cloned());
        input.extend(items.iter().filter(|item| item["call_id"].is_string()).map(|item| {
            let kind = format!("{}_output", item["type"].as_str().unwrap());
            json!({"type": kind, "call_id": item["call_id"], "output": "done"})
        }));
        let (chat, _) = sent(&json!({"input": input, "tools": tools()}));
        prop_assert_eq!(&chat["messages"][1], &message);
        let answered = chat["messages"].as_array().unwrap().iter().skip(2).map(|tool| &tool["tool_call_id"]);
        let called = message["tool_calls"].as_array().into_iter().flatten().map(|call| &call["id"]);
        prop_assert!(answered.eq(called));
    }
}
