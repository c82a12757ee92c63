//! Members a provider adds to request bodies: defaults yield to the client's, required ones win.
//!
//! The merge is shallow and done by splicing: what is inserted comes first in the object, what is required replaces
//! the client's value where it stands.

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::BodyError;
use super::members::{Member, walk};
use super::request::{RequestScan, names};
use super::splice::Parts;

/// How many values are replaced before the list of them moves to the heap.
const USUAL_REPLACEMENTS: usize = 8;

/// How often a body may repeat members that are replaced; each costs a segment and a copy of the required value.
pub const MAX_REPEATED_MEMBERS: usize = 16;

/// A provider's default and required members, serialised once.
#[derive(Debug, Clone)]
pub struct ExtraBody {
    members: Vec<Extra>,
}

#[derive(Debug, Clone)]
struct Extra {
    name: Box<str>,
    /// `"name":value,`
    insertion: Bytes,
    value: Bytes,
    required: bool,
}

impl ExtraBody {
    /// `None` when there is nothing to add.
    pub fn new(default: &Map<String, Value>, required: &Map<String, Value>) -> Option<Self> {
        let defaults = default.iter().filter(|(name, _)| !required.contains_key(*name));
        let members: Vec<Extra> = required
            .iter()
            .map(|(name, value)| Extra::new(name, value, true))
            .chain(defaults.map(|(name, value)| Extra::new(name, value, false)))
            .collect();
        (!members.is_empty()).then_some(Self { members })
    }

    /// Merges; with `model`, also puts its value in the place of the model's name, unless a model is required.
    ///
    /// Without `model` a body that is not a JSON object passes as it is; one that is an object and too deep to be
    /// checked, or that repeats members without end, doesn't, since required members must not be avoidable.
    pub fn apply(&self, body: &Bytes, model: Option<(&RequestScan<'_>, &Bytes)>) -> Result<Parts, BodyError> {
        let mut merge =
            Merge { present: SmallVec::from_elem(false, self.members.len()), edits: SmallVec::new() };
        let model_value = model.map(|(_, value)| value).filter(|_| !self.requires("model"));
        let mut model_seen = false;
        let outer = walk(body, |body, member| {
            if let Some(value) = model_value
                && names(body, &member, "model")
            {
                model_seen = true;
                merge.edits.push((member.value.clone(), value.clone()));
            }
            merge.note(&self.members, body, member);
            if merge.edits.len() > self.members.len() + MAX_REPEATED_MEMBERS {
                return Err(BodyError::RepeatedMembers);
            }
            Ok(())
        });
        let outer = match outer {
            Ok(outer) => outer,
            Err(error @ (BodyError::TooDeep | BodyError::RepeatedMembers)) => return Err(error),
            Err(error) if model.is_some() => return Err(error),
            Err(_) => return Ok(Parts::whole(body.clone())),
        };
        let mut insertions: SmallVec<[Bytes; USUAL_REPLACEMENTS]> = SmallVec::new();
        if let Some(value) = model_value
            && !model_seen
        {
            insertions.push([b"\"model\":", value.as_ref(), b","].concat().into());
        }
        for (extra, present) in self.members.iter().zip(&merge.present) {
            let routed = model_value.is_some() && &*extra.name == "model";
            if !present && !routed {
                insertions.push(extra.insertion.clone());
            }
        }
        if outer.empty
            && let Some(last) = insertions.last_mut()
        {
            last.truncate(last.len().saturating_sub(1));
        }
        Ok(join(body, outer.open, insertions, merge.edits))
    }

    /// The names of all members with their values.
    pub fn members(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.members.iter().map(|extra| (extra.name.as_ref(), extra.value.as_ref()))
    }

    /// Whether a member's value wins over the client's.
    pub fn requires(&self, name: &str) -> bool {
        self.members.iter().any(|extra| extra.required && &*extra.name == name)
    }
}

impl Extra {
    fn new(name: &str, value: &Value, required: bool) -> Self {
        let mut text = Value::from(name).to_string();
        text.push(':');
        let value_start = text.len();
        text.push_str(&value.to_string());
        let value_end = text.len();
        text.push(',');
        let insertion = Bytes::from(text);
        Self { name: name.into(), value: insertion.slice(value_start..value_end), insertion, required }
    }
}

/// What a pass over the client's members has found.
struct Merge {
    /// For each extra member, whether the client sent one of that name.
    present: SmallVec<[bool; USUAL_REPLACEMENTS]>,
    edits: SmallVec<[(Range<usize>, Bytes); USUAL_REPLACEMENTS]>,
}

impl Merge {
    fn note(&mut self, members: &[Extra], body: &[u8], member: Member) {
        for (extra, present) in members.iter().zip(&mut self.present) {
            if names(body, &member, &extra.name) {
                *present = true;
                if extra.required {
                    self.edits.push((member.value, extra.value.clone()));
                }
                return;
            }
        }
    }
}

fn join(
    body: &Bytes,
    open: usize,
    insertions: impl IntoIterator<Item = Bytes>,
    edits: impl IntoIterator<Item = (Range<usize>, Bytes)>,
) -> Parts {
    let mut parts = Parts::default();
    parts.push_range(body, 0..open);
    insertions.into_iter().for_each(|insertion| parts.push(insertion));
    let mut at = open;
    for (span, value) in edits {
        parts.push_range(body, at..span.start);
        parts.push(value);
        at = span.end;
    }
    parts.push_range(body, at..body.len());
    parts
}
