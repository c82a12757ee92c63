//! What is read of a chat answer: of a chunk of a stream, or of a whole one.
//!
//! What must stay true: texts are borrowed from the answer; unknown members are skipped, not kept; a member of an
//! unexpected type is as good as absent wherever providers are known to be careless.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::lenient::{Count, Text};
use super::mend;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Chunk<'a> {
    #[serde(borrow)]
    choices: Option<First<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Text<'a>,
}

impl<'a> Chunk<'a> {
    /// `None` when it is no chat answer.
    pub fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Some providers count in the choice.
    pub fn usage(&self) -> Option<&'a RawValue> {
        self.usage.or_else(|| self.choices.as_ref()?.0.as_ref()?.usage)
    }

    /// The only choice that counts.
    pub fn into_choice(self) -> Option<Choice<'a>> {
        self.choices?.0
    }

    /// Whether this is an error under a status that promised an answer.
    pub fn is_error(&self) -> bool {
        self.error.is_some_and(says_something) || &*self.object == "error"
    }
}

/// The first choice of index 0, or without an index.
#[derive(Debug, Default)]
struct First<'a>(Option<Choice<'a>>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice<'a> {
    index: Count,
    #[serde(borrow)]
    delta: Option<Box<Message<'a>>>,
    #[serde(borrow)]
    message: Option<Box<Message<'a>>>,
    #[serde(borrow)]
    pub finish_reason: Text<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> Choice<'a> {
    pub fn error(&self) -> Option<&'a RawValue> {
        self.error.filter(|error| says_something(error))
    }

    /// What it adds to the answer.
    pub fn into_message(self) -> Box<Message<'a>> {
        self.delta.or(self.message).unwrap_or_default()
    }
}

/// A message, or a piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message<'a> {
    #[serde(borrow)]
    reasoning_content: Text<'a>,
    #[serde(borrow)]
    reasoning: Text<'a>,
    #[serde(borrow)]
    pub content: Text<'a>,
    #[serde(borrow)]
    pub refusal: Text<'a>,
    #[serde(borrow)]
    pub tool_calls: Option<Vec<ToolPiece<'a>>>,
    /// What tool calls were before there could be several.
    #[serde(borrow)]
    pub function_call: Option<FunctionPiece<'a>>,
}

impl Message<'_> {
    /// Some providers send the same text under both names.
    pub fn reasoning(&self) -> &str {
        if self.reasoning_content.is_empty() { &self.reasoning } else { &self.reasoning_content }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ToolPiece<'a> {
    pub index: Count,
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub function: Option<FunctionPiece<'a>>,
    #[serde(borrow)]
    extra_content: Option<&'a RawValue>,
}

impl<'a> ToolPiece<'a> {
    /// A piece that is neither numbered nor named.
    pub fn of(function: FunctionPiece<'a>) -> Self {
        Self { function: Some(function), ..Self::default() }
    }

    /// What the next turn must send back with this call.
    pub fn thought_signature(&self) -> Option<Text<'a>> {
        let extra: ExtraContent<'a> = serde_json::from_str(self.extra_content?.get()).ok()?;
        Some(extra.google.thought_signature).filter(|signature| !signature.is_empty())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ExtraContent<'a> {
    #[serde(borrow)]
    google: Google<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Google<'a> {
    #[serde(borrow)]
    thought_signature: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FunctionPiece<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl<'a> FunctionPiece<'a> {
    /// A text as it is; an object as its JSON.
    pub fn arguments(&self) -> Text<'a> {
        let Some(raw) = self.arguments.map(RawValue::get) else { return Text::default() };
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str(raw).unwrap_or_else(|_| mended(raw)),
            _ => Text(raw.into()),
        }
    }
}

/// A text that can't be read as it is: skipping over it was no proof.
fn mended(text: &str) -> Text<'static> {
    let read = |json: String| serde_json::from_str(&json).ok();
    Text(mend::mended(text).and_then(read).map(Cow::<str>::Owned).unwrap_or_default())
}

/// Some providers say that there is no error.
fn says_something(error: &RawValue) -> bool {
    !matches!(error.get(), "\"\"" | "{}" | "[]" | "false" | "0")
}

struct FirstVisitor;

impl<'de> Visitor<'de> for FirstVisitor {
    type Value = First<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of choices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<First<'de>, A::Error> {
        while let Some(choice) = choices.next_element::<Choice<'de>>()? {
            if choice.index.0.unwrap_or(0) == 0 {
                while choices.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(First(Some(choice)));
            }
        }
        Ok(First(None))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FirstVisitor)
    }
}
