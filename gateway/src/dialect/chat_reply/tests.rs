use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::dialect::sse::EVENT_BYTES_MAX;

fn answer(message: &str) -> String {
    format!(
        r#"{{"id": "1", "choices":[ {{"index":0,"message": {message} ,"logprobs":{{"content":[]}},"token_ids":[1,2]}}],"x":1.50}}"#
    )
}

/// A message of a whole answer and what it becomes.
fn becomes(message: &str, expected: &str) {
    let found = whole(answer(message).as_bytes()).map(|body| String::from_utf8(body).unwrap());
    assert_eq!(found.unwrap_or_else(|| answer(message)), answer(expected));
}

#[test]
fn reasoning_goes_before_the_content() {
    becomes(
        r#"{"role":"assistant", "reasoning_content":"a\n\u00e9", "content":"b\"c","extra":[1]}"#,
        r#"{"role":"assistant", "content":"<think>a\n\u00e9</think>b\"c","extra":[1]}"#,
    );
    becomes(r#"{"content":"b","reasoning":"a"}"#, r#"{"content":"<think>a</think>b"}"#);
    becomes(r#"{ "reasoning":"a", "content":"b" }"#, r#"{ "content":"<think>a</think>b" }"#);
}

#[test]
fn one_of_two_fields_counts_and_both_go() {
    becomes(
        r#"{"reasoning":"a","content":"b","reasoning_content":"a"}"#,
        r#"{"content":"<think>a</think>b"}"#,
    );
    becomes(
        r#"{"reasoning":"r","content":"b","reasoning_content":"c"}"#,
        r#"{"content":"<think>c</think>b"}"#,
    );
    becomes(
        r#"{"reasoning":"r","content":"b","reasoning_content":""}"#,
        r#"{"content":"<think>r</think>b"}"#,
    );
    becomes(
        r#"{"reasoning_content":null,"reasoning":"r","content":"b"}"#,
        r#"{"content":"<think>r</think>b"}"#,
    );
}

#[test]
fn a_content_that_is_missing_or_null_becomes_a_text() {
    becomes(r#"{"content":null,"reasoning":"a"}"#, r#"{"content":"<think>a</think>"}"#);
    becomes(
        r#"{"role":"assistant","reasoning":"a","tool_calls":[{}]}"#,
        r#"{"role":"assistant","content":"<think>a</think>","tool_calls":[{}]}"#,
    );
}

#[test]
fn a_content_of_parts_gets_one_more() {
    becomes(
        r#"{"content":[{"type":"text","text":"b"}],"reasoning":"a"}"#,
        r#"{"content":[{"type":"text","text":"<think>a</think>"},{"type":"text","text":"b"}]}"#,
    );
    becomes(
        r#"{"content":[ ],"reasoning":"a"}"#,
        r#"{"content":[{"type":"text","text":"<think>a</think>"} ]}"#,
    );
}

#[test]
fn an_answer_without_reasoning_passes_as_it_is() {
    for message in [
        r#"{"content":"b"}"#,
        r#"{"content":"b","reasoning":null,"reasoning_content":""}"#,
        r#"{"content":"b","reasoning":{"effort":"low"}}"#,
        r#"{"content":"\"reasoning\":\"x\""}"#,
        "null",
        "[]",
    ] {
        assert_eq!(whole(answer(message).as_bytes()), None, "{message}");
    }
    for body in
        ["", "{", r#"{"error":{"message":"reasoning"}}"#, r#"{"choices":{"reasoning":"x"}}"#, "\u{fffd}"]
    {
        assert_eq!(whole(body.as_bytes()), None, "{body}");
    }
}

#[test]
fn every_choice_is_looked_at() {
    let body = r#"{"choices":[{"message":{"reasoning":"a","content":"b"}},{"message":{"content":"c"}},{"message":{"reasoning":"d","content":null}}]}"#;
    let expected = r#"{"choices":[{"message":{"content":"<think>a</think>b"}},{"message":{"content":"c"}},{"message":{"content":"<think>d</think>"}}]}"#;
    assert_eq!(whole(body.as_bytes()).as_deref(), Some(expected.as_bytes()));
}

fn streamed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let (mut stream, mut out) = (ChatStream::default(), BytesMut::new());
    chunks.into_iter().for_each(|chunk| stream.feed(chunk, &mut out));
    stream.finish(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

/// What a stream becomes, which no cut changes.
fn stream(text: &str) -> String {
    let whole = streamed([text.as_bytes()]);
    for cut in 0..=text.len() {
        let (head, tail) = text.as_bytes().split_at(cut);
        assert_eq!(streamed([head, tail]), whole, "cut at {cut}");
    }
    assert_eq!(streamed(text.as_bytes().chunks(1)), whole);
    whole
}

fn events(deltas: &[&str]) -> String {
    let event =
        |delta: &&str| format!("data: {{\"choices\":[{{\"index\":0,{delta},\"token_ids\":[7]}}]}}\r\n\r\n");
    deltas.iter().map(event).chain(["data: [DONE]\n\n".to_owned()]).collect()
}

fn deltas_become(deltas: &[&str], expected: &[&str]) {
    assert_eq!(stream(&events(deltas)), events(expected));
}

#[test]
fn a_streamed_block_is_opened_once_and_closed_before_the_text() {
    deltas_become(
        &[
            r#""delta":{"role":"assistant","content":""}"#,
            r#""delta":{"reasoning_content":"a","content":null}"#,
            r#""delta":{"reasoning_content":"b"}"#,
            r#""delta":{"content":"","reasoning_content":null}"#,
            r#""delta":{"content":"c"}"#,
            r#""delta":{"content":"d"}"#,
            r#""delta":{},"finish_reason":"stop""#,
        ],
        &[
            r#""delta":{"role":"assistant","content":""}"#,
            r#""delta":{"content":"<think>a"}"#,
            r#""delta":{"content":"b"}"#,
            r#""delta":{"content":"","reasoning_content":null}"#,
            r#""delta":{"content":"</think>c"}"#,
            r#""delta":{"content":"d"}"#,
            r#""delta":{},"finish_reason":"stop""#,
        ],
    );
}

#[test]
fn a_streamed_block_is_closed_before_calls_and_at_the_end() {
    deltas_become(
        &[r#""delta":{"reasoning":"a"}"#, r#""delta":{"tool_calls":[{"index":0}]}"#],
        &[
            r#""delta":{"content":"<think>a"}"#,
            r#""delta":{"tool_calls":[{"index":0}],"content":"</think>"}"#,
        ],
    );
    deltas_become(
        &[r#""delta":{"reasoning":"a"},"finish_reason":null"#, r#""delta":{},"finish_reason":"length""#],
        &[
            r#""delta":{"content":"<think>a"},"finish_reason":null"#,
            r#""delta":{"content":"</think>"},"finish_reason":"length""#,
        ],
    );
    deltas_become(
        &[
            r#""delta":{"reasoning":"a","content":"b"}"#,
            r#""delta":{"reasoning":"c"},"finish_reason":"stop""#,
        ],
        &[
            r#""delta":{"content":"<think>a</think>b"}"#,
            r#""delta":{"content":"<think>c</think>"},"finish_reason":"stop""#,
        ],
    );
}

#[test]
fn choices_are_told_apart() {
    let event = |first: &str, second: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{first}}},{{\"index\":1,\"delta\":{second}}}]}}\n\n"
        )
    };
    let text = event(r#"{"reasoning":"a"}"#, r#"{"content":"x"}"#)
        + &event(r#"{"content":"b"}"#, r#"{"reasoning":"y"}"#);
    let expected = event(r#"{"content":"<think>a"}"#, r#"{"content":"x"}"#)
        + &event(r#"{"content":"</think>b"}"#, r#"{"content":"<think>y"}"#);
    assert_eq!(stream(&text), expected);
}

#[test]
fn what_is_no_reasoning_passes_by_the_byte() {
    let text = ": reasoning\n\nevent: \"reasoning\ndata:{\"choices\":[{\"delta\":{\"content\":\"reasoning\"}}] }\r\n\r\ndata: {\"usage\":{\"reasoning_tokens\":1},\"choices\":[]}\n\ndata: \"reasoning\n\ndata: [DONE]";
    assert_eq!(stream(text), text);
}

#[test]
fn choices_beyond_the_limit_keep_their_field() {
    let event = |index| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"reasoning\":\"a\"}}}}]}}\n\n")
    };
    let text: String = (0..=CHOICES_MAX).map(event).collect();
    let found = streamed([text.as_bytes()]);
    assert_eq!(found.matches("<think>").count(), CHOICES_MAX);
    assert!(found.ends_with(&event(CHOICES_MAX)));
}

#[test]
fn a_line_that_is_too_long_passes_with_everything_after_it() {
    let long = format!("data: {}", "x".repeat(EVENT_BYTES_MAX));
    let rest = "\n\ndata: {\"choices\":[{\"delta\":{\"reasoning\":\"a\"}}]}\n\n";
    let text = [": a\n\n", &long, rest].concat();
    let chunks = text.as_bytes().chunks(EVENT_BYTES_MAX / 3);
    assert!(streamed(chunks) == text && streamed([text.as_bytes()]) == text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn streams_and_whole_answers_say_the_same(
        reasoning in "[a-z\"\\\\é]{0,9}", content in "[a-z<\"é]{0,9}", sizes in prop::collection::vec(1usize..4, 1..4),
    ) {
        let pieces = |field: &str, text: &str| -> String {
            let (mut sizes, mut rest, mut events) = (sizes.iter().cycle(), text.chars().peekable(), String::new());
            while rest.peek().is_some() {
                let piece: String = rest.by_ref().take(*sizes.next().unwrap()).collect();
                events += &format!("data: {}\n\n", serde_json::json!({ "choices": [{ "delta": { field: piece } }] }));
            }
            events
        };
        let text = pieces("reasoning", &reasoning) + &pieces("content", &content)
            + "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let told: String = streamed([text.as_bytes()])
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
        let body = serde_json::json!({ "choices": [{ "message": { "reasoning": reasoning, "content": content } }] });
        let body = body.to_string();
        let body: Value = serde_json::from_slice(&whole(body.as_bytes()).unwrap_or(body.into())).unwrap();
        prop_assert_eq!(&body["choices"][0]["message"]["content"], &told);
    }

    #[test]
    fn nothing_makes_it_panic(text in "(data: |\\{|\\}|\\[|\\]|\"reasoning\":|\"choices\":|\"delta\":|\"content\":|\"a\"|null|,|é|\n){0,30}") {
        stream(&text);
        whole(text.as_bytes());
    }
}
