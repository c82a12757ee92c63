//! Request heads.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::BytesMut;
use http::{Method, StatusCode};

use super::head::{
    BodyLength, HEADER_LINES_MAX, Head, field_ranges, has_bare_line_feed, head_end, parse_length, range_in,
    tokens,
};

/// Why a head is refused. After one of these the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("the request head is malformed")]
    Malformed,
    #[error("the request head is too large")]
    TooLarge,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the request has too many header lines")]
    TooManyLines,
    #[error("the HTTP version is not supported")]
    Version,
    #[error("the request needs exactly one Host header of the form host[:port]")]
    Host,
    #[error("the request target must be a path; this is not a forward proxy")]
    Target,
    #[error("Content-Length is not one plain number")]
    ContentLength,
    #[error("only \"Transfer-Encoding: chunked\" is supported, on HTTP/1.1, without Content-Length")]
    TransferEncoding,
    #[error("header names with \"_\" are not accepted: two spellings of one header are a way to smuggle")]
    Underscore,
    #[error("the method is not supported")]
    Method,
}

impl HeadError {
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge | Self::TooManyLines => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_head",
            Self::TooLarge | Self::TooManyLines => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::Version => "version_not_supported",
            Self::Host => "bad_host",
            Self::Target => "bad_target",
            Self::ContentLength => "bad_content_length",
            Self::TransferEncoding => "bad_transfer_encoding",
            Self::Underscore => "bad_header_name",
            Self::Method => "method_not_allowed",
        }
    }
}

/// Limits of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    pub bytes_max: usize,
    pub target_bytes_max: usize,
    pub lines_max: usize,
}

#[derive(Debug, Clone)]
pub struct RequestHead {
    pub method: Method,
    pub head: Head,
    target: Range<u32>,
    pub body: BodyLength,
    pub keep_alive: bool,
    pub expect_continue: bool,
    /// `Expect` with anything else.
    pub expect_unknown: bool,
    /// `Connection: upgrade` with `Upgrade: websocket`.
    pub websocket: bool,
    origin: Option<Range<u32>>,
    pub minor_version: u8,
}

impl RequestHead {
    /// Path and query as sent (absolute form reduced).
    pub fn target(&self) -> &str {
        self.head.text(&self.target)
    }

    /// The web page that a browser asks for, if one does.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_ref().map(|range| self.head.text(range))
    }
}

/// Cuts a request head off the front of `buffer`, if a whole one is there.
pub fn parse_request(buffer: &mut BytesMut, limits: &HeadLimits) -> Result<Option<RequestHead>, HeadError> {
    skip_leading_line_ends(buffer);
    let Some(end) = head_end(buffer) else {
        return match () {
            () if buffer.len() > limits.bytes_max => Err(too_large(buffer, limits)),
            // Not HTTP/1 at all, or bare line feeds: say so now instead of waiting for the deadline.
            () if has_bare_line_feed(buffer) => Err(HeadError::Malformed),
            () => Ok(None),
        };
    };
    if end > limits.bytes_max {
        return Err(too_large(buffer, limits));
    }
    let raw = buffer.split_to(end).freeze();
    let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES_MAX];
    let mut request = httparse::Request::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_request_with_uninit_headers(&mut request, &raw, &mut lines)
        .map_err(head_error)?;
    if status.is_partial() || has_bare_line_feed(&raw) {
        return Err(HeadError::Malformed);
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed);
    };
    if request.headers.len() > limits.lines_max {
        return Err(HeadError::TooManyLines);
    }
    let facts = RequestFacts::collect(request.headers, minor)?;
    let (authority, path) = split_target(target)?;
    if path.len() > limits.target_bytes_max {
        return Err(HeadError::TargetTooLong);
    }
    if authority.is_some_and(|authority| facts.host != Some(authority.as_bytes())) {
        return Err(HeadError::Target);
    }
    let method = parse_method(method)?;
    let (path, fields) = (range_in(&raw, path.as_bytes()), field_ranges(&raw, request.headers));
    let origin = facts.origin.map(|origin| range_in(&raw, origin));
    let RequestFacts { body, keep_alive, expect_continue, expect_unknown, websocket, .. } = facts;
    Ok(Some(RequestHead {
        method,
        target: path,
        body,
        keep_alive,
        expect_continue,
        expect_unknown,
        websocket,
        origin,
        minor_version: minor,
        head: Head { fields, raw },
    }))
}

