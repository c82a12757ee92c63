//! Which of the tools the model may or must call.

use std::borrow::Cow;
use std::collections::HashSet;

use super::content::{name, named};
use super::error::{BadRequest, Problem};
use super::text::Json;
use super::tools::Tools;
use super::wire::{Node, Object, members};

members!(ChoiceMembers { r#type, name, namespace, mode, tools });

/// A `tool_choice` as chat completions know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    Auto,
    None,
    Required,
    /// The function of this name.
    Function(String),
}

impl Choice {
    /// Reads a choice; a list of allowed tools leaves no others in `tools`.
    pub fn read<'a>(node: Node<'a, '_>, tools: &mut Tools<'a>) -> Result<Self, BadRequest> {
        let choice = match () {
            () if node.is_text() => mode(node)?,
            () if node.is_object() => Self::of_object(node, tools)?,
            () => return Err(node.bad(Problem::MustBe("a string or an object"))),
        };
        if tools.is_empty() && choice == Self::Required {
            return Err(node.bad(Problem::NoToolLeft));
        }
        Ok(choice)
    }

    fn of_object<'a>(node: Node<'a, '_>, tools: &mut Tools<'a>) -> Result<Self, BadRequest> {
        let choice = node.object::<ChoiceMembers<'a>>()?;
        let kind = choice.need("type", choice.has.r#type)?;
        match named(kind)?.as_ref() {
            "function" | "custom" => {
                let index = offered(&choice, tools)?;
                Ok(Self::Function(tools.sent_name(index).to_owned()))
            }
            "allowed_tools" => {
                let mode = choice.get("mode", choice.has.mode).map_or(Ok(Self::Auto), mode)?;
                let mut allowed = Allowed::default();
                choice.need("tools", choice.has.tools)?.objects(|tool| allowed.add(tool, tools))?;
                tools.keep(|index, namespace| {
                    allowed.places.contains(&index)
                        || namespace.is_some_and(|namespace| allowed.namespaces.contains(namespace))
                });
                Ok(mode)
            }
            _ => Err(kind.bad(Problem::ToolNotOffered)),
        }
    }

    pub fn write(&self, out: &mut Json) {
        match self {
            Self::Auto => out.put("\"auto\""),
            Self::None => out.put("\"none\""),
            Self::Required => out.put("\"required\""),
            Self::Function(name) => {
                out.put("{\"type\":\"function\",\"function\":{\"name\":").string(name).put("}}")
            }
        };
    }
}

fn mode(node: Node<'_, '_>) -> Result<Choice, BadRequest> {
    match named(node)?.as_ref() {
        "auto" => Ok(Choice::Auto),
        "none" => Ok(Choice::None),
        "required" => Ok(Choice::Required),
        _ => Err(node.bad(Problem::NotOneOf("auto, none and required"))),
    }
}

/// Finds the tool that is named.
fn offered<'a>(choice: &Object<'_, ChoiceMembers<'a>>, tools: &Tools<'a>) -> Result<usize, BadRequest> {
    let chosen = choice.need("name", choice.has.name)?;
    let namespace = choice.get("namespace", choice.has.namespace).map(name).transpose()?;
    let index = tools.find(namespace.as_deref(), name(chosen)?);
    index.ok_or_else(|| {
        chosen.bad(if tools.is_empty() { Problem::NoToolLeft } else { Problem::ToolNotOffered })
    })
}

/// What a list of allowed tools names.
#[derive(Default)]
struct Allowed<'a> {
    places: HashSet<usize>,
    namespaces: HashSet<Cow<'a, str>>,
}

impl<'a> Allowed<'a> {
    /// What was never offered to the provider is passed over.
    fn add(&mut self, tool: &Object<'_, ChoiceMembers<'a>>, tools: &Tools<'a>) -> Result<(), BadRequest> {
        match named(tool.need("type", tool.has.r#type)?)?.as_ref() {
            "function" | "custom" => {
                self.places.insert(offered(tool, tools)?);
            }
            "namespace" => {
                self.namespaces.insert(name(tool.need("name", tool.has.name)?)?);
            }
            _ => {}
        }
        Ok(())
    }
}
