//! What can grow has an end, and ends cleanly.

use bytes::BytesMut;

use super::{ENDED_S, opening, order, translated};
use crate::dialect::responses::reply::calls::TOOL_CALLS_MAX;
use crate::dialect::responses::reply::{
    ANSWER_BYTES_MAX, ERROR_BODY_BYTES_MAX, End, MESSAGE_CHARS_MAX, StreamTranslator, UpstreamFault,
};
use crate::dialect::responses::turn::Turn;
use crate::dialect::sse::EVENT_BYTES_MAX;

#[test]
fn an_answer_that_is_too_long_fails() {
    let piece = "x".repeat(1024 * 1024);
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{piece}\"}}}}]}}\n\n");
    let (mut stream, mut out) = (StreamTranslator::new(opening(Turn::default())), BytesMut::new());
    stream.start(&mut out);
    let mut events = 0;
    while !stream.finished() && events < 100 {
        out.clear();
        stream.feed(event.as_bytes(), ENDED_S, &mut out);
        events += 1;
    }
    assert_eq!(events, ANSWER_BYTES_MAX / piece.len(), "the item itself counts, too");
    assert!(std::str::from_utf8(&out).unwrap().contains("event: response.failed"));
}

#[test]
fn an_event_that_is_too_long_fails() {
    let line = "x".repeat(EVENT_BYTES_MAX);
    let response =
        order::check(&translated(Turn::default(), [b"data: ".as_slice(), line.as_bytes()], End::Clean));
    assert_eq!(response["status"], "failed");
}

#[test]
fn too_many_tool_calls_fail() {
    let call = |at: usize| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{at},\"function\":{{\"name\":\"f\"}}}}]}}}}]}}\n\n"
        )
    };
    let calls =
        |count: usize| -> String { (0..count).map(call).chain(["data: [DONE]\n\n".into()]).collect() };
    let end = |count| order::check(&translated(Turn::default(), [calls(count).as_bytes()], End::Clean));
    assert_eq!(end(TOOL_CALLS_MAX)["status"], "completed");
    assert_eq!(end(TOOL_CALLS_MAX + 1)["status"], "failed");
}

#[test]
fn silence_is_filled_with_what_is_known_already() {
    let (mut stream, mut out) = (StreamTranslator::new(opening(Turn::default())), BytesMut::new());
    stream.start(&mut out);
    let started = String::from_utf8(out.to_vec()).unwrap();
    let (_, second) = started.split_once("\n\n").unwrap();
    out.clear();
    stream.keep_alive(&mut out);
    let again = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(again, second.replace("\"sequence_number\":1,", "\"sequence_number\":2,"));
}

#[test]
fn of_errors_only_so_much_is_read_and_repeated() {
    let body = |chars: usize| format!(r#"{{"error":{{"message":"{}"}}}}"#, "é".repeat(chars));
    let message = |body: String| UpstreamFault::of_answer(400, body.as_bytes(), None).message;
    assert_eq!(message(body(MESSAGE_CHARS_MAX)), "é".repeat(MESSAGE_CHARS_MAX));
    let cut = message(body(MESSAGE_CHARS_MAX + 1));
    assert!(cut.starts_with(&"é".repeat(MESSAGE_CHARS_MAX)) && cut.ends_with("… (4002 bytes)"));
    assert!(message(body(ERROR_BODY_BYTES_MAX)).ends_with("no message"));
}

#[test]
fn an_event_that_is_no_text_fails() {
    let response =
        order::check(&translated(Turn::default(), [b"data: {\"a\":\"\xff\"}\n\n".as_slice()], End::Clean));
    assert_eq!(response["error"]["message"], "the provider sent an event that is not UTF-8");
}

#[test]
fn errors_in_a_stream_do_not_tell_the_key() {
    let mut stream = StreamTranslator::new(opening(Turn::default())).hiding(b"sk-canary-1");
    let mut out = BytesMut::new();
    stream.feed(b"data: {\"error\":\"bad key sk-canary-1\"}\n\n", ENDED_S, &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert!(text.contains("bad key ***********\""), "{text}");
}
