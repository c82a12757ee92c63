//! The store: one SQLite file, one writer thread, a few readers.
//!
//! Invariants:
//! - A write is acknowledged after its COMMIT returned, and survives power loss (`synchronous=FULL`).
//! - Whatever changes a route bumps `generation` in the same transaction; generations only rise.
//! - Secrets are sealed before they get here; there is no plain value in any row.
//! - Only one process has the file open: a lock beside it says so.
//! - SQL text is constant; what comes from outside is bound.

pub mod adapters;
pub mod backup;
pub mod connection;
pub mod deployment_configs;
pub mod deployments;
pub mod documents;
pub mod entities;
mod error;
pub mod filesets;
mod filter;
pub mod instances;
pub mod launching;
pub mod leaving;
pub mod lock;
mod migrations;
pub mod models;
pub mod open;
mod page;
pub mod projects;
pub mod prompts;
pub mod providers;
mod readers;
pub mod reconciling;
pub mod rotation;
pub mod routes;
pub mod secrets;
pub mod served;
mod versions;
pub mod virtual_models;
pub mod workspaces;
mod writer;

pub use error::{OpenError, StoreError};
pub use open::{DATABASE, LOCK, Opened, open};
pub use writer::Write;

use std::sync::Arc;

use crate::error::Error;
use readers::Readers;
use writer::Writer;

/// A handle on the open store. Cheap to clone; the file is let go when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    readers: Arc<Readers>,
}

/// A value that was read or written, and the generation that holds the change, if routes changed.
#[derive(Debug)]
pub struct Committed<T> {
    pub value: T,
    pub generation: Option<u64>,
}

impl Store {
    /// Runs `job` in one transaction on the writer, and answers after COMMIT.
    pub async fn write<T, F>(&self, job: F) -> Result<Committed<T>, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.writer.run(job).await
    }

    /// Runs `job` in one read transaction.
    pub async fn read<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, Error> + Send + 'static,
    {
        self.readers.run(job).await
    }

    /// Notified after every commit that leaves something to do for the reconciler.
    pub fn to_reconcile(&self) -> Arc<tokio::sync::Notify> {
        self.writer.to_reconcile()
    }

    /// Whether writes are taken.
    pub fn is_writable(&self) -> bool {
        self.writer.is_alive()
    }
}
