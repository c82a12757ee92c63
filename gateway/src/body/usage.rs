//! What an answer says of its tokens, read from its bytes as they pass: chat completions and Responses, their streams,
//! and Anthropic's messages.
//!
//! What must stay true: the outcome doesn't depend on where the input is cut; nothing is kept of it and nothing is
//! allocated. A string is a key `"usage"` only when it stands in the document itself: inside another string its quotes
//! would be escaped. So a search for these bytes is all that an answer costs, up to the object behind them.
//!
//! Absent on purpose: where in the document the object stands (`usage`, `response.usage`, `message.usage`), and what
//! was used when nobody says so. Compressed answers say nothing here.

use std::sync::LazyLock;

use memchr::memmem::Finder;

const KEY: &[u8] = b"\"usage\"";
const LONGEST_NAME: &str = "cache_read_input_tokens";
/// An object that goes on for longer is not what it seems.
const OBJECT_BYTES_MAX: u16 = 8 * 1024;
/// A number of tokens beyond this is not believed.
pub const TOKENS_MAX: u64 = 1 << 32;

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

/// How many tokens; `None`: nobody said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: Option<u64>,
    /// Of the input, what was found in a cache. Anthropic counts it beside the input, the others in it.
    pub cached_input: Option<u64>,
    pub output: Option<u64>,
}

impl Usage {
    pub fn is_known(&self) -> bool {
        *self != Self::default()
    }

    /// Of two answers together.
    pub fn plus(self, other: Self) -> Self {
        let sum = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (Some(one), Some(two)) => Some(one.saturating_add(two)),
            (one, two) => one.or(two),
        };
        Self {
            input: sum(self.input, other.input),
            cached_input: sum(self.cached_input, other.cached_input),
            output: sum(self.output, other.output),
        }
    }

    /// What one answer says in several places: the last word counts, on each number.
    fn then(self, later: Self) -> Self {
        Self {
            input: later.input.or(self.input),
            cached_input: later.cached_input.or(self.cached_input),
            output: later.output.or(self.output),
        }
    }

    fn set(&mut self, field: Field, tokens: u64) {
        let place = match field {
            Field::Input => &mut self.input,
            Field::CachedInput => &mut self.cached_input,
            Field::Output => &mut self.output,
        };
        *place = Some(tokens).filter(|tokens| *tokens <= TOKENS_MAX);
    }
}

/// Reads an answer that comes in pieces, before or after it is changed on its way.
#[derive(Debug, Default)]
pub struct UsageScanner {
    place: Place,
    usage: Usage,
}

#[derive(Debug)]
enum Place {
    /// So many bytes of the key were the last ones seen.
    Seeking(usize),
    /// Behind the key.
    Colon,
    /// Behind its colon.
    Value,
    Object(Object),
}

impl Default for Place {
    fn default() -> Self {
        Self::Seeking(0)
    }
}

impl UsageScanner {
    pub fn feed(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = match &mut self.place {
                Place::Seeking(0) => self.seek(rest),
                Place::Object(_) => self.inside(rest),
                Place::Seeking(_) | Place::Colon | Place::Value => self.step(rest),
            };
        }
    }

    /// What was said so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Passes what holds no key; gives what is left.
    fn seek<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if let Some(at) = FINDER.find(bytes) {
            self.place = Place::Colon;
            return bytes.get(at + KEY.len()..).unwrap_or_default();
        }
        let begun = (1..KEY.len()).rev().find(|len| KEY.get(..*len).is_some_and(|key| bytes.ends_with(key)));
        self.place = Place::Seeking(begun.unwrap_or(0));
        &[]
    }

    /// Reads on in the object; gives what is left.
    fn inside<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Place::Object(object) = &mut self.place else { return bytes };
        let (taken, rest) = object.read(bytes);
        match taken {
            Taken::More => {}
            Taken::End => {
                self.usage = self.usage.then(object.usage);
                self.place = Place::default();
            }
            Taken::Foreign => self.place = Place::default(),
        }
        rest
    }

    /// Takes one byte outside of the object; gives what is left.
    fn step<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some((&byte, rest)) = bytes.split_first() else { return bytes };
        let next = match &mut self.place {
            Place::Seeking(seen) if KEY.get(*seen) == Some(&byte) => match *seen + 1 {
                all if all == KEY.len() => Place::Colon,
                seen => Place::Seeking(seen),
            },
            Place::Colon | Place::Value if byte.is_ascii_whitespace() => return rest,
            Place::Colon if byte == b':' => Place::Value,
            Place::Value if byte == b'{' => Place::Object(Object::default()),
            // The byte may begin another.
            Place::Seeking(_) | Place::Colon | Place::Value | Place::Object(_) => {
                self.place = Place::default();
                return bytes;
            }
        };
        self.place = next;
        rest
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Input,
    CachedInput,
    Output,
}

