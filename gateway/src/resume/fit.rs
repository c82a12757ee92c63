//! Where a continuation joins the text so far.

use super::Misfit;

/// A continuation that says all of a text so far again, when that is at least so long, has begun anew.
pub const WHOLE_REPEAT_BYTES_MIN: usize = 8;

/// A continuation that begins with so much of the text so far has begun anew, whatever follows.
pub const REPEAT_BYTES_MIN: usize = 32;

/// How a reasoning model opens, when its server takes its reasoning for text.
pub const REASONING_OPENING: &str = "<think>";

/// The beginning of a continuation.
#[derive(Debug)]
pub struct Fit {
    /// White space at the end of the text so far that the rest is to say again.
    gap: String,
    /// What only a new beginning would begin with.
    openings: [Opening; 2],
}

/// Words that a continuation must not begin with, white space before them aside.
#[derive(Debug)]
struct Opening {
    words: String,
    /// How much of them was said; `None`: the continuation has gone on to something else.
    said: Option<usize>,
    means: Misfit,
}

impl Fit {
    pub fn new(text: &str) -> Self {
        let (said, gap) = text.split_at(text.trim_end().len());
        let said = said.trim_start();
        let end = (REPEAT_BYTES_MIN..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
        let beginning = said.get(..end).unwrap_or_default();
        let is_telling = beginning.len() >= WHOLE_REPEAT_BYTES_MIN;
        let repeats = Opening {
            words: beginning.to_owned(),
            said: is_telling.then_some(0),
            means: Misfit::SaysItAgain,
        };
        let thinks =
            Opening { words: REASONING_OPENING.to_owned(), said: Some(0), means: Misfit::BeginsAnew };
        Self { gap: gap.to_owned(), openings: [repeats, thinks] }
    }

    /// What of `text` is new.
    pub fn join<'t>(&mut self, text: &'t str) -> Result<&'t str, Misfit> {
        let again = text.bytes().zip(self.gap.bytes()).take_while(|(new, old)| new == old).count();
        let again = (0..=again).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let new = text.get(again..).unwrap_or_default();
        if new.is_empty() {
            self.gap.drain(..again);
        } else {
            self.gap.clear();
            self.openings.iter_mut().try_for_each(|opening| opening.compare(new))?;
        }
        Ok(new)
    }

    /// Whether what came so far may still turn out to be a new beginning.
    pub fn is_open(&self) -> bool {
        self.openings.iter().any(|opening| opening.said.is_some())
    }

    /// The stream is over: what came was all.
    pub fn close(&mut self) {
        self.openings.iter_mut().for_each(|opening| opening.said = None);
    }
}

impl Opening {
    fn compare(&mut self, new: &str) -> Result<(), Misfit> {
        let Some(said) = self.said else { return Ok(()) };
        let new = if said == 0 { new.trim_start() } else { new };
        let words = self.words.get(said..).unwrap_or_default();
        let same = new.bytes().zip(words.bytes()).take_while(|(new, old)| new == old).count();
        if said + same == self.words.len() {
            return Err(self.means);
        }
        self.said = (same == new.len()).then_some(said + same);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_at_the_end_is_said_again_and_left_out_wherever_it_is_cut() {
        let mut fit = Fit::new("Hello\n\n");
        assert_eq!((fit.join("\n"), fit.join("\nworld"), fit.join("\n")), (Ok(""), Ok("world"), Ok("\n")));
        assert_eq!(Fit::new("Hello\u{2003}").join("\u{2003}é"), Ok("é"));
        // Half of a character is none.
        assert_eq!(Fit::new("Hello\u{2003}").join("\u{2002}x"), Ok("\u{2002}x"));
    }

    #[test]
    fn other_white_space_than_before_is_new() {
        assert_eq!(Fit::new("Hello ").join("\nworld"), Ok("\nworld"));
        assert_eq!(Fit::new("Hello \n").join(" world"), Ok("world"));
        assert_eq!(Fit::new("Hello").join(" world"), Ok(" world"));
    }

    #[test]
    fn who_begins_anew_is_noticed_wherever_it_is_cut() {
        let text = "The quick brown fox jumps over the lazy dog, and then sleeps. ";
        for at in (0..REPEAT_BYTES_MIN).chain([text.len()]) {
            let (head, tail) = text.split_at(at);
            let mut fit = Fit::new(text);
            let joined = fit.join(head).and_then(|_| fit.join(tail));
            assert_eq!(joined, Err(Misfit::SaysItAgain), "cut at {at}");
        }
        assert_eq!(Fit::new("You said: ").join("You said: hi"), Err(Misfit::SaysItAgain));
    }

    #[test]
    fn who_begins_anew_is_noticed_behind_white_space() {
        for before in ["\n", " ", "\u{2003}\n\n"] {
            let mut fit = Fit::new("You said: ");
            assert!(fit.join(before).is_ok() && fit.is_open());
            assert_eq!(fit.join("You said: hi"), Err(Misfit::SaysItAgain));
            assert_eq!(Fit::new("You said").join(&format!("{before}You said")), Err(Misfit::SaysItAgain));
        }
    }

    #[test]
    fn who_begins_to_think_begins_anew() {
        for text in ["1", "The quick brown fox jumps over the lazy dog"] {
            let mut fit = Fit::new(text);
            assert!(fit.join("\n<thi").is_ok() && fit.is_open());
            assert_eq!(fit.join("nk>"), Err(Misfit::BeginsAnew));
            let mut fit = Fit::new(text);
            assert!(fit.join("<thin ice>").is_ok() && !fit.is_open());
        }
    }

    #[test]
    fn an_answer_may_begin_its_sentences_alike() {
        let mut fit = Fit::new("The quick brown fox jumps over the lazy dog. ");
        assert_eq!(fit.join("The quick brown "), Ok("The quick brown "));
        assert!(fit.is_open());
        assert_eq!(fit.join("bear sleeps."), Ok("bear sleeps."));
        assert!(!fit.is_open());
        // A text this short says nothing about who begins anew.
        assert_eq!(Fit::new("1").join("111"), Ok("111"));
    }
}
