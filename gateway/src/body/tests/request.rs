use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::body::{
    BodyError, ExtraBody, MAX_DEPTH, MAX_REPEATED_MEMBERS, Parts, RequestScan, replace_model, scan,
};

fn joined(parts: &Parts) -> Vec<u8> {
    let bytes = parts.segments.concat();
    assert_eq!(bytes.len(), parts.len, "the length is the length of the segments");
    bytes
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn replaced(body: &str) -> String {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let parts = replace_model(&body, &scan(&body).unwrap(), &Bytes::from_static(b"\"new\""));
    String::from_utf8(joined(&parts)).unwrap()
}

#[test]
fn model_is_found_whatever_its_place_and_spelling() {
    for (body, model) in [
        (r#"{"model":"a"}"#, Some("a")),
        (r#"{"messages":[{"model":"inner"}],"model":"a","n":1}"#, Some("a")),
        (" \t\r\n{ \"n\" : -1.5e3 ,\n\"model\"\t: \"a/b\" } \r\n", Some("a/b")),
        (r#"{"\u006dodel":"a"}"#, Some("a")),
        (r#"{"model":"\u0061\"\\b"}"#, Some("a\"\\b")),
        (r#"{"x":"\"model\":\"no\"","y":"\\","model":"a"}"#, Some("a")),
        (r#"{"x":{"model":"no"},"models":"no","mode":"no"}"#, None),
        (r#"{"model":""}"#, Some("")),
        (r#"{"model":"日本 😀 é"}"#, Some("日本 😀 é")),
        (r#"{}"#, None),
    ] {
        assert_eq!(scan(body.as_bytes()).unwrap().model.as_deref(), model, "{body}");
    }
}

#[test]
fn stream_is_true_only_at_the_top_level_and_the_last_one_counts() {
    for (body, stream) in [
        (r#"{"stream":true}"#, true),
        (r#"{"stream" : true , "n":1}"#, true),
        (r#"{"stream":false}"#, false),
        (r#"{"stream":"true"}"#, false),
        (r#"{"stream":1}"#, false),
        (r#"{"a":{"stream":true}}"#, false),
        (r#"{"stream":true,"stream":false}"#, false),
        (r#"{"stream":false,"\u0073tream":true}"#, true),
    ] {
        assert_eq!(scan(body.as_bytes()).unwrap().stream, stream, "{body}");
    }
}

#[test]
fn a_body_that_is_not_one_json_object_is_refused_with_its_reason() {
    let not_json = |offset| BodyError::NotJson { offset };
    for (body, error) in [
        ("", BodyError::Empty),
        (" \r\n\t", BodyError::Empty),
        ("[]", BodyError::NotAnObject),
        ("\"model\"", BodyError::NotAnObject),
        (" -12", BodyError::NotAnObject),
        ("null ", BodyError::NotAnObject),
        ("model=a", not_json(0)),
        ("nul", not_json(0)),
        ("\u{feff}{}", not_json(0)),
        ("{", not_json(1)),
        (r#"{"model":"a""#, not_json(12)),
        (r#"{"model":"a}"#, not_json(12)),
        (r#"{"model":"a\"}"#, not_json(14)),
        (r#"{"model":"a",}"#, not_json(13)),
        (r#"{,"model":"a"}"#, not_json(1)),
        (r#"{"a":1,,"model":"a"}"#, not_json(7)),
        (r#"{"a" "model":"a"}"#, not_json(5)),
        (r#"{"a":1 "model":"a"}"#, not_json(5)),
        (r#"{"a":1 2,"model":"a"}"#, not_json(6)),
        (r#"{"a":"b""model":"a"}"#, not_json(8)),
        (r#"{"a":[]"model":"a"}"#, not_json(7)),
        (r#"{"a":,"model":"a"}"#, not_json(5)),
        (r#"{"a"::1}"#, not_json(5)),
        (r#"{"a":1:2}"#, not_json(5)),
        (r#"{a:1}"#, not_json(1)),
        (r#"{"a":[}],"model":"a"}"#, not_json(6)),
        (r#"{"a":{]},"model":"a"}"#, not_json(6)),
        (r#"{"a":1]"#, not_json(5)),
        (r#"{"a":[/*"*/1]}"#, not_json(6)),
        (r#"{"a":[//"#, not_json(6)),
        (r#"{"a":['"',1]}"#, not_json(6)),
        (r#"{"a":[\"]}"#, not_json(6)),
        (r##"{"a":[#"]}"##, not_json(6)),
        (r#"{"\x6dodel":"a"}"#, not_json(2)),
        (r#"{"model":"\ud800"}"#, not_json(9)),
        (r#"{} {}"#, BodyError::TrailingData),
        (r#"{"model":"a"}x"#, BodyError::TrailingData),
        ("{}\0", BodyError::TrailingData),
    ] {
        assert_eq!(scan(body.as_bytes()).unwrap_err(), error, "{body}");
    }
}

#[test]
fn model_must_be_there_at_most_once_and_be_a_string() {
    for (body, error) in [
        (r#"{"model":"a","model":"a"}"#, BodyError::DuplicateModel),
        (r#"{"model":"a","n":[1],"\u006dode\u006C":"b"}"#, BodyError::DuplicateModel),
        (r#"{"model":"a","Model":"b"}"#, BodyError::ModelMisspelt),
        (r#"{"\u004dODEL":"b"}"#, BodyError::ModelMisspelt),
        (r#"{"model":null}"#, BodyError::ModelNotAString),
        (r#"{"model":1,"n":2}"#, BodyError::ModelNotAString),
        (r#"{"model":["a"]}"#, BodyError::ModelNotAString),
        (r#"{"model":{"a":"b"}}"#, BodyError::ModelNotAString),
    ] {
        assert_eq!(scan(body.as_bytes()).unwrap_err(), error, "{body}");
    }
}

#[test]
fn every_byte_must_be_utf_8_wherever_it_stands() {
    for pad in 0..200 {
        let mut body = format!(r#"{{"text":"{}"#, "x".repeat(pad)).into_bytes();
        body.extend("é日😀".as_bytes());
        let cut = body.len() - 1;
        body.extend_from_slice(br#"","model":"a"}"#);
        assert_eq!(scan(&body).unwrap().model.as_deref(), Some("a"), "{pad}");
        body.remove(cut);
        assert_eq!(scan(&body).unwrap_err(), BodyError::InvalidUtf8, "{pad}");
    }
    assert_eq!(scan(b"{\"a\":\"\xc0\xaf\"}").unwrap_err(), BodyError::InvalidUtf8);
    assert_eq!(scan(b"{\"a\":\"\xed\xa0\x80\"}").unwrap_err(), BodyError::InvalidUtf8);
    assert_eq!(scan(b"{\"model\":\"\xff\"}").unwrap_err(), BodyError::InvalidUtf8);
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"a":{open}{close},"model":"m"}}"#)
    };
    let deepest = MAX_DEPTH as usize;
    assert_eq!(scan(nested(deepest).as_bytes()).unwrap().model.as_deref(), Some("m"));
    assert_eq!(scan(nested(deepest + 1).as_bytes()).unwrap_err(), BodyError::TooDeep);
    assert_eq!(scan("{\"a\":".repeat(100_000).as_bytes()).unwrap_err(), BodyError::TooDeep);
}

#[test]
fn a_backslash_run_is_read_right_wherever_it_meets_a_block_border() {
    for pad in 0..130 {
        for run in 0..70 {
            let text = format!("{}{}", "x".repeat(pad), "\\".repeat(run * 2));
            let body = format!(r#"{{"a":"{text}","model":"m"}}"#);
            assert_eq!(scan(body.as_bytes()).unwrap().model.as_deref(), Some("m"), "{pad} {run}");
            let body = format!(r#"{{"a":"{text}\","model":"m"}}"#);
            assert!(scan(body.as_bytes()).is_err(), "{pad} {run}");
        }
    }
}

#[test]
fn a_comment_or_another_quote_is_found_far_from_any_bracket() {
    for foreign in ["'", "/*\"*/", "//", "#"] {
        let digits = "1,".repeat(100);
        let body = format!(r#"{{"a":[{digits}{foreign}{digits}1]}}"#);
        assert_eq!(scan(body.as_bytes()).unwrap_err(), BodyError::NotJson { offset: 206 }, "{foreign}");
        let body = format!(r#"{{"a":"{digits}{}{digits}"}}"#, foreign.replace('"', ""));
        assert!(scan(body.as_bytes()).is_ok(), "{foreign} is no matter in a string");
    }
}

#[test]
fn errors_never_repeat_the_payload() {
    let error = scan(br#"{"secret":"s3cret","model":"a","model":"b"}"#).unwrap_err();
    assert!(!format!("{error} {error:?} {}", error.code()).contains("s3cret"));
}

#[test]
fn the_model_is_replaced_and_no_other_byte() {
    assert_eq!(replaced(" {\"n\" : 1,\t\"model\" : \"a\" }\n"), " {\"n\" : 1,\t\"model\" : \"new\" }\n");
    assert_eq!(replaced(r#"{"\u006dodel":"a"}"#), r#"{"\u006dodel":"new"}"#);
}

#[test]
fn a_missing_model_is_added_first() {
    assert_eq!(replaced(r#" { "n":1}"#), r#" {"model":"new", "n":1}"#);
    assert_eq!(replaced("{ }"), r#"{"model":"new" }"#);
}

fn merged(extra: (Value, Value), body: &str, model: Option<&str>) -> Result<String, BodyError> {
    let extra = ExtraBody::new(&object(extra.0), &object(extra.1)).unwrap();
    let body = Bytes::copy_from_slice(body.as_bytes());
    let parts = match model {
        Some(value) => {
            let scanned = scan(&body)?;
            extra.apply(&body, Some((&scanned, &Bytes::from(format!("\"{value}\"")))))?
        }
        None => extra.apply(&body, None)?,
    };
    Ok(String::from_utf8(joined(&parts)).unwrap())
}

#[test]
fn nothing_to_add_is_no_extra_body() {
    assert!(ExtraBody::new(&Map::new(), &Map::new()).is_none());
}

#[test]
fn defaults_yield_and_required_members_win() {
    let extra = || (json!({"a": 1, "b": 2}), json!({"b": 3, "c": [4]}));
    for (body, expected) in [
        (r#"{"x":0}"#, r#"{"b":3,"c":[4],"a":1,"x":0}"#),
        (r#"{ }"#, r#"{"b":3,"c":[4],"a":1 }"#),
        (r#"{"a":null, "c" : {"d":5} }"#, r#"{"b":3,"a":null, "c" : [4] }"#),
        (r#"{"b":0,"\u0062":[],"a":9,"c":4}"#, r#"{"b":3,"\u0062":3,"a":9,"c":[4]}"#),
    ] {
        assert_eq!(merged(extra(), body, None).unwrap(), expected, "{body}");
    }
}

#[test]
fn a_required_model_wins_over_the_route_and_a_default_one_does_not() {
    let required = || (json!({}), json!({"model": "must"}));
    let default = || (json!({"model": "may"}), json!({}));
    let (with, without) = (r#"{"n":1,"model":"m"}"#, r#"{"n":1}"#);
    assert_eq!(merged(required(), with, Some("new")).unwrap(), r#"{"n":1,"model":"must"}"#);
    assert_eq!(merged(required(), without, Some("new")).unwrap(), r#"{"model":"must","n":1}"#);
    assert_eq!(merged(required(), with, None).unwrap(), r#"{"n":1,"model":"must"}"#);
    assert_eq!(merged(default(), with, Some("new")).unwrap(), r#"{"n":1,"model":"new"}"#);
    assert_eq!(merged(default(), without, Some("new")).unwrap(), r#"{"model":"new","n":1}"#);
    assert_eq!(merged(default(), without, None).unwrap(), r#"{"model":"may","n":1}"#);
    assert_eq!(merged(default(), with, None).unwrap(), with);
}

#[test]
fn without_a_model_what_is_not_an_object_passes_and_what_is_too_deep_does_not() {
    let extra = || (json!({}), json!({"a": 1}));
    for body in ["", "[1]", "plain", "{\"b\":", "{}{}"] {
        assert_eq!(merged(extra(), body, None).unwrap(), body);
    }
    let deep = format!("{{\"b\":{}{}}}", "[".repeat(200), "]".repeat(200));
    assert_eq!(merged(extra(), &deep, None).unwrap_err(), BodyError::TooDeep);
}

#[test]
fn a_body_that_repeats_required_members_without_end_is_refused() {
    let body = |times: usize| format!("{{{}\"x\":1}}", "\"a\":2,".repeat(times));
    let extra = || (json!({}), json!({"a": 1}));
    let most = MAX_REPEATED_MEMBERS + 1;
    assert_eq!(merged(extra(), &body(most), None).unwrap(), body(most).replace('2', "1"));
    assert_eq!(merged(extra(), &body(most + 1), None).unwrap_err(), BodyError::RepeatedMembers);
}

/// Any JSON value; its keys and strings are often `model`, `stream`, or hold quotes and backslashes.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("model".to_owned()),
        Just("stream".to_owned()),
        "[a-z\"\\\\{}\\[\\],:é\n/]{0,12}",
        "[\\\\\"]{0,80}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![Just("model".to_owned()), Just("stream".to_owned()), "[a-e]", any::<String>()];
    prop::collection::vec((name, any_json()), 0..6).prop_map(|members| members.into_iter().collect())
}

/// The object's text, compact or spread over lines.
fn text_of(object: &Map<String, Value>, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(object) } else { serde_json::to_string(object) };
    text.unwrap()
}

fn expected_scan(object: &Map<String, Value>) -> Result<(Option<&str>, bool), BodyError> {
    for (name, value) in object {
        if name == "model" && !value.is_string() {
            return Err(BodyError::ModelNotAString);
        }
        if name != "model" && name.eq_ignore_ascii_case("model") {
            return Err(BodyError::ModelMisspelt);
        }
    }
    let model = object.get("model").and_then(Value::as_str);
    Ok((model, object.get("stream") == Some(&Value::Bool(true))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_scan_agrees_with_serde_json(object in any_object(), pretty: bool) {
        let text = text_of(&object, pretty);
        let found = scan(text.as_bytes());
        let seen = found.as_ref().map(|scan| (scan.model.as_deref(), scan.stream)).map_err(|error| *error);
        prop_assert_eq!(seen, expected_scan(&object));
        if let Ok(RequestScan { model_span: Some(span), model: Some(model), object_empty, .. }) = found {
            prop_assert_eq!(serde_json::from_str::<String>(&text[span]).unwrap(), model);
            prop_assert!(!object_empty);
        }
    }

    #[test]
    fn a_replaced_model_is_what_serde_json_then_reads(object in any_object(), pretty: bool) {
        let text = Bytes::from(text_of(&object, pretty));
        prop_assume!(scan(&text).is_ok());
        let parts = replace_model(&text, &scan(&text).unwrap(), &Bytes::from_static(b"\"new\""));
        let mut expected = object;
        expected.insert("model".into(), "new".into());
        prop_assert_eq!(serde_json::from_slice::<Value>(&joined(&parts)).unwrap(), Value::Object(expected));
    }

    #[test]
    fn a_merge_agrees_with_a_shallow_merge_by_serde_json(
        default in any_object(), client in any_object(), required in any_object(), pretty: bool, routed: bool,
    ) {
        let text = Bytes::from(text_of(&client, pretty));
        prop_assume!(!routed || scan(&text).is_ok());
        let mut expected = default.clone();
        expected.extend(client.clone());
        let new = Bytes::from_static(b"\"new\"");
        if routed {
            expected.insert("model".into(), "new".into());
        }
        expected.extend(required.clone());
        if let Some(extra) = ExtraBody::new(&default, &required) {
            let scanned = scan(&text);
            let model = if routed { scanned.as_ref().ok().map(|scan| (scan, &new)) } else { None };
            let parts = extra.apply(&text, model).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&joined(&parts)).unwrap(), Value::Object(expected));
        }
    }

    #[test]
    fn what_serde_json_refuses_at_the_outermost_level_is_refused(object in any_object(), at: prop::sample::Index, with in "[{}\\[\\],:\"a1 \\\\]") {
        let mut text = text_of(&object, false);
        let index = at.index(text.len());
        prop_assume!(text.is_char_boundary(index));
        text.insert_str(index, &with);
        let accepted = scan(text.as_bytes());
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let decided = matches!(accepted, Ok(_) | Err(BodyError::DuplicateModel | BodyError::ModelMisspelt | BodyError::ModelNotAString | BodyError::NotAnObject));
            prop_assert!(decided, "serde_json reads {value}, we say {accepted:?}");
        }
    }

    #[test]
    fn no_bytes_make_a_scan_or_a_merge_panic(body in prop::collection::vec(hostile_byte(), 0..300)) {
        let body = Bytes::from([b"{".as_slice(), &body].concat());
        let _ = scan(&body);
        let extra = ExtraBody::new(&object(json!({"a": 1})), &object(json!({"b": 1}))).unwrap();
        let _ = extra.apply(&body, None);
    }
}

fn hostile_byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => prop::sample::select(b"{}[]\",:\\ a1u0".to_vec()), 1 => any::<u8>()]
}
