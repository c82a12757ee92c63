//! How a provider wants its key: a header template with the one variable `auth_secret`.
//!
//! `X-Api-Key: {{ auth_secret }}` sends the key bare; the default is `Authorization: Bearer …`.

use serde::{Deserialize, Serialize};

/// Longest template, in bytes.
pub const AUTH_TEMPLATE_BYTES_MAX: usize = 1024;

/// A checked template: it renders to one header for every valid key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuthTemplate {
    text: Box<str>,
    header: Box<str>,
    prefix: Box<str>,
    suffix: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthTemplateError {
    #[error("the template is longer than {AUTH_TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the template must read \"<Header>: <value>\" with {{{{ auth_secret }}}} once in the value")]
    Shape,
    #[error("{0:?} is not a header name a key may travel in")]
    Header(String),
    #[error("the value may hold printable ASCII only")]
    Value,
}

/// Why a key can't be sent in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key holds a character that can't stand in a header (a line break, perhaps)")]
pub struct KeyNotPrintable;

/// Headers the gateway owns; a key in one of them would break framing or routing.
const FORBIDDEN: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "cookie",
];

impl AuthTemplate {
    pub fn parse(text: &str) -> Result<Self, AuthTemplateError> {
        if text.len() > AUTH_TEMPLATE_BYTES_MAX {
            return Err(AuthTemplateError::TooLong);
        }
        let (header, value) = text.split_once(':').ok_or(AuthTemplateError::Shape)?;
        let header = header.trim();
        if !is_token(header) || FORBIDDEN.iter().any(|f| header.eq_ignore_ascii_case(f)) {
            return Err(AuthTemplateError::Header(header.into()));
        }
        let (prefix, rest) = value.split_once("{{").ok_or(AuthTemplateError::Shape)?;
        let (variable, suffix) = rest.split_once("}}").ok_or(AuthTemplateError::Shape)?;
        if variable.trim() != "auth_secret" || suffix.contains("{{") || prefix.contains("}}") {
            return Err(AuthTemplateError::Shape);
        }
        if !printable(prefix) || !printable(suffix) {
            return Err(AuthTemplateError::Value);
        }
        Ok(Self {
            text: text.into(),
            header: header.to_ascii_lowercase().into(),
            prefix: prefix.trim_start().into(),
            suffix: suffix.trim_end().into(),
        })
    }

    /// The header's name, in lower case.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The header's value for `key`. White space around the key is dropped, as files end in a newline.
    pub fn render(&self, key: &str) -> Result<String, KeyNotPrintable> {
        let key = key.trim();
        if !key.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(KeyNotPrintable);
        }
        Ok(format!("{}{key}{}", self.prefix, self.suffix))
    }
}

impl Default for AuthTemplate {
    fn default() -> Self {
        Self {
            text: "Authorization: Bearer {{ auth_secret }}".into(),
            header: "authorization".into(),
            prefix: "Bearer ".into(),
            suffix: "".into(),
        }
    }
}

impl TryFrom<String> for AuthTemplate {
    type Error = AuthTemplateError;
    fn try_from(text: String) -> Result<Self, AuthTemplateError> {
        Self::parse(&text)
    }
}
impl From<AuthTemplate> for String {
    fn from(template: AuthTemplate) -> String {
        template.text.into_string()
    }
}

/// Whether `name` is an HTTP token (RFC 9110, section 5.6.2).
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn printable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_render_to_one_header() {
        for (text, header, value) in [
            ("Authorization: Bearer {{ auth_secret }}", "authorization", "Bearer k"),
            ("X-Api-Key: {{auth_secret}}", "x-api-key", "k"),
            ("Api-Key:{{ auth_secret }};v=1", "api-key", "k;v=1"),
        ] {
            let template = AuthTemplate::parse(text).unwrap();
            assert_eq!(template.header(), header);
            assert_eq!(template.render("k\n").unwrap(), value);
        }
        assert_eq!(
            AuthTemplate::default(),
            AuthTemplate::parse("Authorization: Bearer {{ auth_secret }}").unwrap()
        );
    }

    #[test]
    fn a_template_that_could_split_or_hijack_a_header_is_refused() {
        for text in [
            "",
            "Authorization",
            "Authorization: Bearer",
            "A: {{ auth_secret }} {{ auth_secret }}",
            "A: {{ other }}",
            "Host: {{ auth_secret }}",
            "A B: {{ auth_secret }}",
            "A: x\r\nB: {{ auth_secret }}",
            ": {{ auth_secret }}",
            "Cookie: {{ auth_secret }}",
        ] {
            assert!(AuthTemplate::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(AuthTemplate::default().render("a\r\nb"), Err(KeyNotPrintable));
    }
}
