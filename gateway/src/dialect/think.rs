//! `<think>` blocks in text that is still spelt as JSON.
//!
//! What must stay true: a block has both its tags; what is between two tags is never read. Tags may be spelt with
//! escapes, as some encoders do with `<`, `>` and `/`.

use std::ops::Range;

use memchr::memmem;

pub const WORD: &str = "think";

/// One block: with its tags, and between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub outer: Range<usize>,
    pub inner: Range<usize>,
}

/// The blocks of the text between the quotes of a JSON string, in order.
pub fn blocks(spelt: &str) -> impl Iterator<Item = Block> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let open = tag(spelt, at, false)?;
        let close = tag(spelt, open.end, true)?;
        at = close.end;
        Some(Block { outer: open.start..close.end, inner: open.end..close.start })
    })
}

/// The first tag that begins at `from` or later.
fn tag(spelt: &str, from: usize, closing: bool) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        let word = at + memmem::find(spelt.get(at..)?.as_bytes(), WORD.as_bytes())?;
        at = word + WORD.len();
        let before = spelt.get(from..word)?;
        let start = if closing { slash(before).and_then(less) } else { less(before) };
        if let (Some(start), Some(len)) = (start, greater(spelt.get(at..)?)) {
            return Some(from + start..at + len);
        }
    }
}

/// The text before a slash at the end.
fn slash(text: &str) -> Option<&str> {
    let text = text.strip_suffix('/')?;
    match text.strip_suffix('\\') {
        Some(escaped) if is_escape(escaped) => Some(escaped),
        _ => Some(text),
    }
}

/// Where `<` at the end begins.
fn less(text: &str) -> Option<usize> {
    if let Some(before) = text.strip_suffix('<') {
        return Some(before.len());
    }
    let start = text.len().checked_sub("\\u003c".len())?;
    let is_spelt = text.get(start..)?.eq_ignore_ascii_case("\\u003c") && text.get(start..)?.contains('u');
    (is_spelt && is_escape(text.get(..start)?)).then_some(start)
}

/// How long `>` at the beginning is.
fn greater(text: &str) -> Option<usize> {
    if text.starts_with('>') {
        return Some(1);
    }
    let escape = text.get(.."\\u003e".len())?;
    (escape.eq_ignore_ascii_case("\\u003e") && escape.contains('u')).then_some(escape.len())
}

/// Whether a backslash after `before` begins an escape, instead of ending one.
fn is_escape(before: &str) -> bool {
    before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(spelt: &str) -> Vec<(&str, &str)> {
        blocks(spelt).map(|block| (&spelt[block.outer], &spelt[block.inner])).collect()
    }

    #[test]
    fn blocks_are_found_with_and_without_their_tags() {
        assert_eq!(
            found("a<think>b</think>c<think></think>"),
            [("<think>b</think>", "b"), ("<think></think>", "")]
        );
        assert_eq!(found("<think>a<think>b</think>c</think>"), [("<think>a<think>b</think>", "a<think>b")]);
    }

    #[test]
    fn a_tag_alone_is_text() {
        for text in ["", "think", "<think>", "</think>", "</think><think>", "<thinking></thinking>", "<think"]
        {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn tags_are_found_as_they_may_be_spelt() {
        for text in [
            r"\u003cthink\u003ea\u003c/think\u003e",
            r"\u003Cthink\u003Ea\u003C\/think\u003E",
            r"<think>a<\/think>",
            r"\\\u003cthink>a</think>",
        ] {
            assert_eq!(found(text).len(), 1, "{text}");
        }
        for text in [r"\\u003cthink>a</think>", r"\U003cthink>a</think>", r"<think>a<\\/think>"] {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}
