//! The body of every error nimgate answers itself.
//!
//! It carries both forms, so that OpenAI clients (which read `error`) and platform clients (which
//! read `detail`) show the same message.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorObject,
    pub detail: String,
}

/// OpenAI's error object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorObject {
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub param: Option<String>,
    pub code: Option<String>,
}

impl ErrorBody {
    pub fn new(message: impl Into<String>, kind: &str, code: &str) -> Self {
        let message = message.into();
        Self {
            detail: message.clone(),
            error: ErrorObject { message, kind: kind.into(), param: None, code: Some(code.into()) },
        }
    }

    pub fn with_param(mut self, param: &str) -> Self {
        self.error.param = Some(param.into());
        self
    }
}
