//! What holds of any request, however mangled.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::names::NAME_BYTES_MAX;
use super::super::tools::TOOLS_MAX;
use super::Provider;
use crate::dialect::responses::turn::ToolName;

const SETTINGS: [&str; 4] = [
    "{}",
    r#"{"uses_reasoning_parser":true,"chat":{"takes_files":false,"takes_audio":false,"one_system_message":true}}"#,
    r#"{"chat":{"reasoning_replay":"reasoning_content","tool_messages_named":true,"thought_signatures":true}}"#,
    r#"{"default":{"temperature":1,"messages":[]},"required":{"user":"u","stream":false},"chat":{"omit_fields":["seed"]}}"#,
];

/// The requests of all cases.
fn requests() -> &'static [Value] {
    static REQUESTS: OnceLock<Vec<Value>> = OnceLock::new();
    REQUESTS.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dialect/responses/cases/request");
        let texts =
            std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()));
        let texts: Vec<String> = texts.collect::<Result<_, _>>().unwrap();
        let lines = texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("in "));
        let requests: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(requests.len() > 100);
        requests
    })
}

/// One change at a place that `steps` lead to: what stands there is replaced, removed, or copied from elsewhere.
#[derive(Debug, Clone)]
struct Change {
    steps: Vec<prop::sample::Index>,
    to: Option<Value>,
}

fn change() -> impl Strategy<Value = Change> {
    let made_up = prop::sample::select(vec![
        Value::Null,
        true.into(),
        (-1).into(),
        1e300.into(),
        "".into(),
        "text".into(),
        "message".into(),
        "function_call".into(),
        "<think>a</think>b".into(),
        "call_sig-Q2lR".into(),
        Value::Array(vec![]),
        json!({}),
        json!({"type": "input_text", "text": "x"}),
        json!([{"role": "assistant", "content": []}]),
    ]);
    let elsewhere = any::<(prop::sample::Index, Vec<prop::sample::Index>)>()
        .prop_map(|(request, steps)| reached(&mut request.get(requests()).clone(), &steps).clone());
    let to = prop_oneof![made_up.prop_map(Some), elsewhere.prop_map(Some), Just(None)];
    (prop::collection::vec(any::<prop::sample::Index>(), 1..7), to)
        .prop_map(|(steps, to)| Change { steps, to })
}

fn reached<'v>(value: &'v mut Value, steps: &[prop::sample::Index]) -> &'v mut Value {
    let mut at = value;
    for step in steps {
        let len = at.as_array().map(Vec::len).or_else(|| at.as_object().map(Map::len)).unwrap_or_default();
        if len == 0 {
            break;
        }
        at = match at {
            Value::Array(list) => &mut list[step.index(len)],
            Value::Object(map) => map.values_mut().nth(step.index(len)).unwrap(),
            other => other,
        };
    }
    at
}

fn changed(request: &prop::sample::Index, changes: Vec<Change>) -> Value {
    let mut value = request.get(requests()).clone();
    for change in changes {
        let place = reached(&mut value, &change.steps);
        *place = change.to.unwrap_or(Value::Null);
    }
    value
}

/// Whether a place like `input[3].content` is in a request.
fn exists(request: &Value, place: &str) -> bool {
    let mut at = request;
    for step in place.split(['.', '[']) {
        let next = match step.strip_suffix(']') {
            Some(index) => at.get(index.parse::<usize>().unwrap()),
            None => at.get(step),
        };
        let Some(next) = next else { return false };
        at = next;
    }
    true
}

/// What no text of the gateway's own contains.
const MARK: char = '§';

