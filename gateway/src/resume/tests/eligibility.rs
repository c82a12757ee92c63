//! Which requests can go on elsewhere, and how they ask for the rest.

use serde_json::json;

use super::*;
use crate::body::ExtraBody;
use crate::resume::{SoFar, Unfit};

#[test]
fn plain_chat_streams_can_go_on() {
    for more in [
        json!({}),
        json!({ "temperature": 0.7, "top_p": 1, "seed": 7, "user": "x", "max_completion_tokens": 5 }),
        json!({ "n": 1, "logprobs": false, "frequency_penalty": 0.0, "tools": null, "stop": null }),
        json!({ "stream_options": { "include_usage": true, "continuous_usage_stats": true } }),
    ] {
        assert!(Resumable::of(&question(more.clone())).is_ok(), "{more}");
    }
}

#[test]
fn all_else_can_not() {
    for more in [
        json!({ "stream": false }),
        json!({ "tools": [] }),
        json!({ "functions": [{}] }),
        json!({ "response_format": { "type": "text" } }),
        json!({ "guided_json": {} }),
        json!({ "n": 2 }),
        json!({ "logprobs": true }),
        json!({ "echo": true }),
        json!({ "stop": ["x"] }),
        json!({ "presence_penalty": 0.1 }),
        json!({ "min_tokens": 5 }),
        json!({ "max_tokens": -1 }),
        json!({ "continue_final_message": true }),
        json!({ "chat_template_kwargs": {} }),
        json!({ "reasoning_effort": "low" }),
        json!({ "stream_options": { "include_obfuscation": true } }),
        json!({ "something_new": 1 }),
        json!({ "Stream": true }),
        json!({ "messages": [] }),
        json!({ "messages": "hi" }),
        json!({ "messages": [{ "role": "assistant", "content": "I" }] }),
    ] {
        assert!(Resumable::of(&question(more.clone())).is_err(), "{more}");
    }
    for body in [
        "",
        "{}",
        "[]",
        r#"{"messages":[{"role":"user"}]}"#,
        r#"{"stream":true,"stream":true,"messages":[{"role":"user"}]}"#,
    ] {
        assert!(Resumable::of(body.as_bytes()).is_err(), "{body}");
    }
    let many: Vec<String> = (0..100_000).map(|n| format!("\"a{n}\":null")).collect();
    assert!(Resumable::of(format!("{{{}}}", many.join(",")).as_bytes()).is_err());
}

#[test]
fn what_providers_add_has_to_be_plain_too() {
    let extra = |members: Value| ExtraBody::new(members.as_object().unwrap(), &serde_json::Map::new());
    assert!(Resumable::admits_extra(None));
    assert!(Resumable::admits_extra(extra(json!({ "temperature": 0.1, "top_k": 5 })).as_ref()));
    for members in
        [json!({ "max_tokens": 5 }), json!({ "tools": [] }), json!({ "n": 1 }), json!({ "model": "x" })]
    {
        assert!(!Resumable::admits_extra(extra(members).as_ref()));
    }
}

#[test]
fn the_rest_is_asked_for_in_the_bytes_of_the_question() {
    let body = Bytes::from_static(
        b" {\"max_tokens\" : 10,\"messages\":[ {\"role\":\"user\",\"content\":\"hi\"} ],\n\"stream\":true,\"seed\":1.0}",
    );
    let resumable = Resumable::of(&body).unwrap();
    let rest = |text, tokens| resumable.rest(&body, &SoFar { text, tokens });
    assert_eq!(
        rest("He said \"", 4).unwrap(),
        concat!(
            " {\"continue_final_message\":true,\"add_generation_prompt\":false,\"max_tokens\" : 6,\"messages\":[ ",
            "{\"role\":\"user\",\"content\":\"hi\"} ,{\"role\":\"assistant\",\"content\":\"He said \\\"\"}],\n\"stream\":true,\"seed\":1.0}"
        )
    );
    assert_eq!(rest("", 0), Some(body.clone()));
    assert_eq!(rest("x", 10), None);
}

#[test]
fn a_request_that_can_not_go_on_elsewhere_says_why() {
    for (more, why) in [
        (json!({ "stream": false }), Unfit::NoStream),
        (json!({ "tools": [] }), Unfit::Member),
        (json!({ "n": 2 }), Unfit::Value),
        (json!({ "max_tokens": "many" }), Unfit::Value),
        (json!({ "messages": [] }), Unfit::NoQuestion),
    ] {
        assert_eq!(Resumable::of(&question(more.clone())), Err(why), "{more}");
    }
    assert_eq!(Resumable::of(b"[]"), Err(Unfit::Unreadable));
}
