//! Replies: the served name of a model gives way to its public id.
//!
//! What must stay true: only the values of `model`, `response.model` and `message.model` change, and only when they
//! are the served name; no other byte does. The output doesn't depend on how the input is cut. No more is withheld
//! than the bytes of one value that may still turn out to be the served name.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use smallvec::SmallVec;

use super::blocks::names_no_model;
use super::text::{LONGEST_SPELLING, spells};
use super::track::{Found, Tracker};

/// Where the served name stands in a reply, quotes included.
pub type Spans = SmallVec<[Range<usize>; 4]>;

/// The longest name that gives way where any name does.
const LONGEST_ANY_NAME_BYTES: usize = 512;

/// Which name is to be replaced by which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRewrite {
    replaced: Replaced,
    replacement: Box<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Replaced {
    Served(Box<str>),
    /// Whatever the upstream calls the model, up to a length.
    Any,
}

impl ModelRewrite {
    /// `None` when both are the same, so nothing is to be done.
    pub fn new(served: &str, public_id: &str) -> Option<Self> {
        if served == public_id {
            return None;
        }
        Some(Self { replaced: Replaced::Served(served.into()), replacement: quoted(public_id) })
    }

    /// Replaces any name of a model.
    pub fn of_any(public_id: &str) -> Self {
        Self { replaced: Replaced::Any, replacement: quoted(public_id) }
    }

    /// What stands in the place of the served name: a JSON string with its quotes.
    pub fn replacement(&self) -> &[u8] {
        &self.replacement
    }

    /// Bytes of the longest spelling of the served name with its quotes: the most that is ever withheld.
    pub fn longest_value(&self) -> usize {
        match &self.replaced {
            Replaced::Served(name) => name.len() * LONGEST_SPELLING + 2,
            Replaced::Any => LONGEST_ANY_NAME_BYTES + 2,
        }
    }

    /// Whether `held` and `seen` together are the served name with its quotes.
    pub(super) fn is_served(&self, held: &[u8], seen: &[u8]) -> bool {
        if held.is_empty() {
            return self.spells_replaced(seen);
        }
        self.spells_replaced(&[held, seen].concat())
    }

    fn spells_replaced(&self, value: &[u8]) -> bool {
        unquoted(value).is_some_and(|raw| match &self.replaced {
            Replaced::Served(name) => spells(raw, name),
            Replaced::Any => true,
        })
    }

    /// Whether `held` and `seen` together can be the beginning of the served name. After an escape this says yes.
    pub(super) fn may_be_served(&self, held: &[u8], seen: &[u8]) -> bool {
        let Replaced::Served(name) = &self.replaced else { return true };
        let mut raw = held.iter().chain(seen).skip(1);
        let mut served = name.bytes();
        loop {
            match (raw.next(), served.next()) {
                (None, _) | (Some(b'\\'), Some(_)) => return true,
                (Some(raw), Some(byte)) if *raw == byte => {}
                _ => return false,
            }
        }
    }
}

fn quoted(name: &str) -> Box<[u8]> {
    serde_json::Value::from(name).to_string().into_bytes().into()
}

fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Finds the served name in a whole JSON reply.
pub fn spans(body: &[u8], rewrite: &ModelRewrite) -> Spans {
    let mut spans = Spans::new();
    let mut tracker = Tracker::new();
    let mut at = 0;
    while !body.get(at..).is_none_or(names_no_model)
        && let Found::Model(span) = tracker.advance(rewrite, &[], body, at)
    {
        at = span.end;
        spans.push(span);
    }
    spans
}

/// Rewrites a JSON reply that comes in pieces.
#[derive(Debug)]
pub struct JsonRewriter {
    rewrite: Arc<ModelRewrite>,
    tracker: Tracker,
    held: Held,
}

impl JsonRewriter {
    pub fn new(rewrite: Arc<ModelRewrite>) -> Self {
        Self { rewrite, tracker: Tracker::new(), held: Held::default() }
    }

    /// Appends to `out` what `chunk` becomes.
    pub fn feed(&mut self, chunk: &[u8], out: &mut BytesMut) {
        out.reserve(chunk.len() + self.rewrite.longest_value() + self.rewrite.replacement.len());
        let mut copied = 0;
        self.held.track(&mut self.tracker, &self.rewrite, chunk, 0, &mut copied, out);
        out.put_slice(chunk.get(copied..).unwrap_or_default());
    }

    /// Appends what was withheld; the reply ends here.
    pub fn finish(&mut self, out: &mut BytesMut) {
        self.held.release(out);
    }
}

/// The bytes of a value that may be the served name, when its end has not come yet.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<u8>);

impl Held {
    /// Tracks `input` from `at` to its end; `copied` says up to where it is in `out` or held.
    pub(super) fn track(
        &mut self,
        tracker: &mut Tracker,
        rewrite: &ModelRewrite,
        input: &[u8],
        mut at: usize,
        copied: &mut usize,
        out: &mut BytesMut,
    ) {
        loop {
            match tracker.advance(rewrite, &self.0, input, at) {
                Found::Nothing => return,
                Found::Other => self.release(out),
                Found::Model(span) => {
                    self.0.clear();
                    out.put_slice(input.get(*copied..span.start).unwrap_or_default());
                    out.put_slice(&rewrite.replacement);
                    (at, *copied) = (span.end, span.end);
                }
                Found::Pending(start) => {
                    out.put_slice(input.get(*copied..start).unwrap_or_default());
                    self.0.extend_from_slice(input.get(start..).unwrap_or_default());
                    *copied = input.len();
                    return;
                }
            }
        }
    }

    pub(super) fn release(&mut self, out: &mut BytesMut) {
        out.put_slice(&self.0);
        self.0.clear();
    }
}
