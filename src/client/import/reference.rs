//! `${name}` in the values of NeMo Gym's files. Pure.
//!
//! Known are names of the files, with dots for what is deeper, and `${oc.env:VARIABLE}` with or without a default.
//! Absent on purpose: every other resolver; what refers to one is told.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// References that lead to references, and lists in lists.
const DEPTH_MAX: usize = 16;
/// What a file says where somebody has to fill in.
const TO_FILL_IN: &str = "???";
const ENVIRONMENT: &str = "oc.env:";

/// Why a value can't be had. No fault repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("refers to {0}, which no file sets")]
    Unknown(String),
    #[error("refers to the variable {0}, which is not set")]
    NoVariable(String),
    #[error("is to be filled in (???)")]
    ToFillIn,
    #[error("holds a ${{ without its end")]
    Unended,
    #[error("refers to itself, or is too deep")]
    TooDeep,
}

/// What names stand for.
pub struct Scope<'a> {
    /// The first that has a name counts.
    pub files: Vec<&'a Map<String, Value>>,
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Names that were looked up.
    pub used: BTreeSet<String>,
}

impl Scope<'_> {
    /// The value with everything that it refers to in its place.
    pub fn resolve(&mut self, value: &Value) -> Result<Value, Fault> {
        self.resolved(value, DEPTH_MAX)
    }

    fn resolved(&mut self, value: &Value, depth: usize) -> Result<Value, Fault> {
        let depth = depth.checked_sub(1).ok_or(Fault::TooDeep)?;
        match value {
            Value::String(text) => self.text(text, depth),
            Value::Array(items) => items.iter().map(|item| self.resolved(item, depth)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, inner)| Ok((name.clone(), self.resolved(inner, depth)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
            other => Ok(other.clone()),
        }
    }

    fn text(&mut self, text: &str, depth: usize) -> Result<Value, Fault> {
        if text == TO_FILL_IN {
            return Err(Fault::ToFillIn);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("${") {
            let (name, after) = from.split_once('}').ok_or(Fault::Unended)?;
            let value = self.named(name.trim(), depth)?;
            if before.is_empty() && after.is_empty() && out.is_empty() {
                // Alone, it keeps its type.
                return Ok(value);
            }
            out.push_str(before);
            match value {
                Value::String(text) => out.push_str(&text),
                other => out.push_str(&other.to_string()),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(Value::String(out))
    }

    fn named(&mut self, name: &str, depth: usize) -> Result<Value, Fault> {
        if let Some(variable) = name.strip_prefix(ENVIRONMENT) {
            let (variable, default) = match variable.split_once(',') {
                Some((variable, default)) => (variable.trim(), Some(default.trim().to_owned())),
                None => (variable.trim(), None),
            };
            let value = (self.environment)(variable).or(default);
            return value.map(Value::String).ok_or_else(|| Fault::NoVariable(variable.to_owned()));
        }
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        self.used.insert(first.to_owned());
        let found = self.files.iter().find_map(|file| file.get(first));
        let found = parts.fold(found, |value, part| value?.get(part));
        let found = found.cloned().ok_or_else(|| Fault::Unknown(name.to_owned()))?;
        self.resolved(&found, depth)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(value: Value) -> Result<Value, Fault> {
        let env = json!({"key": "sk", "n": 3, "deep": {"a": "${key}"}, "loop": "${loop}", "todo": "???"});
        let environment = |name: &str| (name == "HERE").then(|| "there".to_owned());
        let files = vec![env.as_object().unwrap()];
        Scope { files, environment: &environment, used: BTreeSet::new() }.resolve(&value)
    }

    #[test]
    fn a_reference_alone_keeps_its_type_and_one_among_text_becomes_text() {
        for (value, expected) in [
            (json!("${key}"), json!("sk")),
            (json!("${ n }"), json!(3)),
            (json!("a-${n}-${key}"), json!("a-3-sk")),
            (json!({"x": ["${deep.a}", true]}), json!({"x": ["sk", true]})),
            (json!("${oc.env:HERE}"), json!("there")),
            (json!("${oc.env:NOWHERE, else}"), json!("else")),
            (json!("plain $ text"), json!("plain $ text")),
        ] {
            assert_eq!(resolve(value.clone()), Ok(expected), "{value}");
        }
    }

    #[test]
    fn what_can_not_be_had_says_why() {
        for (value, fault) in [
            (json!("${nobody}"), Fault::Unknown("nobody".into())),
            (json!("${deep.b}"), Fault::Unknown("deep.b".into())),
            (json!("${oc.env:NOWHERE}"), Fault::NoVariable("NOWHERE".into())),
            (json!("${todo}"), Fault::ToFillIn),
            (json!("x${key"), Fault::Unended),
            (json!("${loop}"), Fault::TooDeep),
        ] {
            assert_eq!(resolve(value.clone()), Err(fault), "{value}");
        }
    }
}
