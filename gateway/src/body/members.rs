//! The members of the outermost object of a body, in one pass over all its bytes.
//!
//! What must stay true: a body that passes has valid UTF-8, closed strings, brackets that match in kind, commas and
//! colons in their places at the outermost level, and nothing but white space around its one object. Outside
//! strings there is no mark that opens a string or a comment in supersets of JSON. So every reader of JSON sees the
//! same members.
//!
//! Absent on purpose: the grammar below the outermost level, of numbers, and of escapes.

use std::ops::Range;

use super::BodyError;
use super::blocks::{self, BLOCK, Block, LOOK_BACK, Window};

/// How deep a request body may nest.
pub const MAX_DEPTH: u32 = u128::BITS;

/// What a member's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Container,
    /// A number or a literal.
    Scalar,
}

/// One member of the outermost object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What is between the quotes of the key, escapes as they are.
    pub key: Range<usize>,
    /// The value; of a string with its quotes.
    pub value: Range<usize>,
    pub kind: Kind,
}

/// Where the outermost object begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// The index after the `{`.
    pub open: usize,
    pub empty: bool,
}

/// Checks `body` and shows each member of its object to `visit`, in order.
pub fn walk(
    body: &[u8],
    visit: impl FnMut(&[u8], Member) -> Result<(), BodyError>,
) -> Result<Outer, BodyError> {
    let open = opening_brace(body)?;
    let mut walk = Walk {
        body,
        visit,
        place: Place::FirstKey,
        depth: 1,
        kinds: 0,
        open,
        gap: open,
        key: 0..0,
        value: open,
        empty: true,
        in_string: 0,
        not_ascii: None,
    };
    let mut at = open;
    while let Some(rest) = body.get(at..)
        && !rest.is_empty()
        && walk.place != Place::End
    {
        let last;
        let block = match rest.first_chunk::<BLOCK>() {
            Some(block) => block,
            None => {
                last = blocks::padded(rest);
                &last
            }
        };
        if !block.is_ascii() {
            walk.saw_foreign_text(at);
        }
        let nothing_here = if walk.in_string != 0 {
            window(body, at).is_some_and(blocks::text_goes_on)
        } else {
            walk.depth > 1 && blocks::is_flat(block)
        };
        if !nothing_here {
            walk.block(block, at)?;
        }
        at += BLOCK;
    }
    walk.finish()
}

/// The block at `at` with the bytes before it.
#[inline(always)]
fn window(body: &[u8], at: usize) -> Option<&Window> {
    body.get(at.checked_sub(LOOK_BACK)?..)?.first_chunk()
}

/// Finds the brace that opens the body's object; gives the index after it.
fn opening_brace(body: &[u8]) -> Result<usize, BodyError> {
    let Some(start) = body.iter().position(|byte| !is_space(*byte)) else { return Err(BodyError::Empty) };
    let rest = body.get(start..).unwrap_or_default();
    match rest.first() {
        Some(b'{') => Ok(start + 1),
        Some(b'[' | b'"' | b'-' | b'0'..=b'9') => Err(BodyError::NotAnObject),
        _ if matches!(rest.trim_ascii_end(), b"true" | b"false" | b"null") => Err(BodyError::NotAnObject),
        _ => Err(BodyError::NotJson { offset: start }),
    }
}

/// What has to come next at the outermost level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A key, or the end.
    FirstKey,
    NextKey,
    InKey,
    Colon,
    Value,
    InText,
    InContainer,
    /// A comma, or the end.
    Comma,
    End,
}

struct Walk<'a, V> {
    body: &'a [u8],
    visit: V,
    place: Place,
    depth: u32,
    /// One bit per open bracket, the innermost lowest: 1 for `[`.
    kinds: u128,
    open: usize,
    /// The index after the last mark seen at the outermost level.
    gap: usize,
    key: Range<usize>,
    /// Where the value that is being read began.
    value: usize,
    empty: bool,
    /// All ones when the next block begins inside a string.
    in_string: u64,
    /// From the first block that isn't ASCII to the end of the last one.
    not_ascii: Option<Range<usize>>,
}

