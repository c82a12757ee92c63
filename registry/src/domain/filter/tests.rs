use super::*;

const FIELDS: Fields = &[
    Field { name: "name", kind: FieldKind::Text, column: "name" },
    Field { name: "status", kind: FieldKind::Text, column: "status" },
    Field { name: "created_at", kind: FieldKind::Time, column: "created_us" },
    Field { name: "enabled", kind: FieldKind::Bool, column: "enabled" },
    Field { name: "base_model", kind: FieldKind::TextOrPresence, column: "base" },
    Field { name: "base_model.name", kind: FieldKind::Text, column: "base" },
    Field { name: "data", kind: FieldKind::Json, column: "body" },
];

fn read(pairs: &[(&str, &str)]) -> Result<Option<Filter>, FilterError> {
    Filter::from_query(pairs.iter().copied(), FIELDS)
}

fn wire(pairs: &[(&str, &str)]) -> String {
    read(pairs).unwrap().unwrap().to_wire().to_string()
}

#[test]
fn four_spellings_mean_the_same() {
    let like = r#"{"name":{"$like":"llama"}}"#;
    assert_eq!(wire(&[("filter[name][$like]", "llama")]), like);
    assert_eq!(wire(&[("filter", r#"{"name":{"$like":"llama"}}"#)]), like);
    assert_eq!(wire(&[("filter", "name~llama")]), like);
    let equal = r#"{"name":{"$eq":"fake"}}"#;
    assert_eq!(wire(&[("filter[name]", "fake")]), equal);
    assert_eq!(wire(&[("filter[name][$eq]", "fake")]), equal);
    assert_eq!(wire(&[("filter", r#"{"name":"fake"}"#)]), equal);
    assert_eq!(wire(&[("filter", r#"name:"fake""#)]), equal);
}

#[test]
fn a_text_filter_knows_precedence_negation_and_lists() {
    let text =
        r#"name:"a \"b\"" AND created_at>=2026-01-01 OR -(status IN (ERROR, 'LOST') AND enabled:true)"#;
    let wanted = concat!(
        r#"{"$or":[{"$and":[{"name":{"$eq":"a \"b\""}},{"created_at":{"$gte":"2026-01-01"}}]},"#,
        r#"{"$not":{"$and":[{"status":{"$in":["ERROR","LOST"]}},{"enabled":{"$eq":true}}]}}]}"#
    );
    assert_eq!(wire(&[("filter", text)]), wanted);
    assert_eq!(wire(&[("filter", "status NOT IN [A,B]")]), r#"{"status":{"$nin":["A","B"]}}"#);
}

#[test]
fn lists_come_joined_by_commas_or_as_json() {
    let wanted = r#"{"status":{"$in":["A","B"]}}"#;
    assert_eq!(wire(&[("filter[status][$in]", "A,B")]), wanted);
    assert_eq!(wire(&[("filter", r#"{"status":{"$in":["A","B"]}}"#)]), wanted);
}

#[test]
fn several_parameters_must_all_hold() {
    let wanted = r#"{"$and":[{"name":{"$eq":"a"}},{"status":{"$eq":"B"}}]}"#;
    assert_eq!(wire(&[("filter[name]", "a"), ("page", "1"), ("filter[status]", "B")]), wanted);
    assert_eq!(wire(&[("filter", r#"{"name":"a","status":"B"}"#)]), wanted);
}

#[test]
fn a_field_may_be_asked_for_by_value_or_by_presence() {
    assert_eq!(wire(&[("filter[base_model]", "true")]), r#"{"base_model":{"$exists":true}}"#);
    assert_eq!(wire(&[("filter[base_model]", "x")]), r#"{"base_model":{"$eq":"x"}}"#);
    assert_eq!(wire(&[("filter[base_model][name]", "x")]), r#"{"base_model.name":{"$eq":"x"}}"#);
    assert_eq!(wire(&[("filter", r#"{"data":{"a":{"b":1}}}"#)]), r#"{"data.a.b":{"$eq":1.0}}"#);
}

#[test]
fn an_empty_filter_is_none() {
    assert_eq!(read(&[("filter", " "), ("sort", "name")]), Ok(None));
}

#[test]
fn unknown_fields_are_named_with_the_known_ones() {
    let error = read(&[("filter[zzz]", "1")]).unwrap_err().to_string();
    assert!(error.starts_with("Unknown filter field 'zzz'. Valid fields: ['name', 'status'"), "{error}");
    assert!(read(&[("filter", "data.a'b:1")]).is_err());
}

#[test]
fn bad_filters_are_refused_and_never_panic() {
    for (key, value) in [
        ("filter", "{"),
        ("filter", r#"{"$or":1}"#),
        ("filter", r#"{"$like":"x"}"#),
        ("filter", r#"{"name":["a"]}"#),
        ("filter", "[1]"),
        ("filter", "name"),
        ("filter", "name:"),
        ("filter", "name:\"x"),
        ("filter", "name:x y"),
        ("filter", "(name:x"),
        ("filter", "name IN x"),
        ("filter", "é"),
        ("filter[]", "x"),
        ("filter[name", "x"),
        ("filter[name][$what]", "x"),
        ("filter[created_at]", "yesterday"),
        ("filter[enabled]", "perhaps"),
    ] {
        assert!(read(&[(key, value)]).is_err(), "{key}={value} was accepted");
    }
}

#[test]
fn a_filter_has_a_largest_size() {
    let deep = format!("{}name:x{}", "(".repeat(FILTER_DEPTH_MAX + 1), ")".repeat(FILTER_DEPTH_MAX + 1));
    assert_eq!(read(&[("filter", &deep)]), Err(FilterError::TooLarge));
    let deep = format!("{}{}", r#"{"$not":"#.repeat(9), r#"{"name":"x"}"#) + &"}".repeat(9);
    assert_eq!(read(&[("filter", &deep)]), Err(FilterError::TooLarge));
    let wide = vec!["x"; FILTER_CONDITIONS_MAX + 1].join(",");
    assert_eq!(read(&[("filter[name][$in]", &wide)]), Err(FilterError::TooLarge));
    assert_eq!(read(&[("filter", &"x".repeat(FILTER_BYTES_MAX))]), Err(FilterError::TooLong));
}
