//! Tools: what the provider is offered, as functions, and the names under which their calls come back.
//!
//! What must stay true: two tools never share a name on the wire; schemas go as they were spelt. Tools that only
//! their vendor can run are left out, since clients offer them unasked.

use std::borrow::Cow;
use std::collections::HashMap;

use super::content::{name, named};
use super::error::{BadRequest, Problem};
use super::names;
use super::text::{Json, Text};
use super::wire::{Node, Object, members};
use crate::dialect::responses::turn::{ToolName, ToolNames};

/// The most tools that one request may offer; hosted servers take some hundreds at most.
pub const TOOLS_MAX: usize = 4096;

const CUSTOM_PARAMETERS: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

members!(ToolMembers { r#type, name, description, parameters, strict, format, tools });

members!(Grammar { r#type, syntax, definition });

/// The tools of a request that have a form in chat completions.
#[derive(Debug, Default)]
pub struct Tools<'a> {
    offered: Vec<Tool<'a>>,
    by_name: HashMap<Cow<'a, str>, usize>,
    /// Tools that were left out.
    pub dropped: usize,
}

#[derive(Debug)]
struct Tool<'a> {
    sent: Cow<'a, str>,
    namespace: Option<Cow<'a, str>>,
    name: Cow<'a, str>,
    description: Option<Text<'a>>,
    shape: Shape<'a>,
}

#[derive(Debug)]
enum Shape<'a> {
    Function {
        parameters: Option<&'a str>,
        strict: bool,
    },
    /// A tool that takes text, maybe of a grammar: how it is called, and its rules.
    Custom {
        grammar: Option<(Text<'a>, Text<'a>)>,
    },
}

/// Whether a name that was declared before may be declared again, for the same tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    Refused,
    /// The later declaration counts: a history may tell of its tools repeatedly.
    Replaces,
}

impl<'a> Tools<'a> {
    /// Takes a list of tools.
    pub fn add(&mut self, list: Node<'a, '_>, again: Again) -> Result<(), BadRequest> {
        list.objects(|tool| self.add_one(tool, None, again))
    }

