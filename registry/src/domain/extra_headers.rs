//! Headers an owner adds to every request of a provider.
//!
//! They must not be able to carry credentials past the secret store, to change framing, or to
//! split a head.

use std::collections::BTreeMap;

use proto_shared::auth_template::is_token;

/// Headers in one map.
pub const EXTRA_HEADERS_MAX: usize = 64;
/// One header's name and value together.
pub const EXTRA_HEADER_BYTES_MAX: usize = 8 * 1024;

const FORBIDDEN: [&str; 15] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtraHeaderError {
    #[error("at most {EXTRA_HEADERS_MAX} headers may be added")]
    TooMany,
    #[error("{0:?} is not a header name")]
    Name(String),
    #[error("{0:?} can't be set here; keys belong into a secret, and framing to the gateway")]
    Forbidden(String),
    #[error("{0:?} is given twice")]
    Twice(String),
    #[error("the value of {0:?} holds a character that can't stand in a header")]
    Value(String),
    #[error("{0:?} is longer than {EXTRA_HEADER_BYTES_MAX} bytes")]
    TooLong(String),
}

/// Checks one map of extra headers.
pub fn check(headers: &BTreeMap<String, String>) -> Result<(), ExtraHeaderError> {
    if headers.len() > EXTRA_HEADERS_MAX {
        return Err(ExtraHeaderError::TooMany);
    }
    let mut seen: Vec<String> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        if name.len() + value.len() > EXTRA_HEADER_BYTES_MAX {
            return Err(ExtraHeaderError::TooLong(name.chars().take(64).collect()));
        }
        if !is_token(name) {
            return Err(ExtraHeaderError::Name(name.clone()));
        }
        if FORBIDDEN.contains(&lower.as_str()) {
            return Err(ExtraHeaderError::Forbidden(name.clone()));
        }
        if !value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) {
            return Err(ExtraHeaderError::Value(name.clone()));
        }
        if seen.contains(&lower) {
            return Err(ExtraHeaderError::Twice(name.clone()));
        }
        seen.push(lower);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn plain_headers_pass() {
        assert_eq!(check(&one("X-Team", "a b")), Ok(()));
        assert_eq!(check(&BTreeMap::new()), Ok(()));
    }

    #[test]
    fn credentials_framing_and_split_heads_are_refused() {
        for (name, value) in [
            ("Authorization", "x"),
            ("cookie", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Host", "x"),
            ("A B", "x"),
            ("", "x"),
            ("X", "a\r\nB: c"),
            ("X", "é"),
        ] {
            assert!(check(&one(name, value)).is_err(), "{name}: {value}");
        }
        let mut twice = one("X-A", "1");
        twice.insert("x-a".into(), "2".into());
        assert_eq!(check(&twice), Err(ExtraHeaderError::Twice("x-a".into())));
    }

    #[test]
    fn count_and_length_are_limited() {
        let many = (0..=EXTRA_HEADERS_MAX).map(|i| (format!("x-{i}"), String::new())).collect();
        assert_eq!(check(&many), Err(ExtraHeaderError::TooMany));
        let long = one("x", &"v".repeat(EXTRA_HEADER_BYTES_MAX));
        assert_eq!(check(&long), Err(ExtraHeaderError::TooLong("x".into())));
    }
}
