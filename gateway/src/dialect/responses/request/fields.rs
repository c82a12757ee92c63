//! The members of a Responses request.

use serde_json::value::RawValue;

use super::error::{BadRequest, Problem};
use super::wire::{Braced, Node, members};
use crate::body::{BodyError, scan};
use crate::dialect::responses::turn::Echo;

members!(
    /// What is read; the rest of what clients send is left out.
    #[derive(Debug)]
    Fields {
        input,
        instructions,
        stream,
        max_output_tokens,
        temperature,
        top_p,
        presence_penalty,
        frequency_penalty,
        top_logprobs,
        user,
        reasoning,
        text,
        tools,
        tool_choice,
        parallel_tool_calls,
        metadata,
        service_tier,
        truncation,
        max_tool_calls,
        prompt_cache_key,
        safety_identifier,
        previous_response_id,
        conversation,
        prompt,
        background,
        seed,
        stop,
        logit_bias,
        top_k,
        min_p,
        repetition_penalty,
        chat_template_kwargs,
    }
);

impl<'a> Fields<'a> {
    pub fn read(body: &'a [u8]) -> Result<Self, BadRequest> {
        let text = std::str::from_utf8(body).map_err(|_| BodyError::InvalidUtf8)?;
        let Braced(fields) = serde_json::from_str(text).map_err(|error| why_not(body, &error))?;
        Ok(fields)
    }

    /// A member that was sent.
    pub fn node(&self, name: &'static str, raw: Option<&'a RawValue>) -> Option<Node<'a, 'static>> {
        raw.map(|raw| Node::top(name, raw))
    }

    /// Nothing is kept between two requests, and losing a conversation silently would be worse than an error.
    pub fn refuse_stored(&self) -> Result<(), BadRequest> {
        if let Some(node) = self.node("previous_response_id", self.previous_response_id) {
            return Err(node.bad(Problem::PreviousResponse));
        }
        if let Some(node) = self.node("conversation", self.conversation) {
            return Err(node.bad(Problem::Unsupported(
                "conversations are not stored here; send the whole of it as `input`",
            )));
        }
        if let Some(node) = self.node("prompt", self.prompt) {
            return Err(node.bad(Problem::Unsupported(
                "prompts are not stored here; send the prompt's text as `instructions` or `input`",
            )));
        }
        match self.node("background", self.background) {
            Some(node) if node.boolean()? => Err(node.bad(Problem::Unsupported(
                "responses are not stored here, so none can be fetched later; leave it out, or ask for a stream",
            ))),
            _ => Ok(()),
        }
    }

    /// Checks the members that the response object repeats, whether or not they are sent.
    pub fn check(&self) -> Result<(), BadRequest> {
        let texts = [
            ("instructions", self.instructions),
            ("user", self.user),
            ("service_tier", self.service_tier),
            ("truncation", self.truncation),
            ("prompt_cache_key", self.prompt_cache_key),
            ("safety_identifier", self.safety_identifier),
        ];
        for (name, raw) in texts {
            self.node(name, raw).map(|node| node.text()).transpose()?;
        }
        let numbers = [
            ("max_output_tokens", self.max_output_tokens),
            ("temperature", self.temperature),
            ("top_p", self.top_p),
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
            ("top_logprobs", self.top_logprobs),
            ("max_tool_calls", self.max_tool_calls),
        ];
        for (name, raw) in numbers {
            self.node(name, raw).map(|node| node.number()).transpose()?;
        }
        for (name, raw) in [("metadata", self.metadata), ("reasoning", self.reasoning), ("text", self.text)] {
            self.node(name, raw).map(|node| node.braces()).transpose()?;
        }
        Ok(())
    }

    pub fn stream(&self) -> Result<bool, BadRequest> {
        Ok(self.node("stream", self.stream).map(|node| node.boolean()).transpose()?.unwrap_or_default())
    }

    pub fn parallel_tool_calls(&self) -> Result<Option<bool>, BadRequest> {
        self.node("parallel_tool_calls", self.parallel_tool_calls).map(|node| node.boolean()).transpose()
    }

    pub fn echo(&self, model: &str) -> Result<Echo, BadRequest> {
        let copy = |raw: Option<&RawValue>| raw.map(ToOwned::to_owned);
        Ok(Echo {
            model: model.to_owned(),
            instructions: copy(self.instructions),
            max_output_tokens: copy(self.max_output_tokens),
            max_tool_calls: copy(self.max_tool_calls),
            metadata: copy(self.metadata),
            parallel_tool_calls: self.parallel_tool_calls()?,
            prompt_cache_key: copy(self.prompt_cache_key),
            safety_identifier: copy(self.safety_identifier),
            reasoning: copy(self.reasoning),
            service_tier: copy(self.service_tier),
            temperature: copy(self.temperature),
            top_p: copy(self.top_p),
            presence_penalty: copy(self.presence_penalty),
            frequency_penalty: copy(self.frequency_penalty),
            top_logprobs: copy(self.top_logprobs),
            text: copy(self.text),
            tool_choice: copy(self.tool_choice),
            tools: copy(self.tools),
            truncation: copy(self.truncation),
            user: copy(self.user),
        })
    }
}

/// What is wrong with a body that could not be read, in the words that other routes use.
#[cold]
fn why_not(body: &[u8], error: &serde_json::Error) -> BadRequest {
    if let Err(error) = scan(body) {
        return error.into();
    }
    if error.is_data() {
        return Problem::BodyRepeats.into();
    }
    let line_start = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let offset = line_start.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
    BodyError::NotJson { offset }.into()
}
