//! A stream and a whole answer that say the same become the same items.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ENDED_S, opening, order, translated};
use crate::dialect::responses::reply::{End, whole};
use crate::dialect::responses::turn::{ToolName, ToolNames, Turn};

fn turn() -> Turn {
    let mut tools = ToolNames::default();
    tools.insert("patch", ToolName::Custom { namespace: None, name: "apply_patch".into() });
    tools.insert("a__b", ToolName::Function { namespace: Some("a".into()), name: "b".into() });
    Turn { reasoning: true, tools, ..Turn::default() }
}

/// One answer, and the sizes of the pieces it is streamed in.
#[derive(Debug, Clone)]
struct Said {
    reasoning: String,
    content: String,
    refusal: String,
    calls: Vec<(String, String)>,
    finish: String,
    sizes: Vec<usize>,
}

fn said() -> impl Strategy<Value = Said> {
    let text = "([a-zé\"\\\\\n]{0,5}|<think>|</think>|<th){0,5}";
    let call = ("(patch|a__b|f)", "(\\{\"input\":\"[a-z\"é]{0,9}\"\\}|\\{\"x\":[0-9]{1,5}\\}|)");
    let calls = prop::collection::vec(call, 0..4);
    let finish = "(stop|length|tool_calls|content_filter)";
    ("[a-z <]{0,9}", text, "[a-z]{0,9}", calls, finish, prop::collection::vec(1usize..7, 1..6)).prop_map(
        |(reasoning, content, refusal, calls, finish, sizes)| Said {
            reasoning,
            content,
            refusal,
            calls,
            finish,
            sizes,
        },
    )
}

impl Said {
    fn whole(&self) -> String {
        let call = |(at, (name, arguments)): (usize, &(String, String))| json!({ "id": format!("c{at}"), "type": "function", "function": { "name": name, "arguments": arguments } });
        let calls: Vec<Value> = self.calls.iter().enumerate().map(call).collect();
        let message = json!({
            "role": "assistant", "reasoning_content": self.reasoning, "content": self.content, "refusal": self.refusal,
            "tool_calls": calls,
        });
        json!({ "choices": [{ "index": 0, "message": message, "finish_reason": self.finish }] }).to_string()
    }

    fn stream(&self) -> String {
        let mut sizes = self.sizes.iter().cycle();
        let mut pieces = |text: &str| -> Vec<String> {
            let (mut pieces, mut rest) = (Vec::new(), text.chars().peekable());
            while rest.peek().is_some() {
                pieces.push(rest.by_ref().take(*sizes.next().unwrap()).collect());
            }
            pieces
        };
        let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
        for (field, text) in
            [("reasoning", &self.reasoning), ("content", &self.content), ("refusal", &self.refusal)]
        {
            deltas.extend(pieces(text).into_iter().map(|piece| json!({ field: piece })));
        }
        for (at, (name, arguments)) in self.calls.iter().enumerate() {
            let first =
                json!({ "index": at, "id": format!("c{at}"), "function": { "name": name, "arguments": "" } });
            deltas.push(json!({ "tool_calls": [first] }));
            deltas.extend(
                pieces(arguments).into_iter().map(
                    |piece| json!({ "tool_calls": [{ "index": at, "function": { "arguments": piece } }] }),
                ),
            );
        }
        let mut text: String = deltas
            .iter()
            .map(|delta| format!("data: {}\n\n", json!({ "choices": [{ "delta": delta }] })))
            .collect();
        let last = json!({ "choices": [{ "delta": {}, "finish_reason": self.finish }] });
        text += &format!("data: {last}\n\ndata: [DONE]\n\n");
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_stream_and_a_whole_answer_become_the_same_response(said in said()) {
        let streamed = order::check(&translated(turn(), [said.stream().as_bytes()], End::Clean));
        let whole = whole(opening(turn()), said.whole().as_bytes(), ENDED_S).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        order::object(&whole);
        prop_assert_eq!(streamed, whole);
    }
}
