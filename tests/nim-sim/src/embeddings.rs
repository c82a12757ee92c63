//! Embeddings: the same text always has the same vector.

use crate::answer::{Answer, Refusal};
use crate::chat::words;
use crate::inference::{parse, served};
use crate::routes::Ask;
use crate::state::Shared;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const DEFAULT_DIMENSIONS: usize = 16;
const MAX_DIMENSIONS: usize = 4096;

#[derive(Deserialize)]
struct EmbeddingRequest {
    model: Option<String>,
    input: Input,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    Tokens(Vec<u64>),
    ManyTokens(Vec<Vec<u64>>),
}

impl Input {
    fn texts(self) -> Vec<String> {
        let joined = |tokens: Vec<u64>| tokens.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
            Self::Tokens(tokens) => vec![joined(tokens)],
            Self::ManyTokens(lists) => lists.into_iter().map(joined).collect(),
        }
    }
}

pub(crate) fn answer(ask: &Ask<'_>, shared: &Shared) -> Answer {
    answer_or_error(ask, shared).unwrap_or_else(Answer::from)
}

fn answer_or_error(ask: &Ask<'_>, shared: &Shared) -> Result<Answer, Refusal> {
    let request: EmbeddingRequest = parse(ask)?;
    let model = served(request.model.as_deref(), shared)?;
    let dimensions = request.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        let message = format!("`dimensions` must be from 1 to {MAX_DIMENSIONS}");
        return Err(Refusal::bad_request(Some("dimensions"), message));
    }
    let encoding = request.encoding_format.unwrap_or(Encoding::Float);
    let texts = request.input.texts();
    let tokens: usize = texts.iter().map(|text| words(text)).sum();
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            json!({ "object": "embedding", "index": index, "embedding": encoded(&vector(text, dimensions), encoding) })
        })
        .collect();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    Ok(Answer::ok(&json!({ "object": "list", "data": data, "model": model, "usage": usage })))
}

fn encoded(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            json!(STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
        }
    }
}

/// Numbers from -1 to 1 out of the text's hash. Each is a multiple of 1/128, so both encodings carry it exactly.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    (0_u64..)
        .flat_map(|block| {
            let mut hash = Sha256::new();
            hash.update(block.to_le_bytes());
            hash.update(text);
            hash.finalize().into_iter()
        })
        .map(|byte| (f32::from(byte) - 128.0) / 128.0)
        .take(dimensions)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_vector_of_the_length_asked_for() {
        assert_eq!(vector("a", 40), vector("a", 40));
        assert_ne!(vector("a", 40), vector("b", 40));
        assert_eq!(vector("a", 40).len(), 40);
    }
}
