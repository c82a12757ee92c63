//! What request and answer heads share: raw bytes with their fields, and body lengths.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// Most header lines of any head. The configured limit is at most this.
pub const HEADER_LINES_MAX: usize = 200;

/// The raw bytes of a head and where its fields are.
#[derive(Debug, Clone)]
pub struct Head {
    pub(super) raw: Bytes,
    pub(super) fields: SmallVec<[Field; 16]>,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    name: Range<u32>,
    value: Range<u32>,
}

impl Head {
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.slice(&field.name), self.slice(&field.value)))
    }

    /// The first value of `name` (lower case).
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        self.raw.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    pub(super) fn text(&self, range: &Range<u32>) -> &str {
        // The parser admits a target byte by byte; `parse_request` refuses those that are not UTF-8.
        std::str::from_utf8(self.slice(range)).unwrap_or_default()
    }
}

/// How long a message's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    Empty,
    Known(u64),
    Chunked,
    /// Until the connection closes: answers only.
    UntilClose,
}

/// Lines end in CR LF only: a bare LF is where two parsers would part ways.
pub(super) fn has_bare_line_feed(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', raw).any(|at| at == 0 || raw.get(at - 1) != Some(&b'\r'))
}

/// Where a complete head ends in `buffer`; bare line feeds end nothing.
pub(super) fn head_end(buffer: &[u8]) -> Option<usize> {
    memchr::memmem::find(buffer, b"\r\n\r\n").map(|at| at + 4)
}

pub(super) fn range_in(raw: &[u8], part: &[u8]) -> Range<u32> {
    let start = (part.as_ptr() as usize).wrapping_sub(raw.as_ptr() as usize);
    start as u32..(start + part.len()) as u32
}

pub(super) fn field_ranges(raw: &[u8], headers: &[httparse::Header<'_>]) -> SmallVec<[Field; 16]> {
    headers
        .iter()
        .map(|h| Field { name: range_in(raw, h.name.as_bytes()), value: range_in(raw, h.value) })
        .collect()
}

/// The members of a comma-separated list.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
