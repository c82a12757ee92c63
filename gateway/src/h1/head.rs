//! Request and response heads.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use smallvec::SmallVec;

/// Most header lines of any head. The configured limit is at most this.
pub const HEADER_LINES_MAX: usize = 200;

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

/// The raw bytes of a head and where its fields are.
#[derive(Debug, Clone)]
pub struct Head {
    raw: Bytes,
    fields: SmallVec<[Field; 16]>,
}

#[derive(Debug, Clone)]
struct Field {
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

    fn text(&self, range: &Range<u32>) -> &str {
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
    pub minor_version: u8,
}

impl RequestHead {
    /// Path and query as sent (absolute form reduced).
    pub fn target(&self) -> &str {
        self.head.text(&self.target)
    }
}

#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub head: Head,
    pub body: BodyLength,
    pub keep_alive: bool,
    pub minor_version: u8,
}

/// Where a complete head ends in `buffer`; bare line feeds end nothing.
fn head_end(buffer: &[u8]) -> Option<usize> {
    memchr::memmem::find(buffer, b"\r\n\r\n").map(|at| at + 4)
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
    let RequestFacts { body, keep_alive, expect_continue, expect_unknown, websocket, .. } = facts;
    Ok(Some(RequestHead {
        method,
        target: path,
        body,
        keep_alive,
        expect_continue,
        expect_unknown,
        websocket,
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

fn has_bare_line_feed(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', raw).any(|at| at == 0 || raw.get(at - 1) != Some(&b'\r'))
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

fn range_in(raw: &[u8], part: &[u8]) -> Range<u32> {
    let start = (part.as_ptr() as usize).wrapping_sub(raw.as_ptr() as usize);
    start as u32..(start + part.len()) as u32
}

fn field_ranges(raw: &[u8], headers: &[httparse::Header<'_>]) -> SmallVec<[Field; 16]> {
    headers
        .iter()
        .map(|h| Field { name: range_in(raw, h.name.as_bytes()), value: range_in(raw, h.value) })
        .collect()
}

/// What the headers say about framing and the connection, collected in one pass.
struct RequestFacts<'h> {
    host: Option<&'h [u8]>,
    body: BodyLength,
    keep_alive: bool,
    expect_continue: bool,
    expect_unknown: bool,
    websocket: bool,
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
                    let again = length.replace(parse_length(header.value)?).is_some();
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

/// The members of a comma-separated list.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn parse_length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::ContentLength);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
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

/// Why an upstream's head is not believed. The connection is dropped and the client gets a 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("its head is malformed")]
    Malformed,
    #[error("its head is too large")]
    TooLarge,
    #[error("its lengths contradict each other")]
    Length,
    #[error("it switched protocols without being asked")]
    UnaskedUpgrade,
}

/// Cuts an answer's head off the front of `buffer`, if a whole one is there.
pub fn parse_response(
    buffer: &mut BytesMut,
    bytes_max: usize,
    method: &Method,
) -> Result<Option<ResponseHead>, AnswerError> {
    let Some(end) = head_end(buffer) else {
        return if buffer.len() > bytes_max { Err(AnswerError::TooLarge) } else { Ok(None) };
    };
    if end > bytes_max {
        return Err(AnswerError::TooLarge);
    }
    let raw = buffer.split_to(end).freeze();
    let mut lines = [const { MaybeUninit::uninit() }; HEADER_LINES_MAX];
    let mut response = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, &raw, &mut lines)
        .map_err(|_| AnswerError::Malformed)?;
    let (Some(minor), Some(code)) = (response.version, response.code) else {
        return Err(AnswerError::Malformed);
    };
    if status.is_partial() {
        return Err(AnswerError::Malformed);
    }
    let status = StatusCode::from_u16(code).map_err(|_| AnswerError::Malformed)?;
    let (length, keep_alive) = response_framing(response.headers, minor)?;
    let no_body = *method == Method::HEAD || status.is_informational() || matches!(code, 204 | 304);
    let fields = field_ranges(&raw, response.headers);
    Ok(Some(ResponseHead {
        status,
        body: if no_body { BodyLength::Empty } else { length },
        keep_alive: keep_alive && (no_body || length != BodyLength::UntilClose),
        minor_version: minor,
        head: Head { fields, raw },
    }))
}

fn response_framing(headers: &[httparse::Header<'_>], minor: u8) -> Result<(BodyLength, bool), AnswerError> {
    let (mut length, mut chunked, mut keep_alive) = (None, false, minor == 1);
    for header in headers {
        let name = header.name.as_bytes();
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let parsed = parse_length(header.value).map_err(|_| AnswerError::Length)?;
                if length.replace(parsed).is_some_and(|before| before != parsed) {
                    return Err(AnswerError::Length);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(AnswerError::Length);
                }
                chunked = true;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for token in tokens(header.value) {
                    if token.eq_ignore_ascii_case(b"close") {
                        keep_alive = false;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") && minor == 0 {
                        keep_alive = true;
                    }
                }
            }
            _ => {}
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(AnswerError::Length),
        (None, true) => Ok((BodyLength::Chunked, keep_alive)),
        (Some(0), false) => Ok((BodyLength::Empty, keep_alive)),
        (Some(length), false) => Ok((BodyLength::Known(length), keep_alive)),
        // Whether the connection lives on is the caller's to say: an answer without a body has no length.
        (None, false) => Ok((BodyLength::UntilClose, keep_alive)),
    }
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

    fn response(raw: &str, method: &Method) -> Result<Option<ResponseHead>, AnswerError> {
        parse_response(&mut BytesMut::from(raw), 1024, method)
    }

    #[test]
    fn an_answers_body_length_follows_status_method_and_headers() {
        for (raw, method, body, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::GET, BodyLength::Known(3), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::HEAD, BodyLength::Empty, true),
            ("HTTP/1.1 204 No Content\r\n\r\n", Method::GET, BodyLength::Empty, true),
            ("HTTP/1.1 200 OK\r\n\r\n", Method::HEAD, BodyLength::Empty, true),
            ("HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", Method::GET, BodyLength::Empty, true),
            ("HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", Method::GET, BodyLength::Chunked, true),
            ("HTTP/1.1 200 OK\r\n\r\n", Method::GET, BodyLength::UntilClose, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", Method::GET, BodyLength::Known(1), false),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                Method::GET,
                BodyLength::Empty,
                false,
            ),
        ] {
            let head = response(raw, &method).unwrap().unwrap();
            assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{raw:?} {method}");
        }
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_not_believed() {
        for (raw, why) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", AnswerError::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", AnswerError::Length),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                AnswerError::Length,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", AnswerError::Length),
            ("HTTP/1.1 99 x\r\n\r\n", AnswerError::Malformed),
            ("SSH-2.0-x\r\n\r\n", AnswerError::Malformed),
            ("HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n", AnswerError::Malformed),
        ] {
            assert_eq!(response(raw, &Method::GET).err(), Some(why), "{raw:?}");
        }
    }
}
