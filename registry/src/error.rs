//! What can go wrong with a call. Status codes and bodies are given in `api::reply`, once.

use serde_json::Value;

use crate::files::FileError;
use crate::store::StoreError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    AlreadyExists(String),
    #[error("Workspace '{0}' does not exist. Please create the workspace first.")]
    NoWorkspace(String),
    /// One value is well formed and can't be accepted.
    #[error("{field}: {reason}")]
    Refused { field: String, reason: String },
    /// The request itself is malformed: all its faults together.
    #[error("the request is not valid")]
    Invalid(Vec<Issue>),
    #[error("the request body is longer than {0} bytes")]
    BodyTooLong(usize),
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    /// The call is understood and not allowed.
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    Unauthorized(String),
    /// The call makes sense, and nothing here does it.
    #[error("{0}")]
    NotImplemented(String),
    /// What is needed for it can't be asked now.
    #[error("{0}")]
    Unavailable(String),
    #[error(transparent)]
    Files(#[from] FileError),
    /// The state of the thing does not allow it.
    #[error("{0}")]
    Conflict(String),
    #[error(transparent)]
    Filter(#[from] crate::domain::filter::FilterError),
    /// A fault of ours: a schema that can't be compiled.
    #[error("schema: {0}")]
    Schema(String),
    #[error("the secret could not be sealed or opened: {0}")]
    Seal(#[from] proto_shared::secret::SecretError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One fault of a request, in the platform's form.
#[derive(Debug, Clone)]
pub struct Issue {
    pub kind: &'static str,
    /// `["body", "name"]`, `["query", "page"]`.
    pub loc: Vec<Value>,
    pub msg: String,
    /// What was given; null when it may hold a secret.
    pub input: Value,
}

impl Issue {
    /// A value of the right shape that can't be.
    pub fn value(loc: Vec<Value>, reason: impl std::fmt::Display) -> Self {
        Self { kind: "value_error", loc, msg: format!("Value error, {reason}"), input: Value::Null }
    }
}

impl Error {
    /// One member of the body has a value that can't be.
    pub fn invalid(member: &str, reason: impl std::fmt::Display) -> Self {
        let loc = vec![Value::from("body"), Value::from(member)];
        Self::Invalid(vec![Issue::value(loc, reason)])
    }

    /// A parameter of the path is not a name.
    pub fn invalid_path(parameter: &str, reason: impl std::fmt::Display) -> Self {
        let loc = vec![Value::from("path"), Value::from(parameter)];
        Self::Invalid(vec![Issue::value(loc, reason)])
    }

    pub fn refused(field: &str, reason: impl ToString) -> Self {
        Self::Refused { field: field.into(), reason: reason.to_string() }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
