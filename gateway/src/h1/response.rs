//! Heads of answers. An upstream is not trusted more than a client.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{Method, StatusCode};

use super::head::{
    BodyLength, HEADER_LINES_MAX, Head, field_ranges, has_bare_line_feed, head_end, parse_length, tokens,
};

#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub head: Head,
    pub body: BodyLength,
    pub keep_alive: bool,
    pub minor_version: u8,
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
        return match () {
            () if buffer.len() > bytes_max => Err(AnswerError::TooLarge),
            // Not HTTP/1 at all, or bare line feeds: say so now instead of waiting for a time-out.
            () if !begins_an_answer(buffer) || has_bare_line_feed(buffer) => Err(AnswerError::Malformed),
            () => Ok(None),
        };
    };
    if end > bytes_max {
        return Err(AnswerError::TooLarge);
    }
    let raw = buffer.split_to(end).freeze();
    if has_bare_line_feed(&raw) {
        return Err(AnswerError::Malformed);
    }
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

fn begins_an_answer(buffer: &[u8]) -> bool {
    const BEGIN: &[u8] = b"HTTP/1.";
    let n = buffer.len().min(BEGIN.len());
    buffer.get(..n) == BEGIN.get(..n)
}

fn response_framing(headers: &[httparse::Header<'_>], minor: u8) -> Result<(BodyLength, bool), AnswerError> {
    let (mut length, mut chunked, mut keep_alive) = (None, false, minor == 1);
    for header in headers {
        let name = header.name.as_bytes();
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let parsed = parse_length(header.value).ok_or(AnswerError::Length)?;
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
