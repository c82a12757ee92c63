//! What a file declares: made or changed to what it says, as often as one likes, never deleted.
//!
//! A declaration has the fields of the API and is checked like a call. What calls change afterwards stays changed until
//! the file is applied again, at the next start.

mod providers;
mod virtual_models;

use serde_json::Value;

use crate::error::Error;

pub use providers::DeclaredProvider;
pub use virtual_models::DeclaredVirtualModel;

/// What is wrong with a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclarationFault {
    pub field: String,
    pub message: String,
}

/// What had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    Created,
    Updated,
    Unchanged,
}

impl DeclarationFault {
    fn of(field: &str, message: String) -> Self {
        Self { field: field.to_owned(), message }
    }
}

fn faults(error: Error) -> Vec<DeclarationFault> {
    match error {
        Error::Invalid(issues) => {
            let part = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
            let place = |loc: &[Value]| loc.iter().skip(1).map(part).collect::<Vec<_>>().join(".");
            let told = |msg: &str| msg.strip_prefix("Value error, ").unwrap_or(msg).to_owned();
            issues
                .iter()
                .map(|issue| DeclarationFault { field: place(&issue.loc), message: told(&issue.msg) })
                .collect()
        }
        Error::Refused { field, reason } => vec![DeclarationFault { field, message: reason }],
        other => vec![DeclarationFault::of("", other.to_string())],
    }
}
