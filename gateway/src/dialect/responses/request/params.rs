//! The members of a chat request beside its messages, and what the provider adds to them.

use proto_shared::backend::MaxTokensField;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::Target;
use super::choice::Choice;
use super::content::{filled, named};
use super::error::{BadRequest, Problem, TypeNamed};
use super::fields::Fields;
use super::text::Json;
use super::tools::Tools;
use super::wire::members;

/// Members that the gateway writes itself, whatever a provider's settings say.
const OWN: [&str; 4] = ["messages", "model", "stream", "stream_options"];

members!(Reasoning { effort });

members!(TextMembers { format });

members!(Format { r#type, name, description, schema, strict });

pub struct Params<'t> {
    out: Json,
    target: &'t Target<'t>,
    written: SmallVec<[&'static str; 24]>,
}

impl<'t> Params<'t> {
    /// Goes on in `out`.
    pub fn new(out: Json, target: &'t Target<'t>) -> Self {
        Self { out, target, written: SmallVec::new() }
    }

    /// Begins a member, unless the provider refuses it or requires another value.
    fn begin(&mut self, name: &'static str) -> Option<&mut Json> {
        let refused = self.target.backend.chat.omit_fields.iter().any(|field| field == name);
        if refused || self.target.extra.is_some_and(|extra| extra.requires(name)) {
            return None;
        }
        self.written.push(name);
        Some(self.out.key(name))
    }

    fn copy(&mut self, name: &'static str, raw: Option<&RawValue>) {
        if let Some(raw) = raw
            && let Some(out) = self.begin(name)
        {
            out.put(raw.get());
        }
    }

    pub fn sampling(&mut self, fields: &Fields<'_>) -> Result<(), BadRequest> {
        self.copy(
            match self.target.backend.chat.max_tokens_field {
                MaxTokensField::MaxTokens => "max_tokens",
                MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
            },
            fields.max_output_tokens,
        );
        self.copy("temperature", fields.temperature);
        self.copy("top_p", fields.top_p);
        self.copy("presence_penalty", fields.presence_penalty);
        self.copy("frequency_penalty", fields.frequency_penalty);
        if let Some(count) = fields.top_logprobs.filter(|count| count.get() != "0")
            && let Some(out) = self.begin("logprobs")
        {
            out.put("true");
            self.copy("top_logprobs", Some(count));
        }
        self.copy("user", fields.user);
        self.copy("seed", fields.seed);
        self.copy("stop", fields.stop);
        self.copy("logit_bias", fields.logit_bias);
        self.copy("top_k", fields.top_k);
        self.copy("min_p", fields.min_p);
        self.copy("repetition_penalty", fields.repetition_penalty);
        self.copy("chat_template_kwargs", fields.chat_template_kwargs);
        if let Some(node) = fields.node("reasoning", fields.reasoning) {
            let reasoning = node.object::<Reasoning<'_>>()?;
            reasoning.text_of("effort", reasoning.has.effort)?;
            self.copy("reasoning_effort", reasoning.has.effort);
        }
        Ok(())
    }

    /// Without tools there is nothing to choose, and some servers refuse a choice then.
    pub fn tools(
        &mut self,
        fields: &Fields<'_>,
        tools: &Tools<'_>,
        choice: Option<&Choice>,
    ) -> Result<(), BadRequest> {
        let parallel = fields.parallel_tool_calls()?;
        if tools.is_empty() {
            return Ok(());
        }
        if let Some(out) = self.begin("tools") {
            tools.write(out);
        }
        if let Some(choice) = choice
            && let Some(out) = self.begin("tool_choice")
        {
            choice.write(out);
        }
        if parallel.is_some() {
            self.copy("parallel_tool_calls", fields.parallel_tool_calls);
        }
        Ok(())
    }

    /// Asks for structured output.
    pub fn format(&mut self, fields: &Fields<'_>) -> Result<(), BadRequest> {
        let Some(text) = fields.node("text", fields.text) else { return Ok(()) };
        let text = text.object::<TextMembers<'_>>()?;
        let Some(format) = text.get("format", text.has.format) else { return Ok(()) };
        let format = format.object::<Format<'_>>()?;
        let kind = format.need("type", format.has.r#type)?;
        match named(kind)?.as_ref() {
            "text" => {}
            "json_object" => {
                if let Some(out) = self.begin("response_format") {
                    out.put("{\"type\":\"json_object\"}");
                }
            }
            "json_schema" => {
                let name = filled(format.need("name", format.has.name)?)?;
                let description = format.text_of("description", format.has.description)?;
                let strict =
                    format.get("strict", format.has.strict).map(|node| node.boolean()).transpose()?;
                let schema = format.need("schema", format.has.schema)?.braces()?;
                let Some(out) = self.begin("response_format") else { return Ok(()) };
                out.put("{\"type\":\"json_schema\",\"json_schema\":{").key("name").text(name);
                if let Some(description) = description {
                    out.key("description").text(description);
                }
                out.key("schema").put(schema);
                if let Some(strict) = strict {
                    out.key("strict").put(if strict { "true" } else { "false" });
                }
                out.put("}}");
            }
            other => return Err(kind.bad(Problem::UnknownType(TypeNamed::new(other)))),
        }
        Ok(())
    }

    pub fn stream(&mut self, stream: bool) {
        if stream {
            self.out.key("stream").put("true");
            if self.target.backend.chat.takes_stream_options {
                self.out.key("stream_options").put("{\"include_usage\":true}");
            }
        }
    }

    /// Adds what the provider's settings add, and closes the document.
    pub fn finish(mut self) -> Vec<u8> {
        for (name, value) in self.target.extra.into_iter().flat_map(|extra| extra.members()) {
            if !OWN.contains(&name) && !self.written.contains(&name) {
                self.out.next().string(name).put(":").put(value);
            }
        }
        self.out.put("}");
        self.out.into_bytes()
    }
}
