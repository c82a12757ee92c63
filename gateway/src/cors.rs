//! Which web pages may call this gateway from a browser (Fetch standard, "CORS protocol").
//!
//! The platform lets every page in, with credentials. Without authentication that would let any web
//! site a user visits read what their gateway on loopback serves; so only pages of this machine may,
//! unless the operator names more.

use std::fmt;
use std::str::FromStr;

/// How long a browser may remember that it may call, in seconds.
pub const MAX_AGE_S: &str = "600";
/// What pages may use.
pub const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// Pages that may call, by where they were loaded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginRule {
    /// `loopback`: pages of this machine, any scheme and port.
    Loopback,
    /// `*`: every page.
    Any,
    /// `https://app.example:8443`
    Exactly(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be \"loopback\", \"*\" or an origin such as https://app.example, not {0:?}")]
pub struct OriginRuleError(String);

impl FromStr for OriginRule {
    type Err = OriginRuleError;

    fn from_str(text: &str) -> Result<Self, OriginRuleError> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "*" => Ok(Self::Any),
            _ if is_origin(text) => Ok(Self::Exactly(text.to_ascii_lowercase().into())),
            _ => Err(OriginRuleError(text.to_owned())),
        }
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Any => f.write_str("*"),
            Self::Exactly(origin) => f.write_str(origin),
        }
    }
}

/// The pages that may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigins(pub Vec<OriginRule>);

impl Default for AllowedOrigins {
    fn default() -> Self {
        Self(vec![OriginRule::Loopback])
    }
}

impl AllowedOrigins {
    pub fn allows(&self, origin: &str) -> bool {
        is_origin(origin)
            && self.0.iter().any(|rule| match rule {
                OriginRule::Any => true,
                OriginRule::Loopback => is_loopback(origin),
                OriginRule::Exactly(known) => known.eq_ignore_ascii_case(origin),
            })
    }
}

/// `scheme://host[:port]` and nothing else.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
    matches!(scheme, "http" | "https") && !authority.is_empty() && authority.chars().all(plain)
}

fn is_loopback(origin: &str) -> bool {
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    };
    host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rules: &[&str]) -> AllowedOrigins {
        AllowedOrigins(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    #[test]
    fn pages_of_this_machine_may_call_and_no_others_unless_named() {
        let default = AllowedOrigins::default();
        for origin in
            ["http://localhost", "http://localhost:3000", "https://127.0.0.1:8443", "http://[::1]:5173"]
        {
            assert!(default.allows(origin), "{origin}");
        }
        for origin in [
            "https://app.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evil.example:localhost",
            "null",
            "",
            "file://",
            "http://localhost/x",
            "http://a@localhost",
        ] {
            assert!(!default.allows(origin), "{origin}");
        }
        let named = allowed(&["https://App.example"]);
        assert!(named.allows("https://app.example") && !named.allows("http://localhost"));
        assert!(allowed(&["*"]).allows("https://any.example") && !allowed(&["*"]).allows("null"));
    }

    #[test]
    fn a_rule_is_known_or_refused() {
        for good in ["loopback", "*", "https://app.example:8443"] {
            assert_eq!(good.parse::<OriginRule>().unwrap().to_string(), good);
        }
        for bad in ["", "app.example", "https://app.example/", "https://*.example", "ftp://x"] {
            assert!(bad.parse::<OriginRule>().is_err(), "{bad}");
        }
    }
}
