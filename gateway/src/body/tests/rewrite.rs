use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::body::{JsonRewriter, ModelRewrite, SseRewriter, spans};

const SERVED: &str = "meta/llama-3";

fn rewrite() -> Arc<ModelRewrite> {
    Arc::new(ModelRewrite::new(SERVED, "default/llama").unwrap())
}

trait Rewriter {
    fn start() -> Self;
    fn put(&mut self, chunk: &[u8], out: &mut BytesMut);
    fn end(&mut self, out: &mut BytesMut);
}

macro_rules! rewriter {
    ($name:ident) => {
        impl Rewriter for $name {
            fn start() -> Self {
                Self::new(rewrite())
            }
            fn put(&mut self, chunk: &[u8], out: &mut BytesMut) {
                self.feed(chunk, out);
            }
            fn end(&mut self, out: &mut BytesMut) {
                self.finish(out);
            }
        }
    };
}
rewriter!(JsonRewriter);
rewriter!(SseRewriter);

fn fed<'a, R: Rewriter>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut rewriter, mut out) = (R::start(), BytesMut::new());
    let (mut taken, bound) = (0, rewrite().longest_value());
    let growth = rewrite().replacement().len().abs_diff(SERVED.len() + 2);
    for chunk in chunks {
        rewriter.put(chunk, &mut out);
        taken += chunk.len();
        let replaced = out.len() / SERVED.len().min(rewrite().replacement().len()) + 1;
        assert!(out.len() + bound + growth * replaced >= taken, "more is withheld than one value");
    }
    rewriter.end(&mut out);
    out.to_vec()
}

/// The output for the whole input, after checking that every cut gives the same.
fn whole<R: Rewriter>(input: &[u8]) -> String {
    let expected = fed::<R>([input]);
    for cut in 0..=input.len() {
        let (head, tail) = input.split_at(cut);
        assert_eq!(fed::<R>([head, tail]), expected, "cut at {cut} of {}", String::from_utf8_lossy(input));
    }
    assert_eq!(fed::<R>(input.chunks(1)), expected, "one by one: {}", String::from_utf8_lossy(input));
    String::from_utf8_lossy(&expected).into_owned()
}

fn json_out(input: &str) -> String {
    let out = whole::<JsonRewriter>(input.as_bytes());
    let (mut spliced, mut at) = (String::new(), 0);
    for span in spans(input.as_bytes(), &rewrite()) {
        spliced.push_str(&input[at..span.start]);
        spliced.push_str("\"default/llama\"");
        at = span.end;
    }
    spliced.push_str(&input[at..]);
    assert_eq!(out, spliced, "spans and rewriter agree");
    out
}

#[test]
fn any_name_gives_way_where_the_model_is_pinned_wherever_it_is_cut() {
    let input =
        r#"{"model":"x","a":{"model":"y"},"message":{"model":"\u00e9 \"z\""},"response":{"model":null}}"#;
    let expected = r#"{"model":"pin","a":{"model":"y"},"message":{"model":"pin"},"response":{"model":null}}"#;
    for cut in 0..=input.len() {
        let (head, tail) = input.split_at(cut);
        let rewrite = Arc::new(ModelRewrite::of_any("pin"));
        let (mut rewriter, mut out) = (JsonRewriter::new(rewrite), BytesMut::new());
        rewriter.feed(head.as_bytes(), &mut out);
        rewriter.feed(tail.as_bytes(), &mut out);
        rewriter.finish(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected, "cut at {cut}");
    }
}

#[test]
fn equal_names_need_no_rewriting() {
    assert!(ModelRewrite::new("a", "a").is_none());
}

