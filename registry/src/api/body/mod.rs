//! Request bodies: JSON, checked against the very schema that the OpenAPI document shows.
//!
//! Invariants:
//! - A handler gets a typed value or is not called. Unknown fields are ignored.
//! - All faults of shape are reported together; then faults of value, one at a time, by their place.
//! - What may be a secret is not repeated in an error.

mod issues;

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use jsonschema::Validator;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::config::{BODY_TIMEOUT, REQUEST_BYTES_MAX};
use crate::error::{Error, Issue};

/// What a call takes. Its schema says everything that can be said about its shape.
pub trait RequestBody: DeserializeOwned + ToSchema + Send + 'static {
    /// Whether errors may repeat what was sent.
    const ECHO: Echo = Echo::Input;

    /// Faults of a body's shape that its schema can't say.
    fn further_faults(_body: &Value) -> Vec<Issue> {
        Vec::new()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    Input,
    /// The body may hold a secret.
    Nothing,
}

/// A body that is as its schema says.
#[derive(Debug)]
pub struct Valid<T>(pub T);

impl<T: RequestBody, S: Sync> FromRequest<S> for Valid<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let is_json = is_json(&request);
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Err(whole_body("missing", vec![json!("body")], "Field required"));
        }
        if !is_json {
            return Err(not_an_object());
        }
        let body = serde_json::from_slice(&bytes).map_err(|error| {
            let loc = vec![json!("body"), json!(offset_of(&bytes, &error))];
            whole_body("json_invalid", loc, "JSON decode error")
        })?;
        parse(&body).map(Self)
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    kind.is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

async fn read(request: Request) -> Result<bytes::Bytes, Error> {
    let body = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLong(REQUEST_BYTES_MAX)),
        Ok(Err(_)) | Err(_) => Err(Error::BodyTimeout),
    }
}

/// Checks the shape, then reads the value.
pub fn parse<T: RequestBody>(body: &Value) -> Result<T, Error> {
    if !body.is_object() {
        return Err(not_an_object());
    }
    let mut issues = issues::all(validator_of::<T>()?.iter_errors(body), T::ECHO);
    issues.extend(T::further_faults(body));
    if !issues.is_empty() {
        return Err(Error::Invalid(issues));
    }
    serde_path_to_error::deserialize(body).map_err(|error| {
        let loc = issues::place_of(error.path());
        Error::Invalid(vec![Issue::value(loc, error.inner().to_string())])
    })
}

/// Compiled schemas by type: as many as there are types, made when first needed.
static VALIDATORS: LazyLock<RwLock<HashMap<TypeId, Arc<Validator>>>> = LazyLock::new(RwLock::default);

fn validator_of<T: RequestBody>() -> Result<Arc<Validator>, Error> {
    let id = TypeId::of::<T>();
    if let Some(validator) = VALIDATORS.read().get(&id) {
        return Ok(Arc::clone(validator));
    }
    let mut parts = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut parts);
    let schemas: HashMap<_, _> = parts.into_iter().collect();
    let document = json!({
        "$ref": format!("#/components/schemas/{}", T::name()),
        "components": { "schemas": schemas },
    });
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .build(&document)
        .map_err(|error| Error::Schema(format!("{}: {error}", T::name())))?;
    let validator = Arc::new(validator);
    VALIDATORS.write().insert(id, Arc::clone(&validator));
    Ok(validator)
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

/// For a field of a change: told apart are absent (`None`), null (`Some(None)`) and a value.
pub fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
