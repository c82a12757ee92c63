//! The body of a request: what a file says, and the flags over it.

use std::io::{self, Read as _};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::{About, Source};
use crate::client::error::ClientError;

/// Longest body read from a file or standard input.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// What a server says about an object and nobody sets: found out, counted or given by it.
const READ_ONLY: [&str; 15] = [
    "id",
    "workspace",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "entity_version",
    "auth_context",
    "served_models",
    "model_provider_id",
    "ready_replicas",
    "status",
    "status_message",
    "status_history",
    "name",
];

/// A JSON object that grows field by field.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Body(Map<String, Value>);

/// The flags of one kind of object.
pub trait Fields {
    /// Writes what was given.
    fn write(&self, body: &mut Body);

    /// Takes out of a body that was made from an answer what can't be sent back.
    fn make_sendable(_body: &mut Body) {}

    /// Writes what a new object has when nothing was given.
    fn write_defaults(&self, _body: &mut Body) {}

    /// Whether a flag changed something that is not in the body.
    fn changes_elsewhere(&self) -> bool {
        false
    }
}

impl Body {
    pub fn read(source: &Source) -> Result<Self, ClientError> {
        let Some(path) = &source.file else { return Ok(Self::default()) };
        let text = read_text(path, FILE_BYTES_MAX)?;
        let bad = |why: String| ClientError::Said(format!("{}: {why}", path.display()));
        // What begins as JSON is meant as JSON; its errors are clearer then.
        let value = if text.trim_start().starts_with('{') {
            serde_json::from_str(&text).map_err(|e| bad(format!("not JSON: {e}")))?
        } else {
            yaml_serde::from_str(&text).map_err(|e| bad(format!("neither JSON nor YAML: {e}")))?
        };
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(bad("the fields must be a JSON object or a YAML mapping".to_owned())),
        }
    }

    /// These fields of an object, where they are set.
    pub fn of(value: &Value, fields: &[&str]) -> Self {
        let set = |field: &&&str| value.get(**field).is_some_and(|value| !value.is_null());
        Self(fields.iter().filter(set).map(|field| ((*field).to_owned(), value[*field].clone())).collect())
    }

    /// All of an object that can be set, also what this command has no flag for.
    pub fn settable(value: &Value) -> Self {
        let mut fields = value.as_object().cloned().unwrap_or_default();
        fields.retain(|field, value| !value.is_null() && !READ_ONLY.contains(&field.as_str()));
        Self(fields)
    }

    pub fn json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        let mut parts = pointer.split('/').skip(1);
        let first = self.0.get(parts.next()?);
        parts.fold(first, |value, part| value?.get(part))
    }

    /// Whether a JSON pointer leads to something.
    pub fn has(&self, pointer: &str) -> bool {
        self.at(pointer).is_some_and(|value| !value.is_null())
    }

    /// The text that a JSON pointer leads to.
    pub fn text_at(&self, pointer: &str) -> Option<String> {
        self.at(pointer)?.as_str().map(str::to_owned)
    }

    pub fn remove(&mut self, field: &str) {
        self.0.remove(field);
    }

    /// Writes a number, of which zero means none.
    pub fn put_or_clear(&mut self, path: &str, value: Option<u32>) {
        self.put(path, &value.map(|value| (value > 0).then_some(value)));
    }

    /// Writes a value at a path such as `model_spec.model_name`; what is no object on the way becomes one.
    pub fn put<T: Serialize>(&mut self, path: &str, value: &Option<T>) {
        let Some(Ok(value)) = value.as_ref().map(serde_json::to_value) else { return };
        let mut fields = &mut self.0;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                fields.insert(part.to_owned(), value);
                return;
            }
            let inner = fields.entry(part).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            let Value::Object(next) = inner else { return };
            fields = next;
        }
    }

    /// Writes a text; an empty one clears the field.
    pub fn text(&mut self, path: &str, value: &Option<String>) {
        self.put(path, &value.as_ref().map(|text| (!text.is_empty()).then_some(text)));
    }

    /// Writes a list that was given; one empty text clears it.
    pub fn list(&mut self, path: &str, values: &[String]) {
        let values = match values {
            [] => return,
            [only] if only.is_empty() => &[],
            values => values,
        };
        self.put(path, &Some(values));
    }

    pub fn about(&mut self, about: &About) {
        self.text("description", &about.description);
        self.text("project", &about.project);
    }
}

/// A text from a file, or from standard input for `-`.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String, ClientError> {
    let file_error = |source| ClientError::File { path: path.to_owned(), source };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(bytes_max + 1).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).map_err(file_error)?;
        file.take(bytes_max + 1).read_to_string(&mut text)
    };
    match read.map_err(file_error)? as u64 > bytes_max {
        true => Err(file_error(io::Error::other(format!("longer than {bytes_max} bytes")))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Body, ClientError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        std::fs::write(&file, text).unwrap();
        Body::read(&Source { file: Some(file) })
    }

    #[test]
    fn a_file_is_json_or_yaml() {
        let expected = json!({"name": "a", "executor_config": {"gpu": 1, "additional_envs": {"A": "1"}}});
        let yaml = "name: a\nexecutor_config:\n  gpu: 1\n  additional_envs: {A: '1'}\n";
        for text in [expected.to_string(), yaml.to_owned()] {
            assert_eq!(read(&text).unwrap().json(), expected, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_object_says_why() {
        for (text, why) in
            [("{\"a\":", "not JSON"), ("a: [", "neither JSON nor YAML"), ("- a", "mapping"), ("", "mapping")]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let absent = Body::read(&Source { file: Some("/nowhere/at/all".into()) }).unwrap_err();
        assert!(absent.to_string().starts_with("/nowhere/at/all: "), "{absent}");
    }

    #[test]
    fn a_file_of_any_size_is_read_up_to_its_limit() {
        let text = format!("a: '{}'", "x".repeat(FILE_BYTES_MAX as usize));
        assert!(read(&text).unwrap_err().to_string().contains("longer than 10485760 bytes"));
    }

    #[test]
    fn flags_win_over_the_file_field_by_field() {
        let mut body =
            read(r#"{"model_spec":{"model_name":"a","lora_enabled":true},"engine":"vllm"}"#).unwrap();
        body.put("model_spec.model_name", &Some("b"));
        body.put("executor_config.gpu", &Some(2));
        body.put("engine.deep", &Some(1));
        body.put("absent", &None::<u32>);
        body.text("description", &Some(String::new()));
        body.list("models", &[]);
        body.list("tags", &[String::new()]);
        assert_eq!(
            body.json(),
            json!({
                "model_spec": {"model_name": "b", "lora_enabled": true}, "engine": {"deep": 1},
                "executor_config": {"gpu": 2}, "description": null, "tags": [],
            })
        );
        assert!(
            body.has("/executor_config/gpu")
                && !body.has("/executor_config/image")
                && !body.has("/description")
        );
    }
}
