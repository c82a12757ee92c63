//! The rules of events, checked of any stream.

use serde_json::{Value, json};

use super::frames::events;

/// An item as far as its events have told.
struct Seen {
    id: Value,
    kind: String,
    text: String,
    done: Option<Value>,
    /// What has to come next.
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    PartAdded,
    Deltas,
    PartDone,
    ItemDone,
    Over,
}

const MEMBERS: [&str; 30] = [
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "background",
    "error",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "output",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "reasoning",
    "service_tier",
    "store",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "text",
    "tool_choice",
    "tools",
    "truncation",
];
const NEVER_NULL: [&str; 18] = [
    "id",
    "object",
    "created_at",
    "status",
    "background",
    "metadata",
    "model",
    "output",
    "parallel_tool_calls",
    "service_tier",
    "store",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "tools",
    "truncation",
];

/// Fails when a stream breaks a rule; gives its last response.
pub fn check(text: &str) -> Value {
    let events = events(text);
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(events[1]["type"], "response.in_progress");
    let mut items = Vec::<Seen>::new();
    let (last, middle) = events[2..].split_last().expect("there is no last event");
    for event in &events[..2] {
        object(&event["response"]);
        assert_eq!(event["response"]["output"], json!([]));
        assert_eq!(event["response"]["usage"], Value::Null);
        assert_eq!(event["response"]["status"], "in_progress");
        assert_eq!(event["response"]["id"], last["response"]["id"]);
    }
    middle.iter().for_each(|event| step(&mut items, event));
    end(&items, last);
    last["response"].clone()
}

fn step(items: &mut Vec<Seen>, event: &Value) {
    let name = event["type"].as_str().unwrap();
    if name == "response.output_item.added" {
        return added(items, event);
    }
    let open_texts = items.iter().filter(|item| item.stage != Stage::Over && !is_call(&item.kind)).count();
    assert!(open_texts <= 1, "two texts are open: {event}");
    let index = event["output_index"].as_u64().expect(name) as usize;
    let item = items.get_mut(index).expect("an event of no item");
    if name == "response.output_item.done" {
        assert_eq!(item.stage, Stage::ItemDone, "{event}");
        assert_eq!(event["item"]["id"], item.id);
        assert_eq!(shown_text(&event["item"]), item.text, "{event}");
        item.stage = Stage::Over;
        item.done = Some(event["item"].clone());
        return;
    }
    assert_eq!(event["item_id"], item.id);
    let place = if item.kind == "reasoning" { "summary_index" } else { "content_index" };
    assert_eq!(event.get(place), (!is_call(&item.kind)).then_some(&json!(0)), "{event}");
    let stage = match name {
        "response.content_part.added" | "response.reasoning_summary_part.added" => {
            assert_eq!(part_text(&event["part"]), "");
            item.kind = kind_of_part(&item.kind, &event["part"]);
            (Stage::PartAdded, Stage::Deltas)
        }
        "response.content_part.done" | "response.reasoning_summary_part.done" => {
            assert_eq!(part_text(&event["part"]), item.text);
            (Stage::PartDone, Stage::ItemDone)
        }
        _ => text_event(item, event, name),
    };
    assert_eq!(item.stage, stage.0, "{event}");
    item.stage = stage.1;
}

fn added(items: &mut Vec<Seen>, event: &Value) {
    assert_eq!(event["output_index"], items.len());
    let item = &event["item"];
    assert_eq!(item["status"], "in_progress");
    assert_eq!(shown_text(item), "");
    assert!(items.iter().all(|other| other.id != item["id"]), "{event}");
    let kind = item["type"].as_str().unwrap().to_owned();
    assert!(items.iter().all(|other| other.stage == Stage::Over || is_call(&other.kind)), "{event}");
    let stage = if is_call(&kind) { Stage::Deltas } else { Stage::PartAdded };
    items.push(Seen { id: item["id"].clone(), kind, text: String::new(), done: None, stage });
}

