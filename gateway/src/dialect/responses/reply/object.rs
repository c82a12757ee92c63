//! The response object: all its members, always.
//!
//! What must stay true: what the request said is repeated byte for byte; what it did not say has the API's default, which
//! is null only where clients' schemas take null. Objects whose schema wants certain members get those as null.

use bytes::BytesMut;
use serde::Serialize;
use serde_json::value::RawValue;

use super::fault::UpstreamFault;
use super::item::Item;
use super::json::{put, put_all};
use super::machine::Finish;
use super::usage::Usage;
use crate::dialect::responses::turn::Echo;

/// How far the response has come.
#[derive(Debug, Clone, Copy)]
pub enum Stage<'a> {
    InProgress,
    Ended { items: &'a [Item], usage: Option<Usage>, at_s: u64, ending: Ending<'a> },
}

#[derive(Debug, Clone, Copy)]
pub enum Ending<'a> {
    Closed(Finish),
    Failed(&'a UpstreamFault),
}

impl Ending<'_> {
    pub fn status(self) -> &'static str {
        match self {
            Self::Closed(Finish::Completed) => "completed",
            Self::Closed(Finish::MaxOutputTokens | Finish::ContentFilter) => "incomplete",
            Self::Failed(_) => "failed",
        }
    }

    pub fn event(self) -> &'static str {
        match self {
            Self::Closed(Finish::Completed) => "response.completed",
            Self::Closed(Finish::MaxOutputTokens | Finish::ContentFilter) => "response.incomplete",
            Self::Failed(_) => "response.failed",
        }
    }
}

/// What stays the same from one snapshot of a response to the next.
#[derive(Debug)]
pub struct Head {
    id: Box<str>,
    created_at_s: u64,
    /// The members that repeat the request, each after a comma.
    echo: Box<str>,
}

impl Head {
    pub fn new(id: Box<str>, created_at_s: u64, echo: &Echo) -> Self {
        Self { id, created_at_s, echo: echoed(echo).into() }
    }

    pub fn put(&self, out: &mut BytesMut, stage: Stage<'_>) {
        put_all(out, &["{\"id\":\"", &self.id, "\",\"object\":\"response\",\"created_at\":"]);
        put(out, &self.created_at_s);
        let Stage::Ended { items, usage, at_s, ending } = stage else {
            let rest = ",\"completed_at\":null,\"status\":\"in_progress\",\"error\":null,\"incomplete_details\":null";
            put_all(out, &[rest, &self.echo, ",\"output\":[],\"usage\":null}"]);
            return;
        };
        put_all(out, &[",\"completed_at\":"]);
        match ending {
            Ending::Closed(Finish::Completed) => put(out, &at_s),
            _ => put_all(out, &["null"]),
        }
        put_all(out, &[",\"status\":\"", ending.status(), "\",\"error\":"]);
        match ending {
            Ending::Failed(fault) => {
                put_all(out, &["{\"code\":"]);
                put(out, fault.code_in_stream());
                put_all(out, &[",\"message\":"]);
                put(out, &fault.message);
                put_all(out, &["}"]);
            }
            Ending::Closed(_) => put_all(out, &["null"]),
        }
        put_all(out, &[",\"incomplete_details\":", incomplete_details(ending), &self.echo, ",\"output\":["]);
        for item in items {
            if item.index > 0 {
                put_all(out, &[","]);
            }
            item.put(out);
        }
        put_all(out, &["],\"usage\":"]);
        match usage {
            Some(usage) => usage.put(out),
            None => put_all(out, &["null"]),
        }
        put_all(out, &["}"]);
    }
}

fn incomplete_details(ending: Ending<'_>) -> &'static str {
    match ending {
        Ending::Closed(Finish::MaxOutputTokens) => "{\"reason\":\"max_output_tokens\"}",
        Ending::Closed(Finish::ContentFilter) => "{\"reason\":\"content_filter\"}",
        Ending::Closed(Finish::Completed) | Ending::Failed(_) => "null",
    }
}

fn echoed(echo: &Echo) -> String {
    let mut text = format!(
        ",\"model\":{},\"background\":false,\"store\":false,\"previous_response_id\":null,\"parallel_tool_calls\":{}",
        json(&echo.model),
        echo.parallel_tool_calls.unwrap_or(true)
    );
    let mut member = |name: &str, value: &str| text.extend([",\"", name, "\":", value]);
    for (name, sent, default) in [
        ("instructions", &echo.instructions, "null"),
        ("max_output_tokens", &echo.max_output_tokens, "null"),
        ("max_tool_calls", &echo.max_tool_calls, "null"),
        ("metadata", &echo.metadata, "{}"),
        ("prompt_cache_key", &echo.prompt_cache_key, "null"),
        ("safety_identifier", &echo.safety_identifier, "null"),
        ("service_tier", &echo.service_tier, "\"default\""),
        ("temperature", &echo.temperature, "1"),
        ("top_p", &echo.top_p, "1"),
        ("presence_penalty", &echo.presence_penalty, "0"),
        ("frequency_penalty", &echo.frequency_penalty, "0"),
        ("top_logprobs", &echo.top_logprobs, "0"),
        ("tool_choice", &echo.tool_choice, "\"auto\""),
        ("truncation", &echo.truncation, "\"disabled\""),
        ("user", &echo.user, "null"),
    ] {
        member(name, sent.as_deref().map_or(default, RawValue::get));
    }
    let sent = |field: &'static str, value: &Option<Box<RawValue>>| {
        value.as_deref().map_or(field, RawValue::get).to_owned()
    };
    member("reasoning", &completed(&sent("{}", &echo.reasoning), &[("effort", "null"), ("summary", "null")]));
    member("text", &completed(&sent("{}", &echo.text), &[("format", "{\"type\":\"text\"}")]));
    member("tools", &tools(&sent("[]", &echo.tools)));
    text
}

/// The tools as they were sent; functions with the members that clients' schemas want.
fn tools(sent: &str) -> String {
    let Ok(tools) = serde_json::from_str::<Vec<&RawValue>>(sent) else { return sent.to_owned() };
    let shown: Vec<String> = tools.iter().map(|tool| function(tool.get())).collect();
    format!("[{}]", shown.join(","))
}

fn function(tool: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    match serde_json::from_str::<Kind>(tool) {
        Ok(Kind { kind }) if kind == "function" => {
            completed(tool, &[("description", "null"), ("parameters", "null"), ("strict", "null")])
        }
        _ => tool.to_owned(),
    }
}

/// An object with the members that it lacks, each with its default.
fn completed(object: &str, members: &[(&str, &str)]) -> String {
    use std::collections::HashMap;
    let Ok(present) = serde_json::from_str::<HashMap<String, &RawValue>>(object) else {
        return object.to_owned();
    };
    let Some(open) = object.trim_end().strip_suffix('}') else { return object.to_owned() };
    let mut text = open.to_owned();
    let mut needs_comma = !present.is_empty();
    for (name, default) in members.iter().filter(|(name, _)| !present.contains_key(*name)) {
        text.extend([if needs_comma { "," } else { "" }, "\"", name, "\":", default]);
        needs_comma = true;
    }
    text.push('}');
    text
}

fn json(value: &impl Serialize) -> String {
    // Texts have JSON.
    serde_json::to_string(value).unwrap_or_default()
}
