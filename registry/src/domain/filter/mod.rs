//! What a list is filtered by: a small boolean expression over the fields that the list names.
//!
//! Invariants:
//! - A [`Filter`] names only fields of its list, with values of the field's kind.
//! - Its size is bounded: bytes, conditions, nesting.
//!
//! Four spellings give the same filter: bracket, bracket with operator, JSON, text.

mod json;
mod text;

use std::fmt;

use serde_json::{Value, json};

use super::Timestamp;

/// Longest filter, in bytes, of one query parameter.
pub const FILTER_BYTES_MAX: usize = 8 * 1024;
/// Most conditions of one filter; each value of a list counts.
pub const FILTER_CONDITIONS_MAX: usize = 256;
/// Deepest nesting of AND, OR and NOT.
pub const FILTER_DEPTH_MAX: usize = 8;

/// A field that a list may be filtered by.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub kind: FieldKind,
    /// How the store gets at it. Opaque here.
    pub column: &'static str,
}

/// What a field holds, and so what it may be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    Time,
    Bool,
    /// Asked for with true or false: whether it is set.
    Presence,
    /// A text, or true or false for whether it is set.
    TextOrPresence,
    /// Several texts, one of which must pass.
    TextAmong,
    /// Members of a JSON object, named by `name.path.to.member`.
    Json,
}

/// The fields of one kind of list.
pub type Fields = &'static [Field];

#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Is(Condition),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub field: &'static Field,
    /// Below a [`FieldKind::Json`] field; else empty.
    pub path: String,
    pub test: Test,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    Equals(Scalar),
    /// A part of the text, in upper or lower case.
    Like(String),
    OneOf(Vec<Scalar>),
    NoneOf(Vec<Scalar>),
    Greater(Scalar),
    GreaterOrEqual(Scalar),
    Less(Scalar),
    LessOrEqual(Scalar),
    IsSet(bool),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Text(String),
    Bool(bool),
    Number(f64),
    Time(Timestamp, String),
}

/// Why a filter can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("Unknown filter field '{name}'. Valid fields: [{}]", .valid.iter().map(|f| format!("'{f}'")).collect::<Vec<_>>().join(", "))]
    UnknownField { name: String, valid: Vec<&'static str> },
    #[error("filter field '{field}': {reason}")]
    Value { field: String, reason: String },
    #[error("filter: {0}")]
    Syntax(String),
    #[error("filter: longer than {FILTER_BYTES_MAX} bytes")]
    TooLong,
    #[error("filter: more than {FILTER_CONDITIONS_MAX} conditions, or nested deeper than {FILTER_DEPTH_MAX}")]
    TooLarge,
}

impl Filter {
    /// Reads the `filter` parameters of a query: `filter=…` and `filter[…]…=…`, all of which must hold.
    pub fn from_query<'q>(
        pairs: impl Iterator<Item = (&'q str, &'q str)>,
        fields: Fields,
    ) -> Result<Option<Self>, FilterError> {
        let mut all = Vec::new();
        for (key, value) in pairs {
            let Some(rest) = key.strip_prefix("filter") else { continue };
            if rest.is_empty() && value.trim().is_empty() {
                continue;
            }
            if key.len() + value.len() > FILTER_BYTES_MAX {
                return Err(FilterError::TooLong);
            }
            let one = match rest {
                "" if value.trim_start().starts_with('{') => json::parse(value, fields)?,
                "" => text::parse(value, fields)?,
                _ => json::from_brackets(rest, value, fields)?,
            };
            all.push(one);
        }
        let filter = match all.len() {
            0 => return Ok(None),
            1 => all.swap_remove(0),
            _ => Self::All(all),
        };
        if filter.conditions() > FILTER_CONDITIONS_MAX || filter.depth() > FILTER_DEPTH_MAX {
            return Err(FilterError::TooLarge);
        }
        Ok(Some(filter))
    }

    /// Whether a condition on this field is part of it.
    pub fn mentions(&self, name: &str) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(|part| part.mentions(name)),
            Self::Not(part) => part.mentions(name),
            Self::Is(condition) => condition.field.name == name,
        }
    }

    fn conditions(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::conditions).sum(),
            Self::Not(part) => part.conditions(),
            Self::Is(Condition { test: Test::OneOf(values) | Test::NoneOf(values), .. }) => values.len(),
            Self::Is(_) => 1,
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => 1 + parts.iter().map(Self::depth).max().unwrap_or(0),
            Self::Not(part) => 1 + part.depth(),
            Self::Is(_) => 0,
        }
    }

    /// The normalised form that answers repeat.
    pub fn to_wire(&self) -> Value {
        match self {
            Self::All(parts) => json!({ "$and": parts.iter().map(Self::to_wire).collect::<Vec<_>>() }),
            Self::Any(parts) => json!({ "$or": parts.iter().map(Self::to_wire).collect::<Vec<_>>() }),
            Self::Not(part) => json!({ "$not": part.to_wire() }),
            Self::Is(condition) => json!({ condition.name(): condition.test.to_wire() }),
        }
    }
}

