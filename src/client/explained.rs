//! A request's account in words: what was asked, where it went, what became of it. Values in, text out.

use serde_json::Value;

use super::output::{Table, line};

const ATTEMPTS: [&str; 7] = ["ATTEMPT", "PROVIDER", "ADDRESS", "AT", "CONNECTION", "ANSWER", "RESULT"];
const CANDIDATES: [&str; 6] = ["CANDIDATE", "ADDRESS", "STANDING", "IN FLIGHT", "LIMIT", "FIRST BYTE"];

/// All requests of one id, the newest first, with lines of at most so many columns.
pub fn accounts(answer: &Value, columns: usize) -> String {
    let requests = answer["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
    requests.iter().map(|request| account(request, columns)).collect::<Vec<_>>().join("\n")
}

fn account(request: &Value, columns: usize) -> String {
    let mut out = String::new();
    for (name, text) in [
        ("request", Some(text(&request["id"]))),
        ("state", Some(state(request))),
        ("route", request["route"].as_str().map(|route| routed(request, route))),
        ("resume", request["resume"].as_str().map(line)),
        ("answer", answer(request)),
        ("tokens", tokens(request)),
        ("stopped", request["stopped"].as_str().map(line)),
    ] {
        if let Some(text) = text {
            out.push_str(&format!("{name:<8} {text}\n"));
        }
    }
    for wait in list(&request["waits"]) {
        out.push_str(&format!("waited   {}\n", waited(wait)));
    }
    for left in list(&request["left_out"]) {
        let (provider, address) = (text(&left["provider"]), text(&left["address"]));
        out.push_str(&format!("not at   {provider} {address}: {}\n", text(&left["why"])));
    }
    if !list(&request["attempts"]).is_empty() {
        out.push('\n');
        out.push_str(&attempts(request).text(columns));
    }
    let look = &request["candidates"];
    if !list(&look["seen"]).is_empty() {
        out.push('\n');
        out.push_str(&candidates(look).text(columns));
        if let Some(more) = look["more"].as_u64() {
            out.push_str(&format!("and {more} more\n"));
        }
    }
    out
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => line(text),
        other => other.to_string(),
    }
}

fn ms(value: &Value) -> Option<String> {
    let ms = value.as_f64()?;
    Some(if ms < 1_000.0 { format!("{ms:.1} ms") } else { format!("{:.2} s", ms / 1e3) })
}

fn ms_or_dash(value: &Value) -> String {
    ms(value).unwrap_or_else(|| "-".into())
}

fn state(request: &Value) -> String {
    let (state, began) = (text(&request["state"]), text(&request["started"]));
    let took = ms(&request["duration_ms"]).unwrap_or_default();
    match request["state"].as_str() {
        Some("ended") => format!("{state}, took {took}, began {began}"),
        _ => format!("{state} for {took}, began {began}"),
    }
}

fn routed(request: &Value, route: &str) -> String {
    let mut words = line(route);
    if let Some(model) = request["model"].as_str() {
        words.push_str(&format!(", model {}", line(model)));
    }
    if let Some(strategy) = request["strategy"].as_str() {
        let by_key = if request["by_key"] == true { ", by a key of the request" } else { "" };
        words.push_str(&format!(", strategy {}{by_key}", line(strategy)));
    }
    words
}

fn answer(request: &Value) -> Option<String> {
    let mut words: Vec<String> = ["status", "outcome", "reason"]
        .iter()
        .filter(|name| !request[**name].is_null())
        .map(|name| text(&request[*name]))
        .collect();
    words.extend(ms(&request["first_byte_ms"]).map(|took| format!("head after {took}")));
    words.extend(request["bytes_sent"].as_u64().map(|bytes| format!("{bytes} bytes")));
    (!words.is_empty()).then(|| words.join(", "))
}

