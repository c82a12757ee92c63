//! Values of flags that have a form of their own.

use serde_json::{Map, Value};

/// One condition of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub field: String,
    pub comparison: Comparison,
    pub value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Contains,
    AtLeast,
    AtMost,
}

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub name: String,
    pub value: String,
}

pub fn filter(text: &str) -> Result<Filter, String> {
    let usage = || format!("{text:?} is not FIELD=VALUE, FIELD~TEXT, FIELD>=VALUE or FIELD<=VALUE");
    let (field, rest) = text.find(['=', '~', '>', '<']).map(|at| text.split_at(at)).ok_or_else(usage)?;
    let (comparison, value) = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        ("=", Comparison::Equal),
        ("~", Comparison::Contains),
    ]
    .into_iter()
    .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)))
    .ok_or_else(usage)?;
    if field.trim().is_empty() {
        return Err(usage());
    }
    Ok(Filter { field: field.trim().to_owned(), comparison, value: value.to_owned() })
}

pub fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Pair { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

pub fn json_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))
}

pub fn json_list(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(list @ Value::Array(_)) => Ok(list),
        Ok(_) => Err("not a JSON list".to_owned()),
        Err(e) => Err(format!("not a JSON list: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_field_a_sign_and_a_value() {
        for (text, field, comparison, value) in [
            ("status=READY", "status", Comparison::Equal, "READY"),
            ("name~lla=ma", "name", Comparison::Contains, "lla=ma"),
            ("created_at>=2026-01-01", "created_at", Comparison::AtLeast, "2026-01-01"),
            ("created_at<=2026-01-01", "created_at", Comparison::AtMost, "2026-01-01"),
            ("project=", "project", Comparison::Equal, ""),
        ] {
            let expected = Filter { field: field.into(), comparison, value: value.into() };
            assert_eq!(filter(text), Ok(expected), "{text}");
        }
        for text in ["", "status", "=READY", "name>3", " ~x"] {
            assert!(filter(text).unwrap_err().contains("FIELD=VALUE"), "{text}");
        }
    }

    #[test]
    fn a_pair_has_a_name_and_may_be_empty() {
        assert_eq!(pair("A=b=c"), Ok(Pair { name: "A".into(), value: "b=c".into() }));
        assert!(pair("A=").is_ok() && pair("A").is_err() && pair("=b").is_err());
    }
}
