//! `<think>` tags in a text that comes in pieces.
//!
//! What must stay true: the pieces' cuts change nothing; only a tail that may become the awaited tag is held back; every
//! byte but those of tags comes out again, in order. A `</think>` that closes nothing is text.

const OPENING: &str = "<think>";
const CLOSING: &str = "</think>";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Text,
    Reasoning,
}

#[derive(Debug, Default)]
pub struct Splitter {
    is_inside: bool,
    /// So many bytes of the awaited tag have been seen.
    held: usize,
}

impl Splitter {
    pub fn feed(&mut self, text: &str, mut see: impl FnMut(Part, &str)) {
        let mut rest = text;
        while !rest.is_empty() {
            rest = if self.held > 0 { self.go_on(rest, &mut see) } else { self.look(rest, &mut see) };
        }
    }

    /// Gives out what is held back: no tag was completed.
    pub fn flush(&mut self, mut see: impl FnMut(Part, &str)) {
        let held = self.tag().get(..std::mem::take(&mut self.held)).unwrap_or_default();
        if !held.is_empty() {
            see(self.part(), held);
        }
    }

    fn tag(&self) -> &'static str {
        if self.is_inside { CLOSING } else { OPENING }
    }

    fn part(&self) -> Part {
        if self.is_inside { Part::Reasoning } else { Part::Text }
    }

    /// Compares `rest` with what the held tail lacks.
    fn go_on<'a>(&mut self, rest: &'a str, see: &mut impl FnMut(Part, &str)) -> &'a str {
        let lacking = self.tag().get(self.held..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix(lacking) {
            self.held = 0;
            self.is_inside = !self.is_inside;
            return after;
        }
        if lacking.starts_with(rest) {
            self.held += rest.len();
            return "";
        }
        // A tag has one `<`, its first byte: so nothing of the held tail begins another tag.
        self.flush(see);
        rest
    }

    /// Passes text up to the next tag, or up to what may become one.
    fn look<'a>(&mut self, rest: &'a str, see: &mut impl FnMut(Part, &str)) -> &'a str {
        let tag = self.tag();
        for at in memchr::memchr_iter(b'<', rest.as_bytes()) {
            let Some((before, tail)) = rest.split_at_checked(at) else { continue };
            let is_tag = tail.starts_with(tag);
            if !is_tag && !tag.starts_with(tail) {
                continue;
            }
            if !before.is_empty() {
                see(self.part(), before);
            }
            if is_tag {
                self.is_inside = !self.is_inside;
                return tail.get(tag.len()..).unwrap_or_default();
            }
            self.held = tail.len();
            return "";
        }
        see(self.part(), rest);
        ""
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Neighbours of one kind are joined.
    fn split<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<(Part, String)> {
        let (mut splitter, mut parts) = (Splitter::default(), Vec::<(Part, String)>::new());
        let mut see = |part: Part, text: &str| {
            assert!(!text.is_empty());
            match parts.last_mut() {
                Some((last, joined)) if *last == part => joined.push_str(text),
                _ => parts.push((part, text.to_owned())),
            }
        };
        pieces.into_iter().for_each(|piece| splitter.feed(piece, &mut see));
        splitter.flush(&mut see);
        parts
    }

    fn whole(text: &str) -> Vec<(Part, String)> {
        let expected = split([text]);
        for (cut, _) in text.char_indices() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(split([head, tail]), expected, "cut at {cut}");
        }
        let singles: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(split(singles.iter().map(String::as_str)), expected);
        expected
    }

    fn text(text: &str) -> (Part, String) {
        (Part::Text, text.into())
    }

    fn reasoning(text: &str) -> (Part, String) {
        (Part::Reasoning, text.into())
    }

    #[test]
    fn text_between_tags_is_reasoning_and_stays_verbatim() {
        assert_eq!(whole("<think>\n hm é </think>\n\nHi"), [reasoning("\n hm é "), text("\n\nHi")]);
        assert_eq!(
            whole("a<think>b</think>c<think>d</think>"),
            [text("a"), reasoning("b"), text("c"), reasoning("d")]
        );
        assert_eq!(whole("<think></think>x"), [text("x")]);
    }

    #[test]
    fn what_only_looks_like_a_tag_is_text() {
        for plain in ["<thin", "<", "a < b", "<<thinks>", "<THINK>", "<think >x", "x</think>y", "<thi<"] {
            assert_eq!(whole(plain), [text(plain)], "{plain}");
        }
        assert_eq!(whole("<<think>x</</think>y"), [text("<"), reasoning("x</"), text("y")]);
        assert_eq!(whole("<think>a<think>b</think>c"), [reasoning("a<think>b"), text("c")]);
    }

    #[test]
    fn a_tag_that_nothing_closes_reaches_to_the_end() {
        assert_eq!(whole("<think>on and on</thin"), [reasoning("on and on</thin")]);
    }

    #[test]
    fn only_what_may_become_the_awaited_tag_is_held_back() {
        let mut splitter = Splitter::default();
        let mut seen = String::new();
        splitter.feed("a </think> <thi", |_, text| seen.push_str(text));
        assert_eq!(seen, "a </think> ");
        splitter.feed("s", |_, text| seen.push_str(text));
        assert_eq!(seen, "a </think> <this");
    }

    proptest! {
        #[test]
        fn no_cut_changes_what_comes_out(text in "(<think>|</think>|<|/|thi|nk>|x|é){0,16}") {
            let parts = whole(&text);
            let bytes: usize = parts.iter().map(|(_, text)| text.len()).sum();
            prop_assert!(bytes <= text.len());
        }
    }
}