fn head_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyLines,
        httparse::Error::Version => HeadError::Version,
        _ => HeadError::Malformed,
    }
}

/// Which limit an overlong head breaks: its target's, or the whole's.
fn too_large(buffer: &[u8], limits: &HeadLimits) -> HeadError {
    let first_line = buffer.iter().position(|&b| b == b'\n').unwrap_or(buffer.len());
    if first_line > limits.target_bytes_max { HeadError::TargetTooLong } else { HeadError::TooLarge }
}

fn skip_leading_line_ends(buffer: &mut BytesMut) {
    while buffer.starts_with(b"\r\n") {
        let _ = buffer.split_to(2);
    }
}

fn parse_method(method: &str) -> Result<Method, HeadError> {
    match method {
        // TRACE would echo credentials; CONNECT is for forward proxies.
        "TRACE" | "CONNECT" => Err(HeadError::Method),
        method => Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Method),
    }
}

/// Splits an absolute-form target into authority and path; origin form has no authority.
fn split_target(target: &str) -> Result<(Option<&str>, &str), HeadError> {
    if target.starts_with('/') || target == "*" {
        return if target.contains('#') { Err(HeadError::Target) } else { Ok((None, target)) };
    }
    let rest = target
        .strip_prefix("http://")
        .or_else(|| target.strip_prefix("https://"))
        .ok_or(HeadError::Target)?;
    let (authority, path) = rest.split_at(rest.find('/').ok_or(HeadError::Target)?);
    Ok((Some(authority), path))
}

/// What the headers say about framing and the connection, collected in one pass.
struct RequestFacts<'h> {
    host: Option<&'h [u8]>,
    body: BodyLength,
    keep_alive: bool,
    expect_continue: bool,
    expect_unknown: bool,
    websocket: bool,
    origin: Option<&'h [u8]>,
}

impl<'h> RequestFacts<'h> {
    fn collect(headers: &[httparse::Header<'h>], minor: u8) -> Result<Self, HeadError> {
        let mut facts = Self {
            host: None,
            body: BodyLength::Empty,
            keep_alive: minor == 1,
            expect_continue: false,
            expect_unknown: false,
            websocket: false,
            origin: None,
        };
        let (mut length, mut chunked) = (None, false);
        let (mut asks_upgrade, mut names_websocket) = (false, false);
        for header in headers {
            let name = header.name.as_bytes();
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    let again = facts.host.replace(header.value).is_some();
                    require(!again && is_host(header.value), HeadError::Host)?;
                }
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    let again =
                        length.replace(parse_length(header.value).ok_or(HeadError::ContentLength)?).is_some();
                    require(!again, HeadError::ContentLength)?;
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    if chunked || minor == 0 || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(HeadError::TransferEncoding);
                    }
                    chunked = true;
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    for token in tokens(header.value) {
                        match () {
                            () if token.eq_ignore_ascii_case(b"close") => facts.keep_alive = false,
                            () if token.eq_ignore_ascii_case(b"keep-alive") && minor == 0 => {
                                facts.keep_alive = true
                            }
                            () if token.eq_ignore_ascii_case(b"upgrade") => asks_upgrade = true,
                            () => {}
                        }
                    }
                }
                6 if name.eq_ignore_ascii_case(b"expect") => {
                    let known = header.value.eq_ignore_ascii_case(b"100-continue");
                    (facts.expect_continue, facts.expect_unknown) = (known && minor == 1, !known);
                }
                6 if name.eq_ignore_ascii_case(b"origin") => {
                    facts.origin = Some(header.value).filter(|value| value.is_ascii());
                }
                7 if name.eq_ignore_ascii_case(b"upgrade") => {
                    names_websocket = header.value.eq_ignore_ascii_case(b"websocket");
                }
                _ if name.contains(&b'_') => return Err(HeadError::Underscore),
                _ => {}
            }
        }
        if facts.host.is_none() && minor == 1 {
            return Err(HeadError::Host);
        }
        facts.body = match (length, chunked) {
            (Some(_), true) => return Err(HeadError::TransferEncoding),
            (None, true) => BodyLength::Chunked,
            (Some(0) | None, false) => BodyLength::Empty,
            (Some(length), false) => BodyLength::Known(length),
        };
        facts.websocket = asks_upgrade && names_websocket;
        Ok(facts)
    }
}