fn tokens(request: &Value) -> Option<String> {
    let named = [("input_tokens", "in"), ("cached_input_tokens", "in from cache"), ("output_tokens", "out")];
    let said: Vec<_> = named
        .iter()
        .filter_map(|(name, word)| Some(format!("{} {word}", request[*name].as_u64()?)))
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn waited(wait: &Value) -> String {
    let (provider, began) = (text(&wait["provider"]), ms_or_dash(&wait["began_ms"]));
    match (ms(&wait["took_ms"]), wait["got_place"] == true) {
        (None, _) => format!("for {provider} since {began}, and still does"),
        (Some(took), true) => format!("for {provider} from {began} on, {took}"),
        (Some(took), false) => format!("for {provider} from {began} on, {took}, in vain"),
    }
}

fn attempts(request: &Value) -> Table {
    let mut table = Table::new(&ATTEMPTS);
    for (n, attempt) in list(&request["attempts"]).iter().enumerate() {
        let connection = match (attempt["connection"].as_str(), ms(&attempt["connect_ms"])) {
            (Some(kind), Some(took)) => format!("{} in {took}", line(kind)),
            (Some(kind), None) => line(kind),
            (None, _) => "-".into(),
        };
        let head = ms(&attempt["head_ms"]).map(|took| format!("{} after {took}", text(&attempt["status"])));
        let answer = match (head, ms(&attempt["first_byte_ms"])) {
            (Some(head), Some(byte)) => format!("{head}, body after {byte}"),
            (head, _) => head.unwrap_or_else(|| "-".into()),
        };
        let result = match attempt["why"].as_str() {
            Some(why) => format!("{}: {}", text(&attempt["result"]), line(why)),
            None => text(&attempt["result"]),
        };
        table.row(&[
            (n + 1).to_string(),
            text(&attempt["provider"]),
            text(&attempt["address"]),
            ms_or_dash(&attempt["began_ms"]),
            connection,
            answer,
            result,
        ]);
    }
    table
}

fn candidates(look: &Value) -> Table {
    let mut table = Table::new(&CANDIDATES);
    for seen in list(&look["seen"]) {
        let in_flight = match seen["waiting"].as_u64() {
            Some(waiting) => format!("{} + {waiting} waiting", text(&seen["in_flight"])),
            None => text(&seen["in_flight"]),
        };
        table.row(&[
            text(&seen["provider"]),
            text(&seen["address"]),
            text(&seen["standing"]),
            in_flight,
            text(&seen["concurrency_limit"]),
            ms_or_dash(&seen["first_byte_ms"]),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_that_went_elsewhere_is_told_in_order() {
        let request = json!({
            "id": "req_1", "state": "ended", "started": "2026-01-02T03:04:05Z", "duration_ms": 2500.0,
            "route": "openai", "model": "default/m1", "strategy": "priority", "by_key": false,
            "attempts": [
                { "provider": "default/a", "address": "http://a", "began_ms": 0.1, "result": "connect_failed",
                  "why": "connection refused" },
                { "provider": "default/b", "address": "http://b", "began_ms": 1.0, "connection": "new",
                  "connect_ms": 0.5, "status": 200, "head_ms": 7.0, "first_byte_ms": 9.0, "result": "answered" },
            ],
            "waits": [{ "provider": "default/a", "began_ms": 0.0, "took_ms": 0.1, "got_place": true }],
            "candidates": { "at_ms": 0.4, "seen": [
                { "provider": "default/a", "address": "http://a", "standing": "out", "in_flight": 1,
                  "waiting": 2, "concurrency_limit": 16 }], "more": 3 },
            "status": 200, "outcome": "ok", "first_byte_ms": 8.0, "bytes_sent": 71, "input_tokens": 3, "output_tokens": 4,
        });
        let expected = "\
request  req_1
state    ended, took 2.50 s, began 2026-01-02T03:04:05Z
route    openai, model default/m1, strategy priority
answer   200, ok, head after 8.0 ms, 71 bytes
tokens   3 in, 4 out
waited   for default/a from 0.0 ms on, 0.1 ms

ATTEMPT  PROVIDER   ADDRESS   AT      CONNECTION     ANSWER                            RESULT
1        default/a  http://a  0.1 ms  -              -                                 connect_failed: connection refused
2        default/b  http://b  1.0 ms  new in 0.5 ms  200 after 7.0 ms, body after 9.0 ms  answered

CANDIDATE  ADDRESS   STANDING  IN FLIGHT      LIMIT  FIRST BYTE
default/a  http://a  out       1 + 2 waiting  16     -
and 3 more
";
        let shown = accounts(&json!({ "requests": [request] }), usize::MAX);
        let squeezed = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        assert_eq!(squeezed(&shown), squeezed(expected), "{shown}");
    }

    #[test]
    fn one_under_way_says_what_is_known_and_no_more() {
        let request = json!({
            "id": "live", "state": "under way", "started": "now", "duration_ms": 12.0, "attempts": [],
            "waits": [{ "provider": "default/a", "began_ms": 0.2, "got_place": false }],
        });
        assert_eq!(
            accounts(&json!({ "requests": [request] }), usize::MAX),
            "request  live\nstate    under way for 12.0 ms, began now\n\
             waited   for default/a since 0.2 ms, and still does\n"
        );
    }
}
