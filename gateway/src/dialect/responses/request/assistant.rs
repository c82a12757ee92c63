//! The assistant's turn that is being gathered: one message for a run of its items.

use proto_shared::backend::{Backend, ReasoningReplay};

use super::text::{Json, Text};
use crate::dialect::think;

/// What becomes of the reasoning in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Nothing of it is sent, nor of think blocks in the text.
    Drop,
    /// In the text, between tags.
    ThinkTags,
    /// As this field of the message.
    Field(&'static str),
}

impl Replay {
    pub fn of(backend: &Backend) -> Self {
        match backend.chat.reasoning_replay {
            ReasoningReplay::Auto if backend.uses_reasoning_parser => Self::Drop,
            ReasoningReplay::Auto | ReasoningReplay::ThinkTags => Self::ThinkTags,
            ReasoningReplay::Drop => Self::Drop,
            ReasoningReplay::ReasoningContent => Self::Field("reasoning_content"),
            ReasoningReplay::Reasoning => Self::Field("reasoning"),
        }
    }
}

/// The items that came since the last message of anybody else; all buffers hold spelt JSON.
#[derive(Debug)]
pub struct Assistant {
    replay: Replay,
    text: Json,
    reasoning: Json,
    calls: Json,
}

impl Assistant {
    pub fn new(replay: Replay) -> Self {
        Self { replay, text: Json::default(), reasoning: Json::default(), calls: Json::default() }
    }

    pub fn says(&mut self, text: Text<'_>) {
        self.text.put(text.spelt());
    }

    pub fn thinks(&mut self, text: Text<'_>) {
        match self.replay {
            _ if text.is_empty() => {}
            Replay::Drop => {}
            Replay::ThinkTags => {
                self.text.put("<think>").put(text.spelt()).put("</think>");
            }
            Replay::Field(_) => {
                self.reasoning.put(text.spelt());
            }
        }
    }

    /// Where the next tool call is to be written.
    pub fn calls(&mut self) -> &mut Json {
        self.calls.next()
    }

    /// Writes the message, if there is anything to say, and begins anew.
    pub fn flush(&mut self, out: &mut Json) {
        if self.replay != Replay::ThinkTags {
            self.take_blocks();
        }
        if !self.text.is_empty() || !self.calls.is_empty() {
            out.next().put("{\"role\":\"assistant\",\"content\":");
            match self.text.is_empty() {
                true => out.put("null"),
                false => out.put("\"").put(self.text.as_bytes()).put("\""),
            };
            if let (Replay::Field(field), false) = (self.replay, self.reasoning.is_empty()) {
                out.key(field).put("\"").put(self.reasoning.as_bytes()).put("\"");
            }
            if !self.calls.is_empty() {
                out.key("tool_calls").put("[").put(self.calls.as_bytes()).put("]");
            }
            out.put("}");
        }
        self.text.clear();
        self.reasoning.clear();
        self.calls.clear();
    }

    /// Moves think blocks out of the text, to where reasoning goes.
    fn take_blocks(&mut self) {
        // Only whole strings and tags were put together, so this is text.
        let spelt = std::str::from_utf8(self.text.as_bytes()).unwrap_or_default();
        let mut rest = Json::default();
        let mut at = 0;
        for block in think::blocks(spelt) {
            rest.put(spelt.get(at..block.outer.start).unwrap_or_default());
            if let Replay::Field(_) = self.replay {
                self.reasoning.put(spelt.get(block.inner).unwrap_or_default());
            }
            at = block.outer.end;
        }
        if at > 0 {
            rest.put(spelt.get(at..).unwrap_or_default());
            self.text = rest;
        }
    }
}
