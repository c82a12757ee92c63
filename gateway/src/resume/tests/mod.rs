//! A scripted server that says the same words to the same question, and dies.

mod deaths;
mod eligibility;
mod misfits;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::{AtCut, Resumable, ResumableStream};
use crate::resume::Misfit;

/// Where a token's white space is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Leading,
    Trailing,
}

/// One server of a model that says `words`.
#[derive(Clone)]
pub struct Server {
    pub number: u32,
    pub words: usize,
    pub style: Style,
    /// It knows how to go on with the last message.
    pub continues: bool,
}

impl Server {
    pub fn new(number: u32) -> Self {
        Self { number, words: 200, style: Style::Leading, continues: true }
    }

    fn whole_text(&self) -> String {
        let words: Vec<String> =
            (0..self.words).map(|n| format!("wörd{n}\"{}", "\n".repeat(n % 3))).collect();
        words.join(" ")
    }

    fn tokens(&self, text: &str) -> Vec<String> {
        let mut tokens = vec![String::new()];
        let mut before = None::<char>;
        for character in text.chars() {
            let begins = match (self.style, before.is_some_and(char::is_whitespace)) {
                (Style::Trailing, blank) => blank && !character.is_whitespace(),
                (Style::Leading, blank) => before.is_some() && !blank && character.is_whitespace(),
            };
            if begins {
                tokens.push(String::new());
            }
            tokens.last_mut().unwrap().push(character);
            before = Some(character);
        }
        tokens
    }

    /// All bytes of the answer.
    pub fn answer(&self, body: &[u8]) -> Vec<u8> {
        let request: Value = serde_json::from_slice(body).unwrap();
        let messages = request["messages"].as_array().unwrap();
        let count = |text: &str| text.split_whitespace().count();
        let prompt: usize = messages.iter().map(|message| count(message["content"].as_str().unwrap())).sum();
        let mut text = self.whole_text();
        if self.continues && request["continue_final_message"] == true {
            assert_eq!(request["add_generation_prompt"], false);
            let said = messages.last().unwrap()["content"].as_str().unwrap().trim_end();
            text = text.strip_prefix(said).expect("what was said is what this model says").to_owned();
        }
        let mut tokens = self.tokens(&text);
        let limit = request["max_tokens"].as_u64().map_or(tokens.len(), |limit| limit as usize);
        let finish = if limit < tokens.len() { "length" } else { "stop" };
        tokens.truncate(limit);
        let usage = json!({ "prompt_tokens": prompt, "completion_tokens": tokens.len(), "total_tokens": prompt + tokens.len() });
        let mut events = vec![self.chunk(json!({ "role": "assistant", "content": "" }), Value::Null)];
        events.extend(tokens.iter().map(|token| self.chunk(json!({ "content": token }), Value::Null)));
        events.push(self.chunk(json!({}), json!(finish)));
        if request["stream_options"]["include_usage"] == true {
            events.push(self.event(json!([]), Some(usage)));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events.concat().into_bytes()
    }

    fn chunk(&self, delta: Value, finish: Value) -> String {
        self.event(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]), None)
    }

    fn event(&self, choices: Value, usage: Option<Value>) -> String {
        let number = self.number;
        let mut chunk = json!({ "id": format!("chatcmpl-{number}"), "object": "chat.completion.chunk",
            "created": 1_000 + number, "model": "m", "system_fingerprint": format!("fp{number}"), "choices": choices });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    }
}

pub fn question(more: Value) -> Bytes {
    let mut body =
        json!({ "model": "m", "messages": [{ "role": "user", "content": "tell me more" }], "stream": true });
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    body.to_string().into()
}

/// How it went, and what the client got.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub bytes: Vec<u8>,
    pub lost: bool,
    pub misfit: Option<Misfit>,
}

/// Asks the servers one after the other; each but the last dies after so many bytes.
pub fn tell(body: &Bytes, servers: &[Server], deaths: &[usize]) -> Told {
    let resumable = Resumable::of(body).expect("it can go on elsewhere");
    let mut stream = ResumableStream::new(resumable.wants_usage);
    let (mut out, mut asked) = (BytesMut::new(), body.clone());
    let told = |out: BytesMut, lost, misfit| Told { bytes: out.to_vec(), lost, misfit };
    for (n, server) in servers.iter().enumerate() {
        let answer = server.answer(&asked);
        let death = deaths.get(n).copied().filter(|death| *death <= answer.len());
        for piece in answer[..death.unwrap_or(answer.len())].chunks(97) {
            if let Err(misfit) = stream.feed(piece, &mut out) {
                return told(out, false, Some(misfit));
            }
        }
        if death.is_none() {
            stream.finish(&mut out).unwrap();
            return told(out, false, None);
        }
        match stream.cut() {
            AtCut::Complete(rest) => {
                out.extend_from_slice(&rest);
                return told(out, false, None);
            }
            AtCut::Lost => return told(out, true, None),
            AtCut::GoesOn => {}
        }
        let Some(rest) = resumable.rest(body, &stream.so_far()) else { return told(out, true, None) };
        asked = rest;
        stream.go_on();
    }
    told(out, true, None)
}

/// The text in a client's stream, whose events are all whole and of one answer.
pub fn text_of(stream: &[u8]) -> String {
    let stream = std::str::from_utf8(stream).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    let (mut text, mut roles, mut finishes, mut ends) = (String::new(), 0, 0, 0);
    for event in stream.split_terminator("\n\n") {
        let data = event.strip_prefix("data: ").unwrap();
        assert_eq!(ends, 0, "something follows the end");
        if data == "[DONE]" {
            ends += 1;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).unwrap();
        ids.insert(format!("{} {} {}", chunk["id"], chunk["created"], chunk["system_fingerprint"]));
        let Some(choice) = chunk["choices"].get(0) else { continue };
        roles += usize::from(choice["delta"].get("role").is_some());
        finishes += usize::from(!choice["finish_reason"].is_null());
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
    }
    assert_eq!((ids.len(), roles, finishes, ends), (1, 1, 1, 1), "{stream}");
    text
}
