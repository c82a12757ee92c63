//! Where in a JSON reply the reader is, cut anywhere.
//!
//! Only three places matter: `model`, `response.model`, `message.model`. Everything else is skimmed: strings for
//! their end, containers for their closing bracket.
//!
//! What must stay true: the outcome doesn't depend on where the input is cut; the memory is this one struct. When the
//! outermost levels don't read as JSON, or its object is closed, the rest is passed over until `Tracker::new`.

use std::ops::Range;

use super::blocks::{self, BLOCK};
use super::members::{is_scalar, is_space};
use super::reply::ModelRewrite;
use super::text::{LONGEST_SPELLING, spells};

const LONGEST_KEY: &str = "response";
const KEY_BYTES: usize = LONGEST_KEY.len() * LONGEST_SPELLING;

/// How far a tracker got with its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All is read and nothing is open.
    Nothing,
    /// The served name, with its quotes. A value that was pending when the input began starts at its beginning.
    Model(Range<usize>),
    /// The value that was pending when the input began is another one; go on from its beginning.
    Other,
    /// All is read; from here on it may be the served name.
    Pending(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    FirstKey,
    NextKey,
    Key,
    Colon,
    Value,
    Candidate,
    Text,
    Scalar,
    Nested,
    Comma,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Model,
    /// An object that may hold `model` itself.
    Envelope,
    Other,
}

/// A key that was cut; one that is too long to matter keeps only its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CutKey {
    bytes: [u8; KEY_BYTES],
    len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracker {
    place: Place,
    /// Inside an envelope.
    enveloped: bool,
    role: Role,
    /// Open brackets of a container that is skimmed.
    depth: u32,
    nested_text: bool,
    /// The next byte of the string is escaped.
    escaped: bool,
    key: CutKey,
}

impl Tracker {
    pub const fn new() -> Self {
        Self {
            place: Place::Start,
            enveloped: false,
            role: Role::Other,
            depth: 0,
            nested_text: false,
            escaped: false,
            key: CutKey { bytes: [0; KEY_BYTES], len: 0 },
        }
    }

    /// Nothing but white space has been read.
    pub fn is_fresh(&self) -> bool {
        self.place == Place::Start
    }

    /// Reads `input` from `at` on, up to the next thing found.
    ///
    /// `held` are the bytes of a value that is pending; then `at` is where it goes on.
    pub fn advance(&mut self, rewrite: &ModelRewrite, held: &[u8], input: &[u8], mut at: usize) -> Found {
        if self.place == Place::Candidate {
            match self.candidate(rewrite, held, input, at, at) {
                Found::Nothing => return Found::Other,
                found => return found,
            }
        }
        while let Some(&byte) = input.get(at) {
            match self.place {
                Place::Key => at = self.key(input, at),
                Place::Text => match string_end(input, at, &mut self.escaped) {
                    Some(end) => (self.place, at) = (Place::Comma, end + 1),
                    None => return Found::Nothing,
                },
                Place::Nested => at = self.nested(input, at),
                Place::Value if byte == b'"' && self.role == Role::Model => {
                    self.place = Place::Candidate;
                    match self.candidate(rewrite, &[], input, at, at + 1) {
                        Found::Nothing => at += 1,
                        found => return found,
                    }
                }
                Place::Over => return Found::Nothing,
                Place::Scalar if is_scalar(byte) => at += scalar_len(input, at),
                _ => {
                    self.mark(byte);
                    at += 1;
                }
            }
        }
        Found::Nothing
    }

    /// A line of an event's data ends: white space to JSON, and never inside a string. True when a pending value
    /// turns out to be none.
    pub fn line_end(&mut self) -> bool {
        let was_pending = self.place == Place::Candidate;
        match self.place {
            Place::Key | Place::Text | Place::Candidate => self.place = Place::Over,
            Place::Nested if self.nested_text => self.place = Place::Over,
            Place::Scalar => self.place = Place::Comma,
            _ => {}
        }
        was_pending
    }

    /// Reads a value that may be the served name; `Nothing` when it is not, then the place is `Text`.
    fn candidate(
        &mut self,
        rewrite: &ModelRewrite,
        held: &[u8],
        input: &[u8],
        start: usize,
        at: usize,
    ) -> Found {
        let before = self.escaped;
        let window = rewrite.longest_value().saturating_sub(held.len()) + start;
        let near = input.get(..window.min(input.len())).unwrap_or_default();
        let end = string_end(near, at, &mut self.escaped);
        let seen = near.get(start..end.map_or(near.len(), |end| end + 1)).unwrap_or_default();
        match end {
            Some(end) if rewrite.is_served(held, seen) => {
                self.place = Place::Comma;
                Found::Model(start..end + 1)
            }
            None if held.len() + seen.len() < rewrite.longest_value()
                && rewrite.may_be_served(held, seen) =>
            {
                Found::Pending(start)
            }
            _ => {
                self.place = Place::Text;
                self.escaped = before;
                Found::Nothing
            }
        }
    }

