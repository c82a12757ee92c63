//! Chat requests to providers whose reasoning is told apart from text: their history goes without it.
//!
//! What must stay true: nothing is cut but think blocks in what an assistant said, and every other byte stays. What
//! can't be understood passes as it came, for the provider to judge.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use super::responses::request::BadRequest;
use super::responses::request::wire::{Braced, Node, members};
use super::think;

members!(Chat { messages });

members!(Message { role, content });

members!(Part { text });

/// The body without the think blocks of its history; `None` when there are none.
pub fn without_think_blocks(body: &Bytes) -> Option<Bytes> {
    memmem::find(body, think::WORD.as_bytes())?;
    let text = std::str::from_utf8(body).ok()?;
    let Braced(chat) = serde_json::from_str::<Braced<Chat<'_>>>(text).ok()?;
    let mut cuts = Cuts { text, ranges: Vec::new() };
    Node::top("messages", chat.messages?).each(|message| cuts.message(message)).ok()?;
    cuts.apply().map(Bytes::from)
}

/// What is to go, in the order in which it stands.
struct Cuts<'a> {
    text: &'a str,
    ranges: Vec<Range<usize>>,
}

impl<'a> Cuts<'a> {
    fn message(&mut self, node: Node<'a, '_>) -> Result<(), BadRequest> {
        let Ok(message) = node.object::<Message<'a>>() else { return Ok(()) };
        let role = message.get("role", message.has.role).and_then(|role| role.text().ok()?.read());
        let Some(content) = message.get("content", message.has.content) else { return Ok(()) };
        if role.as_deref() != Some("assistant") {
            return Ok(());
        }
        if content.is_list() {
            return content.each(|part| {
                if let Ok(part) = part.object::<Part<'a>>()
                    && let Some(text) = part.get("text", part.has.text)
                {
                    self.cut(text);
                }
                Ok(())
            });
        }
        self.cut(content);
        Ok(())
    }

    fn cut(&mut self, node: Node<'a, '_>) {
        let Ok(said) = node.text() else { return };
        let start = said.spelt().as_ptr() as usize - self.text.as_ptr() as usize;
        let blocks = think::blocks(said.spelt()).map(|block| block.outer);
        self.ranges.extend(blocks.map(|block| start + block.start..start + block.end));
    }

    fn apply(self) -> Option<Vec<u8>> {
        let cut: usize = self.ranges.iter().map(|range| range.len()).sum();
        if cut == 0 {
            return None;
        }
        let mut rest = Vec::with_capacity(self.text.len().saturating_sub(cut));
        let mut at = 0;
        for range in self.ranges {
            rest.extend_from_slice(self.text.get(at..range.start)?.as_bytes());
            at = range.end;
        }
        rest.extend_from_slice(self.text.get(at..)?.as_bytes());
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn stripped(body: &str) -> Option<String> {
        without_think_blocks(&Bytes::copy_from_slice(body.as_bytes()))
            .map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn what_an_assistant_thought_is_cut_and_the_rest_stays_byte_for_byte() {
        for (body, becomes) in [
            (
                r#"{ "n":1.0,"messages":[{"role":"assistant","content":"<think>\"a\"</think>b<think></think>\u00e9"},{"role":"user","content":"?"}], "seed":1e2 }"#,
                r#"{ "n":1.0,"messages":[{"role":"assistant","content":"b\u00e9"},{"role":"user","content":"?"}], "seed":1e2 }"#,
            ),
            (
                r#"{"messages":[{"content":[{"type":"text","text":"<think>a</think>"},{"type":"text", "text":"b"}],"role":"assistant","tool_calls":[]}]}"#,
                r#"{"messages":[{"content":[{"type":"text","text":""},{"type":"text", "text":"b"}],"role":"assistant","tool_calls":[]}]}"#,
            ),
            (
                r#"{"messages":[{"role":"\u0061ssistant","content":"\u003cthink\u003ea\u003c\/think\u003eb"}]}"#,
                r#"{"messages":[{"role":"\u0061ssistant","content":"b"}]}"#,
            ),
        ] {
            assert_eq!(stripped(body).as_deref(), Some(becomes));
        }
    }

    #[test]
    fn what_anybody_else_wrote_stays() {
        for body in [
            r#"{"messages":[{"role":"user","content":"<think>a</think>"},{"role":"tool","content":"<think>a</think>"}]}"#,
            r#"{"messages":[{"role":"assistant","content":"<think>a"},{"role":"assistant","content":"b</think>"}]}"#,
            r#"{"messages":[{"role":"assistant","content":null,"reasoning":"<think>a</think>"}]}"#,
            r#"{"prompt":"<think>a</think>"}"#,
        ] {
            assert_eq!(stripped(body), None, "{body}");
        }
    }

    #[test]
    fn what_is_no_chat_request_passes_as_it_came() {
        for body in [
            "",
            "<think></think>",
            r#"["<think></think>"]"#,
            r#"{"messages":"<think></think>"}"#,
            r#"{"messages":[7,"<think></think>",{"role":7,"content":"<think></think>"}]}"#,
            r#"{"messages":[{"role":"assistant","content":{"text":"<think></think>"}}]}"#,
            r#"{"messages":[{"role":"assistant","content":["<think></think>"]}]"#,
        ] {
            assert_eq!(stripped(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn only_texts_of_assistants_change(texts in prop::collection::vec("(<think>|</think>|[a-z\"\\\\]){0,8}", 1..6)) {
            let messages: Vec<Value> = texts.iter().enumerate().map(|(index, text)| {
                json!({"role": if index % 2 == 0 { "assistant" } else { "user" }, "content": text})
            }).collect();
            let body = json!({"messages": messages, "model": "m"});
            let after = stripped(&body.to_string()).unwrap_or_else(|| body.to_string());
            let after: Value = serde_json::from_str(&after).unwrap();
            for (index, text) in texts.iter().enumerate() {
                let mut expected = text.clone();
                while index % 2 == 0
                    && let Some(start) = expected.find("<think>")
                    && let Some(len) = expected[start..].find("</think>")
                {
                    expected.replace_range(start..start + len + "</think>".len(), "");
                }
                prop_assert_eq!(after["messages"][index]["content"].as_str().unwrap(), expected);
            }
        }
    }
}
