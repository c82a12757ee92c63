//! Input items: what each becomes in the conversation.
//!
//! Absent on purpose: items that stand for something stored, or that only their vendor can read; they are refused,
//! while mere receipts of a vendor's tools are passed over, since clients send back whole outputs.

use proto_shared::backend::ChatTraits;
use smallvec::SmallVec;

use super::content::{name, named, parts, texts};
use super::conversation::{Arguments, Call, Conversation, Output};
use super::error::{BadRequest, Problem, TypeNamed};
use super::names;
use super::tools::{Again, Tools};
use super::wire::{Node, Object, members};

members!(ItemMembers {
    r#type,
    role,
    content,
    summary,
    call_id,
    namespace,
    name,
    arguments,
    input,
    output,
    tools,
    tool_calls,
    tool_call_id,
});

members!(ThoughtMembers { text });

members!(ChatCall { id, function });

members!(ChatFunction { name, arguments });

/// Reads one item.
pub fn item<'a>(
    item: &Object<'_, ItemMembers<'a>>,
    chat: &mut Conversation<'_>,
    tools: &mut Tools<'a>,
    traits: &ChatTraits,
) -> Result<(), BadRequest> {
    let kind = match item.has.r#type {
        None if item.has.role.is_some() => return message(item, chat, traits),
        kind => item.need("type", kind)?,
    };
    match named(kind)?.as_ref() {
        "message" => message(item, chat, traits),
        "reasoning" => reasoning(item, chat),
        "function_call" => {
            let arguments = arguments(item.get("arguments", item.has.arguments))?;
            call(item, arguments, chat)
        }
        "custom_tool_call" => {
            let input = Arguments::Input(item.need_text("input", item.has.input)?);
            call(item, input, chat)
        }
        "function_call_output" | "custom_tool_call_output" => {
            let id = name(item.need("call_id", item.has.call_id)?)?;
            chat.tool(&id, &output(item.get("output", item.has.output), traits)?);
            Ok(())
        }
        "additional_tools" => tools.add(item.need("tools", item.has.tools)?, Again::Replaces),
        "web_search_call"
        | "file_search_call"
        | "code_interpreter_call"
        | "image_generation_call"
        | "mcp_list_tools" => Ok(()),
        "item_reference" => Err(item.bad(Problem::Unsupported(
            "items are not stored here; send the item itself, as clients do with `store: false`",
        ))),
        other => Err(item.bad(Problem::Untranslatable(TypeNamed::new(other)))),
    }
}

fn message<'a>(
    item: &Object<'_, ItemMembers<'a>>,
    chat: &mut Conversation<'_>,
    traits: &ChatTraits,
) -> Result<(), BadRequest> {
    let role = item.need("role", item.has.role)?;
    match named(role)?.as_ref() {
        "user" => chat.user(&parts(item.need("content", item.has.content)?, traits)?),
        "system" | "developer" => {
            let mut said = SmallVec::<[_; 2]>::new();
            texts(item.need("content", item.has.content)?, |text| said.push(text))?;
            chat.system(&said);
        }
        "assistant" => {
            let assistant = chat.assistant();
            if let Some(content) = item.get("content", item.has.content) {
                texts(content, |text| assistant.says(text))?;
            }
            if let Some(calls) = item.get("tool_calls", item.has.tool_calls) {
                calls.objects(|inline| chat_call(inline, chat))?;
            }
        }
        "tool" => {
            let id = name(item.need("tool_call_id", item.has.tool_call_id)?)?;
            chat.tool(&id, &output(item.get("content", item.has.content), traits)?);
        }
        _ => return Err(role.bad(Problem::UnknownRole)),
    }
    Ok(())
}

/// The summary counts, else the content.
fn reasoning<'a>(item: &Object<'_, ItemMembers<'a>>, chat: &mut Conversation<'_>) -> Result<(), BadRequest> {
    let assistant = chat.assistant();
    let mut any = false;
    for list in [item.get("summary", item.has.summary), item.get("content", item.has.content)] {
        let Some(list) = list.filter(|_| !any) else { continue };
        list.objects(|thought: &Object<'_, ThoughtMembers<'a>>| {
            if let Some(text) = thought.text_of("text", thought.has.text)? {
                any |= !text.is_empty();
                assistant.thinks(text);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn call<'a>(
    item: &Object<'_, ItemMembers<'a>>,
    arguments: Arguments<'a>,
    chat: &mut Conversation<'_>,
) -> Result<(), BadRequest> {
    let id = name(item.need("call_id", item.has.call_id)?)?;
    let namespace = item.get("namespace", item.has.namespace).map(name).transpose()?;
    let sent = names::sent(namespace.as_deref(), name(item.need("name", item.has.name)?)?);
    chat.call(&Call { id: &id, name: &sent, arguments });
    Ok(())
}

/// A call inside a chat message.
fn chat_call<'a>(call: &Object<'_, ChatCall<'a>>, chat: &mut Conversation<'_>) -> Result<(), BadRequest> {
    let id = name(call.need("id", call.has.id)?)?;
    let function_node = call.need("function", call.has.function)?;
    let function = function_node.object::<ChatFunction<'a>>()?;
    let sent = names::sent(None, name(function.need("name", function.has.name)?)?);
    let arguments = arguments(function.get("arguments", function.has.arguments))?;
    chat.call(&Call { id: &id, name: &sent, arguments });
    Ok(())
}

fn arguments<'a>(node: Option<Node<'a, '_>>) -> Result<Arguments<'a>, BadRequest> {
    match node {
        None => Ok(Arguments::None),
        Some(node) if node.is_object() => Ok(Arguments::Json(node.raw())),
        Some(node) => Ok(Arguments::Text(node.text()?)),
    }
}

fn output<'a>(node: Option<Node<'a, '_>>, traits: &ChatTraits) -> Result<Output<'a>, BadRequest> {
    match node {
        None => Ok(Output::None),
        Some(node) if node.is_text() || node.is_list() => Ok(Output::Parts(parts(node, traits)?)),
        Some(node) => Ok(Output::Json(node.raw())),
    }
}