enum Taken {
    More,
    End,
    Foreign,
}

/// The object that says it, from behind its first bracket.
#[derive(Debug, Default)]
struct Object {
    usage: Usage,
    /// Open brackets inside of it.
    depth: u8,
    bytes: u16,
    in_text: bool,
    escaped: bool,
    /// The last string.
    text: Text,
    /// What the member is that is read.
    field: Option<Field>,
    number: Option<u64>,
}

impl Object {
    /// Reads to its end, or to that of `bytes`; gives what is left.
    fn read<'b>(&mut self, bytes: &'b [u8]) -> (Taken, &'b [u8]) {
        let room = usize::from(OBJECT_BYTES_MAX - self.bytes);
        let mut at = 0;
        while let Some(&byte) = bytes.get(at).filter(|_| at < room) {
            at += 1;
            if self.in_text {
                self.text_byte(byte);
            } else {
                match self.take(byte) {
                    Taken::More => {}
                    taken => return (taken, bytes.get(at..).unwrap_or_default()),
                }
            }
        }
        self.bytes += at as u16;
        let taken = if at < bytes.len() { Taken::Foreign } else { Taken::More };
        (taken, bytes.get(at..).unwrap_or_default())
    }

    #[inline]
    fn text_byte(&mut self, byte: u8) {
        match byte {
            _ if std::mem::take(&mut self.escaped) => self.text.push(byte),
            b'\\' => self.escaped = true,
            b'"' => self.in_text = false,
            _ => self.text.push(byte),
        }
    }

    /// One byte outside of strings.
    #[inline]
    fn take(&mut self, byte: u8) -> Taken {
        match byte {
            b'"' => (self.in_text, self.text.len) = (true, 0),
            b':' => (self.field, self.number) = (self.text.field(self.depth), None),
            b'0'..=b'9' => {
                let digits = self.number.unwrap_or(0).saturating_mul(10);
                self.number = Some(digits.saturating_add(u64::from(byte - b'0')));
            }
            b'{' | b'[' => (self.field, self.depth) = (None, self.depth.saturating_add(1)),
            b',' | b'}' | b']' => return self.member_end(byte),
            _ if byte.is_ascii_whitespace() => {}
            // No number of tokens, such as null or 1.5.
            _ => self.field = None,
        }
        Taken::More
    }

    fn member_end(&mut self, byte: u8) -> Taken {
        if let (Some(field), Some(number)) = (self.field.take(), self.number.take()) {
            self.usage.set(field, number);
        }
        match (byte, self.depth) {
            (b',', _) => Taken::More,
            (_, 0) => Taken::End,
            _ => {
                self.depth -= 1;
                Taken::More
            }
        }
    }
}

/// A string, as long as it may be a name that counts.
#[derive(Debug, Default)]
struct Text {
    bytes: [u8; LONGEST_NAME.len()],
    len: usize,
}

