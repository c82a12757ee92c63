//! A body as slices of the one that came and of what goes in between.

use std::ops::Range;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::request::RequestScan;

/// A body in pieces, to be written with one vectored write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    pub segments: SmallVec<[Bytes; 5]>,
    /// The bytes of all segments together.
    pub len: usize,
}

impl Parts {
    /// A body as it came.
    pub fn whole(body: Bytes) -> Self {
        Self { len: body.len(), segments: smallvec![body] }
    }

    pub(super) fn push(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.len += segment.len();
            self.segments.push(segment);
        }
    }

    pub(super) fn push_range(&mut self, body: &Bytes, range: Range<usize>) {
        if range.start < range.end && range.end <= body.len() {
            self.push(body.slice(range));
        }
    }
}

/// Puts `new_value` (a JSON string, quotes included) in the place of the model's name; adds `model` as the first
/// member when there is none.
pub fn replace_model(body: &Bytes, scan: &RequestScan<'_>, new_value: &Bytes) -> Parts {
    let mut parts = Parts::default();
    if let Some(span) = &scan.model_span {
        parts.push_range(body, 0..span.start);
        parts.push(new_value.clone());
        parts.push_range(body, span.end..body.len());
        return parts;
    }
    parts.push_range(body, 0..scan.object_open);
    parts.push(Bytes::from_static(b"\"model\":"));
    parts.push(new_value.clone());
    if !scan.object_empty {
        parts.push(Bytes::from_static(b","));
    }
    parts.push_range(body, scan.object_open..body.len());
    parts
}
