//! Decides whether what was heard and what the upstream saw is what a case allows. Pure.

use super::case::{Case, Expectation, Values};
use crate::recorder::Seen;

/// What came back on the client's connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Heard {
    pub bytes: Vec<u8>,
    pub closed: bool,
}

impl Heard {
    /// The final statuses, in order. Anything that looks like a status line counts.
    pub fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        let codes = text.match_indices("HTTP/1.").filter_map(|(at, _)| {
            let [b'0' | b'1', b' ', code @ ..] = text.as_bytes().get(at + 7..at + 12)? else { return None };
            std::str::from_utf8(code).ok()?.parse().ok()
        });
        codes.filter(|code| (200..600).contains(code)).collect()
    }

    fn text(&self) -> String {
        self.bytes.iter().copied().map(char::from).collect()
    }
}

/// Everything that is wrong; nothing when all is well.
pub fn judge(case: &Case, values: &Values, heard: &Heard, seen: &[Seen]) -> Vec<String> {
    let mut bad = Vec::new();
    if seen.iter().any(|request| request.line().contains("smuggled-")) {
        bad.push("a smuggled request reached the upstream".to_owned());
    }
    let facts = Facts::of(heard, seen);
    bad.extend(expected(case.expect, values, &facts));
    let heads = seen.iter().map(|request| request.head.as_str()).collect::<Vec<_>>().join("\n");
    let heads = heads.to_ascii_lowercase();
    let holds = |text: &String| {
        let text = case.expand(text, values).to_ascii_lowercase();
        heads.contains(&text).then_some(text)
    };
    bad.extend(
        case.forbid_upstream.iter().filter_map(holds).map(|text| format!("the upstream saw {text:?}")),
    );
    if !seen.is_empty() {
        let missing = case.require_upstream.iter().filter(|text| holds(text).is_none());
        bad.extend(missing.map(|text| format!("the upstream misses {text:?}")));
        if heads.contains(&values.key.to_ascii_lowercase()) {
            bad.push("the upstream saw the client's key".to_owned());
        }
    }
    bad
}

struct Facts<'a> {
    heard: &'a Heard,
    seen: &'a [Seen],
    statuses: Vec<u16>,
    successes: usize,
}

impl<'a> Facts<'a> {
    fn of(heard: &'a Heard, seen: &'a [Seen]) -> Self {
        let statuses = heard.statuses();
        let successes = statuses.iter().filter(|code| (200..300).contains(*code)).count();
        Self { heard, seen, statuses, successes }
    }

    fn first(&self) -> Option<u16> {
        self.statuses.first().copied()
    }

    fn lines(&self) -> Vec<&str> {
        self.seen.iter().map(Seen::line).collect()
    }

    fn forwarded(&self) -> Option<String> {
        (!self.seen.is_empty()).then(|| format!("forwarded: {:?}", self.lines()))
    }

    fn not_refused(&self) -> Option<String> {
        let refused = self.first().is_none_or(|code| (400..500).contains(&code) || matches!(code, 501 | 505));
        (!refused).then(|| format!("not refused: {:?}", self.statuses))
    }

    fn failure_of_ours(&self) -> Option<String> {
        let code = self.first().filter(|code| *code >= 500 && !matches!(code, 501 | 505))?;
        Some(format!("status {code}"))
    }

    fn more_than_one(&self) -> Vec<String> {
        let mut bad = Vec::new();
        if self.seen.len() > 1 {
            bad.push(format!("{} upstream requests from one", self.seen.len()));
        }
        if self.successes > 1 {
            bad.push(format!("{} successes from one", self.successes));
        }
        bad
    }
}

fn expected(expect: Expectation, values: &Values, facts: &Facts<'_>) -> Vec<String> {
    let counts = || format!("got {:?} and {} upstream requests", facts.statuses, facts.seen.len());
    let (successes, upstream) = (facts.successes, facts.seen.len());
    let mut bad = Vec::new();
    match expect {
        Expectation::Ok if (successes, upstream) != (1, 1) => bad.push(counts()),
        Expectation::OneOrTwo => {
            let one = (successes, upstream) == (1, 1) && facts.heard.closed;
            if (successes, upstream) != (2, 2) && !one {
                bad.push(counts());
            }
        }
        Expectation::Ok => {}
        Expectation::Reject | Expectation::Refuse => {
            bad.extend(facts.not_refused());
            bad.extend(facts.forwarded());
            if expect == Expectation::Reject && !facts.heard.closed {
                bad.push("the connection stayed open after a malformed message".to_owned());
            }
        }
        Expectation::Safe => {
            bad.extend(facts.more_than_one());
            bad.extend(facts.failure_of_ours());
        }
        Expectation::NoSmuggle => bad.extend(facts.more_than_one()),
        Expectation::NoForward | Expectation::Cut => bad.extend(facts.forwarded()),
        Expectation::NoEscape => bad.extend(escapes(values, facts)),
        Expectation::NoAdmin => {
            if successes > 0 && facts.heard.text().contains(&values.admin_marker) {
                bad.push("control data came back".to_owned());
            }
        }
        Expectation::Unauthorized | Expectation::UnauthorizedOrBad => {
            let allowed: &[u16] =
                if expect == Expectation::Unauthorized { &[401] } else { &[400, 401, 413, 431] };
            if !facts.first().is_some_and(|code| allowed.contains(&code)) {
                bad.push(format!("statuses {:?}", facts.statuses));
            }
            bad.extend(facts.forwarded());
        }
    }
    bad
}

