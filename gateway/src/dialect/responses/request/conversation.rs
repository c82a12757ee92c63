//! The messages of a chat request, written as their sources come.
//!
//! What must stay true: system text that leads is one message at the beginning; what an assistant does in a row is
//! one message; between two tool messages stands nothing.

use std::collections::HashMap;

use proto_shared::backend::{Backend, ChatTraits};
use smallvec::SmallVec;

use super::assistant::{Assistant, Replay};
use super::content::{Part, Parts, write, write_part, write_texts};
use super::text::{Json, Text};
use crate::dialect::responses::signature;

/// Between the instructions and each text of the leading system messages.
const BETWEEN_SYSTEM_TEXTS: &str = "\\n\\n";

pub struct Conversation<'b> {
    out: Json,
    traits: &'b ChatTraits,
    leading: Leading,
    assistant: Assistant,
    /// Parts that tools gave and their messages can't carry.
    held: Json,
    /// What the calls called, by their ids; kept only for providers that want to be told.
    called: HashMap<Box<str>, Box<str>>,
}

/// The state of the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leading {
    Nothing,
    Open,
    Done,
}

/// A call of a tool, as its item tells of it.
pub struct Call<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub arguments: Arguments<'a>,
}

pub enum Arguments<'a> {
    Text(Text<'a>),
    /// JSON that was not sent as a string.
    Json(&'a str),
    /// The bare input of a freeform tool.
    Input(Text<'a>),
    None,
}

/// What a tool gave.
pub enum Output<'a> {
    Parts(Parts<'a>),
    /// JSON that is neither a string nor a list of parts.
    Json(&'a str),
    None,
}

impl<'b> Conversation<'b> {
    /// Goes on in `out`.
    pub fn new(mut out: Json, backend: &'b Backend) -> Self {
        out.put("[");
        Self {
            out,
            traits: &backend.chat,
            leading: Leading::Nothing,
            assistant: Assistant::new(Replay::of(backend)),
            held: Json::default(),
            called: HashMap::new(),
        }
    }

    /// The document with all messages; `None` when there was none.
    pub fn finish(mut self) -> Option<Json> {
        self.settle();
        let any = !self.out.as_bytes().ends_with(b"[");
        self.out.put("]");
        any.then_some(self.out)
    }

    pub fn system(&mut self, texts: &[Text<'_>]) {
        if self.leading != Leading::Done {
            texts.iter().for_each(|text| self.lead(*text));
            return;
        }
        self.settle();
        let role = if self.traits.one_system_message { "user" } else { "system" };
        let parts: SmallVec<[Part<'_>; 2]> = texts.iter().map(|text| Part::Text(*text)).collect();
        self.message(role, &parts);
    }

    /// A text of the first system message.
    pub fn lead(&mut self, text: Text<'_>) {
        match self.leading {
            _ if text.is_empty() => {}
            Leading::Open => {
                self.out.put(BETWEEN_SYSTEM_TEXTS).put(text.spelt());
            }
            Leading::Nothing | Leading::Done => {
                self.out.next().put("{\"role\":\"system\",\"content\":\"").put(text.spelt());
                self.leading = Leading::Open;
            }
        }
    }

    pub fn user(&mut self, parts: &[Part<'_>]) {
        self.settle();
        self.message("user", parts);
    }

    /// The turn of the assistant, to be added to.
    pub fn assistant(&mut self) -> &mut Assistant {
        self.end_leading();
        self.write_held();
        &mut self.assistant
    }

    pub fn call(&mut self, call: &Call<'_>) {
        let (id, signature) = signature::split(call.id);
        if self.traits.tool_messages_named {
            self.called.insert(id.into(), call.name.into());
        }
        let signature = signature.filter(|_| self.traits.thought_signatures);
        let out = self.assistant().calls();
        out.put("{\"id\":")
            .string(id)
            .put(",\"type\":\"function\",\"function\":{\"name\":")
            .string(call.name);
        out.key("arguments").put("\"");
        match call.arguments {
            Arguments::Text(text) => out.put(text.spelt()),
            Arguments::Json(json) => out.inner(json),
            Arguments::Input(text) => out.put("{\\\"input\\\":\\\"").inner(text.spelt()).put("\\\"}"),
            Arguments::None => out.put("{}"),
        };
        out.put("\"}");
        if let Some(signature) = signature {
            out.key("extra_content").put("{\"google\":{\"thought_signature\":").string(&signature).put("}}");
        }
        out.put("}");
    }

    pub fn tool(&mut self, call_id: &str, output: &Output<'_>) {
        self.end_leading();
        self.assistant.flush(&mut self.out);
        let (id, _) = signature::split(call_id);
        let out = self.out.next().put("{\"role\":\"tool\",\"tool_call_id\":").string(id);
        if let Some(name) = self.called.get(id) {
            out.key("name").string(name);
        }
        out.key("content");
        match output {
            Output::Json(json) => out.string(json),
            Output::None => out.put("\"\""),
            Output::Parts(parts) => {
                write_texts(out, parts);
                let others = parts.iter().filter(|part| !matches!(part, Part::Text(_)));
                others.for_each(|part| write_part(&mut self.held, *part));
                out
            }
        };
        self.out.put("}");
    }

    /// Ends whatever is open, before a message of another kind.
    fn settle(&mut self) {
        self.end_leading();
        self.assistant.flush(&mut self.out);
        self.write_held();
    }

    fn end_leading(&mut self) {
        if self.leading == Leading::Open {
            self.out.put("\"}");
        }
        self.leading = Leading::Done;
    }

    fn write_held(&mut self) {
        if !self.held.is_empty() {
            self.out.next().put("{\"role\":\"user\",\"content\":[").put(self.held.as_bytes()).put("]}");
            self.held.clear();
        }
    }

    fn message(&mut self, role: &str, parts: &[Part<'_>]) {
        let out = self.out.next().put("{\"role\":\"").put(role).put("\",\"content\":");
        write(out, parts);
        out.put("}");
    }
}
