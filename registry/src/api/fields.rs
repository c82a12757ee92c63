//! Request bodies: a JSON object, read field by field, with all faults reported together.

use std::collections::BTreeMap;

use axum::extract::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value, json};

use crate::config::{BODY_TIMEOUT, REQUEST_BYTES_MAX};
use crate::error::{Error, Issue};

/// Longest input that an error repeats.
const ECHO_BYTES_MAX: usize = 256;
/// Longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 1000;

/// The fields of a request body. Unknown ones are ignored.
pub struct Fields {
    body: Map<String, Value>,
    issues: Vec<Issue>,
    echo: Echo,
}

/// Whether errors may repeat what was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    Input,
    /// The body may hold a secret.
    Nothing,
}

impl Fields {
    pub async fn read(request: Request, echo: Echo) -> Result<Self, Error> {
        let is_json = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
            .is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"));
        let body = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect();
        let bytes = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Error::BodyTooLong(REQUEST_BYTES_MAX));
            }
            Ok(Err(_)) | Err(_) => return Err(Error::BodyTimeout),
        };
        if bytes.is_empty() {
            return Err(whole_body("missing", vec![json!("body")], "Field required"));
        }
        if !is_json {
            return Err(not_an_object());
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(body)) => Ok(Self { body, issues: Vec::new(), echo }),
            Ok(_) => Err(not_an_object()),
            Err(error) => {
                let loc = vec![json!("body"), json!(offset_of(&bytes, &error))];
                Err(whole_body("json_invalid", loc, "JSON decode error"))
            }
        }
    }

    /// Ends the reading: the value, or everything that is wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.issues.is_empty() => Ok(value),
            _ => Err(Error::Invalid(self.issues)),
        }
    }

    pub fn issue(&mut self, name: &str, kind: &'static str, msg: impl Into<String>) {
        let input = match self.body.get(name) {
            Some(value) if self.echo == Echo::Input && may_be_repeated(value) => value.clone(),
            _ => Value::Null,
        };
        self.issues.push(Issue { kind, loc: vec![json!("body"), json!(name)], msg: msg.into(), input });
    }

    pub fn has(&self, name: &str) -> bool {
        self.body.contains_key(name)
    }

    /// A value that is there and not null.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.body.get(name).filter(|value| !value.is_null()).cloned()
    }

    pub fn required_text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        if !self.has(name) {
            self.issue(name, "missing", "Field required");
            return None;
        }
        if self.body.get(name).is_some_and(Value::is_null) {
            self.issue(name, "string_type", "Input should be a valid string");
            return None;
        }
        self.text(name, chars_max)
    }

    pub fn text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.chars().count() <= chars_max => Some(text),
            Value::String(_) => {
                let msg = format!("String should have at most {chars_max} characters");
                self.issue(name, "string_too_long", msg);
                None
            }
            _ => {
                self.issue(name, "string_type", "Input should be a valid string");
                None
            }
        }
    }

    /// A text that is something more.
    pub fn parse<T, E: std::fmt::Display>(
        &mut self,
        name: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(text).map_err(|error| self.issue(name, "value_error", format!("Value error, {error}"))).ok()
    }

    pub fn object(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(object) => Some(object),
            _ => {
                self.issue(name, "dict_type", "Input should be a valid dictionary");
                None
            }
        }
    }

    pub fn text_map(&mut self, name: &str) -> Option<BTreeMap<String, String>> {
        let mut texts = BTreeMap::new();
        for (key, value) in self.object(name)? {
            let Value::String(value) = value else {
                self.issue(name, "string_type", format!("{key}: Input should be a valid string"));
                return None;
            };
            texts.insert(key, value);
        }
        Some(texts)
    }

    pub fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(list) => Some(list),
            _ => {
                self.issue(name, "list_type", "Input should be a valid list");
                None
            }
        }
    }

    pub fn text_list(&mut self, name: &str, length_max: usize, chars_max: usize) -> Option<Vec<String>> {
        let list = self.list(name)?;
        if list.len() > length_max {
            self.issue(name, "too_long", format!("List should have at most {length_max} items"));
            return None;
        }
        let mut texts = Vec::with_capacity(list.len());
        for value in list {
            match value {
                Value::String(text) if text.chars().count() <= chars_max => texts.push(text),
                _ => {
                    let msg = format!("Items should be strings of at most {chars_max} characters");
                    self.issue(name, "string_type", msg);
                    return None;
                }
            }
        }
        Some(texts)
    }
}

/// Headers in an object, and a URL with a user part, may hold a key that was put into the wrong place.
fn may_be_repeated(value: &Value) -> bool {
    let has_credentials = value.as_str().is_some_and(|text| text.contains('@'));
    !value.is_object() && !has_credentials && value.to_string().len() <= ECHO_BYTES_MAX
}

fn whole_body(kind: &'static str, loc: Vec<Value>, msg: &str) -> Error {
    Error::Invalid(vec![Issue { kind, loc, msg: msg.into(), input: Value::Null }])
}

fn not_an_object() -> Error {
    let msg = "Input should be a JSON object, sent with content-type: application/json";
    whole_body("model_attributes_type", vec![json!("body")], msg)
}

/// Where in the body the parser stopped.
fn offset_of(bytes: &[u8], error: &serde_json::Error) -> usize {
    let line_start: usize =
        bytes.split_inclusive(|&b| b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    (line_start + error.column().saturating_sub(1)).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: Value) -> Fields {
        let Value::Object(body) = body else { panic!("not an object") };
        Fields { body, issues: Vec::new(), echo: Echo::Input }
    }

    #[test]
    fn all_faults_are_reported_together_and_by_name() {
        let mut f = fields(json!({"a": 1, "b": "long", "c": null, "d": [1], "e": {"k": 2}}));
        assert_eq!(f.required_text("missing", 9), None);
        assert_eq!(f.required_text("a", 9), None);
        assert_eq!(f.text("b", 3), None);
        assert_eq!(f.required_text("c", 9), None);
        assert_eq!(f.text_list("d", 9, 9), None);
        assert_eq!(f.text_map("e"), None);
        let Err(Error::Invalid(issues)) = f.finish(Some(())) else { panic!("accepted") };
        let found: Vec<_> = issues.iter().map(|i| (i.kind, i.loc[1].as_str().unwrap())).collect();
        assert_eq!(
            found,
            [
                ("missing", "missing"),
                ("string_type", "a"),
                ("string_too_long", "b"),
                ("string_type", "c"),
                ("string_type", "d"),
                ("string_type", "e"),
            ]
        );
        assert_eq!(issues[1].input, json!(1));
    }

    #[test]
    fn what_may_be_secret_or_is_long_is_not_repeated() {
        let mut f = fields(json!({
            "value": 12345,
            "long": "x".repeat(ECHO_BYTES_MAX),
            "url": "http://me:key@h",
            "map": {"Authorization": "Bearer k"},
        }));
        for name in ["long", "url", "map"] {
            f.issue(name, "value_error", "no");
        }
        f.echo = Echo::Nothing;
        f.text("value", 9);
        let Err(Error::Invalid(issues)) = f.finish(Some(())) else { panic!("accepted") };
        assert!(issues.iter().all(|issue| issue.input.is_null()));
    }

    #[test]
    fn the_place_of_a_syntax_error_is_counted_in_bytes() {
        let bytes = b"{\n\"a\": }";
        let error = serde_json::from_slice::<Value>(bytes).unwrap_err();
        assert_eq!(offset_of(bytes, &error), 7);
    }
}
