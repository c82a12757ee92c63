//! Each file in `cases/reply/` is a case: what the translation is told, a line, what the provider sends, a line, and what
//! the client gets. `NIMGATE_BLESS=1` writes the last part anew. What is the same in all cases (the members that
//! repeat the request, a last output that repeats its items) is left out of it, and checked by the rules instead.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Value, json};

use super::frames::events;
use super::order;
use super::{ENDED_S, opening, translated};
use crate::dialect::responses::reply::{End, UpstreamFault, whole, whole_as_events};
use crate::dialect::responses::turn::{ToolName, ToolNames, Turn};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dialect/responses/cases/reply");
const LINE: &str = "\n----\n";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sent {
    #[default]
    Stream,
    /// A stream whose lines end with CRLF.
    StreamCrlf,
    StreamCut,
    StreamTimedOut,
    Whole,
    /// A whole answer to a request for a stream.
    WholeForStream,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Told {
    sent: Sent,
    /// An answer of this status.
    status: Option<u16>,
    retry_after: Option<String>,
    reasoning: bool,
    thought_signatures: bool,
    tools: Vec<Tool>,
    echo: Value,
    /// Show the response objects whole.
    shows_objects: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    sent: String,
    #[serde(default)]
    custom: bool,
    namespace: Option<String>,
    name: String,
}

pub struct Case {
    pub path: PathBuf,
    told: Told,
    pub upstream: Vec<u8>,
    expected: String,
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut parts = text.splitn(3, LINE);
        let told = serde_json::from_str(parts.next().unwrap());
        let told: Told = told.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut upstream = parts.next().unwrap_or_default().to_owned();
        if told.sent == Sent::StreamCrlf {
            upstream = upstream.replace('\n', "\r\n");
        }
        let expected = parts.next().unwrap_or_default().to_owned();
        Self { path: path.to_owned(), told, upstream: upstream.into(), expected }
    }

    pub fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Case>> = LazyLock::new(|| {
            let mut paths: Vec<_> =
                std::fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths.iter().map(|path| Case::read(path)).collect()
        });
        &ALL
    }

    pub fn turn(&self) -> Turn {
        let mut tools = ToolNames::default();
        for Tool { sent, custom, namespace, name } in self.told.tools.clone() {
            let (namespace, name) = (namespace.map(Into::into), name.into());
            let tool = if custom {
                ToolName::Custom { namespace, name }
            } else {
                ToolName::Function { namespace, name }
            };
            assert!(tools.insert(&sent, tool));
        }
        let mut turn = Turn { tools, ..Turn::default() };
        turn.reasoning = self.told.reasoning;
        turn.thought_signatures = self.told.thought_signatures;
        let echo = &self.told.echo;
        let raw = |name: &str| {
            echo.get(name).map(|value| serde_json::value::RawValue::from_string(value.to_string()).unwrap())
        };
        turn.echo.model = echo["model"].as_str().unwrap_or("m").to_owned();
        turn.echo.instructions = raw("instructions");
        turn.echo.temperature = raw("temperature");
        turn.echo.metadata = raw("metadata");
        turn.echo.reasoning = raw("reasoning");
        turn.echo.text = raw("text");
        turn.echo.tools = raw("tools");
        turn.echo.tool_choice = raw("tool_choice");
        turn.echo.parallel_tool_calls = echo["parallel_tool_calls"].as_bool();
        turn
    }

    /// How its stream ends, if it is one.
    pub fn end(&self) -> Option<End> {
        match self.told.sent {
            _ if self.told.status.is_some() => None,
            Sent::Stream | Sent::StreamCrlf => Some(End::Clean),
            Sent::StreamCut => Some(End::Cut),
            Sent::StreamTimedOut => Some(End::TimedOut),
            Sent::Whole | Sent::WholeForStream => None,
        }
    }

    fn outcome(&self) -> String {
        if let Some(end) = self.end() {
            return self.shown_stream(&translated(self.turn(), [self.upstream.as_slice()], end));
        }
        if let Some(status) = self.told.status {
            let retry_after = self.told.retry_after.as_deref();
            return shown_fault(&UpstreamFault::of_answer(status, &self.upstream, retry_after));
        }
        if self.told.sent == Sent::WholeForStream {
            let mut out = BytesMut::new();
            return match whole_as_events(opening(self.turn()), &self.upstream, ENDED_S, &mut out) {
                Ok(()) => self.shown_stream(std::str::from_utf8(&out).unwrap()),
                Err(fault) => shown_fault(&fault),
            };
        }
        match whole(opening(self.turn()), &self.upstream, ENDED_S) {
            Ok(body) => {
                let response: Value = serde_json::from_slice(&body).unwrap();
                order::object(&response);
                let output = response["output"].as_array().unwrap();
                order::outcome(&response, response["status"].as_str().unwrap(), output);
                self.shown_response(&response, true)
            }
            Err(fault) => shown_fault(&fault),
        }
    }

    fn shown_stream(&self, text: &str) -> String {
        order::check(text);
        events(text).into_iter().map(|event| self.shown_event(event)).collect()
    }

    fn shown_event(&self, event: Value) -> String {
        let Value::Object(mut event) = event else { panic!("{event}") };
        let kind = event.shift_remove("type").unwrap();
        let kind = kind.as_str().unwrap().strip_prefix("response.").unwrap();
        event.shift_remove("sequence_number");
        match event.get("response") {
            Some(response) => {
                let is_failed = kind == "failed";
                format!("{kind}\n{}", self.shown_response(response, is_failed))
            }
            None => format!("{kind} {}\n", short(&Value::Object(event).to_string())),
        }
    }

    fn shown_response(&self, response: &Value, with_items: bool) -> String {
        if self.told.shows_objects {
            let members = response.as_object().unwrap();
            let lines =
                members.iter().map(|(name, value)| format!("  {name}: {}\n", short(&value.to_string())));
            return lines.collect();
        }
        if response["status"] == "in_progress" {
            return String::new();
        }
        let mut text = format!("  status: {}\n", response["status"].as_str().unwrap());
        for name in ["error", "incomplete_details", "usage"] {
            if !response[name].is_null() {
                text += &format!("  {name}: {}\n", response[name]);
            }
        }
        for item in response["output"].as_array().unwrap().iter().filter(|_| with_items) {
            text += &format!("  output: {}\n", short(&item.to_string()));
        }
        text
    }
}