/// Marks all strings; those that say what something is only with `types`.
fn mark(value: &mut Value, types: bool) {
    match value {
        Value::String(text) => text.push(MARK),
        Value::Array(list) => list.iter_mut().for_each(|value| mark(value, types)),
        Value::Object(map) => {
            let marked = map.iter_mut().filter(|(key, _)| types || !matches!(key.as_str(), "type" | "role"));
            marked.for_each(|(_, value)| mark(value, types));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_mangled_request_gives_json_or_an_error_with_a_place_in_it(
        request in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 0..4),
        settings in prop::sample::select(&SETTINGS[..]),
    ) {
        let value = changed(&request, changes);
        match Provider::new(settings).translate(value.to_string().as_bytes()) {
            Ok(done) => {
                let chat: Value = serde_json::from_slice(&done.body).unwrap();
                prop_assert!(chat["messages"].as_array().is_some_and(|messages| !messages.is_empty()));
                prop_assert_eq!(&chat["model"], "m");
            }
            Err(error) => match error.param() {
                Some(place) => prop_assert!(place == "input" || exists(&value, place), "{}", place),
                None => prop_assert!(!value.is_object()),
            },
        }
    }

    #[test]
    fn no_error_repeats_what_was_sent(
        request in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 0..4),
        marked_types in any::<bool>(),
    ) {
        let mut value = changed(&request, changes);
        mark(&mut value, marked_types);
        if let Err(error) = Provider::new(SETTINGS[1]).translate(value.to_string().as_bytes()) {
            prop_assert!(!error.message().contains(MARK), "{}", error);
        }
    }

    #[test]
    fn bytes_that_are_cut_or_flipped_never_panic(
        request in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = request.get(requests()).to_string().into_bytes();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() * 2).max(1));
        for settings in SETTINGS {
            if let Ok(done) = Provider::new(settings).translate(&bytes) {
                prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&done.body).is_ok());
            }
        }
    }

    #[test]
    fn names_of_tools_fit_stay_apart_and_lead_back(
        declared in prop::collection::btree_set((prop::option::of("[a-z_é]{1,50}"), "[a-z_é]{1,80}", any::<bool>()), 1..6),
    ) {
        let tools: Vec<Value> = declared.iter().map(|(namespace, name, custom)| {
            let tool = json!({"type": if *custom { "custom" } else { "function" }, "name": name});
            match namespace {
                Some(namespace) => json!({"type": "namespace", "name": namespace, "tools": [tool]}),
                None => tool,
            }
        }).collect();
        let Ok(done) = Provider::new("{}").translate(json!({"input": "Hi", "tools": tools}).to_string().as_bytes())
        else { return Ok(()) };
        let chat: Value = serde_json::from_slice(&done.body).unwrap();
        let back: Vec<_> = chat["tools"].as_array().unwrap().iter().map(|tool| {
            let sent = tool["function"]["name"].as_str().unwrap();
            assert!(sent.len() <= NAME_BYTES_MAX);
            match done.turn.tools.get(sent) {
                None => (None, sent.to_owned(), false),
                Some(ToolName::Function { namespace, name }) => (namespace.clone(), name.to_string(), false),
                Some(ToolName::Custom { namespace, name }) => (namespace.clone(), name.to_string(), true),
            }
        }).collect();
        let declared: Vec<_> = declared.into_iter()
            .map(|(namespace, name, custom)| (namespace.map(Into::into), name, custom)).collect();
        prop_assert_eq!(back, declared);
    }

    #[test]
    fn any_arguments_and_any_input_arrive_as_they_were(arguments in "\\PC{0,12}[\"\\\\\n\t\u{0}]{0,3}\\PC{0,4}") {
        let body = json!({"input": [
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": arguments},
            {"type": "custom_tool_call", "call_id": "b", "name": "c", "input": arguments},
        ]});
        let done = Provider::new("{}").translate(body.to_string().as_bytes()).unwrap();
        let chat: Value = serde_json::from_slice(&done.body).unwrap();
        let sent = |index: usize| {
            chat["messages"][0]["tool_calls"][index]["function"]["arguments"].as_str().unwrap().to_owned()
        };
        prop_assert_eq!(sent(0), arguments.clone());
        let input: Value = serde_json::from_str(&sent(1)).unwrap();
        prop_assert_eq!(input, json!({"input": arguments}));
    }
}

#[test]
fn no_nesting_is_too_deep_to_be_answered() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    for body in [
        format!("{{\"input\":{deep}}}"),
        format!("{{\"input\":\"Hi\",\"unknown\":{deep}}}"),
        format!("{{\"input\":\"Hi\",\"logit_bias\":{deep}}}"),
        format!("{{\"input\":[{{\"role\":\"user\",\"content\":{deep}}}]}}"),
        format!(
            "{{\"input\":[{{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":{{\"a\":{deep}}}}}]}}"
        ),
    ] {
        if let Ok(done) = Provider::new("{}").translate(body.as_bytes()) {
            assert!(done.body.len() < body.len() * 2);
        }
    }
}

#[test]
fn more_tools_than_the_limit_are_refused() {
    let tools = |count: usize| -> Vec<Value> {
        (0..count).map(|index| json!({"type": "function", "name": index.to_string()})).collect()
    };
    let judge = |count| {
        Provider::new("{}").translate(json!({"input": "Hi", "tools": tools(count)}).to_string().as_bytes())
    };
    assert!(judge(TOOLS_MAX).is_ok());
    assert_eq!(judge(TOOLS_MAX + 1).unwrap_err().param(), Some(format!("tools[{TOOLS_MAX}]").as_str()));
}

#[test]
fn a_list_is_no_object_however_many_elements_it_has() {
    for count in 0..40 {
        let list = vec!["Hi"; count];
        let refused = |body: Value| Provider::new("{}").translate(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(refused(json!(list)).code(), "body_not_an_object");
        for body in [json!({"input": [list]}), json!({"input": [{"role": "user", "content": "Hi"}, list]})] {
            let error = refused(body);
            assert!(error.message().ends_with("must be an object"), "{error}");
        }
    }
}
