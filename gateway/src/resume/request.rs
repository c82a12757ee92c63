//! Which requests can go on elsewhere, and how the request for the rest reads.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use smallvec::SmallVec;

use super::REQUEST_BYTES_MAX;
use super::chunk::{each_member, is_null, text};
use super::stream::SoFar;
use crate::body::{ExtraBody, Member};

/// What continues the last message instead of answering it.
const ASKS_FOR_THE_REST: &[u8] = br#""continue_final_message":true,"add_generation_prompt":false,"#;

/// A chat request whose answer can go on elsewhere, as places in its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Resumable {
    /// The index after the `{` of the outermost object.
    open: usize,
    /// Where the next message would stand.
    messages_end: usize,
    /// Limits on the answer's tokens.
    limits: SmallVec<[(Range<usize>, u64); 2]>,
    pub wants_usage: bool,
}

/// Why an answer can't go on elsewhere. Nothing of the request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("its path is not that of chat completions")]
    Path,
    #[error("its body is longer than {REQUEST_BYTES_MAX} bytes")]
    TooLong,
    #[error("its body can't be read, or says something twice")]
    Unreadable,
    #[error("it does not ask for a stream")]
    NoStream,
    #[error("its last message is not one to be answered")]
    NoQuestion,
    #[error(
        "it has a member of which it is not known what it does to the rest of an answer, such as tools, stop or response_format"
    )]
    Member,
    #[error("it asks for what can't be continued, such as several choices, penalties or log probabilities")]
    Value,
}

/// What a member may say in a request that can go on elsewhere. All may be null.
enum Rule {
    /// It acts on each token alone, or on none.
    Any,
    Only(&'static str),
    /// Zero, in any spelling.
    Zero,
    Limit,
    Messages,
    StreamOptions,
}

/// `None`: nobody knows what it does.
fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "model" | "temperature" | "top_p" | "top_k" | "min_p" | "seed" | "repetition_penalty"
        | "logit_bias" | "user" | "metadata" | "prompt_cache_key" | "safety_identifier" | "priority" => {
            Rule::Any
        }
        "stream" => Rule::Only("true"),
        "n" | "best_of" => Rule::Only("1"),
        "logprobs" | "echo" | "store" => Rule::Only("false"),
        "frequency_penalty" | "presence_penalty" | "top_logprobs" | "min_tokens" => Rule::Zero,
        "max_tokens" | "max_completion_tokens" => Rule::Limit,
        "messages" => Rule::Messages,
        "stream_options" => Rule::StreamOptions,
        _ => return None,
    })
}

impl Resumable {
    /// Or why it is not known of a request that its answer can go on elsewhere.
    pub fn of(body: &[u8]) -> Result<Self, Unfit> {
        let open = body.iter().position(|byte| *byte == b'{').ok_or(Unfit::Unreadable)? + 1;
        let mut found = Self { open, messages_end: 0, limits: SmallVec::new(), wants_usage: false };
        let (mut known, mut streams) = (Ok(()), false);
        each_member(body, 0..body.len(), |name, member| {
            streams |= name == "stream" && text(body, &member) == "true";
            if known.is_ok() && !is_null(body, &member) {
                known = found.admits(name, body, member);
            }
        })
        .ok_or(Unfit::Unreadable)?;
        known?;
        match () {
            () if !streams => Err(Unfit::NoStream),
            () if found.messages_end == 0 => Err(Unfit::NoQuestion),
            () => Ok(found),
        }
    }

    fn admits(&mut self, name: &str, body: &[u8], member: Member) -> Result<(), Unfit> {
        let value = text(body, &member);
        let is_admitted = match rule(name).ok_or(Unfit::Member)? {
            Rule::Any => true,
            Rule::Only("true") if value != "true" => return Err(Unfit::NoStream),
            Rule::Only(one) => value == one,
            Rule::Zero => value.parse::<f64>().is_ok_and(|number| number == 0.0),
            Rule::Limit => {
                let limit = value.parse().map_err(|_| Unfit::Value)?;
                self.limits.push((member.value, limit));
                true
            }
            Rule::Messages if !ends_with_a_question(value) => return Err(Unfit::NoQuestion),
            Rule::Messages => {
                self.messages_end = member.value.end.saturating_sub(1);
                true
            }
            Rule::StreamOptions => self.read_stream_options(body, member.value).is_some(),
        };
        if is_admitted { Ok(()) } else { Err(Unfit::Value) }
    }

    fn read_stream_options(&mut self, body: &[u8], options: Range<usize>) -> Option<()> {
        let mut known = true;
        each_member(body, options, |name, member| match name {
            "include_usage" => self.wants_usage = text(body, &member) == "true",
            "continuous_usage_stats" => {}
            _ => known &= is_null(body, &member),
        })?;
        known.then_some(())
    }

    /// Whether what a provider adds to requests leaves it so.
    pub fn admits_extra(extra: Option<&ExtraBody>) -> bool {
        extra.is_none_or(|extra| {
            extra.members().all(|(name, _)| name != "model" && matches!(rule(name), Some(Rule::Any)))
        })
    }

    /// The request for the rest; `body` is the one this was read from. `None` when its limit is reached. Where nothing
    /// was said, it is asked again.
    pub fn rest(&self, body: &Bytes, so_far: &SoFar<'_>) -> Option<Bytes> {
        if so_far.text.is_empty() {
            return Some(body.clone());
        }
        let mut edits = Edits::new();
        for (span, limit) in &self.limits {
            let left = limit.checked_sub(so_far.tokens).filter(|left| *left > 0)?;
            edits.push((span.clone(), left.to_string().into_bytes().into()));
        }
        let message = serde_json::json!({ "role": "assistant", "content": so_far.text });
        edits.push((self.open..self.open, ASKS_FOR_THE_REST.into()));
        edits.push((self.messages_end..self.messages_end, format!(",{message}").into_bytes().into()));
        Some(spliced(body, 0, edits).freeze())
    }
}

/// Bytes in the place of others.
pub type Edits<'e> = SmallVec<[(Range<usize>, Cow<'e, [u8]>); 8]>;

/// `bytes` with edits whose places count from `at`.
pub fn spliced(bytes: &[u8], at: usize, mut edits: Edits<'_>) -> BytesMut {
    edits.sort_by_key(|(span, _)| span.start);
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = BytesMut::with_capacity(bytes.len() + grown);
    let mut copied = 0;
    for (span, new) in &edits {
        out.put_slice(bytes.get(copied..at + span.start).unwrap_or_default());
        out.put_slice(new);
        copied = at + span.end;
    }
    out.put_slice(bytes.get(copied..).unwrap_or_default());
    out
}

/// Whether the last message is not the assistant's, whose words would be continued already.
fn ends_with_a_question(messages: &str) -> bool {
    #[derive(Deserialize)]
    struct Message<'m> {
        #[serde(borrow)]
        role: Cow<'m, str>,
    }
    serde_json::from_str::<Vec<Message<'_>>>(messages)
        .is_ok_and(|messages| messages.last().is_some_and(|last| last.role != "assistant"))
}
