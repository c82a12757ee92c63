//! Where a continuation joins the text so far.

use super::Misfit;

/// A continuation that says all of a text so far again, when that is at least so long, has begun anew.
pub const WHOLE_REPEAT_BYTES_MIN: usize = 8;

/// A continuation that begins with so much of the text so far has begun anew, whatever follows.
pub const REPEAT_BYTES_MIN: usize = 32;

/// The beginning of a continuation.
#[derive(Debug)]
pub struct Fit {
    /// White space at the end of the text so far that the rest is to say again.
    gap: String,
    /// The first bytes of the text so far.
    beginning: String,
    /// How much of it was said again; `None`: the continuation has gone on to something else.
    repeated: Option<usize>,
}

impl Fit {
    pub fn new(text: &str) -> Self {
        let (said, gap) = text.split_at(text.trim_end().len());
        let said = said.trim_start();
        let end = (REPEAT_BYTES_MIN..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
        let beginning = said.get(..end).unwrap_or_default();
        let repeated = (beginning.len() >= WHOLE_REPEAT_BYTES_MIN).then_some(0);
        Self { gap: gap.to_owned(), beginning: beginning.to_owned(), repeated }
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
            self.compare(new)?;
        }
        Ok(new)
    }

    fn compare(&mut self, new: &str) -> Result<(), Misfit> {
        let Some(repeated) = self.repeated else { return Ok(()) };
        let old = self.beginning.get(repeated..).unwrap_or_default();
        let same = new.bytes().zip(old.bytes()).take_while(|(new, old)| new == old).count();
        if repeated + same == self.beginning.len() {
            return Err(Misfit::SaysItAgain);
        }
        self.repeated = (same == new.len()).then_some(repeated + same);
        Ok(())
    }

    /// Whether what came so far may still turn out to be the text so far.
    pub fn is_open(&self) -> bool {
        self.repeated.is_some()
    }

    /// The stream is over: what came was all.
    pub fn close(&mut self) {
        self.repeated = None;
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