/// Ids without their random number, which is 0 in tests.
fn short(text: &str) -> String {
    text.replace(&"0".repeat(32), "")
}

fn shown_fault(fault: &UpstreamFault) -> String {
    let body: Value = serde_json::from_slice(&fault.body_json()).unwrap();
    assert_eq!(body["error"]["param"], json!(null));
    assert_eq!(body["detail"], body["error"]["message"]);
    let after = fault.retry_after.as_ref().map_or(String::new(), |after| format!("retry-after {after}\n"));
    format!("HTTP {}\n{after}{}\n", fault.status, body["error"])
}

#[test]
fn every_case_gives_what_it_shows() {
    let cases = Case::all();
    assert!(cases.len() >= 100, "the cases are gone");
    let mut faults = String::new();
    for case in cases {
        let found = case.outcome();
        if std::env::var_os("NIMGATE_BLESS").is_some() {
            let text = std::fs::read_to_string(&case.path).unwrap();
            let input: Vec<&str> = text.splitn(3, LINE).take(2).collect();
            std::fs::write(&case.path, format!("{}{LINE}{found}", input.join(LINE))).unwrap();
        } else if found != case.expected {
            faults += &format!("{}: expected\n{}\nfound\n{found}", case.path.display(), case.expected);
        }
    }
    let how = "if that is meant, run NIMGATE_BLESS=1 cargo test -p gateway --lib dialect, and look at the difference";
    assert!(faults.is_empty(), "{faults}\n{how}");
}
