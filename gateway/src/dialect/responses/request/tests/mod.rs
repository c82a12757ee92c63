//! The request half as a specification: cases in files, and what holds of any request.

mod corpus;
mod properties;
mod turn;

use proto_shared::backend::Backend;
use serde_json::{Map, Value};

use super::{BadRequest, Target, Translated, translate};
use crate::body::ExtraBody;

/// A provider as a case describes it: members of `Backend`, its traits under `chat`, and what is added under
/// `default` and `required`.
struct Provider {
    backend: Backend,
    extra: Option<ExtraBody>,
}

impl Provider {
    fn new(settings: &str) -> Self {
        let mut settings: Map<String, Value> = serde_json::from_str(settings).unwrap();
        let mut members = |name| match settings.remove(name) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let extra = ExtraBody::new(&members("default"), &members("required"));
        Self { backend: serde_json::from_value(settings.into()).unwrap(), extra }
    }

    fn translate(&self, body: &[u8]) -> Result<Translated, BadRequest> {
        let target =
            Target { backend: &self.backend, model: "m", shown_model: "shown", extra: self.extra.as_ref() };
        translate(body, &target)
    }
}