impl<V: FnMut(&[u8], Member) -> Result<(), BodyError>> Walk<'_, V> {
    /// Reads a block in which a string may end or begin.
    #[inline]
    fn block(&mut self, block: &Block, at: usize) -> Result<(), BodyError> {
        let backslashes = blocks::backslashes(block);
        let is_first_escaped = self.body.get(..at).is_some_and(blocks::ends_escaping);
        let (escaped, _) = blocks::escaped(backslashes, u64::from(is_first_escaped));
        let quotes = blocks::equal(block, b'"') & !escaped;
        if self.in_string != 0 && quotes == 0 {
            return Ok(());
        }
        let inside = blocks::inside_strings(quotes, self.in_string);
        self.in_string = 0u64.wrapping_sub(inside >> 63);
        let foreign = (blocks::foreign_marks(block) | backslashes) & !inside;
        let brackets = blocks::brackets(block) & !inside;
        let mut outermost = None;
        let mut ahead = !0u64;
        loop {
            let marks = if self.depth > 1 {
                brackets
            } else {
                *outermost.get_or_insert_with(|| brackets | quotes | (blocks::separators(block) & !inside))
            };
            if marks & ahead == 0 {
                return checked(foreign, at);
            }
            let index = (marks & ahead).trailing_zeros();
            ahead = (!0u64 << index) << 1;
            let byte = block.get(index as usize).copied().unwrap_or_default();
            self.mark(at + index as usize, byte)?;
            if self.place == Place::End {
                return checked(foreign & !ahead, at);
            }
        }
    }

    /// Takes one bracket; at the outermost level also one quote, comma or colon.
    #[inline]
    fn mark(&mut self, at: usize, byte: u8) -> Result<(), BodyError> {
        if self.depth > 1 {
            return self.bracket(at, byte);
        }
        let gap = std::mem::replace(&mut self.gap, at + 1);
        match (self.place, byte) {
            (Place::InKey, b'"') => {
                self.key = gap..at;
                self.place = Place::Colon;
                return Ok(());
            }
            (Place::InText, b'"') => {
                self.place = Place::Comma;
                return self.member(at + 1, Kind::Text);
            }
            (Place::Value, b',' | b'}') => {
                self.scalar(gap, at)?;
            }
            _ => self.only_spaces(gap, at)?,
        }
        match (self.place, byte) {
            (Place::FirstKey | Place::NextKey, b'"') => self.place = Place::InKey,
            (Place::Colon, b':') => self.place = Place::Value,
            (Place::Value, b'"') => {
                self.value = at;
                self.place = Place::InText;
            }
            (Place::Value, b'{' | b'[') => {
                self.value = at;
                self.place = Place::InContainer;
                return self.bracket(at, byte);
            }
            (Place::Comma, b',') => self.place = Place::NextKey,
            (Place::Comma | Place::FirstKey, b'}') => self.place = Place::End,
            _ => return Err(BodyError::NotJson { offset: at }),
        }
        Ok(())
    }

    #[inline]
    fn bracket(&mut self, at: usize, byte: u8) -> Result<(), BodyError> {
        let is_list = u128::from(byte & 0x20 == 0);
        if matches!(byte, b'{' | b'[') {
            if self.depth == MAX_DEPTH {
                return Err(BodyError::TooDeep);
            }
            self.depth += 1;
            self.kinds = self.kinds << 1 | is_list;
            return Ok(());
        }
        if self.kinds & 1 != is_list {
            return Err(BodyError::NotJson { offset: at });
        }
        self.kinds >>= 1;
        self.depth -= 1;
        if self.depth == 1 {
            self.gap = at + 1;
            self.place = Place::Comma;
            return self.member(at + 1, Kind::Container);
        }
        Ok(())
    }

    fn scalar(&mut self, gap: usize, at: usize) -> Result<(), BodyError> {
        let bytes = self.body.get(gap..at).unwrap_or_default();
        let lead = bytes.iter().take_while(|byte| is_space(**byte)).count();
        let token = bytes.get(lead..).unwrap_or_default();
        let len = token.iter().take_while(|byte| is_scalar(**byte)).count();
        if len == 0 || !token.get(len..).unwrap_or_default().iter().all(|byte| is_space(*byte)) {
            return Err(BodyError::NotJson { offset: gap + lead + len });
        }
        self.value = gap + lead;
        self.place = Place::Comma;
        self.member(gap + lead + len, Kind::Scalar)
    }

    #[inline]
    fn member(&mut self, end: usize, kind: Kind) -> Result<(), BodyError> {
        self.empty = false;
        (self.visit)(self.body, Member { key: self.key.clone(), value: self.value..end, kind })
    }

    #[inline]
    fn only_spaces(&self, from: usize, to: usize) -> Result<(), BodyError> {
        let gap = self.body.get(from..to).unwrap_or_default();
        match gap.iter().position(|byte| !is_space(*byte)) {
            None => Ok(()),
            Some(index) => Err(BodyError::NotJson { offset: from + index }),
        }
    }

    #[cold]
    fn saw_foreign_text(&mut self, at: usize) {
        let end = self.body.len().min(at + BLOCK);
        self.not_ascii = Some(self.not_ascii.as_ref().map_or(at, |seen| seen.start)..end);
    }

    fn finish(self) -> Result<Outer, BodyError> {
        if self.place != Place::End {
            return Err(BodyError::NotJson { offset: self.body.len() });
        }
        if self.only_spaces(self.gap, self.body.len()).is_err() {
            return Err(BodyError::TrailingData);
        }
        let not_ascii = self.not_ascii.and_then(|range| self.body.get(range)).unwrap_or_default();
        if std::str::from_utf8(not_ascii).is_err() {
            return Err(BodyError::InvalidUtf8);
        }
        Ok(Outer { open: self.open, empty: self.empty })
    }
}

fn checked(foreign: u64, at: usize) -> Result<(), BodyError> {
    if foreign != 0 {
        return Err(BodyError::NotJson { offset: at + foreign.trailing_zeros() as usize });
    }
    Ok(())
}

pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// Numbers and literals, `NaN` and `-Infinity` too, which some upstreams take.
pub fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}
