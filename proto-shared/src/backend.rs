//! How a provider is spoken to: which dialect it knows, and where it strays from it.
//!
//! Every deviation is a setting of the provider that a preset turns on; nothing in the gateway asks which
//! company it talks to.

use serde::{Deserialize, Serialize};

use crate::limits::HoldBack;

/// Most requests under way to one provider, unless it says otherwise.
pub const CONCURRENT_REQUESTS_DEFAULT: u32 = 1000;
/// The highest such bound: beyond what one gateway has sockets for.
pub const CONCURRENT_REQUESTS_MAX: u32 = 100_000;

/// The least and the most of a `stream_comment_interval_ms`: beyond it connections are cut for other reasons.
pub const STREAM_COMMENT_INTERVAL_MIN_MS: u32 = 100;
pub const STREAM_COMMENT_INTERVAL_MAX_MS: u32 = 600_000;

/// Settings of one provider, each with a default that suits a plain Chat Completions server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backend {
    pub format: BackendFormat,
    /// Sent instead of whatever model the client names, also when it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_model: Option<String>,
    /// Whether `<think>` tags and reasoning fields become reasoning, instead of passing as they came.
    pub uses_reasoning_parser: bool,
    /// Most requests under way at once; further ones wait.
    pub num_concurrent_requests: u32,
    /// How often the client of a stream gets a comment while the provider says nothing yet; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_comment_interval_ms: Option<u32>,
    #[serde(skip_serializing_if = "LeavingClients::is_default")]
    pub leaving_clients: LeavingClients,
    /// Most requests a minute; further ones go elsewhere, or are refused. Absent: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// When requests wait here because its servers have too much to do.
    #[serde(skip_serializing_if = "HoldBack::is_auto")]
    pub hold_back: HoldBack,
    pub chat: ChatTraits,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            format: BackendFormat::default(),
            pinned_model: None,
            uses_reasoning_parser: false,
            num_concurrent_requests: CONCURRENT_REQUESTS_DEFAULT,
            stream_comment_interval_ms: None,
            leaving_clients: LeavingClients::default(),
            requests_per_minute: None,
            hold_back: HoldBack::default(),
            chat: ChatTraits::default(),
        }
    }
}

/// What becomes of an answer whose client has left. A server of one's own is always told to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeavingClients {
    /// The provider is told to stop.
    #[default]
    Cancel,
    /// It is read on, within bounds, so that what it costs is known.
    Drain,
}

impl LeavingClients {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a provider speaks. A request in a dialect that it knows is passed as it came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BackendFormat {
    /// Chat Completions alone: Responses are translated.
    #[default]
    OpenaiChat,
    /// Chat Completions and Responses.
    OpenaiResponses,
    /// Anthropic's Messages; what else it is asked for is passed as it came.
    AnthropicMessages,
}

/// Where a Chat Completions server strays from the rest: read by the translation of Responses alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatTraits {
    pub reasoning_replay: ReasoningReplay,
    pub max_tokens_field: MaxTokensField,
    /// Top-level fields that it refuses, such as `metadata`: left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omit_fields: Vec<String>,
    /// Tool messages must carry the function's `name`.
    pub tool_messages_named: bool,
    /// Tool calls carry a `thought_signature` that the next turn must send back.
    pub thought_signatures: bool,
    /// Its templates admit one system message, at the beginning: later ones are sent as the user's.
    pub one_system_message: bool,
    /// It takes `file` parts.
    pub takes_files: bool,
    /// It takes `input_audio` parts.
    pub takes_audio: bool,
    /// It takes `stream_options.include_usage`.
    pub takes_stream_options: bool,
}

impl Default for ChatTraits {
    fn default() -> Self {
        Self {
            reasoning_replay: ReasoningReplay::default(),
            max_tokens_field: MaxTokensField::default(),
            omit_fields: Vec::new(),
            tool_messages_named: false,
            thought_signatures: false,
            one_system_message: false,
            takes_files: true,
            takes_audio: true,
            takes_stream_options: true,
        }
    }
}

/// How a reasoning item of an earlier turn goes back to the provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningReplay {
    /// Left out with the reasoning parser on; inline as `<think>` text with it off.
    #[default]
    Auto,
    Drop,
    ThinkTags,
    /// As this field of the assistant's message.
    ReasoningContent,
    Reasoning,
}

/// What the limit of an answer's tokens is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    #[default]
    MaxTokens,
    MaxCompletionTokens,
}
