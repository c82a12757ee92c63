//! Blots secrets out of what model servers print.
//!
//! What must stay true: a secret that is known shows nowhere in the text, whatever stands around it. What merely
//! looks like a key goes too. A text is looked at alone: a secret that was cut into two texts is not seen.

use proto_shared::secret::{ExposeSecret as _, SecretString};

const BLOT: &str = "[redacted]";
/// A shorter value is a word like any other, and would blot out half of a text.
const SECRET_BYTES_MIN: usize = 4;
/// What keys begin with, and how long the shortest of them is.
const KEY_PREFIXES: [&str; 3] = ["nvapi-", "hf_", "sk-"];
const KEY_BYTES_MIN: usize = 13;

/// Knows the secrets of an instance.
#[derive(Debug, Default)]
pub struct Redactor {
    /// The longest first: a part of one may be another.
    known: Vec<SecretString>,
}

impl Redactor {
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let lines = |secret: SecretString| -> Vec<_> {
            let lines = secret.expose_secret().lines().map(str::trim);
            lines.filter(|line| line.len() >= SECRET_BYTES_MIN).map(|line| line.to_owned().into()).collect()
        };
        let mut known: Vec<SecretString> = secrets.into_iter().flat_map(lines).collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self { known }
    }

    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), BLOT);
            }
        }
        without_keys(&text)
    }
}

fn without_keys(text: &str) -> String {
    let separator = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let is_key = |word: &str| {
        word.len() >= KEY_BYTES_MIN && KEY_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
    };
    text.split_inclusive(separator)
        .map(|part| {
            let word = part.trim_end_matches(separator);
            if is_key(word) { part.replacen(word, BLOT, 1) } else { part.to_owned() }
        })
        .collect()
}

/// Whether a variable of this name holds a secret, though it was given in plain.
pub fn names_a_secret(variable: &str) -> bool {
    let variable = variable.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| variable.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowing(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().map(|secret| SecretString::from((*secret).to_owned())))
    }

    #[test]
    fn what_looks_like_a_key_goes_and_so_does_what_is_known() {
        let text = "key=nvapi-abcdefghij12, token hf_abcdefghijklm\nmine: s3cr3t!";
        let blotted = knowing(&["s3cr3t"]).redact(text);
        assert_eq!(blotted, "key=[redacted], token [redacted]\nmine: [redacted]!");
    }

    #[test]
    fn of_secrets_in_one_another_nothing_is_left() {
        assert_eq!(knowing(&["abcd", "abcdefgh"]).redact("abcdefgh"), "[redacted]");
    }

    #[test]
    fn each_line_of_a_long_secret_is_one() {
        let lines = knowing(&["-----BEGIN KEY-----\nMIIE1234\n"]);
        assert_eq!(lines.redact("read MIIE1234"), "read [redacted]");
    }

    #[test]
    fn words_are_no_secrets() {
        assert_eq!(knowing(&["a", "on"]).redact("a sk-ip on"), "a sk-ip on");
        assert!(names_a_secret("HF_TOKEN") && names_a_secret("my_api_key") && !names_a_secret("NIM_PORT"));
    }
}
