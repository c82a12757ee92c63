//! What became of an object, and what to do next.

use serde_json::{Value, json};

use super::Noun;
use crate::cli::{Connection, Output};
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::output;

impl Noun {
    pub fn tell_deleted(&self, connection: &Connection, name: &str) -> Result<(), ClientError> {
        output::show(connection.view.output, &json!({"deleted": name}), || {
            output::say(&format!("{} {name} deleted", self.name))
        })
    }

    pub fn tell_done(
        &self,
        api: &Api,
        form: Output,
        value: &Value,
        name: &str,
        done: Done,
    ) -> Result<(), ClientError> {
        output::show(form, value, || {
            let version =
                value["entity_version"].as_u64().map_or(String::new(), |n| format!(", version {n}"));
            output::say(&format!("{} {name} {}{version}", self.name, done.word()))?;
            match (done, (self.next)(value)) {
                (Done::Updated, _) | (_, "") => Ok(()),
                (_, next) => output::say(&format!("next: {}{}", next.replace("{name}", name), self.at(api))),
            }
        })
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Created,
    /// It was there already.
    Found,
    Updated,
}

impl Done {
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Found => "is there already",
            Self::Updated => "updated",
        }
    }
}

/// One object: all that is set.
pub fn show_one(form: Output, value: &Value) -> Result<(), ClientError> {
    output::show(form, value, || output::push(&output::outline(&what_is_set(value).unwrap_or_default())))
}

/// Nothing of a value that says nothing.
fn what_is_set(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| value.clone()),
        Value::Array(items) => {
            let set: Vec<Value> = items.iter().filter_map(what_is_set).collect();
            (!set.is_empty()).then_some(Value::Array(set))
        }
        Value::Object(fields) => {
            let set = fields.iter().filter_map(|(name, inner)| Some((name.clone(), what_is_set(inner)?)));
            let set: serde_json::Map<_, _> = set.collect();
            (!set.is_empty()).then_some(Value::Object(set))
        }
        other => Some(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_not_shown_however_deep() {
        let value = json!({"name": "a", "gpu": 0, "on": false, "note": "", "spec": {"model": null, "size": 1},
                           "by": {"id": "", "groups": [], "of": {"x": null}}, "tags": ["", "t"]});
        let set = json!({"name": "a", "gpu": 0, "on": false, "spec": {"size": 1}, "tags": ["t"]});
        assert_eq!(what_is_set(&value), Some(set));
    }
}
