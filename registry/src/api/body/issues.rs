//! Faults that the schema found, in the platform's form.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::{Location, LocationSegment};
use proto_shared::names::{NAME_PATTERN, check_name};
use serde_json::{Value, json};

use super::Echo;
use crate::error::Issue;

/// Longest input that an error repeats.
pub const ECHO_BYTES_MAX: usize = 256;
/// Most faults that one answer names.
const ISSUES_MAX: usize = 100;

pub fn all<'v>(errors: impl Iterator<Item = ValidationError<'v>>, echo: Echo) -> Vec<Issue> {
    let mut issues = Vec::new();
    for error in errors {
        push(&error, echo, &mut issues);
        if issues.len() >= ISSUES_MAX {
            break;
        }
    }
    issues
}

/// Where a value lies, as the deserialiser tells it.
pub fn place_of(path: &serde_path_to_error::Path) -> Vec<Value> {
    use serde_path_to_error::Segment;
    let parts = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(json!(index)),
        Segment::Map { key } => Some(json!(key)),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    std::iter::once(json!("body")).chain(parts).collect()
}

fn push(error: &ValidationError<'_>, echo: Echo, issues: &mut Vec<Issue>) {
    if let Kind::AnyOf { context } | Kind::OneOfNotValid { context } = error.kind()
        && let Some(branch) = nearest(context)
    {
        match branch.iter().find(|error| is_other_type(error)) {
            // The value is of no form at all: what a form of another type lacks does not matter.
            Some(other) => issues.push(unknown_type(other, context, echo)),
            None => branch.iter().for_each(|error| push(error, echo, issues)),
        }
        return;
    }
    let mut loc = place(error.instance_path());
    if let Kind::Required { property } = error.kind() {
        loc.push(property.clone());
        issues.push(Issue { kind: "missing", loc, msg: "Field required".into(), input: Value::Null });
        return;
    }
    let (kind, msg) = described(error);
    issues.push(Issue { kind, loc, msg, input: repeated(error, echo) });
}

/// A value whose `type` is none of those that there are.
fn unknown_type(
    error: &ValidationError<'_>,
    branches: &[Vec<ValidationError<'static>>],
    echo: Echo,
) -> Issue {
    let mut types: Vec<String> = Vec::new();
    for other in branches.iter().flatten().filter(|other| is_other_type(other)) {
        match other.kind() {
            Kind::Enum { options } => types.extend(options.as_array().into_iter().flatten().map(quoted)),
            Kind::Constant { expected_value } => types.push(quoted(expected_value)),
            _ => {}
        }
    }
    let msg = format!("Input should be {}", either(&types));
    Issue { kind: "union_tag_invalid", loc: place(error.instance_path()), msg, input: repeated(error, echo) }
}

fn repeated(error: &ValidationError<'_>, echo: Echo) -> Value {
    match error.instance().as_ref() {
        value if echo == Echo::Input && may_be_repeated(value) => value.clone(),
        _ => Value::Null,
    }
}

/// Of several forms none of which fits: the one that fits best. Null is never meant.
fn nearest<'e>(branches: &'e [Vec<ValidationError<'static>>]) -> Option<&'e Vec<ValidationError<'static>>> {
    let is_null_form = |branch: &&Vec<ValidationError<'_>>| {
        matches!(
            branch.first().map(ValidationError::kind),
            Some(Kind::Type { kind: TypeKind::Single(jsonschema::JsonType::Null) })
        )
    };
    let depth = |branch: &&Vec<ValidationError<'_>>| {
        branch.iter().map(|error| error.instance_path().as_str().len()).max().unwrap_or_default()
    };
    // The form that the value says it is; else the first of the deepest: forms are listed by how usual they are.
    let has_its_type = |branch: &&Vec<ValidationError<'_>>| !branch.iter().any(is_other_type);
    let fit = |branch: &&Vec<ValidationError<'_>>| (has_its_type(branch), depth(branch));
    branches.iter().filter(|branch| !is_null_form(branch)).rev().max_by_key(fit)
}

