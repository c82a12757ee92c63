//! What can't be continued stays as cut as it is, and what does not fit is not joined.

use serde_json::json;

use super::*;

fn fed(text: &str) -> (ResumableStream, String) {
    let (mut stream, mut out) = (ResumableStream::new(false), BytesMut::new());
    stream.feed(text.as_bytes(), &mut out).unwrap();
    (stream, String::from_utf8(out.to_vec()).unwrap())
}

fn delta(delta: Value) -> String {
    Server::new(1).chunk(delta, Value::Null)
}

#[test]
fn a_server_that_begins_anew_is_not_joined() {
    let body = question(json!({}));
    let anew = Server { continues: false, ..Server::new(2) };
    let uncut = Server::new(1).answer(&body);
    let told = tell(&body, &[Server::new(1), anew], &[3_000]);
    assert_eq!(told.misfit, Some(Misfit::SaysItAgain));
    assert!(uncut.starts_with(&told.bytes), "nothing of it went down");
}

#[test]
fn reasoning_calls_errors_and_odd_events_are_not_continued() {
    let odd = [
        delta(json!({ "reasoning_content": "hm" })),
        delta(json!({ "reasoning": "hm" })),
        delta(json!({ "tool_calls": [{ "index": 0 }] })),
        delta(json!({ "content": "<think>hm" })),
        delta(json!({ "content": "half a \u{fffd}" })),
        "data: {\"error\":{\"message\":\"x\"}}\n\n".to_owned(),
        "data: {\"choices\":[{\"index\":1,\"delta\":{}}]}\n\n".to_owned(),
        "data: {\"choices\":[{\"index\":0,\"delta\":{}},{\"index\":1,\"delta\":{}}]}\n\n".to_owned(),
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":{}}]}\n\n".to_owned(),
        "data: {\ndata: }\n\n".to_owned(),
        "data: hello\n\n".to_owned(),
    ];
    for event in odd {
        let (mut stream, out) = fed(&event);
        assert_eq!(out, event);
        assert_eq!(stream.cut(), AtCut::Lost, "{event}");
    }
}

#[test]
fn empty_members_comments_and_names_of_events_are_in_nobodys_way() {
    let usual = [
        delta(json!({ "content": "a", "reasoning_content": null, "tool_calls": [], "refusal": "" })),
        ": ping\n\n".to_owned(),
        "event: x\nid: 1\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"usage\":null}\r\n\r\n"
            .to_owned(),
    ];
    for event in usual {
        let (mut stream, out) = fed(&event);
        assert_eq!(out, event);
        assert_eq!(stream.cut(), AtCut::GoesOn, "{event}");
    }
}

#[test]
fn the_client_never_has_half_an_event() {
    let event = delta(json!({ "content": "a" }));
    for cut in 0..event.len() {
        let (mut stream, out) = fed(&event[..cut]);
        assert_eq!((out.as_str(), stream.cut()), ("", AtCut::GoesOn));
        assert_eq!(stream.so_far().text, "");
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let (mut stream, mut out) = (ResumableStream::new(false), BytesMut::new());
    let event = delta(json!({ "content": "x".repeat(super::super::EVENT_BYTES_MAX / 2) }));
    for _ in 0..20 {
        stream.feed(event.as_bytes(), &mut out).unwrap();
    }
    assert_eq!(out.len(), 20 * event.len());
    assert!(stream.so_far().text.len() <= super::super::TEXT_BYTES_MAX + super::super::EVENT_BYTES_MAX);
    assert_eq!(stream.cut(), AtCut::Lost);
    let long = "x".repeat(super::super::EVENT_BYTES_MAX + 1);
    let (mut stream, passed) = fed(&long);
    assert_eq!((passed.len(), stream.cut()), (long.len(), AtCut::Lost));
}

#[test]
fn a_continuation_of_another_kind_is_not_joined() {
    for event in [delta(json!({ "reasoning": "hm" })), "data: {\"error\":{}}\n\n".to_owned()] {
        let (mut stream, _) = fed(&delta(json!({ "role": "assistant", "content": "Hello" })));
        assert_eq!(stream.cut(), AtCut::GoesOn);
        stream.go_on();
        let mut out = BytesMut::new();
        assert_eq!(stream.feed(event.as_bytes(), &mut out), Err(Misfit::NotText));
        assert!(out.is_empty());
    }
}

#[test]
fn a_role_that_comes_with_text_is_said_once() {
    let event = delta(json!({ "role": "assistant", "content": "Hello" }));
    let (mut stream, _) = fed(&event);
    assert_eq!(stream.cut(), AtCut::GoesOn);
    stream.go_on();
    let mut out = BytesMut::new();
    stream.feed(delta(json!({ "role": "assistant", "content": " world" })).as_bytes(), &mut out).unwrap();
    assert_eq!(out, delta(json!({ "content": " world" })).as_bytes());
}

#[test]
fn counts_told_all_the_time_are_summed_all_the_time() {
    let event = |prompt: u64, completion: u64| {
        let usage = json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion });
        Server::new(1).event(json!([{ "index": 0, "delta": { "content": " x" } }]), Some(usage))
    };
    let (mut stream, _) = fed(&[event(10, 3), event(10, 7)].concat());
    assert_eq!(stream.cut(), AtCut::GoesOn);
    assert_eq!(stream.so_far().tokens, 7);
    stream.go_on();
    let mut out = BytesMut::new();
    stream.feed(event(18, 2).as_bytes(), &mut out).unwrap();
    assert_eq!(out, event(10, 9).as_bytes());
}
