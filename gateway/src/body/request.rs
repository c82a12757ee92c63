//! What the gateway has to know of a request body: which model it asks for, and whether it wants a stream.

use std::borrow::Cow;
use std::ops::Range;

use super::BodyError;
use super::members::{Kind, Member, walk};
use super::text::{decode, spells};

/// A checked request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestScan<'a> {
    pub model: Option<Cow<'a, str>>,
    /// Where the value of `model` is, quotes included.
    pub model_span: Option<Range<usize>>,
    /// Whether `stream` is `true`; the last one counts when it is there twice.
    pub stream: bool,
    /// The index after the `{` of the outermost object.
    pub object_open: usize,
    pub object_empty: bool,
}

/// Checks a body and finds `model` at the top level, whatever its place and spelling.
pub fn scan(body: &[u8]) -> Result<RequestScan<'_>, BodyError> {
    let mut model = None::<Range<usize>>;
    let mut stream = false;
    let outer = walk(body, |body, member| {
        let raw = body.get(member.key.clone()).unwrap_or_default();
        match key(raw, member.key.start)? {
            Key::Model if model.is_some() => return Err(BodyError::DuplicateModel),
            Key::Model => model = Some(model_span(member)?),
            Key::Stream => stream = body.get(member.value) == Some(b"true"),
            Key::Other => {}
        }
        Ok(())
    })?;
    Ok(RequestScan {
        model: model.clone().map(|span| model_name(body, span)).transpose()?,
        model_span: model,
        stream,
        object_open: outer.open,
        object_empty: outer.empty,
    })
}

enum Key {
    Model,
    Stream,
    Other,
}

/// Some readers ignore the case of keys, so `Model` beside `model` would choose for them: it is refused.
#[inline]
fn key(raw: &[u8], at: usize) -> Result<Key, BodyError> {
    match raw {
        b"model" => return Ok(Key::Model),
        b"stream" => return Ok(Key::Stream),
        _ => {}
    }
    if !raw.contains(&b'\\') {
        return if raw.eq_ignore_ascii_case(b"model") {
            Err(BodyError::ModelMisspelt)
        } else {
            Ok(Key::Other)
        };
    }
    let Some(name) = decode(raw) else { return Err(BodyError::NotJson { offset: at }) };
    match name.as_ref() {
        "model" => Ok(Key::Model),
        "stream" => Ok(Key::Stream),
        other if other.eq_ignore_ascii_case("model") => Err(BodyError::ModelMisspelt),
        _ => Ok(Key::Other),
    }
}

fn model_span(member: Member) -> Result<Range<usize>, BodyError> {
    match member.kind {
        Kind::Text => Ok(member.value),
        Kind::Container | Kind::Scalar => Err(BodyError::ModelNotAString),
    }
}

fn model_name(body: &[u8], span: Range<usize>) -> Result<Cow<'_, str>, BodyError> {
    let raw = body.get(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default();
    decode(raw).ok_or(BodyError::NotJson { offset: span.start })
}

/// Whether a member's key spells `name`.
pub fn names(body: &[u8], member: &Member, name: &str) -> bool {
    spells(body.get(member.key.clone()).unwrap_or_default(), name)
}
