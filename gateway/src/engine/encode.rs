//! Heads on the way out: HTTP/1 bytes from parsed fields. Only parsed values and our own constants
//! are written, so no value can carry a line end.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::h1::Head;
use crate::h1::head::BodyLength;

/// A head's fields, whatever protocol they came by.
#[derive(Clone, Copy)]
pub enum Fields<'a> {
    H1(&'a Head),
    Map(&'a HeaderMap),
    None,
}

impl<'a> Fields<'a> {
    pub fn for_each(self, mut f: impl FnMut(&'a [u8], &'a [u8])) {
        match self {
            Self::H1(head) => head.iter().for_each(|(name, value)| f(name, value)),
            Self::Map(map) => {
                map.iter().for_each(|(name, value)| f(name.as_str().as_bytes(), value.as_bytes()))
            }
            Self::None => {}
        }
    }

    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        match self {
            Self::H1(head) => head.get(name),
            Self::Map(map) => map.get(name).map(|value| value.as_bytes()),
            Self::None => None,
        }
    }

    /// A value as text; values that are not UTF-8 count as absent.
    pub fn text(self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// How the body of an answer goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body; a length may be stated all the same (HEAD, 304).
    None {
        stated: Option<u64>,
    },
    Length(u64),
    /// Until it ends: chunks on HTTP/1.1, data frames on HTTP/2.
    Open,
}

impl Framing {
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None { .. } | Self::Length(0))
    }

    /// The framing that carries a body of `length` on.
    pub fn of(length: BodyLength) -> Self {
        match length {
            BodyLength::Empty => Self::Length(0),
            BodyLength::Known(length) => Self::Length(length),
            BodyLength::Chunked | BodyLength::UntilClose => Self::Open,
        }
    }
}

pub fn put_header(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

pub fn put_number(out: &mut BytesMut, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(at..).unwrap_or_default());
}

pub fn put_content_length(out: &mut BytesMut, length: u64) {
    out.put_slice(b"content-length: ");
    put_number(out, length);
    out.put_slice(b"\r\n");
}

pub fn put_status_line(out: &mut BytesMut, status: StatusCode) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// A chunk's size line.
pub fn put_chunk_size(out: &mut BytesMut, size: usize) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = size;
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b"0123456789abcdef"[rest % 16];
        }
        rest /= 16;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(at..).unwrap_or_default());
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_would() {
        for n in [0, 7, 10, 255, 256, 4095, 65536, 1_234_567] {
            let mut out = BytesMut::new();
            put_number(&mut out, n as u64);
            assert_eq!(out, n.to_string().as_bytes());
            let mut out = BytesMut::new();
            put_chunk_size(&mut out, n);
            assert_eq!(out, format!("{n:x}\r\n").as_bytes());
        }
    }
}
