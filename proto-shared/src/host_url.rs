//! The base URL of a provider, parsed once.
//!
//! Every later user takes scheme, host, port and base path from this value. What no back end needs
//! and an attacker wants (userinfo, query, fragment, odd spellings of addresses, dot segments) is
//! refused here, with the reason.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Longest URL, in bytes.
pub const HOST_URL_BYTES_MAX: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

/// A host as it is connected to: an address, or a DNS name in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Ip(IpAddr),
    Name(Box<str>),
}

/// A checked base URL. Its text form is kept as given, for showing.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostUrl {
    text: Box<str>,
    scheme: Scheme,
    host: Host,
    port: u16,
    base_path: Box<str>,
    is_api_root: bool,
}

/// Why a text is not a base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostUrlError {
    #[error("the URL is longer than {HOST_URL_BYTES_MAX} bytes")]
    TooLong,
    #[error("the URL must start with http:// or https://")]
    Scheme,
    #[error(
        "the URL holds {0:?}; only printable ASCII without backslash is allowed (write other host names in punycode)"
    )]
    Char(char),
    #[error("the URL must not hold a user name or password; store the key as a secret")]
    UserInfo,
    #[error("a base URL has no query (\"?\")")]
    Query,
    #[error("a base URL has no fragment (\"#\")")]
    Fragment,
    #[error("the URL has no host")]
    NoHost,
    #[error("{0:?} is not a host name or an address in its usual form")]
    Host(String),
    #[error("the port must be a number from 1 to 65535")]
    Port,
    #[error("the path holds a dot segment, an empty segment or an encoded separator")]
    Path,
}

