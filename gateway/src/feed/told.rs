//! Words that this gateway is too old to know, each told once.

use std::collections::HashSet;

use proto_shared::tomorrow::UnknownWord;

/// Further words are only counted.
const WORDS_TOLD_MAX: usize = 100;

#[derive(Default)]
pub struct Told(HashSet<(&'static str, String)>);

impl Told {
    pub fn tell(&mut self, unknown: &[UnknownWord]) {
        for UnknownWord { of, field, word, left_out } in unknown {
            if !self.is_new(field, word) {
                continue;
            }
            let then = if *left_out { "it is left out" } else { "the default is used" };
            tracing::warn!(
                of,
                field,
                word,
                then,
                "the registry is newer than this gateway and says what it does not know: update the gateway"
            );
        }
    }

    fn is_new(&mut self, field: &'static str, word: &str) -> bool {
        self.0.len() < WORDS_TOLD_MAX && self.0.insert((field, word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_told_once_and_there_is_an_end_to_it() {
        let mut told = Told::default();
        assert!(told.is_new("routing/strategy", "cheapest") && !told.is_new("routing/strategy", "cheapest"));
        assert!(told.is_new("routing/sticky", "cheapest"));
        let new = (0..1_000).filter(|n| told.is_new("replay", &n.to_string())).count();
        assert_eq!(new, WORDS_TOLD_MAX - 2);
    }
}
