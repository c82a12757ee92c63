//! What the reply to a Responses request must know of it.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// One request, as far as its reply cares.
#[derive(Debug, Default)]
pub struct Turn {
    /// The client asked for events.
    pub stream: bool,
    /// Reasoning is told apart from text.
    pub reasoning: bool,
    /// Tool calls come signed, and the signature goes to the client in their ids.
    pub thought_signatures: bool,
    pub echo: Echo,
    pub tools: ToolNames,
}

/// What the response object repeats, as it was sent. `None` means: not sent, or null; the reply then
/// shows the field's default.
#[derive(Debug, Default)]
pub struct Echo {
    /// What the client is to see as the model.
    pub model: String,
    pub instructions: Option<Box<RawValue>>,
    pub max_output_tokens: Option<Box<RawValue>>,
    pub max_tool_calls: Option<Box<RawValue>>,
    pub metadata: Option<Box<RawValue>>,
    pub parallel_tool_calls: Option<bool>,
    pub prompt_cache_key: Option<Box<RawValue>>,
    pub safety_identifier: Option<Box<RawValue>>,
    pub reasoning: Option<Box<RawValue>>,
    pub service_tier: Option<Box<RawValue>>,
    pub temperature: Option<Box<RawValue>>,
    pub top_p: Option<Box<RawValue>>,
    pub presence_penalty: Option<Box<RawValue>>,
    pub frequency_penalty: Option<Box<RawValue>>,
    pub top_logprobs: Option<Box<RawValue>>,
    pub text: Option<Box<RawValue>>,
    pub tool_choice: Option<Box<RawValue>>,
    pub tools: Option<Box<RawValue>>,
    pub truncation: Option<Box<RawValue>>,
    pub user: Option<Box<RawValue>>,
}

/// How the names that went upstream lead back to the client's tools. A name that is not in here is a
/// function's own.
#[derive(Debug, Default)]
pub struct ToolNames(HashMap<Box<str>, ToolName>);

/// What the client declared under a name that was changed, or under another kind of tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolName {
    /// A function whose name was too long, or stood in a namespace.
    Function { namespace: Option<Box<str>>, name: Box<str> },
    /// A freeform tool: its calls carry one bare string.
    Custom { namespace: Option<Box<str>>, name: Box<str> },
}

impl ToolNames {
    /// Nothing is replaced: false when `sent` stands for another tool already.
    pub fn insert(&mut self, sent: &str, tool: ToolName) -> bool {
        match self.0.entry(sent.into()) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(tool);
                true
            }
        }
    }

    pub fn get(&self, sent: &str) -> Option<&ToolName> {
        self.0.get(sent)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &ToolName)> {
        self.0.iter().map(|(sent, tool)| (sent.as_ref(), tool))
    }
}
