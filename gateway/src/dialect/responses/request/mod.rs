//! A Responses request, made into a chat request for one provider.
//!
//! What must stay true: nothing is called for a request that is refused, and a refusal names the place; numbers,
//! schemas, arguments and texts leave as they were spelt; what is unknown is left out, never an error.
//!
//! Absent on purpose: anything that needs earlier responses. The nesting and the UTF-8 of bodies are judged by
//! [`crate::body::scan`]; nothing here descends further than the Responses API does.

mod assistant;
mod choice;
mod content;
mod conversation;
mod error;
mod fields;
mod items;
mod names;
mod params;
mod text;
mod tools;
pub(in crate::dialect) mod wire;

use proto_shared::backend::Backend;

use self::choice::Choice;
use self::conversation::Conversation;
pub use self::error::BadRequest;
use self::error::Problem;
use self::fields::Fields;
use self::params::Params;
use self::text::Json;
use self::tools::{Again, Tools};
use super::turn::Turn;
use crate::body::ExtraBody;

/// Bytes that a chat request may be longer than what it was made of, before its buffer grows.
const USUAL_GROWTH_BYTES: usize = 512;

/// The provider that a request is translated for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    pub backend: &'t Backend,
    /// What the provider calls the model.
    pub model: &'t str,
    /// What the client is to see as the model.
    pub shown_model: &'t str,
    /// Fills in under the request; what it requires wins.
    pub extra: Option<&'t ExtraBody>,
}

/// A chat request, and what its reply is to be made of.
#[derive(Debug)]
pub struct Translated {
    pub body: Vec<u8>,
    pub turn: Turn,
    /// Tools that have no form in chat completions, and were left out.
    pub tools_dropped: usize,
}

/// Makes a chat request of a Responses request.
pub fn translate(body: &[u8], target: &Target<'_>) -> Result<Translated, BadRequest> {
    let fields = Fields::read(body)?;
    fields.refuse_stored()?;
    fields.check()?;
    let mut tools = Tools::default();
    if let Some(list) = fields.node("tools", fields.tools) {
        tools.add(list, Again::Refused)?;
    }
    let mut out = Json::with_capacity(body.len() + USUAL_GROWTH_BYTES);
    out.put("{").key("model").string(target.model).key("messages");
    let out = messages(out, &fields, &mut tools, target.backend)?;
    let choice = fields.node("tool_choice", fields.tool_choice);
    let choice = choice.map(|node| Choice::read(node, &mut tools)).transpose()?;
    let stream = fields.stream()?;
    let tools_dropped = tools.dropped;
    let mut params = Params::new(out, target);
    params.sampling(&fields)?;
    params.tools(&fields, &tools, choice.as_ref())?;
    params.format(&fields)?;
    params.stream(stream);
    Ok(Translated {
        body: params.finish(),
        turn: Turn {
            stream,
            reasoning: target.backend.uses_reasoning_parser,
            thought_signatures: target.backend.chat.thought_signatures,
            echo: fields.echo(target.shown_model)?,
            tools: tools.names(),
        },
        tools_dropped,
    })
}

fn messages<'a>(
    out: Json,
    fields: &Fields<'a>,
    tools: &mut Tools<'a>,
    backend: &Backend,
) -> Result<Json, BadRequest> {
    let Some(input) = fields.node("input", fields.input) else {
        return Err(BadRequest::of("input", Problem::MustBe("a string or a list of items")));
    };
    let mut chat = Conversation::new(out, backend);
    if let Some(instructions) = fields.node("instructions", fields.instructions) {
        chat.lead(instructions.text()?);
    }
    if input.is_text() {
        chat.user(&content::parts(input, &backend.chat)?);
    } else if input.is_list() {
        input.objects(|item| items::item(item, &mut chat, tools, &backend.chat))?;
    } else {
        return Err(input.bad(Problem::MustBe("a string or a list of items")));
    }
    chat.finish().ok_or_else(|| input.bad(Problem::Empty))
}

#[cfg(test)]
mod tests;
