//! Load generators: closed loop, open loop, and connections that are only held.

mod closed;
mod held;
mod open;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use closed::{ClosedPlan, closed};
pub use held::{Until, hold};
pub use open::{OpenPlan, open};

use crate::wire::{Reply, WireError};

/// Whom to load, with what, and which answer is a right one.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// Whole requests, sent one after the other, round and round.
    pub requests: Arc<[Bytes]>,
    /// The decoded length of a right answer.
    pub body_bytes: u64,
}

impl Target {
    fn request(&self, number: usize) -> Bytes {
        let index = number % self.requests.len().max(1);
        self.requests.get(index).cloned().unwrap_or_default()
    }

    fn check(&self, reply: &Reply) -> Result<(), Failure> {
        if reply.status != 200 {
            return Err(Failure::Status(reply.status));
        }
        if reply.body_bytes != self.body_bytes {
            return Err(Failure::Length { got: reply.body_bytes, wanted: self.body_bytes });
        }
        Ok(())
    }
}

/// Why a request counts as failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("status {0}")]
    Status(u16),
    #[error("a body of {got} bytes instead of {wanted}")]
    Length { got: u64, wanted: u64 },
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("not answered in time")]
    Late,
}

/// The window of a run begins or ends: the moment to read the clocks of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Begin,
    End,
}

/// What happened within the window.
#[derive(Debug, Default)]
pub struct Report {
    pub window: Duration,
    /// Answered requests, parts of answers included: decoded body bytes over the length of a body.
    pub requests: f64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub latencies: Vec<Duration>,
    pub first_bytes: Vec<Duration>,
}

impl Report {
    /// Takes a later part of the same run in.
    pub fn add(&mut self, later: Self) {
        self.window += later.window;
        self.requests += later.requests;
        self.errors += later.errors;
        self.first_error = self.first_error.take().or(later.first_error);
        self.latencies.extend(later.latencies);
        self.first_bytes.extend(later.first_bytes);
    }
}
