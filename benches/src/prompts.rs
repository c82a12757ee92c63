//! Request bodies, as the official SDKs write them: messages first, `model` behind them.

use serde_json::{Value, json};

const RULES: &str = "You are a careful assistant. Answer briefly, say where each fact comes from, and say so when you \
    do not know. Keep the tone neutral, use lists only where they help, and never make up a source. ";
const QUESTION: &str = "Compare a gateway in front of many model servers with clients that balance by themselves, for \
    streams that stay open for minutes; name two cases for each. ";
/// Code and prose as people paste it: an escape every 20 bytes or so.
const PASTED: &str = "fn load(path: &str) -> Result<Config, Error> {\n\tlet text = read(path)?;\n\t\
    info!(\"read {} bytes from \\\"{}\\\"\", text.len(), path);\n\tparse(&text)\n}\n\
    He said: \"it fails on the second line\", and the log has \"unexpected end\".\n";

const SMALL_BYTES: usize = 1_000;
const BIG_BYTES: usize = 100_000;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// About 1 KB, answered at once.
    Small,
    /// About 100 KB, dense in escapes, `model` at its end.
    Big,
    /// A stream of 50 events, back to back.
    Burst,
    /// A stream of 50 events with this pause between them.
    Paced { pause_ms: u64 },
}

impl Prompt {
    /// A Chat Completions request.
    pub fn body(self, model: &str) -> String {
        self.sized(|text, rules| {
            json!({
                "messages": [{"role": "system", "content": rules}, {"role": "user", "content": text}],
                "model": model, "temperature": 0.2, "max_tokens": 256, "top_p": 1,
            })
        })
    }

    /// The same as a Responses request.
    pub fn responses_body(self, model: &str) -> String {
        self.sized(|text, rules| {
            json!({
                "instructions": rules, "input": [{"role": "user", "content": text}],
                "model": model, "temperature": 0.2, "max_output_tokens": 256, "top_p": 1,
            })
        })
    }

    /// Rules as long as it takes to make a small request `SMALL_BYTES` long.
    fn sized(self, write: impl Fn(&str, &str) -> Value) -> String {
        let text = match self {
            Self::Small | Self::Burst => QUESTION.to_owned(),
            Self::Big => filled(PASTED, BIG_BYTES),
            Self::Paced { pause_ms } => format!("{QUESTION}[[delay:{pause_ms}]]"),
        };
        let body = |rules: &str| {
            let mut body = write(&text, rules);
            if self.is_stream()
                && let Value::Object(map) = &mut body
            {
                map.insert("stream".to_owned(), Value::Bool(true));
            }
            body.to_string()
        };
        let short = body("");
        body(&filled(RULES, SMALL_BYTES.saturating_sub(short.len())))
    }

    pub fn is_stream(self) -> bool {
        matches!(self, Self::Burst | Self::Paced { .. })
    }
}

/// `text` over and over, exactly `bytes` long (it is ASCII).
fn filled(text: &str, bytes: usize) -> String {
    text.chars().cycle().take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_request_has_a_kilobyte_and_a_big_one_a_hundred() {
        assert_eq!(Prompt::Small.body("default/bench-model").len(), SMALL_BYTES);
        let big = Prompt::Big.body("default/bench-model");
        assert!((BIG_BYTES..BIG_BYTES * 12 / 10).contains(&big.len()), "{}", big.len());
    }

    #[test]
    fn the_model_comes_after_the_messages() {
        for prompt in [Prompt::Small, Prompt::Big, Prompt::Burst, Prompt::Paced { pause_ms: 10 }] {
            let body = prompt.body("m");
            assert!(body.find("\"model\":\"m\"") > body.rfind("\"content\""));
            assert_eq!(body.contains("\"stream\":true"), prompt.is_stream());
        }
    }
}
