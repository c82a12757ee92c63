//! One raw request and what is expected of it. The cases are in `tests/raw/cases.jsonl`; its README
//! lists the placeholders and the expectations.

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

/// What may become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Expectation {
    /// One success, one upstream request.
    #[serde(rename = "ok")]
    Ok,
    /// Two answers in order, or one and a close.
    #[serde(rename = "ok1or2")]
    OneOrTwo,
    /// Refused, nothing forwarded, and the connection closed.
    #[serde(rename = "reject")]
    Reject,
    /// Refused, nothing forwarded.
    #[serde(rename = "refuse")]
    Refuse,
    /// At most one upstream request and one success; no failure of ours.
    #[serde(rename = "safe")]
    Safe,
    /// At most one upstream request and one success.
    #[serde(rename = "no-smuggle")]
    NoSmuggle,
    #[serde(rename = "no-forward")]
    NoForward,
    /// Whatever is forwarded stays below the provider's base path.
    #[serde(rename = "no-escape")]
    NoEscape,
    /// The marker of the control API does not come back.
    #[serde(rename = "no-admin")]
    NoAdmin,
    /// The request is not completed upstream. The client ends its half of the connection.
    #[serde(rename = "cut")]
    Cut,
    /// 401, nothing forwarded.
    #[serde(rename = "401")]
    Unauthorized,
    /// 401 or another refusal of the client's doing, nothing forwarded.
    #[serde(rename = "401or400")]
    UnauthorizedOrBad,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub id: String,
    pub group: String,
    pub raw: String,
    pub expect: Expectation,
    /// What the case is about.
    pub why: String,
    /// Why it does not apply yet.
    #[serde(default)]
    pub skip: Option<String>,
    /// Must not be in any head upstream (any case).
    #[serde(default)]
    pub forbid_upstream: Vec<String>,
    /// Must be in the heads upstream, if there are any (any case).
    #[serde(default)]
    pub require_upstream: Vec<String>,
}

/// What the placeholders stand for.
#[derive(Debug, Clone)]
pub struct Values {
    pub gateway: SocketAddr,
    /// A path that leads to chat completions.
    pub path: String,
    /// The same up to where the tail begins.
    pub tail: String,
    /// A control path that lists what clients of inference have no business with.
    pub admin: String,
    /// What the answer of `admin` contains.
    pub admin_marker: String,
    /// The client's key.
    pub key: String,
    /// The model of the body, a name that the provider serves.
    pub model: String,
    pub body: String,
    /// The base path of the provider.
    pub base: String,
}

const AUTH: &str = "Authorization: Bearer {K}\r\nContent-Type: application/json\r\n";
/// A whole request that is routed: wherever it is taken for one and must not be, the upstream sees it.
const SMUGGLED: &str = "POST {PP}smuggled-{ID} HTTP/1.1\r\nHost: {H}\r\nContent-Type: application/json\r\n\
    Content-Length: {BL}\r\n\r\n{B}";
/// A body whose members try to choose where it goes.
const ODD_BODY: &str = r#"{"model":"{M}","api_base":"http://evil.test","base_url":"http://evil.test","api_key":"client-secret","extra_headers":{"x-evil":"evil.test"},"messages":[]}"#;

/// Reads a file with one case a line.
///
/// # Panics
/// When it can't be read or a line is no case.
pub fn load(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parse = |(n, line): (usize, &str)| {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{}:{}: {e}", path.display(), n + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

impl Case {
    /// The bytes to send. A character stands for the byte of its number.
    ///
    /// # Panics
    /// When a character is beyond one byte.
    pub fn bytes(&self, values: &Values) -> Vec<u8> {
        let byte = |c| u8::try_from(c).unwrap_or_else(|_| panic!("{}: {c:?} is no byte", self.id));
        self.expand(&self.raw, values).chars().map(byte).collect()
    }

    pub fn expand(&self, text: &str, values: &Values) -> String {
        let mut out = repeated(text);
        let smuggled = self.simple(SMUGGLED, values);
        let odd = self.simple(ODD_BODY, values);
        for (name, value) in [
            ("{SL}", smuggled.len().to_string()),
            ("{S}", smuggled),
            ("{XL}", odd.len().to_string()),
            ("{X}", odd),
            ("{AUTH}", AUTH.to_owned()),
        ] {
            out = out.replace(name, &value);
        }
        self.simple(&out, values)
    }

    fn simple(&self, text: &str, values: &Values) -> String {
        let mut out = text.to_owned();
        let replacements: [(&str, &str); 13] = [
            ("{H}", &values.gateway.to_string()),
            ("{PORT}", &values.gateway.port().to_string()),
            ("{PP}", &values.tail),
            ("{P}", &values.path),
            ("{A}", values.admin.trim_start_matches('/')),
            ("{AU}", &values.admin.to_uppercase()),
            ("{K20}", values.key.get(..20).unwrap_or_default()),
            ("{K}", &values.key),
            ("{BL}", &values.body.len().to_string()),
            ("{BX}", &format!("{:x}", values.body.len())),
            ("{B}", &values.body),
            ("{M}", &values.model),
            ("{ID}", &self.id),
        ];
        for (name, value) in replacements {
            out = out.replace(name, value);
        }
        out
    }
}

/// `{REP:text:n}` is the text n times; `{SEQ:a%d:n}` is n lines in which `%d` counts from 0.
fn repeated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, pattern, n, after)) = next_repetition(rest) {
        out.push_str(before);
        match pattern {
            Pattern::Same(piece) => out.push_str(&piece.repeat(n)),
            Pattern::Counted(line) => {
                (0..n).for_each(|i| out.push_str(&format!("{}\r\n", line.replace("%d", &i.to_string()))));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

enum Pattern<'t> {
    Same(&'t str),
    Counted(&'t str),
}

fn next_repetition(text: &str) -> Option<(&str, Pattern<'_>, usize, &str)> {
    let start = text.find("{REP:").into_iter().chain(text.find("{SEQ:")).min()?;
    let (before, inside) = text.split_at(start);
    let (inside, after) = inside.split_once('}')?;
    let (pattern, n) = inside.rsplit_once(':')?;
    let pattern = match pattern.strip_prefix("{REP:") {
        Some(piece) => Pattern::Same(piece),
        None => Pattern::Counted(pattern.strip_prefix("{SEQ:")?),
    };
    Some((before, pattern, n.parse().ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_counted_lines_repeat() {
        assert_eq!(repeated("a{REP:xy:3}b{SEQ:n-%d: v:2}c"), "axyxyxybn-0: v\r\nn-1: v\r\nc");
        assert_eq!(repeated("{B} {REP} {"), "{B} {REP} {");
    }

    #[test]
    fn placeholders_are_filled_in_and_characters_are_bytes() {
        let case: Case = serde_json::from_str(
            r#"{"id":"x","group":"g","raw":"{P} {BL} {BX} {ID} /{A}\u0000\u00ff","expect":"ok","why":""}"#,
        )
        .unwrap();
        let values = Values {
            gateway: SocketAddr::from(([127, 0, 0, 1], 1)),
            path: "/p".into(),
            tail: "/".into(),
            admin: "/a/b".into(),
            admin_marker: String::new(),
            key: "k".into(),
            model: "m".into(),
            body: "0123456789".into(),
            base: "/".into(),
        };
        assert_eq!(case.bytes(&values), b"/p 10 a x /a/b\x00\xff");
    }
}
