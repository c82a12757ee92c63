//! How a provider is spoken to, on the wire. Ours: the platform has nothing of it.
//!
//! Both ways in one shape. What an owner leaves out is as the preset says, or as a plain server has it. An
//! answer leaves out what both agree on, so that an answer sent back changes nothing.

use proto_shared::HoldBack;
use proto_shared::backend::{self, Backend, LeavingClients, MaxTokensField, ReasoningReplay};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::presets::Preset;
use crate::domain::provider::is_upstream_id;
use crate::error::Error;

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct BackendFields {
    /// What the provider speaks; what it does not is translated
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProviderFormat>)]
    backend_format: Option<backend::BackendFormat>,
    /// The one model it serves: sent instead of whatever model a client names, and routable without being listed
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pinned_model: Option<String>,
    /// Whether `<think>` tags and reasoning fields become reasoning; false
    #[serde(skip_serializing_if = "Option::is_none")]
    uses_reasoning_parser: Option<bool>,
    /// Most requests under way at once, in each gateway; further ones wait; 1000
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    num_concurrent_requests: Option<u32>,
    /// How often the client of a stream gets a comment while the provider says nothing yet; null: never
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 600_000)]
    stream_comment_interval_ms: Option<u32>,
    /// What becomes of a hosted provider's answer whose client has left: it is told to stop, or read on within bounds
    /// so that what it costs is known; cancel
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<LeavingClientsPolicy>)]
    leaving_clients: Option<LeavingClients>,
    /// Most requests a minute, in each gateway; further ones go to others that serve the model, or are refused
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000_000)]
    requests_per_minute: Option<u32>,
    /// When requests wait in the gateway because its servers have too much to do: `auto`, when servers of one's own say
    /// so; `always`, also when their time to the first byte shows it, and at hosted ones; `never`
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HoldBackMode>)]
    hold_back: Option<HoldBack>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_traits: Option<ChatTraits>,
}

/// Where a Chat Completions server strays from the rest; each as the preset has it, unless it is given.
#[derive(Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct ChatTraits {
    /// How reasoning of earlier turns goes back to the provider
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReasoningReplayMode>)]
    reasoning_replay: Option<ReasoningReplay>,
    /// What the limit of an answer's tokens is called
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<MaxTokensName>)]
    max_tokens_field: Option<MaxTokensField>,
    /// Top-level fields that it refuses
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 64)]
    omit_fields: Option<Vec<FieldName>>,
    /// Tool messages must carry the function's name
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_messages_named: Option<bool>,
    /// Tool calls carry a `thought_signature` that the next turn sends back
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signatures: Option<bool>,
    /// It admits one system message, at the beginning
    #[serde(skip_serializing_if = "Option::is_none")]
    one_system_message: Option<bool>,
    /// It takes `file` parts
    #[serde(skip_serializing_if = "Option::is_none")]
    takes_files: Option<bool>,
    /// It takes `input_audio` parts
    #[serde(skip_serializing_if = "Option::is_none")]
    takes_audio: Option<bool>,
    /// It takes `stream_options.include_usage`
    #[serde(skip_serializing_if = "Option::is_none")]
    takes_stream_options: Option<bool>,
}

#[derive(Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(min_length = 1, max_length = 64)]
pub struct FieldName(String);

#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "a schema; values are `BackendFormat`")]
enum ProviderFormat {
    OpenaiChat,
    OpenaiResponses,
    AnthropicMessages,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; values are `LeavingClients`")]
enum LeavingClientsPolicy {
    Cancel,
    Drain,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; values are `HoldBack`")]
enum HoldBackMode {
    Auto,
    Always,
    Never,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; values are `ReasoningReplay`")]
enum ReasoningReplayMode {
    Auto,
    Drop,
    ThinkTags,
    ReasoningContent,
    Reasoning,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "a schema; values are `MaxTokensField`")]
enum MaxTokensName {
    MaxTokens,
    MaxCompletionTokens,
}

impl BackendFields {
    pub fn accept(self, preset: Option<&Preset>) -> Result<Backend, Error> {
        let base = backend_of(preset);
        if self.pinned_model.as_deref().is_some_and(|id| !is_upstream_id(id)) {
            let reason = "a model id has 1 to 255 bytes and no control characters";
            return Err(Error::invalid("pinned_model", reason));
        }
        Ok(Backend {
            format: self.backend_format.unwrap_or(base.format),
            pinned_model: self.pinned_model,
            uses_reasoning_parser: self.uses_reasoning_parser.unwrap_or(base.uses_reasoning_parser),
            num_concurrent_requests: self.num_concurrent_requests.unwrap_or(base.num_concurrent_requests),
            stream_comment_interval_ms: self.stream_comment_interval_ms,
            leaving_clients: self.leaving_clients.unwrap_or(base.leaving_clients),
            requests_per_minute: self.requests_per_minute.or(base.requests_per_minute),
            hold_back: self.hold_back.unwrap_or(base.hold_back),
            chat: self.chat_traits.unwrap_or_default().over(base.chat),
        })
    }