fn escapes(values: &Values, facts: &Facts<'_>) -> Vec<String> {
    let mut bad = Vec::new();
    for request in facts.seen {
        if !is_inside(request.target(), &values.base) {
            bad.push(format!("left the base path: {}", request.line()));
        }
        if request.head.to_ascii_lowercase().contains("\r\nx-injected") {
            bad.push("a header was injected".to_owned());
        }
    }
    bad.extend(
        facts.first().filter(|code| *code >= 500 && *code != 501).map(|code| format!("status {code}")),
    );
    bad
}

/// Whether a target, decoded as often as an upstream might, is below `base`.
fn is_inside(target: &str, base: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let decoded = (0..3).fold(path.as_bytes().to_vec(), |bytes, _| decode(&bytes));
    let text: String = decoded.iter().map(|&b| if b == b'\\' { '/' } else { char::from(b) }).collect();
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            ".." => drop(segments.pop()),
            "" | "." => {}
            other => segments.push(other),
        }
    }
    let base: Vec<&str> = base.split('/').filter(|segment| !segment.is_empty()).collect();
    segments.starts_with(&base)
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        let escaped = match after {
            [high, low, tail @ ..] if *first == b'%' => digit(*high).zip(digit(*low)).map(|d| (d, tail)),
            _ => None,
        };
        match escaped {
            Some(((high, low), tail)) => {
                out.push(high * 16 + low);
                rest = tail;
            }
            None => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, closed: bool) -> Heard {
        Heard { bytes: text.as_bytes().to_vec(), closed }
    }

    fn seen(line: &str) -> Seen {
        Seen { head: format!("{line}\r\nHost: u"), body_len: 0 }
    }

    fn verdict(expect: &str, heard: &Heard, seen: &[Seen]) -> Vec<String> {
        let case = format!(r#"{{"id":"c","group":"g","raw":"","expect":"{expect}","why":""}}"#);
        let case: Case = serde_json::from_str(&case).unwrap();
        let values = Values {
            gateway: "127.0.0.1:1".parse().unwrap(),
            path: String::new(),
            tail: String::new(),
            admin: String::new(),
            admin_marker: "marker".into(),
            key: "the-key".into(),
            model: String::new(),
            body: String::new(),
            base: "/up/base".into(),
        };
        judge(&case, &values, heard, seen)
    }

    #[test]
    fn statuses_are_found_anywhere_and_interim_ones_do_not_count() {
        let heard = heard("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}HTTP/1.0 404 Not", true);
        assert_eq!(heard.statuses(), [200, 404]);
    }

    #[test]
    fn a_refusal_must_refuse_and_a_rejection_must_close() {
        let refused = heard("HTTP/1.1 400 Bad\r\n\r\n", false);
        assert!(verdict("refuse", &refused, &[]).is_empty());
        assert_eq!(verdict("reject", &refused, &[]).len(), 1);
        assert!(verdict("reject", &heard("", true), &[]).is_empty());
        let passed = heard("HTTP/1.1 200 OK\r\n\r\n", true);
        assert_eq!(verdict("reject", &passed, &[seen("GET /up/base HTTP/1.1")]).len(), 2);
    }

    #[test]
    fn a_smuggled_request_is_wrong_whatever_is_expected() {
        let passed = heard("HTTP/1.1 200 OK\r\n\r\n", false);
        assert_eq!(verdict("ok", &passed, &[seen("GET /smuggled-c HTTP/1.1")]).len(), 1);
        assert!(verdict("ok", &passed, &[seen("GET /up/base HTTP/1.1")]).is_empty());
    }

    #[test]
    fn paths_are_judged_as_an_upstream_might_read_them() {
        for (target, inside) in [
            ("/up/base/v1/x", true),
            ("/up/base//evil.test/", true),
            ("/up/base/a%2f..%2fb", true),
            ("/up/base/../x", false),
            ("/up/base/%2e%2e/x", false),
            ("/up/base/%252e%252e/x", false),
            ("/up/base/..\\x", false),
            ("/up/basement", false),
            ("/up/base?x=/../..", true),
        ] {
            assert_eq!(is_inside(target, "/up/base"), inside, "{target}");
        }
    }

    #[test]
    fn the_clients_key_upstream_is_wrong() {
        let request = Seen { head: "GET / HTTP/1.1\r\nX: The-Key".into(), body_len: 0 };
        assert_eq!(verdict("safe", &heard("HTTP/1.1 200 OK\r\n", false), &[request]).len(), 1);
    }
}