impl Text {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len = (self.len + 1).min(LONGEST_NAME.len() + 1);
    }

    fn field(&self, depth: u8) -> Option<Field> {
        match (depth, self.bytes.get(..self.len)?) {
            (0, b"prompt_tokens" | b"input_tokens") => Some(Field::Input),
            (0, b"completion_tokens" | b"output_tokens") => Some(Field::Output),
            // In `prompt_tokens_details` or `input_tokens_details`; the other is Anthropic's.
            (1, b"cached_tokens") | (0, b"cache_read_input_tokens") => Some(Field::CachedInput),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Usage {
        let mut scanner = UsageScanner::default();
        pieces.into_iter().for_each(|piece| scanner.feed(piece));
        scanner.usage()
    }

    fn usage(input: u64, cached: Option<u64>, output: u64) -> Usage {
        Usage { input: Some(input), cached_input: cached, output: Some(output) }
    }

    const CHAT: &str = r#"{"id":"c","choices":[{"message":{"content":"the \"usage\":{\"prompt_tokens\":9} of"}}],
        "usage" : { "prompt_tokens" : 12, "total_tokens":46,"completion_tokens":34,
        "prompt_tokens_details":{"audio_tokens":1,"cached_tokens":8}, "note":"\"}" }, "model":"m"}"#;
    const CHAT_STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}],\"usage\":null}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"total_tokens\":12,\"completion_tokens\":7}}\r\n\r\n\
        data: [DONE]\n\n";
    const RESPONSES: &str = "event: response.completed\ndata: {\"response\":{\"usage\":{\"input_tokens\":3,\
        \"input_tokens_details\":{\"cached_tokens\":2},\"output_tokens\":4,\
        \"output_tokens_details\":{\"reasoning_tokens\":1}}}}\n\n";
    const ANTHROPIC: &str = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":25,\
        \"cache_read_input_tokens\":6,\"output_tokens\":1}}}\n\nevent: message_delta\n\
        data: {\"delta\":{},\"usage\":{\"output_tokens\":15}}\n\n";

    #[test]
    fn each_dialect_says_it_in_its_own_words_and_wherever_it_is_cut() {
        for (answer, said) in [
            (CHAT, usage(12, Some(8), 34)),
            (CHAT_STREAM, usage(5, None, 7)),
            (RESPONSES, usage(3, Some(2), 4)),
            (ANTHROPIC, usage(25, Some(6), 15)),
        ] {
            let bytes = answer.as_bytes();
            assert_eq!(read([bytes]), said, "{answer}");
            assert_eq!(read(bytes.chunks(1)), said, "byte by byte: {answer}");
            for cut in 0..=bytes.len() {
                let (one, two) = bytes.split_at(cut);
                assert_eq!(read([one, two]), said, "cut at {cut}: {answer}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_of_tokens_is_not_said() {
        for answer in [
            r#"{"usage":null}"#,
            r#"{"usage":[{"prompt_tokens":1}]}"#,
            r#"{"a":"usage","b":{"prompt_tokens":1}}"#,
            r#"{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}"#,
            r#"{"usage":{"prompt_tokens":null,"completion_tokens":"7"}}"#,
            r#"{"usage":{"prompt_tokens":99999999999999999999999,"completion_tokens":4294967297}}"#,
            r#"{"usage":{"details":{"prompt_tokens":1},"prompt_tokens_and_more_than_fits":2}}"#,
            r#"{"content":"\"usage\":{\"prompt_tokens\":1}"}"#,
            r#"{"usage":{"prompt_tokens":1"#,
            "usage: {\"prompt_tokens\":1}",
            "",
        ] {
            assert!(!read([answer.as_bytes()]).is_known(), "{answer}");
        }
    }

    #[test]
    fn the_last_word_counts_and_an_endless_object_is_none() {
        let twice = r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}{"usage":{"completion_tokens":2}}"#;
        assert_eq!(read([twice.as_bytes()]), usage(1, None, 2));
        let endless = format!(
            r#"{{"usage":{{"x":"{}","prompt_tokens":1}}}} {twice}"#,
            "y".repeat(usize::from(OBJECT_BYTES_MAX))
        );
        assert_eq!(read([endless.as_bytes()]), usage(1, None, 2));
        assert!(!read([r#""usa"usage"":1,"usage":5"#.as_bytes()]).is_known());
        assert_eq!(read([r#"{"usa":"usage","usage":{"input_tokens":1}}"#.as_bytes()]).input, Some(1));
    }

    #[test]
    fn two_answers_together_used_what_each_did() {
        let one = Usage { input: Some(1), cached_input: None, output: Some(2) };
        assert_eq!(one.plus(one), Usage { input: Some(2), cached_input: None, output: Some(4) });
        assert_eq!(one.plus(Usage::default()), one);
    }
}
