//! The bracket and JSON spellings: `filter[name][$like]=llama`, `filter={"name":{"$like":"llama"}}`.

use serde_json::{Map, Value};

use super::{Condition, FILTER_DEPTH_MAX, Fields, Filter, FilterError};

pub fn parse(text: &str, fields: Fields) -> Result<Filter, FilterError> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => conditions("", &object, fields, 0),
        Ok(_) => Err(FilterError::Syntax("takes a JSON object".into())),
        Err(error) => Err(FilterError::Syntax(format!("not JSON: {error}"))),
    }
}

/// `[status]`, `[name][$like]`, `[base_model][name]`, with the value beside it.
pub fn from_brackets(brackets: &str, value: &str, fields: Fields) -> Result<Filter, FilterError> {
    let inner = brackets.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner =
        inner.ok_or_else(|| FilterError::Syntax(format!("'filter{brackets}' is not filter[field]")))?;
    let mut names: Vec<&str> = inner.split("][").collect();
    let operator = names.pop_if(|last| last.starts_with('$')).unwrap_or("$eq");
    if names.is_empty() || names.iter().any(|name| name.is_empty() || name.contains(['[', ']'])) {
        return Err(FilterError::Syntax(format!("'filter{brackets}' names no field")));
    }
    Condition::read(&names.join("."), operator, &Value::from(value), fields)
}

/// All members of an object must hold. `name` is the field that the object is about; empty at the top.
fn conditions(
    name: &str,
    object: &Map<String, Value>,
    fields: Fields,
    depth: usize,
) -> Result<Filter, FilterError> {
    if depth > FILTER_DEPTH_MAX {
        return Err(FilterError::TooLarge);
    }
    let mut all = Vec::with_capacity(object.len());
    for (key, value) in object {
        all.push(match (key.as_str(), value) {
            ("$and", Value::Array(parts)) => Filter::All(each(name, parts, fields, depth)?),
            ("$or", Value::Array(parts)) => Filter::Any(each(name, parts, fields, depth)?),
            ("$not", Value::Object(part)) => {
                Filter::Not(Box::new(conditions(name, part, fields, depth + 1)?))
            }
            ("$and" | "$or" | "$not", _) => {
                return Err(FilterError::Syntax(format!("{key} takes conditions")));
            }
            (operator, value) if operator.starts_with('$') && !name.is_empty() => {
                Condition::read(name, operator, value, fields)?
            }
            (operator, _) if operator.starts_with('$') => {
                return Err(FilterError::Syntax(format!("{operator} stands below no field")));
            }
            (key, value) => {
                let below = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
                match value {
                    Value::Object(inner) => conditions(&below, inner, fields, depth + 1)?,
                    value => Condition::read(&below, "$eq", value, fields)?,
                }
            }
        });
    }
    Ok(if all.len() == 1 { all.swap_remove(0) } else { Filter::All(all) })
}

fn each(name: &str, parts: &[Value], fields: Fields, depth: usize) -> Result<Vec<Filter>, FilterError> {
    let one = |part: &Value| match part {
        Value::Object(object) => conditions(name, object, fields, depth + 1),
        _ => Err(FilterError::Syntax("$and and $or take lists of objects".into())),
    };
    parts.iter().map(one).collect()
}