impl Condition {
    pub fn name(&self) -> String {
        if self.path.is_empty() {
            self.field.name.into()
        } else {
            format!("{}.{}", self.field.name, self.path)
        }
    }

    /// A condition on the field called `name`, from an operator as it is written and a JSON value.
    fn read(name: &str, operator: &str, value: &Value, fields: Fields) -> Result<Filter, FilterError> {
        let (field, path) = find(name, fields)?;
        let scalar = |value: &Value| Scalar::read(field, value);
        let list = || list_of(value).iter().map(scalar).collect::<Result<Vec<_>, _>>();
        let test = match operator {
            "$eq" => match (field.kind, scalar(value)?) {
                (FieldKind::Presence | FieldKind::TextOrPresence, Scalar::Bool(is_set)) => {
                    Test::IsSet(is_set)
                }
                (_, scalar) => Test::Equals(scalar),
            },
            "$ne" => return Ok(Filter::Not(Box::new(Self::read(name, "$eq", value, fields)?))),
            "$like" | "$contains" => Test::Like(text_of(field, value)?),
            "$in" => Test::OneOf(list()?),
            "$nin" => Test::NoneOf(list()?),
            "$gt" => Test::Greater(scalar(value)?),
            "$gte" => Test::GreaterOrEqual(scalar(value)?),
            "$lt" => Test::Less(scalar(value)?),
            "$lte" => Test::LessOrEqual(scalar(value)?),
            "$exists" => {
                Test::IsSet(boolean(value).ok_or_else(|| bad(field, "$exists takes true or false"))?)
            }
            _ => return Err(bad(field, format!("unknown operator '{operator}'"))),
        };
        Ok(Filter::Is(Self { field, path, test }))
    }
}

fn find(name: &str, fields: Fields) -> Result<(&'static Field, String), FilterError> {
    if let Some(field) = fields.iter().find(|field| field.name == name) {
        return Ok((field, String::new()));
    }
    let below = name.split_once('.').and_then(|(head, path)| {
        let field = fields.iter().find(|field| field.name == head && field.kind == FieldKind::Json)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        path.chars().all(plain).then(|| (field, path.to_owned()))
    });
    below.ok_or_else(|| FilterError::UnknownField {
        name: name.chars().take(64).collect(),
        valid: fields.iter().map(|field| field.name).collect(),
    })
}

fn bad(field: &Field, reason: impl fmt::Display) -> FilterError {
    FilterError::Value { field: field.name.into(), reason: reason.to_string() }
}

/// Lists arrive as JSON arrays or joined by commas.
fn list_of(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values.clone(),
        Value::String(text) => text.split(',').map(|part| Value::from(part.trim())).collect(),
        other => vec![other.clone()],
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn text_of(field: &Field, value: &Value) -> Result<String, FilterError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(bad(field, "takes a text")),
    }
}

impl Scalar {
    fn read(field: &Field, value: &Value) -> Result<Self, FilterError> {
        match field.kind {
            FieldKind::Text | FieldKind::TextAmong => text_of(field, value).map(Self::Text),
            FieldKind::Time => {
                let text = text_of(field, value)?;
                let time = Timestamp::from_wire(&text).ok_or_else(|| {
                    bad(field, "takes an ISO 8601 date or time, such as 2026-01-31T12:00:00")
                })?;
                Ok(Self::Time(time, text))
            }
            FieldKind::Bool | FieldKind::Presence => {
                boolean(value).map(Self::Bool).ok_or_else(|| bad(field, "takes true or false"))
            }
            FieldKind::TextOrPresence => match boolean(value) {
                Some(is_set) => Ok(Self::Bool(is_set)),
                None => text_of(field, value).map(Self::Text),
            },
            FieldKind::Json => match value {
                Value::Bool(value) => Ok(Self::Bool(*value)),
                Value::Number(number) => Ok(Self::Number(number.as_f64().unwrap_or_default())),
                _ => text_of(field, value).map(Self::Text),
            },
        }
    }

    fn to_wire(&self) -> Value {
        match self {
            Self::Text(text) | Self::Time(_, text) => json!(text),
            Self::Bool(value) => json!(value),
            Self::Number(value) => json!(value),
        }
    }
}

impl Test {
    fn to_wire(&self) -> Value {
        let list = |values: &[Scalar]| Value::from(values.iter().map(Scalar::to_wire).collect::<Vec<_>>());
        match self {
            Self::Equals(value) => json!({ "$eq": value.to_wire() }),
            Self::Like(text) => json!({ "$like": text }),
            Self::OneOf(values) => json!({ "$in": list(values) }),
            Self::NoneOf(values) => json!({ "$nin": list(values) }),
            Self::Greater(value) => json!({ "$gt": value.to_wire() }),
            Self::GreaterOrEqual(value) => json!({ "$gte": value.to_wire() }),
            Self::Less(value) => json!({ "$lt": value.to_wire() }),
            Self::LessOrEqual(value) => json!({ "$lte": value.to_wire() }),
            Self::IsSet(is_set) => json!({ "$exists": is_set }),
        }
    }
}

#[cfg(test)]
mod tests;