    /// Reads a key from behind its quote, or from where it was cut.
    fn key(&mut self, input: &[u8], at: usize) -> usize {
        let end = string_end(input, at, &mut self.escaped);
        let seen = input.get(at..end.unwrap_or(input.len())).unwrap_or_default();
        let Some(end) = end else {
            self.key.push(seen);
            return input.len();
        };
        self.role = if self.key.len == 0 {
            self.role_of(seen)
        } else {
            self.key.push(seen);
            self.role_of(self.key.bytes.get(..self.key.len).unwrap_or_default())
        };
        self.key.len = 0;
        let has_colon = input.get(end + 1) == Some(&b':');
        self.place = if has_colon { Place::Value } else { Place::Colon };
        end + 1 + usize::from(has_colon)
    }

    fn role_of(&self, raw: &[u8]) -> Role {
        let is = |name: &str| raw == name.as_bytes() || (raw.contains(&b'\\') && spells(raw, name));
        if is("model") {
            Role::Model
        } else if !self.enveloped && (is("response") || is("message")) {
            Role::Envelope
        } else {
            Role::Other
        }
    }

    /// Skims a container for its closing bracket.
    fn nested(&mut self, input: &[u8], mut at: usize) -> usize {
        while let Some(rest) = input.get(at..)
            && !rest.is_empty()
        {
            if self.nested_text {
                let Some(end) = string_end(input, at, &mut self.escaped) else { return input.len() };
                self.nested_text = false;
                at = end + 1;
                continue;
            }
            let len = rest.len().min(BLOCK);
            let last;
            let block = match rest.first_chunk::<BLOCK>() {
                Some(block) if blocks::is_flat(block) => {
                    at += BLOCK;
                    continue;
                }
                Some(block) => block,
                None => {
                    last = blocks::padded(rest);
                    &last
                }
            };
            match self.nested_block(block, len) {
                Some(end) => return at + end,
                None => at += len,
            }
        }
        at
    }

    /// Skims a block of a container, of which `len` bytes count; gives the index after the container, if it ends.
    #[inline]
    fn nested_block(&mut self, block: &blocks::Block, len: usize) -> Option<usize> {
        let backslashes = blocks::backslashes(block);
        let (escaped, next_escaped) = blocks::escaped(backslashes, 0);
        let quotes = blocks::equal(block, b'"') & !escaped;
        let inside = blocks::inside_strings(quotes, 0);
        let mut brackets = blocks::brackets(block) & !inside;
        let stray = backslashes & !inside;
        if stray != 0 {
            brackets &= (1 << stray.trailing_zeros()) - 1;
        }
        while brackets != 0 {
            let index = brackets.trailing_zeros() as usize;
            brackets &= brackets - 1;
            match block.get(index) {
                Some(b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                _ => self.depth = self.depth.saturating_sub(1),
            }
            if self.depth == 0 {
                self.place = Place::Comma;
                return Some(index + 1);
            }
        }
        if stray != 0 {
            self.place = Place::Over;
            return Some(len);
        }
        self.nested_text = inside >> (len - 1) & 1 == 1;
        self.escaped =
            self.nested_text && if len == BLOCK { next_escaped == 1 } else { escaped >> len & 1 == 1 };
        None
    }

    /// Takes one byte between the strings of the outermost levels.
    #[inline]
    fn mark(&mut self, byte: u8) {
        if is_space(byte) {
            if self.place == Place::Scalar {
                self.place = Place::Comma;
            }
            return;
        }
        self.place = match self.place {
            Place::Colon if byte == b':' => Place::Value,
            Place::Comma | Place::Scalar if byte == b',' => Place::NextKey,
            Place::NextKey | Place::FirstKey if byte == b'"' => Place::Key,
            Place::Scalar if is_scalar(byte) => Place::Scalar,
            Place::Value => self.value(byte),
            Place::Comma | Place::Scalar | Place::FirstKey if byte == b'}' && self.enveloped => {
                self.enveloped = false;
                Place::Comma
            }
            Place::Start if byte == b'{' => Place::FirstKey,
            _ => Place::Over,
        };
    }

    fn value(&mut self, byte: u8) -> Place {
        match byte {
            b'"' => Place::Text,
            b'{' if self.role == Role::Envelope => {
                self.enveloped = true;
                Place::FirstKey
            }
            b'{' | b'[' => {
                self.depth = 1;
                Place::Nested
            }
            _ if is_scalar(byte) => Place::Scalar,
            _ => Place::Over,
        }
    }
}

impl CutKey {
    fn push(&mut self, seen: &[u8]) {
        let room = self.bytes.get_mut(self.len.min(KEY_BYTES)..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(seen) {
            *to = *from;
        }
        self.len = self.len.saturating_add(seen.len()).min(KEY_BYTES + 1);
    }
}

fn scalar_len(input: &[u8], at: usize) -> usize {
    input.iter().skip(at).take_while(|byte| is_scalar(**byte)).count()
}

/// The index of the quote that closes a string whose bytes go on at `at`; notes when the input ends in an escape.
#[inline]
fn string_end(input: &[u8], at: usize, escaped: &mut bool) -> Option<usize> {
    let from = at + usize::from(*escaped);
    let end = blocks::string_end(input, from);
    if end.is_some() {
        *escaped = false;
    } else if let Some(text) = input.get(from..) {
        *escaped = blocks::ends_escaping(text);
    }
    end
}