fn require(holds: bool, error: HeadError) -> Result<(), HeadError> {
    if holds { Ok(()) } else { Err(error) }
}

/// `host[:port]` (RFC 9110 section 7.2), without user info: a name, an IPv4 address or `[IPv6]`.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&b| b == b']') else { return false };
            let (inside, after) = rest.split_at(end);
            if inside.is_empty() || !inside.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
            {
                return false;
            }
            match after {
                [b']'] => return true,
                [b']', b':', port @ ..] => (&b"x"[..], Some(port)),
                _ => return false,
            }
        }
        _ => match value.iter().position(|&b| b == b':') {
            Some(colon) => (&value[..colon], value.get(colon + 1..)),
            None => (value, None),
        },
    };
    let host_ok = !host.is_empty()
        && host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    let port_ok = port.is_none_or(|port| {
        (1..=5).contains(&port.len())
            && port.iter().all(u8::is_ascii_digit)
            && port.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 65535
    });
    host_ok && port_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 1024, target_bytes_max: 64, lines_max: 8 };

    fn request(raw: &str) -> Result<Option<RequestHead>, HeadError> {
        parse_request(&mut BytesMut::from(raw), &LIMITS)
    }

    #[test]
    fn a_head_is_cut_off_and_the_rest_stays() {
        let mut buffer = BytesMut::from(
            "\r\nPOST /v1/x?a=1&a=2 HTTP/1.1\r\nHost: h:80\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
        );
        let head = parse_request(&mut buffer, &LIMITS).unwrap().unwrap();
        assert_eq!(head.target(), "/v1/x?a=1&a=2");
        assert_eq!((head.body, head.keep_alive), (BodyLength::Known(5), true));
        assert_eq!(head.head.get("x-a"), Some(&b"b"[..]));
        assert_eq!(&buffer[..], b"hello");
    }

    #[test]
    fn a_head_cut_anywhere_waits_for_the_rest() {
        let whole = "GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
        for cut in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..cut]);
            assert!(parse_request(&mut buffer, &LIMITS).unwrap().is_none(), "cut at {cut}");
            buffer.extend_from_slice(&whole.as_bytes()[cut..]);
            assert!(parse_request(&mut buffer, &LIMITS).unwrap().is_some(), "cut at {cut}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(80));
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(8));
        let large = format!("GET / HTTP/1.1\r\nHost: h\r\na: {}\r\n\r\n", "b".repeat(2000));
        for (raw, why) in [
            ("GET / HTTP/1.1\nHost: h\n\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost: h\r\nA: b\0\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/1.1\r\nHost: h\r\ngarbage\r\n\r\n", HeadError::Malformed),
            ("GET /\r\n\r\n", HeadError::Malformed),
            ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", HeadError::Version),
            ("GET / HTTP/1.1\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HeadError::Host),
            ("GET / HTTP/1.1\r\nHost: \r\n\r\n", HeadError::Host),
            ("GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
            ("GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
            ("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Target),
            ("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", HeadError::Method),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n", HeadError::ContentLength),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n", HeadError::ContentLength),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                HeadError::ContentLength,
            ),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
                HeadError::ContentLength,
            ),
            ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", HeadError::TransferEncoding),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                HeadError::TransferEncoding,
            ),
            ("GET / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TransferEncoding),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                HeadError::TransferEncoding,
            ),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent_Length: 1\r\n\r\n", HeadError::Underscore),
            (&long, HeadError::TargetTooLong),
            (&many, HeadError::TooManyLines),
            (&large, HeadError::TooLarge),
        ] {
            assert_eq!(request(raw).err(), Some(why), "{raw:?}");
        }
    }

    #[test]
    fn the_connection_header_decides_what_happens_next() {
        let head = |raw| request(raw).unwrap().unwrap();
        assert!(!head("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").keep_alive);
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
        assert!(
            head("GET / HTTP/1.1\r\nHost: h\r\nConnection: a, Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
                .websocket
        );
        assert!(!head("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n").websocket);
        assert_eq!(head("GET http://h/x?y HTTP/1.1\r\nHost: h\r\n\r\n").target(), "/x?y");
    }
}
