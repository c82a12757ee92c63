//! The items of an answer: what is kept of each, and their JSON.

use bytes::BytesMut;

use super::json::{put, put_all};

#[derive(Debug)]
pub struct Item {
    /// Its place among the items.
    pub index: usize,
    pub id: Box<str>,
    pub kind: Kind,
    /// Text, reasoning, refusal, arguments, or the input of a freeform tool.
    pub text: String,
    pub status: Status,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    Reasoning,
    Message,
    Refusal,
    Function(Tool),
    /// A freeform tool. Until the item is closed its text is the wrapper, as the provider sent it.
    Custom(Tool),
}

/// Which tool is called, in the client's words.
#[derive(Debug, PartialEq, Eq)]
pub struct Tool {
    pub call_id: Box<str>,
    pub namespace: Option<Box<str>>,
    pub name: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    InProgress,
    Completed,
    Incomplete,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl Kind {
    pub fn id_prefix(&self) -> &'static str {
        match self {
            Self::Reasoning => "rs",
            Self::Message | Self::Refusal => "msg",
            Self::Function(_) => "fc",
            Self::Custom(_) => "ctc",
        }
    }
}

impl Item {
    /// The item before anything was added to it.
    pub fn put_new(&self, out: &mut BytesMut) {
        self.put_head(out);
        match &self.kind {
            Kind::Reasoning => put_all(out, &[",\"summary\":[]"]),
            Kind::Message | Kind::Refusal => put_all(out, &[",\"role\":\"assistant\",\"content\":[]"]),
            Kind::Function(tool) => tool.put(out, "arguments", ""),
            Kind::Custom(tool) => tool.put(out, "input", ""),
        }
        put_all(out, &[",\"status\":\"in_progress\"}"]);
    }

    /// The item as it is now. What ends without it is incomplete.
    pub fn put(&self, out: &mut BytesMut) {
        self.put_head(out);
        match &self.kind {
            Kind::Reasoning => self.put_parts(out, ",\"summary\":["),
            Kind::Message | Kind::Refusal => self.put_parts(out, ",\"role\":\"assistant\",\"content\":["),
            Kind::Function(tool) => tool.put(out, "arguments", &self.text),
            Kind::Custom(tool) if self.status == Status::InProgress => tool.put(out, "input", ""),
            Kind::Custom(tool) => tool.put(out, "input", &self.text),
        }
        let status = match self.status {
            Status::Completed => Status::Completed,
            Status::Incomplete | Status::InProgress => Status::Incomplete,
        };
        put_all(out, &[",\"status\":\"", status.as_str(), "\"}"]);
    }

    /// The one part that reasoning, a message or a refusal has.
    pub fn put_part(&self, out: &mut BytesMut, text: &str) {
        let (before, after) = match self.kind {
            Kind::Reasoning => ("{\"type\":\"summary_text\",\"text\":", "}"),
            Kind::Refusal => ("{\"type\":\"refusal\",\"refusal\":", "}"),
            Kind::Message => ("{\"type\":\"output_text\",\"text\":", ",\"annotations\":[],\"logprobs\":[]}"),
            Kind::Function(_) | Kind::Custom(_) => return,
        };
        put_all(out, &[before]);
        put(out, text);
        put_all(out, &[after]);
    }

    fn put_parts(&self, out: &mut BytesMut, before: &str) {
        put_all(out, &[before]);
        self.put_part(out, &self.text);
        put_all(out, &["]"]);
    }

    fn put_head(&self, out: &mut BytesMut) {
        let kind = match self.kind {
            Kind::Reasoning => "reasoning",
            Kind::Message | Kind::Refusal => "message",
            Kind::Function(_) => "function_call",
            Kind::Custom(_) => "custom_tool_call",
        };
        put_all(out, &["{\"type\":\"", kind, "\",\"id\":\"", &self.id, "\""]);
    }
}

impl Tool {
    fn put(&self, out: &mut BytesMut, field: &str, text: &str) {
        put_all(out, &[",\"call_id\":"]);
        put(out, &*self.call_id);
        if let Some(namespace) = &self.namespace {
            put_all(out, &[",\"namespace\":"]);
            put(out, &**namespace);
        }
        put_all(out, &[",\"name\":"]);
        put(out, &*self.name);
        put_all(out, &[",\"", field, "\":"]);
        put(out, text);
    }
}