/// Whether a value's `type` names another form than this one.
fn is_other_type(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::Enum { .. } | Kind::Constant { .. })
        && error.instance_path().as_str().ends_with("/type")
}

fn place(path: &Location) -> Vec<Value> {
    let parts = path.iter().map(|segment| match segment {
        LocationSegment::Property(name) => json!(name),
        LocationSegment::Index(index) => json!(index),
    });
    std::iter::once(json!("body")).chain(parts).collect()
}

fn described(error: &ValidationError<'_>) -> (&'static str, String) {
    match error.kind() {
        Kind::Type { kind } => wanted_type(kind),
        Kind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(quoted).collect();
            ("enum", format!("Input should be {}", either(&options)))
        }
        Kind::Constant { expected_value } => {
            ("literal_error", format!("Input should be {}", quoted(expected_value)))
        }
        Kind::MaxLength { limit } => {
            ("string_too_long", format!("String should have at most {limit} characters"))
        }
        Kind::MinLength { limit } => {
            ("string_too_short", format!("String should have at least {limit} character{}", plural(*limit)))
        }
        Kind::Pattern { pattern } => ("string_pattern_mismatch", pattern_text(pattern, error.instance())),
        Kind::Minimum { limit } => {
            ("greater_than_equal", format!("Input should be greater than or equal to {limit}"))
        }
        Kind::Maximum { limit } => {
            ("less_than_equal", format!("Input should be less than or equal to {limit}"))
        }
        Kind::ExclusiveMinimum { limit } => ("greater_than", format!("Input should be greater than {limit}")),
        Kind::ExclusiveMaximum { limit } => ("less_than", format!("Input should be less than {limit}")),
        Kind::MaxItems { limit } => ("too_long", format!("List should have at most {limit} items")),
        Kind::MinItems { limit } => ("too_short", format!("List should have at least {limit} items")),
        Kind::MaxProperties { limit } => ("too_long", format!("Object should have at most {limit} members")),
        kind => ("value_error", format!("Value does not fit: {}", kind.keyword())),
    }
}

fn wanted_type(kind: &TypeKind) -> (&'static str, String) {
    use jsonschema::JsonType as T;
    let wanted = match kind {
        TypeKind::Single(kind) => *kind,
        TypeKind::Multiple(kinds) => kinds.iter().find(|kind| *kind != T::Null).unwrap_or(T::Null),
    };
    let (kind, word) = match wanted {
        T::String => ("string_type", "string"),
        T::Integer => ("int_type", "integer"),
        T::Number => ("float_type", "number"),
        T::Boolean => ("bool_type", "boolean"),
        T::Array => ("list_type", "list"),
        T::Object => ("dict_type", "dictionary"),
        T::Null => ("none_required", "null"),
    };
    (kind, format!("Input should be a valid {word}"))
}

/// A name has a pattern that nobody reads, and that terminals of clients take for markup; say what is wrong.
fn pattern_text(pattern: &str, input: &Value) -> String {
    let reason = input.as_str().filter(|_| pattern == NAME_PATTERN).and_then(|text| check_name(text).err());
    match reason {
        Some(reason) => format!("Invalid name: {reason}"),
        None => format!("String should match pattern '{pattern}'"),
    }
}

fn quoted(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| format!("'{text}'"))
}

fn either(options: &[String]) -> String {
    match options {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        options => options.concat(),
    }
}

fn plural(limit: u64) -> &'static str {
    if limit == 1 { "" } else { "s" }
}

/// Objects, and URLs with a user part, may hold a key that was put into the wrong place.
fn may_be_repeated(value: &Value) -> bool {
    let has_credentials = value.as_str().is_some_and(|text| text.contains('@'));
    !value.is_object() && !value.is_array() && !has_credentials && value.to_string().len() <= ECHO_BYTES_MAX
}
