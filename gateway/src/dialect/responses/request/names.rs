//! What tools are called on their way to the provider.
//!
//! What must stay true: a name is made from what the client sent alone, so that a call in the history gets the name
//! that its tool is offered under.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// The longest name that chat completions take.
pub const NAME_BYTES_MAX: usize = 64;

/// Between a namespace and a name.
const BETWEEN: &str = "__";

/// Bytes of the digest that tells shortened names apart.
const DIGEST_BYTES: usize = 8;

/// The name of a tool as it is sent.
pub fn sent<'a>(namespace: Option<&str>, name: Cow<'a, str>) -> Cow<'a, str> {
    let whole = match namespace {
        Some(namespace) => Cow::Owned([namespace, BETWEEN, &name].concat()),
        None => name,
    };
    if whole.len() <= NAME_BYTES_MAX { whole } else { Cow::Owned(shortened(&whole)) }
}

fn shortened(name: &str) -> String {
    let digest = Sha256::digest(name);
    let room = NAME_BYTES_MAX - DIGEST_BYTES * 2 - 1;
    let kept = (0..=room).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    let mut short = String::with_capacity(NAME_BYTES_MAX);
    short.push_str(name.get(..kept).unwrap_or_default());
    short.push('_');
    for byte in digest.iter().take(DIGEST_BYTES) {
        short.extend(
            [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default()),
        );
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_the_limit_stay() {
        let longest = "n".repeat(NAME_BYTES_MAX);
        assert_eq!(sent(None, longest.as_str().into()), longest);
        assert_eq!(sent(Some("mcp"), "read".into()), "mcp__read");
    }

    #[test]
    fn longer_names_are_shortened_and_stay_apart() {
        let long = |last: &str| sent(None, ("n".repeat(NAME_BYTES_MAX) + last).into());
        assert_eq!(long("a").len(), NAME_BYTES_MAX);
        assert_eq!(long("a"), long("a"));
        assert_ne!(long("a"), long("b"));
        assert!(sent(None, "é".repeat(40).into()).len() <= NAME_BYTES_MAX);
    }
}
