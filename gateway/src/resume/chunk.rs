//! One chunk of a chat completion stream: where everything is that a second stream may have to change.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use crate::body::{BodyError, Kind, Member, decode, walk};

type Span = Range<usize>;

/// Members of one object beyond which it is not read.
const MEMBERS_MAX: usize = 64;

/// A chunk of plain text, as spans of its event's data.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    pub id: Option<Span>,
    pub created: Option<Span>,
    pub model: Option<Span>,
    pub fingerprint: Option<Span>,
    /// Absent when it is null.
    pub usage: Option<Usage>,
    pub choice: Option<Choice>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    pub delta: Option<Span>,
    pub has_role: bool,
    /// The text's string, quotes included; absent when it is null.
    pub content: Option<Span>,
    pub has_finish: bool,
}

/// Counts with their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt: Option<(Span, u64)>,
    pub completion: Option<(Span, u64)>,
    pub total: Option<(Span, u64)>,
}

impl Chunk {
    /// `None` for all that is not known to be a chunk of one plain text.
    pub fn read(data: &[u8]) -> Option<Self> {
        let (mut chunk, mut plain) = (Self::default(), true);
        each_member(data, 0..data.len(), |name, member| match name {
            "id" => chunk.id = Some(member.value),
            "created" => chunk.created = Some(member.value),
            "model" => chunk.model = Some(member.value),
            "system_fingerprint" => chunk.fingerprint = Some(member.value),
            "usage" if is_null(data, &member) => {}
            "usage" => match Usage::read(data, member.value) {
                Some(usage) => chunk.usage = Some(usage),
                None => plain = false,
            },
            "choices" => match Choice::read_only(data, &member) {
                Some(choice) => chunk.choice = choice,
                None => plain = false,
            },
            "error" => plain &= is_null(data, &member),
            _ => {}
        })?;
        plain.then_some(chunk)
    }

    /// The text that it brings.
    pub fn text<'d>(&self, data: &'d [u8]) -> Option<Cow<'d, str>> {
        match self.choice.as_ref().and_then(|choice| choice.content.clone()) {
            Some(span) => decode(data.get(span.start + 1..span.end.saturating_sub(1))?),
            None => Some(Cow::Borrowed("")),
        }
    }

    pub fn has_finish(&self) -> bool {
        self.choice.as_ref().is_some_and(|choice| choice.has_finish)
    }

    pub fn completion_tokens(&self) -> Option<u64> {
        self.usage.as_ref()?.completion.as_ref().map(|(_, count)| *count)
    }

    pub fn has_role(&self) -> bool {
        self.choice.as_ref().is_some_and(|choice| choice.has_role)
    }
}

impl Choice {
    /// The only choice of a list, or that there is none.
    fn read_only(data: &[u8], list: &Member) -> Option<Option<Self>> {
        let (start, end) = (list.value.start + 1, list.value.end.saturating_sub(1));
        if list.kind != Kind::Container || data.get(list.value.start) != Some(&b'[') {
            return None;
        }
        if data.get(start..end)?.trim_ascii().is_empty() {
            return Some(None);
        }
        let (mut choice, mut plain) = (Self::default(), true);
        each_member(data, start..end, |name, member| match name {
            "index" => plain &= data.get(member.value) == Some(b"0"),
            "delta" => match choice.read_delta(data, &member) {
                Some(()) => choice.delta = Some(member.value),
                None => plain = false,
            },
            "finish_reason" => choice.has_finish = !is_null(data, &member),
            "logprobs" => plain &= is_null(data, &member),
            _ => {}
        })?;
        plain.then_some(Some(choice))
    }

    /// Anything but a role and a text has to be empty.
    fn read_delta(&mut self, data: &[u8], delta: &Member) -> Option<()> {
        let mut plain = true;
        each_member(data, delta.value.clone(), |name, member| match name {
            "role" => self.has_role = !is_null(data, &member),
            "content" if member.kind == Kind::Text => self.content = Some(member.value),
            _ => plain &= is_empty(data, &member),
        })?;
        plain.then_some(())
    }
}

impl Usage {
    fn read(data: &[u8], object: Span) -> Option<Self> {
        let mut usage = Self::default();
        each_member(data, object, |name, member| {
            let count = text(data, &member).parse().ok().map(|count| (member.value, count));
            match name {
                "prompt_tokens" => usage.prompt = count,
                "completion_tokens" => usage.completion = count,
                "total_tokens" => usage.total = count,
                _ => {}
            }
        })?;
        Some(usage)
    }
}

/// Shows the members of the object at `span`, as spans of `data`. `None` when it is none, has too many
/// or names one twice.
pub fn each_member(data: &[u8], span: Span, mut see: impl FnMut(&str, Member)) -> Option<()> {
    let at = span.start;
    let mut seen = SmallVec::<[Cow<'_, str>; 16]>::new();
    let object = data.get(span)?;
    walk(object, |_, mut member| {
        let name = object.get(member.key.clone()).and_then(decode).unwrap_or_default();
        if seen.len() == MEMBERS_MAX || seen.contains(&name) {
            return Err(BodyError::RepeatedMembers);
        }
        member.key = member.key.start + at..member.key.end + at;
        member.value = member.value.start + at..member.value.end + at;
        see(&name, member);
        seen.push(name);
        Ok(())
    })
    .ok()
    .map(|_| ())
}

/// A value's bytes as text.
pub fn text<'d>(data: &'d [u8], member: &Member) -> &'d str {
    data.get(member.value.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

pub fn is_null(data: &[u8], member: &Member) -> bool {
    text(data, member) == "null"
}

fn is_empty(data: &[u8], member: &Member) -> bool {
    matches!(text(data, member), "null" | "\"\"" | "[]" | "{}")
}