    fn add_one(
        &mut self,
        tool: &Object<'_, ToolMembers<'a>>,
        namespace: Option<&Cow<'a, str>>,
        again: Again,
    ) -> Result<(), BadRequest> {
        let kind = named(tool.need("type", tool.has.r#type)?)?;
        let shape = match kind.as_ref() {
            "function" => {
                let parameters = tool.get("parameters", tool.has.parameters);
                let strict = tool.get("strict", tool.has.strict);
                Shape::Function {
                    parameters: parameters.map(|node| node.braces()).transpose()?,
                    strict: strict.map(|node| node.boolean()).transpose()?.unwrap_or_default(),
                }
            }
            "custom" => {
                Shape::Custom { grammar: tool.get("format", tool.has.format).map_or(Ok(None), grammar)? }
            }
            "namespace" if namespace.is_none() => {
                let namespace = name(tool.need("name", tool.has.name)?)?;
                return tool
                    .need("tools", tool.has.tools)?
                    .objects(|inner| self.add_one(inner, Some(&namespace), again));
            }
            _ => {
                self.dropped += 1;
                return Ok(());
            }
        };
        let name = name(tool.need("name", tool.has.name)?)?;
        let offered = Tool {
            sent: names::sent(namespace.map(AsRef::as_ref), name.clone()),
            namespace: namespace.cloned(),
            name,
            description: tool.text_of("description", tool.has.description)?,
            shape,
        };
        self.offer(offered, again).map_err(|problem| tool.bad(problem))
    }

    fn offer(&mut self, tool: Tool<'a>, again: Again) -> Result<(), Problem> {
        let is_full = self.offered.len() >= TOOLS_MAX;
        let place = self.by_name.get(&tool.sent).and_then(|index| self.offered.get_mut(*index));
        match place {
            None if is_full => return Err(Problem::TooManyTools),
            None => {
                self.by_name.insert(tool.sent.clone(), self.offered.len());
                self.offered.push(tool);
            }
            Some(earlier) if again == Again::Replaces && earlier.is(&tool) => *earlier = tool,
            Some(_) => return Err(Problem::ToolNameTaken),
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.offered.is_empty()
    }

    /// Where a tool stands among those offered.
    pub fn find(&self, namespace: Option<&str>, name: Cow<'a, str>) -> Option<usize> {
        self.by_name.get(&names::sent(namespace, name)).copied()
    }

    /// Leaves only those that `kept` says yes to, by place and namespace; places that were found count no longer.
    pub fn keep(&mut self, kept: impl Fn(usize, Option<&str>) -> bool) {
        let mut index = 0;
        self.offered.retain(|tool| {
            index += 1;
            kept(index - 1, tool.namespace.as_deref())
        });
        self.by_name.clear();
    }

    pub fn sent_name(&self, index: usize) -> &str {
        self.offered.get(index).map(|tool| tool.sent.as_ref()).unwrap_or_default()
    }

    /// How the calls lead back. Without tools it is empty, and costs nothing.
    pub fn names(&self) -> ToolNames {
        let mut names = ToolNames::default();
        for tool in &self.offered {
            let namespace = || tool.namespace.as_deref().map(Into::into);
            let name = || tool.name.as_ref().into();
            match tool.shape {
                Shape::Custom { .. } => {
                    names.insert(&tool.sent, ToolName::Custom { namespace: namespace(), name: name() });
                }
                Shape::Function { .. } if tool.sent != tool.name => {
                    names.insert(&tool.sent, ToolName::Function { namespace: namespace(), name: name() });
                }
                Shape::Function { .. } => {}
            }
        }
        names
    }

    pub fn write(&self, out: &mut Json) {
        out.put("[");
        self.offered.iter().for_each(|tool| tool.write(out));
        out.put("]");
    }
}

impl Tool<'_> {
    fn is(&self, other: &Self) -> bool {
        let same_kind =
            matches!(self.shape, Shape::Custom { .. }) == matches!(other.shape, Shape::Custom { .. });
        same_kind && self.namespace == other.namespace && self.name == other.name
    }

    fn write(&self, out: &mut Json) {
        out.next().put("{\"type\":\"function\",\"function\":{\"name\":").string(&self.sent);
        match &self.shape {
            Shape::Function { parameters, strict } => {
                if let Some(description) = self.description {
                    out.key("description").text(description);
                }
                if let Some(parameters) = parameters {
                    out.key("parameters").put(parameters);
                }
                if *strict {
                    out.key("strict").put("true");
                }
            }
            Shape::Custom { grammar } => {
                if self.description.is_some() || grammar.is_some() {
                    out.key("description")
                        .put("\"")
                        .put(self.description.map(Text::spelt).unwrap_or_default());
                    if let Some((syntax, definition)) = grammar {
                        out.put(if self.description.is_some_and(|text| !text.is_empty()) {
                            "\\n\\n"
                        } else {
                            ""
                        });
                        out.put("The input must follow this ").put(syntax.spelt());
                        out.put(" grammar:\\n").put(definition.spelt());
                    }
                    out.put("\"");
                }
                out.key("parameters").put(CUSTOM_PARAMETERS);
            }
        }
        out.put("}}");
    }
}

fn grammar<'a>(node: Node<'a, '_>) -> Result<Option<(Text<'a>, Text<'a>)>, BadRequest> {
    let format = node.object::<Grammar<'a>>()?;
    let Some(kind) = format.get("type", format.has.r#type) else { return Ok(None) };
    if named(kind)? != "grammar" {
        return Ok(None);
    }
    let syntax = format.need_text("syntax", format.has.syntax)?;
    Ok(Some((syntax, format.need_text("definition", format.has.definition)?)))
}
