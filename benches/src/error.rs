//! Why a bench could not be run.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// Something is missing; the text says what to do.
    #[error("{0}")]
    Setup(String),
    #[error("{who} answers wrongly: {why}")]
    WrongAnswer { who: String, why: String },
}

impl BenchError {
    /// For `map_err`: an I/O error with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub fn wrong(who: impl Into<String>, why: impl Into<String>) -> Self {
        Self::WrongAnswer { who: who.into(), why: why.into() }
    }
}
