//! Token counts in the client's words.

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{put, put_all};
use super::lenient::Count;

/// Counts as clients want them: never null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    input: u64,
    cached: u64,
    output: u64,
    reasoning: u64,
    total: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ChatUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    cached_input_tokens: Count,
    cache_read_input_tokens: Count,
    reasoning_output_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
}

impl Usage {
    /// `None` when nothing is counted.
    pub fn of(raw: &RawValue) -> Option<Self> {
        let chat: ChatUsage = serde_json::from_str(raw.get()).ok()?;
        let (prompt, completion) = (chat.prompt_tokens.0, chat.completion_tokens.0);
        prompt.or(completion).or(chat.total_tokens.0)?;
        let (input, output) = (prompt.unwrap_or(0), completion.unwrap_or(0));
        let cached = chat.prompt_tokens_details.unwrap_or_default().cached_tokens.0;
        let reasoning = chat.completion_tokens_details.unwrap_or_default().reasoning_tokens.0;
        Some(Self {
            input,
            cached: cached.or(chat.cached_input_tokens.0).or(chat.cache_read_input_tokens.0).unwrap_or(0),
            output,
            reasoning: reasoning.or(chat.reasoning_output_tokens.0).unwrap_or(0),
            total: chat.total_tokens.0.unwrap_or(input.saturating_add(output)),
        })
    }

    pub fn put(&self, out: &mut BytesMut) {
        let counts = [
            ("{\"input_tokens\":", self.input),
            (",\"input_tokens_details\":{\"cached_tokens\":", self.cached),
            ("},\"output_tokens\":", self.output),
            (",\"output_tokens_details\":{\"reasoning_tokens\":", self.reasoning),
            ("},\"total_tokens\":", self.total),
        ];
        for (before, count) in counts {
            put_all(out, &[before]);
            put(out, &count);
        }
        put_all(out, &["}"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(chat: &str) -> String {
        let raw: &RawValue = serde_json::from_str(chat).unwrap();
        let mut out = BytesMut::new();
        match Usage::of(raw) {
            Some(usage) => usage.put(&mut out),
            None => put_all(&mut out, &["null"]),
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn expected(input: u64, cached: u64, output: u64, reasoning: u64, total: u64) -> String {
        format!(
            r#"{{"input_tokens":{input},"input_tokens_details":{{"cached_tokens":{cached}}},"output_tokens":{output},"output_tokens_details":{{"reasoning_tokens":{reasoning}}},"total_tokens":{total}}}"#
        )
    }

    #[test]
    fn unknown_details_are_zero_and_the_providers_total_stands() {
        assert_eq!(
            shown(r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":9}"#),
            expected(3, 0, 4, 0, 9)
        );
        assert_eq!(
            shown(
                r#"{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":null}}"#
            ),
            expected(3, 0, 4, 0, 7)
        );
    }

    #[test]
    fn details_come_from_their_object_or_from_beside_it() {
        let base = r#""prompt_tokens":3,"completion_tokens":4,"total_tokens":7"#;
        for (more, cached, reasoning) in [
            (
                r#""prompt_tokens_details":{"cached_tokens":2},"cached_input_tokens":9,"completion_tokens_details":{"reasoning_tokens":1},"reasoning_output_tokens":9"#,
                2,
                1,
            ),
            (r#""cached_input_tokens":2,"cache_read_input_tokens":9,"reasoning_output_tokens":1"#, 2, 1),
            (r#""cache_read_input_tokens":2"#, 2, 0),
        ] {
            assert_eq!(shown(&format!("{{{base},{more}}}")), expected(3, cached, 4, reasoning, 7));
        }
    }

    #[test]
    fn what_counts_nothing_is_no_usage() {
        for chat in ["{}", "[]", "3", r#"{"prompt_tokens":-1,"completion_tokens":1.5}"#] {
            assert_eq!(shown(chat), "null", "{chat}");
        }
        assert_eq!(shown(r#"{"prompt_tokens":-1,"completion_tokens":5}"#), expected(0, 0, 5, 0, 5));
    }
}