impl HostUrl {
    pub fn parse(text: &str) -> Result<Self, HostUrlError> {
        if text.len() > HOST_URL_BYTES_MAX {
            return Err(HostUrlError::TooLong);
        }
        if let Some(c) = text.chars().find(|&c| !c.is_ascii_graphic() || c == '\\') {
            return Err(HostUrlError::Char(c));
        }
        let (scheme, rest) = split_scheme(text)?;
        if rest.contains('#') {
            return Err(HostUrlError::Fragment);
        }
        if rest.contains('?') {
            return Err(HostUrlError::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(HostUrlError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let port = match port {
            None => scheme.default_port(),
            Some(digits) => parse_port(digits)?,
        };
        let (host, base_path) = (parse_host(host)?, parse_path(path)?);
        let is_api_root = is_api_root(&base_path);
        Ok(Self { text: text.into(), scheme, host, port, base_path, is_api_root })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }
    pub fn host(&self) -> &Host {
        &self.host
    }
    pub fn port(&self) -> u16 {
        self.port
    }
    /// The path without a trailing slash: empty, or starting with `/`.
    pub fn base_path(&self) -> &str {
        &self.base_path
    }
    /// The value of the `Host` header: without the port when it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.to_string(),
            Host::Ip(IpAddr::V4(ip)) => ip.to_string(),
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
    /// The path for `tail` (which has no leading slash) on this back end.
    ///
    /// One rule, so that `http://h`, `http://h/`, `http://h/v1` and `http://h/v1/` behave alike for
    /// `v1/chat/completions`: when the base path is the root of a versioned API, the tail's `v1` is
    /// dropped. The result starts with the base path and `/`.
    pub fn join(&self, tail: &str) -> String {
        let base = self.base_path();
        let rest = match (self.is_api_root, tail.strip_prefix("v1")) {
            (true, Some("")) => return base.to_owned(),
            (true, Some(rest)) if rest.starts_with('/') => &rest[1..],
            _ => tail,
        };
        format!("{base}/{rest}")
    }
}

/// Whether a base path is what OpenAI's clients append `chat/completions` to: it ends in a version
/// (`/v1`, `/api/paas/v4`), or names one and ends in the dialect (`/v1beta/openai`).
fn is_api_root(base: &str) -> bool {
    let Some((before, last)) = base.rsplit_once('/') else { return false };
    is_version(last) || (matches!(last, "openai" | "openapi") && before.split('/').any(is_version))
}

/// `v1`, `v1beta`, `v12`.
fn is_version(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix('v') else { return false };
    let word = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    word.len() < rest.len() && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), HostUrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(HostUrlError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((Scheme::Http, rest)),
        "https" => Ok((Scheme::Https, rest)),
        _ => Err(HostUrlError::Scheme),
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), HostUrlError> {
    if let Some(inner) = authority.strip_prefix('[') {
        let (_, after) = inner.split_once(']').ok_or_else(|| HostUrlError::Host(authority.into()))?;
        let host = &authority[..authority.len() - after.len()];
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(HostUrlError::Host(authority.into())),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

fn parse_port(digits: &str) -> Result<u16, HostUrlError> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(port) if plain && port != 0 => Ok(port),
        _ => Err(HostUrlError::Port),
    }
}

fn parse_host(host: &str) -> Result<Host, HostUrlError> {
    let bad = || HostUrlError::Host(host.into());
    if host.is_empty() {
        return Err(HostUrlError::NoHost);
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().map(|ip| Host::Ip(ip.into())).map_err(|_| bad());
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits, or 0x…, is how resolvers spell addresses in decimal, hex and octal.
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if name.len() > 253 || numeric || !name.split('.').all(label_ok) {
        return Err(bad());
    }
    Ok(Host::Name(name.into_boxed_str()))
}

fn parse_path(path: &str) -> Result<Box<str>, HostUrlError> {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let lower = trimmed.to_ascii_lowercase();
    if ["%2e", "%2f", "%5c", "%25", "%00"].iter().any(|code| lower.contains(code)) {
        return Err(HostUrlError::Path);
    }
    if trimmed.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(HostUrlError::Path);
    }
    Ok(trimmed.into())
}

impl TryFrom<String> for HostUrl {
    type Error = HostUrlError;
    fn try_from(text: String) -> Result<Self, HostUrlError> {
        Self::parse(&text)
    }
}
impl From<HostUrl> for String {
    fn from(url: HostUrl) -> String {
        url.text.into_string()
    }
}
impl fmt::Display for HostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl fmt::Debug for HostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_segment_is_never_doubled_and_never_lost() {
        for (base, tail, path) in [
            ("http://h", "v1/chat/completions", "/v1/chat/completions"),
            ("http://h/", "v1/chat/completions", "/v1/chat/completions"),
            ("http://h/v1", "v1/chat/completions", "/v1/chat/completions"),
            ("http://h/v1/", "v1/chat/completions", "/v1/chat/completions"),
            ("http://h/inference/v1", "v1/models", "/inference/v1/models"),
            ("http://h/v1/openai", "v1/models", "/v1/openai/models"),
            ("http://h/v1beta/openai/", "v1/chat/completions", "/v1beta/openai/chat/completions"),
            ("http://h/openai", "v1/models", "/openai/v1/models"),
            ("http://h/video/openai", "v1/models", "/video/openai/v1/models"),
            (
                "http://h/v1/projects/p/endpoints/openapi",
                "v1/models",
                "/v1/projects/p/endpoints/openapi/models",
            ),
            ("http://h/api/paas/v4", "v1/chat/completions", "/api/paas/v4/chat/completions"),
            ("http://h/v2/workspaces/w/openai/-", "v1/models", "/v2/workspaces/w/openai/-/v1/models"),
            ("http://h/video", "v1/models", "/video/v1/models"),
            ("http://h/v1-eu", "v1/models", "/v1-eu/v1/models"),
            ("http://h/v1", "v1", "/v1"),
            ("http://h/v1", "v1beta/x", "/v1/v1beta/x"),
            ("http://h/v1", "metrics", "/v1/metrics"),
            ("http://h", "", "/"),
            ("http://h/myv1", "v1/models", "/myv1/v1/models"),
            ("http://h", "a//b/-/c", "/a//b/-/c"),
        ] {
            assert_eq!(HostUrl::parse(base).unwrap().join(tail), path, "{base} + {tail}");
        }
    }

    #[test]
    fn the_host_header_leaves_the_default_port_out() {
        for (url, authority) in [
            ("http://h:80/v1", "h"),
            ("https://h:443", "h"),
            ("https://H.Example:8443", "h.example:8443"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert_eq!(HostUrl::parse(url).unwrap().authority(), authority);
        }
    }

    #[test]
    fn what_no_back_end_needs_is_refused() {
        for url in [
            "",
            "h",
            "ftp://h",
            "http://",
            "http:///x",
            "http://u:p@h",
            "http://h?x",
            "http://h#f",
            "http://h\\x",
            "http://h/ x",
            "http://h/../x",
            "http://h/./x",
            "http://h//x",
            "http://h/%2e%2e",
            "http://h/a%2fb",
            "http://h:0",
            "http://h:+1",
            "http://h:99999",
            "http://h:",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[fe80::1%25eth0]/",
            "http://[::1",
            "http://a..b",
            "http://-a",
            "http://é.example",
            "file:///etc/passwd",
            "http://1.2.3.4.5/",
        ] {
            assert!(HostUrl::parse(url).is_err(), "{url:?} was accepted");
        }
    }
}