fn text_event(item: &mut Seen, event: &Value, name: &str) -> (Stage, Stage) {
    let (stem, field) = match item.kind.as_str() {
        "message" => ("response.output_text", "text"),
        "refusal" => ("response.refusal", "refusal"),
        "reasoning" => ("response.reasoning_summary_text", "text"),
        "function_call" => ("response.function_call_arguments", "arguments"),
        "custom_tool_call" => ("response.custom_tool_call_input", "input"),
        other => panic!("{other}"),
    };
    assert_eq!(event.get("logprobs"), (item.kind == "message").then_some(&json!([])));
    if name == format!("{stem}.delta") {
        let delta = event["delta"].as_str().unwrap();
        assert!(!delta.is_empty(), "{event}");
        item.text.push_str(delta);
        return (Stage::Deltas, Stage::Deltas);
    }
    assert_eq!(name, format!("{stem}.done"));
    assert_eq!(event[field], item.text);
    (Stage::Deltas, if is_call(&item.kind) { Stage::ItemDone } else { Stage::PartDone })
}

fn end(items: &[Seen], last: &Value) {
    let response = &last["response"];
    object(response);
    let status = response["status"].as_str().unwrap();
    assert_eq!(last["type"], format!("response.{status}"));
    let output = response["output"].as_array().unwrap();
    assert_eq!(output.len(), items.len());
    for (item, shown) in items.iter().zip(output) {
        match &item.done {
            Some(done) => assert_eq!(done, shown),
            None => {
                assert_eq!(status, "failed", "an item was left open: {shown}");
                assert_eq!((&shown["id"], &shown["status"]), (&item.id, &json!("incomplete")));
            }
        }
    }
    if status == "failed" {
        assert!(
            items.iter().all(|item| item.done.is_none() || !is_call(&item.kind)),
            "a call was handed over"
        );
    }
    outcome(response, status, output);
}

/// What a response that has ended must say.
pub fn outcome(response: &Value, status: &str, output: &[Value]) {
    assert_eq!(response["completed_at"].is_null(), status != "completed");
    assert_eq!(response["error"].is_null(), status != "failed");
    assert_eq!(response["incomplete_details"].is_null(), status != "incomplete");
    if status == "failed" {
        assert!(!response["error"]["code"].as_str().unwrap().is_empty());
        assert!(!response["error"]["message"].as_str().unwrap().is_empty());
        return;
    }
    assert!(!output.is_empty());
    for (at, item) in output.iter().enumerate() {
        let is_cut = status == "incomplete" && at + 1 == output.len();
        assert_eq!(item["status"], if is_cut { "incomplete" } else { "completed" });
        assert!(is_cut || item["arguments"] != "", "{item}");
    }
}

/// The members of a response, whatever it has come to.
pub fn object(response: &Value) {
    let mut names: Vec<&str> = response.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected: Vec<&str> = MEMBERS.into_iter().chain(["usage", "user"]).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    NEVER_NULL.iter().for_each(|name| assert!(!response[name].is_null(), "{name}"));
    assert!(response["text"]["format"]["type"].is_string());
    assert!(response["reasoning"].get("effort").is_some() && response["reasoning"].get("summary").is_some());
    let usage = &response["usage"];
    if !usage.is_null() {
        for count in ["input_tokens", "output_tokens", "total_tokens"] {
            assert!(usage[count].is_u64());
        }
        assert!(usage["input_tokens_details"]["cached_tokens"].is_u64());
        assert!(usage["output_tokens_details"]["reasoning_tokens"].is_u64());
    }
}

fn is_call(kind: &str) -> bool {
    matches!(kind, "function_call" | "custom_tool_call")
}

fn kind_of_part(kind: &str, part: &Value) -> String {
    match part["type"].as_str().unwrap() {
        "refusal" => "refusal".into(),
        "output_text" => {
            assert_eq!((&part["annotations"], &part["logprobs"]), (&json!([]), &json!([])));
            kind.into()
        }
        "summary_text" => kind.into(),
        other => panic!("{other}"),
    }
}

fn part_text(part: &Value) -> &str {
    [&part["text"], &part["refusal"]].into_iter().find_map(Value::as_str).unwrap()
}

fn shown_text(item: &Value) -> String {
    match item["type"].as_str().unwrap() {
        "message" => item["content"].as_array().unwrap().iter().map(part_text).collect(),
        "reasoning" => item["summary"].as_array().unwrap().iter().map(part_text).collect(),
        "function_call" => item["arguments"].as_str().unwrap().to_owned(),
        "custom_tool_call" => item["input"].as_str().unwrap().to_owned(),
        other => panic!("{other}"),
    }
}
