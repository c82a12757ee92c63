//! One message, or one piece of one: its reasoning moved into its content by splicing.

use crate::body::{Kind, Member, walk};

/// Most choices of one stream whose reasoning is moved; that of further ones stays in its field.
pub const CHOICES_MAX: usize = 128;

const FIELDS: [&[u8]; 2] = [b"reasoning_content", b"reasoning"];

/// The choices of a stream that are inside a block.
#[derive(Debug, Default)]
pub struct Thinking {
    inside: Vec<u64>,
}

impl Thinking {
    pub fn is_over(&self) -> bool {
        self.inside.is_empty()
    }

    fn set(&mut self, index: u64, is_inside: bool) {
        self.inside.retain(|inside| *inside != index);
        if is_inside {
            self.inside.push(index);
        }
    }
}

/// What a message says, as far as it matters here: the JSON of texts, without quotes.
#[derive(Default)]
struct Said<'a> {
    reasoning: &'a str,
    content: &'a str,
    /// Something that ends a block, beside text.
    more: bool,
}

/// The message with its reasoning in its content; `None` when it stays as it is.
pub fn with_reasoning_in_text(
    message: &str,
    index: u64,
    ends: bool,
    thinking: &mut Thinking,
) -> Option<String> {
    let mut members = Vec::new();
    let outer = walk(message.as_bytes(), |_, member| {
        members.push(member);
        Ok(())
    })
    .ok()?;
    let said = said(message, &members);
    let was_inside = thinking.inside.contains(&index);
    let goes_on = !(ends || said.more) && said.content.is_empty();
    if said.reasoning.is_empty() && (!was_inside || goes_on) {
        return None;
    }
    if !was_inside && goes_on && thinking.inside.len() >= CHOICES_MAX {
        return None;
    }
    thinking.set(index, goes_on);
    let opening = if was_inside { "" } else { "<think>" };
    let closing = if goes_on { "" } else { "</think>" };
    let text = [opening, said.reasoning, closing].concat();
    if members.is_empty() {
        let (before, after) = message.split_at_checked(outer.open)?;
        return Some(format!("{before}\"content\":\"{text}\"{after}"));
    }
    joined(message, &members, &text)
}

fn said<'a>(message: &'a str, members: &[Member]) -> Said<'a> {
    let mut said = Said::default();
    for member in members {
        let value = message.get(member.value.clone()).unwrap_or_default();
        let text = if member.kind == Kind::Text { inside_quotes(value) } else { "" };
        match message.get(member.key.clone()) {
            Some("reasoning_content") if !text.is_empty() => said.reasoning = text,
            Some("reasoning") if said.reasoning.is_empty() => said.reasoning = text,
            Some("content") if member.kind == Kind::Container => said.content = value,
            Some("content") => said.content = text,
            Some("tool_calls" | "function_call") => said.more |= !matches!(value, "null" | "[]" | "{}"),
            Some("refusal") => said.more |= !text.is_empty(),
            _ => {}
        }
    }
    said
}

fn inside_quotes(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default()
}

/// The message with `text` before its content and without its fields for reasoning; what is between the members
/// that stay is what was before each.
fn joined(message: &str, members: &[Member], text: &str) -> Option<String> {
    let is_field =
        |member: &Member| message.as_bytes().get(member.key.clone()).is_some_and(|key| FIELDS.contains(&key));
    let is_content = |member: &Member| message.get(member.key.clone()) == Some("content");
    let has_content = members.iter().any(is_content);
    let mut new = message.get(..members.first()?.key.start.checked_sub(1)?)?.to_owned();
    let mut needs_content = !has_content;
    let (mut end, mut is_first) = (None, true);
    for member in members {
        let start = member.key.start.checked_sub(1)?;
        let before = end.map_or(Some(""), |end| message.get(end..start))?;
        end = Some(member.value.end);
        let value = message.get(member.value.clone())?;
        let own = message.get(start..member.value.end)?;
        let shown = match (is_field(member), is_content(member)) {
            (true, _) if std::mem::take(&mut needs_content) => format!("\"content\":\"{text}\""),
            (true, _) => continue,
            (_, true) => message.get(start..member.value.start)?.to_owned() + &prefixed(value, text),
            _ => own.to_owned(),
        };
        new.push_str(if is_first { "" } else { before });
        new.push_str(&shown);
        is_first = false;
    }
    if needs_content {
        new.push_str(&format!(",\"content\":\"{text}\""));
    }
    new.push_str(message.get(end?..)?);
    Some(new)
}

/// A content with a text before it: a text, a list of parts, or nothing.
fn prefixed(content: &str, text: &str) -> String {
    let part = || format!("{{\"type\":\"text\",\"text\":\"{text}\"}}");
    match content.as_bytes().first() {
        Some(b'"') => format!("\"{text}{}\"", inside_quotes(content)),
        Some(b'[') => {
            let rest = content.get(1..).unwrap_or_default();
            let comma = if rest.trim_start().starts_with(']') { "" } else { "," };
            format!("[{}{comma}{rest}", part())
        }
        _ => format!("\"{text}\""),
    }
}