    /// What is to be shown of `backend`, which was made with `preset`.
    pub fn showing(backend: Backend, preset: Option<&Preset>) -> Self {
        let bases = [Backend::default(), backend_of(preset)];
        let [plain, base] = &bases;
        let traits = ChatTraits::showing(backend.chat, &plain.chat, &base.chat);
        Self {
            backend_format: unusual(backend.format, &plain.format, &base.format),
            pinned_model: backend.pinned_model,
            uses_reasoning_parser: unusual(
                backend.uses_reasoning_parser,
                &plain.uses_reasoning_parser,
                &base.uses_reasoning_parser,
            ),
            num_concurrent_requests: unusual(
                backend.num_concurrent_requests,
                &plain.num_concurrent_requests,
                &base.num_concurrent_requests,
            ),
            stream_comment_interval_ms: backend.stream_comment_interval_ms,
            leaving_clients: unusual(backend.leaving_clients, &plain.leaving_clients, &base.leaving_clients),
            requests_per_minute: backend.requests_per_minute,
            hold_back: unusual(backend.hold_back, &plain.hold_back, &base.hold_back),
            chat_traits: (traits != ChatTraits::default()).then_some(traits),
        }
    }
}

fn backend_of(preset: Option<&Preset>) -> Backend {
    preset.map(Preset::backend).unwrap_or_default()
}

fn unusual<T: PartialEq>(value: T, plain: &T, base: &T) -> Option<T> {
    (value != *plain || value != *base).then_some(value)
}

impl ChatTraits {
    fn over(self, base: backend::ChatTraits) -> backend::ChatTraits {
        let omitted = self.omit_fields.map(|fields| fields.into_iter().map(|field| field.0).collect());
        backend::ChatTraits {
            reasoning_replay: self.reasoning_replay.unwrap_or(base.reasoning_replay),
            max_tokens_field: self.max_tokens_field.unwrap_or(base.max_tokens_field),
            omit_fields: omitted.unwrap_or(base.omit_fields),
            tool_messages_named: self.tool_messages_named.unwrap_or(base.tool_messages_named),
            thought_signatures: self.thought_signatures.unwrap_or(base.thought_signatures),
            one_system_message: self.one_system_message.unwrap_or(base.one_system_message),
            takes_files: self.takes_files.unwrap_or(base.takes_files),
            takes_audio: self.takes_audio.unwrap_or(base.takes_audio),
            takes_stream_options: self.takes_stream_options.unwrap_or(base.takes_stream_options),
        }
    }

    fn showing(chat: backend::ChatTraits, plain: &backend::ChatTraits, base: &backend::ChatTraits) -> Self {
        let omitted = unusual(chat.omit_fields, &plain.omit_fields, &base.omit_fields);
        Self {
            reasoning_replay: unusual(chat.reasoning_replay, &plain.reasoning_replay, &base.reasoning_replay),
            max_tokens_field: unusual(chat.max_tokens_field, &plain.max_tokens_field, &base.max_tokens_field),
            omit_fields: omitted.map(|fields| fields.into_iter().map(FieldName).collect()),
            tool_messages_named: unusual(
                chat.tool_messages_named,
                &plain.tool_messages_named,
                &base.tool_messages_named,
            ),
            thought_signatures: unusual(
                chat.thought_signatures,
                &plain.thought_signatures,
                &base.thought_signatures,
            ),
            one_system_message: unusual(
                chat.one_system_message,
                &plain.one_system_message,
                &base.one_system_message,
            ),
            takes_files: unusual(chat.takes_files, &plain.takes_files, &base.takes_files),
            takes_audio: unusual(chat.takes_audio, &plain.takes_audio, &base.takes_audio),
            takes_stream_options: unusual(
                chat.takes_stream_options,
                &plain.takes_stream_options,
                &base.takes_stream_options,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::presets;

    fn read(body: Value) -> BackendFields {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_is_left_out_is_as_the_preset_has_it_member_by_member() {
        let gemini = presets::find("gemini");
        let given = json!({"pinned_model": "m", "chat_traits": {"thought_signatures": false}});
        let backend = read(given).accept(gemini).unwrap();
        assert!(backend.chat.tool_messages_named && !backend.chat.thought_signatures);
        assert!(backend.chat.omit_fields.contains(&"store".to_owned()));
        assert_eq!(read(json!({})).accept(None).unwrap(), Backend::default());
        assert_eq!(read(json!({"num_concurrent_requests": null})).accept(None).unwrap(), Backend::default());
    }

    #[test]
    fn an_answer_that_is_sent_back_changes_nothing() {
        let unlike_gemini = json!({"chat_traits": {"omit_fields": [], "tool_messages_named": false}});
        for (preset, given) in [
            (None, json!({})),
            (None, json!({"backend_format": "OPENAI_RESPONSES", "uses_reasoning_parser": true})),
            (presets::find("gemini"), json!({"num_concurrent_requests": 16})),
            (presets::find("gemini"), unlike_gemini),
            (None, json!({"stream_comment_interval_ms": 15_000, "leaving_clients": "drain"})),
            (None, json!({"requests_per_minute": 60, "hold_back": "never"})),
            (presets::find("openai"), json!({"backend_format": "OPENAI_CHAT", "pinned_model": "m"})),
        ] {
            let backend = read(given).accept(preset).unwrap();
            let shown = serde_json::to_value(BackendFields::showing(backend.clone(), preset)).unwrap();
            assert_eq!(read(shown).accept(preset).unwrap(), backend);
        }
        let plain = BackendFields::showing(Backend::default(), presets::find("together"));
        assert_eq!(serde_json::to_value(plain).unwrap(), json!({}), "nothing beyond what the platform has");
    }

    #[test]
    fn a_pinned_model_is_an_id_that_can_be_sent() {
        for bad in ["", "a\nb", &"x".repeat(256)] {
            assert!(read(json!({"pinned_model": bad})).accept(None).is_err(), "{bad:?}");
        }
    }
}
