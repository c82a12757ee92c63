//! Ids: the kind of a thing, a dash, and a UUID in base 58.

use std::fmt;

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// The id of one stored thing. Unique for ever; names may be used again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntityId(String);

impl EntityId {
    /// `kind` has dashes between its words, as in `model-provider`.
    pub fn new(kind: &str, uuid: u128) -> Self {
        Self(format!("{kind}-{}", base58(uuid)))
    }

    /// An id that was made before and stored.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn base58(mut number: u128) -> String {
    let mut digits = Vec::with_capacity(22);
    loop {
        let digit = usize::try_from(number % 58).unwrap_or_default();
        digits.push(char::from(ALPHABET[digit]));
        number /= 58;
        if number == 0 {
            break;
        }
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_kind_and_a_number_in_base_58() {
        assert_eq!(EntityId::new("model-provider", 0).as_str(), "model-provider-1");
        assert_eq!(EntityId::new("model", 57).as_str(), "model-z");
        assert_eq!(EntityId::new("model", 58).as_str(), "model-21");
        assert_eq!(EntityId::new("x", u128::MAX).as_str().len(), 2 + 22);
    }
}
