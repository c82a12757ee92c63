use serde::Deserialize;

use super::*;
use crate::api::schema;
use proto_shared::names::EntityName;

#[derive(Debug, Deserialize, ToSchema)]
struct Sample {
    #[schema(value_type = schema::Name)]
    name: EntityName,
    #[schema(maximum = 9)]
    count: Option<u32>,
    #[serde(default)]
    parts: Vec<Part>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    note: Option<Option<String>>,
}

#[derive(Debug, Deserialize, ToSchema)]
struct Part {
    #[schema(min_length = 1, max_length = 3)]
    #[expect(dead_code, reason = "only its shape matters here")]
    id: String,
    choice: Option<Choice>,
}

#[derive(Debug, Deserialize, ToSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Choice {
    This,
    That,
}

impl RequestBody for Sample {}

fn faults(body: Value) -> Vec<(&'static str, String, String)> {
    let Err(Error::Invalid(issues)) = parse::<Sample>(&body) else { panic!("{body} was accepted") };
    let place = |issue: &Issue| issue.loc.iter().map(Value::to_string).collect::<Vec<_>>().join(".");
    issues.iter().map(|issue| (issue.kind, place(issue).replace('"', ""), issue.msg.clone())).collect()
}

#[test]
fn a_good_body_becomes_a_value_and_unknown_fields_are_ignored() {
    let body = json!({"name": "ab", "count": null, "parts": [{"id": "x", "choice": "that"}], "what": 1});
    let sample: Sample = parse(&body).unwrap();
    assert_eq!((sample.name.as_str(), sample.count, sample.parts.len()), ("ab", None, 1));
    assert_eq!(sample.parts[0].choice, Some(Choice::That));
    assert_eq!(sample.note, None);
}

#[test]
fn absent_null_and_given_are_told_apart() {
    let note = |body| parse::<Sample>(&body).unwrap().note;
    assert_eq!(note(json!({"name": "ab"})), None);
    assert_eq!(note(json!({"name": "ab", "note": null})), Some(None));
    assert_eq!(note(json!({"name": "ab", "note": "x"})), Some(Some("x".into())));
}

#[test]
fn all_faults_are_reported_together_with_their_places() {
    let mut found = faults(json!({
        "count": 10,
        "parts": [{"id": "x"}, {"id": "", "choice": "other"}, {"id": "long"}, {}],
        "note": 1,
    }));
    found.sort_by(|a, b| a.1.cmp(&b.1));
    let found: Vec<_> = found.iter().map(|(kind, place, msg)| (*kind, &**place, &**msg)).collect();
    assert_eq!(
        found,
        [
            ("less_than_equal", "body.count", "Input should be less than or equal to 9"),
            ("missing", "body.name", "Field required"),
            ("string_type", "body.note", "Input should be a valid string"),
            ("enum", "body.parts.1.choice", "Input should be 'this' or 'that'"),
            ("string_too_short", "body.parts.1.id", "String should have at least 1 character"),
            ("string_too_long", "body.parts.2.id", "String should have at most 3 characters"),
            ("missing", "body.parts.3.id", "Field required"),
        ]
    );
}

#[test]
fn a_bad_name_says_what_is_wrong_with_it() {
    let [(kind, place, msg)] = &faults(json!({"name": "Ab"}))[..] else { panic!("not one fault") };
    assert_eq!((*kind, place.as_str()), ("string_pattern_mismatch", "body.name"));
    assert!(msg.ends_with("a name starts with a lower-case letter"), "{msg}");
}

#[test]
fn what_is_not_an_object_is_refused() {
    for body in [json!([]), json!("x"), Value::Null] {
        assert_eq!(faults(body)[0].0, "model_attributes_type");
    }
}

#[test]
fn what_may_be_secret_or_is_long_is_not_repeated() {
    for name in ["A@b".to_owned(), "A".repeat(issues::ECHO_BYTES_MAX + 1)] {
        let Err(Error::Invalid(issues)) = parse::<Sample>(&json!({ "name": name })) else {
            panic!("accepted")
        };
        assert!(issues.iter().all(|issue| issue.input.is_null()));
    }
    let Err(Error::Invalid(issues)) = parse::<Sample>(&json!({ "name": "Ab" })) else { panic!("accepted") };
    assert_eq!(issues[0].input, json!("Ab"));
}

#[test]
fn the_place_of_a_syntax_error_is_counted_in_bytes() {
    let bytes = b"{\n\"a\": }";
    let error = serde_json::from_slice::<Value>(bytes).unwrap_err();
    assert_eq!(offset_of(bytes, &error), 7);
}
