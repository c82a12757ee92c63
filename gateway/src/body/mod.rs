//! Request and reply bodies: found, cut and joined, never re-serialised.
//!
//! What must stay true: no function here does I/O, keeps more memory than a named bound, or panics on input; bytes
//! that are not named in a rule leave as they came. A request body is checked whole before anything is cut out of
//! it, because the model we route on must be the model the upstream reads; a reply is only looked at, so what can't
//! be understood in it passes untouched.
//!
//! Absent on purpose: a JSON parser. Only brackets, strings and the members of the outermost object matter here;
//! numbers and literals are for the upstream to judge.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod blocks;
mod extra;
mod members;
mod reply;
mod request;
mod splice;
mod sse;
mod text;
mod track;
mod usage;

pub use extra::{ExtraBody, MAX_REPEATED_MEMBERS};
pub use members::MAX_DEPTH;
pub(crate) use members::{Kind, Member, walk};
pub use reply::{JsonRewriter, ModelRewrite, Spans, spans};
pub(crate) use request::names;
pub use request::{RequestScan, scan};
pub use splice::{Parts, replace_model};
pub use sse::SseRewriter;
pub(crate) use sse::data_start;
pub(crate) use text::decode;
pub use usage::{Usage, UsageScanner};

/// Why a request body can't be routed. The texts are for API clients; they never repeat the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the request body is empty; send a JSON object")]
    Empty,
    #[error("the request body is not valid JSON (at byte {offset}); send a JSON object")]
    NotJson { offset: usize },
    #[error("the request body is JSON but not an object; send a JSON object")]
    NotAnObject,
    #[error("the request body names `model` more than once; send it once")]
    DuplicateModel,
    #[error("the request body spells `model` in capitals; write it in lower case")]
    ModelMisspelt,
    #[error("`model` must be a string; send the name of a model")]
    ModelNotAString,
    #[error("the request body is not valid UTF-8; encode it as UTF-8")]
    InvalidUtf8,
    #[error("the request body is nested deeper than {MAX_DEPTH} levels; send a flatter object")]
    TooDeep,
    #[error("the request body goes on after its JSON object; send one object")]
    TrailingData,
    #[error("the request body repeats members that the provider sets; send each member once")]
    RepeatedMembers,
}

impl BodyError {
    /// A stable label for the error body and for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "body_empty",
            Self::NotJson { .. } => "body_not_json",
            Self::NotAnObject => "body_not_an_object",
            Self::DuplicateModel => "model_duplicate",
            Self::ModelMisspelt => "model_misspelt",
            Self::ModelNotAString => "model_not_a_string",
            Self::InvalidUtf8 => "body_invalid_utf8",
            Self::TooDeep => "body_too_deep",
            Self::TrailingData => "body_trailing_data",
            Self::RepeatedMembers => "body_repeated_members",
        }
    }
}

#[cfg(test)]
mod tests;
