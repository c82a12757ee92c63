//! What became of an object, and what to do next.

use serde_json::{Value, json};

use super::{Noun, columns};
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
    output::show(form, value, || {
        let mut set = value.clone();
        if let Value::Object(fields) = &mut set {
            fields.retain(|_, inner| !columns::is_empty(inner));
        }
        output::push(&output::outline(&set))
    })
}
