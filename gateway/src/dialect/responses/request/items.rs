//! Input items: what each becomes in the conversation.
//!
//! Absent on purpose: items that stand for something stored, or that only their vendor can read; they are refused,
//! while mere receipts of a vendor's tools are passed over, since clients send back whole outputs.

use std::borrow::Cow;

use proto_shared::backend::ChatTraits;
use smallvec::SmallVec;

use super::content::{filled, named, parts, texts};
use super::conversation::{Arguments, Call, Conversation, Output};
use super::error::{BadRequest, Problem, TypeNamed};
use super::names;
use super::tools::{Again, Tools, tool_name};
use super::wire::{Node, members};

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
    node: Node<'a, '_>,
    chat: &mut Conversation<'_>,
    tools: &mut Tools<'a>,
    traits: &ChatTraits,
) -> Result<(), BadRequest> {
    let item: ItemMembers<'a> = node.members()?;
    let kind = match item.r#type {
        None if item.role.is_some() => return message(&node, &item, chat, traits),
        kind => node.need("type", kind)?,
    };
    match named(kind)?.as_ref() {
        "message" => message(&node, &item, chat, traits),
        "reasoning" => reasoning(&node, &item, chat),
        "function_call" => {
            let arguments = arguments(node.get("arguments", item.arguments))?;
            call(&node, &item, arguments, chat)
        }
        "custom_tool_call" => {
            let input = Arguments::Input(node.need_text("input", item.input)?);
            call(&node, &item, input, chat)
        }
        "function_call_output" | "custom_tool_call_output" => {
            let id = call_id(node.need("call_id", item.call_id)?)?;
            chat.tool(&id, &output(node.get("output", item.output), traits)?);
            Ok(())
        }
        "additional_tools" => tools.add(node.need("tools", item.tools)?, Again::Replaces),
        "web_search_call"
        | "file_search_call"
        | "code_interpreter_call"
        | "image_generation_call"
        | "mcp_list_tools" => Ok(()),
        "item_reference" => {
            Err(node.bad(Problem::Unsupported("nothing is stored here; send the item itself")))
        }
        other => Err(node.bad(Problem::Untranslatable(TypeNamed::new(other)))),
    }
}

fn message<'a>(
    node: &Node<'a, '_>,
    item: &ItemMembers<'a>,
    chat: &mut Conversation<'_>,
    traits: &ChatTraits,
) -> Result<(), BadRequest> {
    let role = node.need("role", item.role)?;
    match named(role)?.as_ref() {
        "user" => chat.user(&parts(node.need("content", item.content)?, traits)?),
        "system" | "developer" => {
            let mut said = SmallVec::<[_; 2]>::new();
            texts(node.need("content", item.content)?, |text| said.push(text))?;
            chat.system(&said);
        }
        "assistant" => {
            let assistant = chat.assistant();
            if let Some(content) = node.get("content", item.content) {
                texts(content, |text| assistant.says(text))?;
            }
            if let Some(calls) = node.get("tool_calls", item.tool_calls) {
                calls.each(|inline| chat_call(inline, chat))?;
            }
        }
        "tool" => {
            let id = call_id(node.need("tool_call_id", item.tool_call_id)?)?;
            chat.tool(&id, &output(node.get("content", item.content), traits)?);
        }
        _ => return Err(role.bad(Problem::UnknownRole)),
    }
    Ok(())
}

/// The summary counts, else the content.
fn reasoning<'a>(
    node: &Node<'a, '_>,
    item: &ItemMembers<'a>,
    chat: &mut Conversation<'_>,
) -> Result<(), BadRequest> {
    let assistant = chat.assistant();
    let mut any = false;
    for list in [node.get("summary", item.summary), node.get("content", item.content)] {
        let Some(list) = list.filter(|_| !any) else { continue };
        list.each(|part| {
            let thought: ThoughtMembers<'a> = part.members()?;
            if let Some(text) = part.text_of("text", thought.text)? {
                any |= !text.is_empty();
                assistant.thinks(text);
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn call<'a>(
    node: &Node<'a, '_>,
    item: &ItemMembers<'a>,
    arguments: Arguments<'a>,
    chat: &mut Conversation<'_>,
) -> Result<(), BadRequest> {
    let id = call_id(node.need("call_id", item.call_id)?)?;
    let namespace = node.get("namespace", item.namespace).map(tool_name).transpose()?;
    let name = names::sent(namespace.as_deref(), tool_name(node.need("name", item.name)?)?);
    chat.call(&Call { id: &id, name: &name, arguments });
    Ok(())
}

/// A call inside a chat message.
fn chat_call<'a>(node: Node<'a, '_>, chat: &mut Conversation<'_>) -> Result<(), BadRequest> {
    let call: ChatCall<'a> = node.members()?;
    let id = call_id(node.need("id", call.id)?)?;
    let function_node = node.need("function", call.function)?;
    let function: ChatFunction<'a> = function_node.members()?;
    let name = names::sent(None, tool_name(function_node.need("name", function.name)?)?);
    let arguments = arguments(function_node.get("arguments", function.arguments))?;
    chat.call(&Call { id: &id, name: &name, arguments });
    Ok(())
}

fn call_id<'a>(node: Node<'a, '_>) -> Result<Cow<'a, str>, BadRequest> {
    filled(node)?.read().ok_or_else(|| node.bad(Problem::HalfCharacter))
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