#[test]
fn the_served_name_is_replaced_in_the_three_places_and_nowhere_else() {
    for (input, output) in [
        (r#"{"model":"meta/llama-3"}"#, r#"{"model":"default/llama"}"#),
        (
            " {\n \"id\" : 1e5 ,\t\"model\" :\r\n\"meta/llama-3\"\n}\n",
            " {\n \"id\" : 1e5 ,\t\"model\" :\r\n\"default/llama\"\n}\n",
        ),
        (
            r#"{"response":{"id":"x","model":"meta/llama-3"}}"#,
            r#"{"response":{"id":"x","model":"default/llama"}}"#,
        ),
        (
            r#"{"message":{"model":"meta/llama-3","x":[1]},"model":"meta/llama-3"}"#,
            r#"{"message":{"model":"default/llama","x":[1]},"model":"default/llama"}"#,
        ),
        (r#"{"\u006dodel":"meta\/ll\u0061ma-3"}"#, r#"{"\u006dodel":"default/llama"}"#),
        (
            r#"{"model":"meta/llama-3","model":"meta/llama-3"}"#,
            r#"{"model":"default/llama","model":"default/llama"}"#,
        ),
        (r#"{"re\u0073ponse":{"model":"meta/llama-3"}}"#, r#"{"re\u0073ponse":{"model":"default/llama"}}"#),
        (
            r#"{"a":[{"x":"]}\"\\"}],"model":"meta/llama-3"}"#,
            r#"{"a":[{"x":"]}\"\\"}],"model":"default/llama"}"#,
        ),
    ] {
        assert_eq!(json_out(input), output);
    }
}

#[test]
fn whatever_else_a_reply_holds_stays() {
    for same in [
        r#"{"model":"meta/llama-3.1"}"#,
        r#"{"model":"meta/llama"}"#,
        r#"{"model":"meta/llama-\u00333"}"#,
        r#"{"model":"\ud800"}"#,
        r#"{"model":["meta/llama-3"]}"#,
        r#"{"model":{"model":"meta/llama-3"}}"#,
        r#"{"choices":[{"message":{"model":"meta/llama-3"}}]}"#,
        r#"{"data":{"model":"meta/llama-3"}}"#,
        r#"{"response":{"response":{"model":"meta/llama-3"}}}"#,
        r#"{"response":[{"model":"meta/llama-3"}]}"#,
        r#"{"x":"\"model\":\"meta/llama-3\""}"#,
        r#"{"x":"meta/llama-3","id":"model","y":"model"}"#,
        r#"{"Model":"meta/llama-3","models":"meta/llama-3"}"#,
        r#"[{"model":"meta/llama-3"}]"#,
        r#""model""#,
        r#"{"a" "model":"meta/llama-3"}"#,
        r#"{"a":1}{"model":"meta/llama-3"}"#,
        r#"{,"model":"meta/llama-3"}"#,
        r#"{"a":1 2,"model":"meta/llama-3"}"#,
        r#"{"model":"meta/llama-3"#,
        r#"{"model":"meta/llama-3\"#,
        r#"{"model""#,
        "",
        "\u{feff}{\"model\":\"meta/llama-3\"}",
    ] {
        assert_eq!(json_out(same), same);
    }
}

#[test]
fn a_long_key_or_value_is_no_obstacle() {
    let long = "x".repeat(300);
    let escapes = "\\u006d".repeat(60);
    for odd in [&long, &escapes] {
        let input =
            format!(r#"{{"{odd}":"{odd}","model":"{odd}","response":{{"{odd}":1,"model":"meta/llama-3"}}}}"#);
        assert_eq!(json_out(&input), input.replace("\"meta/llama-3\"", "\"default/llama\""));
    }
}

#[test]
fn events_are_rewritten_and_everything_around_them_stays() {
    let frame =
        r#"{"id":"1","model":"meta/llama-3","choices":[{"delta":{"content":"\"model\":\"meta/llama-3\""}}]}"#;
    for ends in ["\n", "\r\n", "\r"] {
        let stream = [
            "\u{feff}: a comment with \"model\":\"meta/llama-3\"",
            "id: 7",
            "event: message",
            &format!("data: {frame}"),
            "",
            &format!("data:{frame}"),
            "retry: 5",
            "",
            "",
            "data",
            "data:",
            &format!("data:  {frame}"),
            "",
            "data: [DONE]",
            "",
            &format!("data: {frame}"),
        ]
        .join(ends);
        assert_eq!(
            whole::<SseRewriter>(stream.as_bytes()),
            stream.replace(r#","model":"meta/llama-3""#, r#","model":"default/llama""#)
        );
    }
}

#[test]
fn a_document_may_go_on_over_data_lines_but_a_string_may_not() {
    let input = "data: {\"a\":1\ndata: ,\"model\"\n: comment\ndata::\r\nid: 1\ndata: \"meta/llama-3\"}\n\n";
    assert_eq!(whole::<SseRewriter>(input.as_bytes()), input.replace("meta/llama-3", "default/llama"));
    for same in [
        "data: {\"model\":\"meta/\ndata: llama-3\",\"model\":\"meta/llama-3\"}\n\n",
        "data: {\"mod\ndata: el\":\"meta/llama-3\"}\n\n",
        "data: {\"x\":\"\ndata: \",\"model\":\"meta/llama-3\"}\n\n",
        "data: {\"x\":[\"\ndata: \"],\"model\":\"meta/llama-3\"}\n\n",
        "data: {\"x\":1\ndata: 2,\"model\":\"meta/llama-3\"}\n\n",
        "data: {\"x\":1\n\ndata: ,\"model\":\"meta/llama-3\"}\n\n",
        "Data: {\"model\":\"meta/llama-3\"}\n\n",
        " data: {\"model\":\"meta/llama-3\"}\n\n",
        "data : {\"model\":\"meta/llama-3\"}\n\n",
        "datas: {\"model\":\"meta/llama-3\"}\n\n",
        "\u{feff}\u{feff}data: {\"model\":\"meta/llama-3\"}\n\n",
    ] {
        assert_eq!(whole::<SseRewriter>(same.as_bytes()), same);
    }
}

#[test]
fn a_malformed_event_does_not_spoil_the_next() {
    let bad = ["{", "{\"a", "{\"model\":\"meta", "}", "{\"a\":[}", "\"", "{\"model\":\"meta/llama-3\\"];
    for bad in bad {
        let input = format!("data: {bad}\n\ndata: {{\"model\":\"meta/llama-3\"}}\n\n");
        let output = format!("data: {bad}\n\ndata: {{\"model\":\"default/llama\"}}\n\n");
        assert_eq!(whole::<SseRewriter>(input.as_bytes()), output);
    }
}

#[test]
fn a_frame_goes_out_when_it_comes_in() {
    let (mut rewriter, mut out) = (SseRewriter::start(), BytesMut::new());
    for text in ["a", "b\\n", "\\u00e9"] {
        let frame = format!("data: {{\"model\":\"meta/llama-3\",\"c\":\"{text}\"}}\n\n");
        rewriter.put(frame.as_bytes(), &mut out);
        assert_eq!(out.split().as_ref(), frame.replace("meta/llama-3", "default/llama").as_bytes());
    }
}

#[test]
fn frames_alike_at_first_and_different_later_are_told_apart() {
    let frames = [
        r#"{"id":"1","model":"meta/llama-3","c":1}"#,
        r#"{"id":"1","model":"meta/llama-3","c":2}"#,
        r#"{"id":"1","model":"meta/llama-3","model":"meta/llama-3"}"#,
        r#"{"id":"1","model":"meta/llama-3","mod\u0065l":"meta/llama-3"}"#,
        r#"{"id":"1","model":"meta/llama-3","message":{"model":"meta/llama-3"}}"#,
        r#"{"id":"1","model":"meta/llama-3","c":"\"model\":\"meta/llama-3\""}"#,
        r#"{"id":"1","model":"meta/llama-3x","c":1}"#,
        r#"{"id":"1","model":"meta/llama-3""#,
        r#"{"id":"1"}"#,
    ];
    let all = frames.iter().chain(frames.iter().rev()).chain(&frames);
    let input: String = all.clone().map(|frame| format!("data: {frame}\n\n")).collect();
    let output: String = all
        .map(|frame| frame.replace("l\":\"meta/llama-3\"", "l\":\"default/llama\""))
        .map(|frame| format!("data: {frame}\n\n"))
        .collect();
    assert_eq!(whole::<SseRewriter>(input.as_bytes()), output);
}

#[test]
fn a_name_that_comes_late_is_replaced_too() {
    for len in [400, 505, 512, 520, 3000] {
        let frame = format!("data: {{\"id\":\"{}\",\"model\":\"meta/llama-3\"}}\n\n", "x".repeat(len));
        let (mut rewriter, mut out) = (SseRewriter::start(), BytesMut::new());
        for _ in 0..3 {
            rewriter.put(frame.as_bytes(), &mut out);
            assert_eq!(out.split(), frame.replace("meta/llama-3", "default/llama").as_bytes(), "{len}");
        }
    }
}

/// What a parser of the whole reply would do.
fn expected(value: &Value) -> Value {
    let mut value = value.clone();
    for place in ["/model", "/response/model", "/message/model"] {
        if place.rsplit_once('/').and_then(|(holder, _)| value.pointer(holder)).is_some_and(Value::is_object)
            && let Some(name) = value.pointer_mut(place)
            && *name == json!(SERVED)
        {
            *name = json!("default/llama");
        }
    }
    value
}

fn any_reply() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec![
        SERVED,
        "model",
        "response",
        "message",
        "",
        "\"model\":\"meta/llama-3\"",
        "é\\",
        "meta/llama-33",
        "{[",
    ]);
    let leaf =
        prop_oneof![4 => text.clone().prop_map(Value::from), 1 => Just(json!(null)), 1 => Just(json!(-1.5))];
    let node = leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((text.clone(), inner), 0..5)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    });
    prop_oneof![5 => node.clone().prop_filter("an object", Value::is_object), 1 => node]
}

/// JSON text of the value, some characters of its strings spelled as escapes.
fn spelled(value: &Value, escape_every: usize) -> String {
    let mut seen = 0;
    let mut out = String::new();
    let text = value.to_string();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\\' {
            out.push(character);
            out.extend(characters.next());
            continue;
        }
        seen += usize::from(character.is_ascii_lowercase());
        let in_word = matches!(character, 'm' | 'o' | 'd' | 'p' | '3') && seen % escape_every == 0;
        if in_word && !matches!(characters.peek(), Some('}' | ',' | ']')) {
            out.push_str(&format!("\\u{:04x}", character as u32));
        } else {
            out.push(character);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn replies_are_rewritten_as_by_a_parser(value in any_reply(), escape_every in 2usize..40, pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { spelled(&value, escape_every) };
        prop_assume!(serde_json::from_str::<Value>(&text).is_ok_and(|read| read == value));
        prop_assert_eq!(serde_json::from_str::<Value>(&json_out(&text)).unwrap(), expected(&value));
    }

    #[test]
    fn streams_are_rewritten_as_by_a_parser(values in prop::collection::vec(any_reply(), 1..4), escape_every in 2usize..40, end in prop::sample::select(vec!["\n", "\r\n", "\r"])) {
        let frame = |value: &Value| format!("event: x{end}data: {}{end}{end}", spelled(value, escape_every));
        let input: String = values.iter().map(frame).collect();
        let output = whole::<SseRewriter>(input.as_bytes());
        let data = output.split(['\n', '\r']).filter_map(|line| line.strip_prefix("data: "));
        for (data, value) in data.zip(&values) {
            prop_assume!(serde_json::from_str::<Value>(&spelled(value, escape_every)).is_ok_and(|read| read == *value));
            prop_assert_eq!(serde_json::from_str::<Value>(data).unwrap(), expected(value));
        }
    }

    #[test]
    fn any_bytes_in_any_cuts_give_one_output(pieces in prop::collection::vec(piece(), 0..24), cuts in prop::collection::vec(1usize..9, 1..200)) {
        let input = pieces.concat();
        let mut chunks = Vec::new();
        let mut rest = input.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (chunk, after) = rest.split_at(rest.len().min(*cut));
            chunks.push(chunk);
            rest = after;
        }
        prop_assert_eq!(fed::<SseRewriter>(chunks.iter().copied()), fed::<SseRewriter>([input.as_slice()]));
        prop_assert_eq!(fed::<JsonRewriter>(chunks), fed::<JsonRewriter>([input.as_slice()]));
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        b"data: {",
        b"data:",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\"model\":",
        b"\"meta/llama-3\"",
        b"\"",
        b"\\",
        b",",
        b"}",
        b"{",
        b"[",
        b"]",
        b":",
        b"\"id\":\"1\",",
        b"\"message\":{",
        b"\\u006d",
        b"meta/",
        b"data: {\"model\":\"meta/llama-3\"",
        b"event: x\n",
        b"\xef\xbb\xbf",
        b" ",
        b"1",
    ];
    prop_oneof![12 => prop::sample::select(known).prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 1..4)]
}
