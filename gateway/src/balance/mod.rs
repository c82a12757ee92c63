//! Which of the addresses that serve a model a request goes to, and where it goes next: pure, values in, an
//! index out.
//!
//! A candidate is one address of one provider; an arm is all addresses of one provider. What must stay true:
//! - Who was tried is never chosen again, and each candidate is chosen before there is none left.
//! - Who is out or has too much to do is passed over while there are others. When all are out, none is, so that
//!   each is offered: a request that fails costs less than one that was refused on a suspicion. Who can't be
//!   reached is more than suspected, and whether a request is let there then is said by `health`.
//! - Choosing takes no lock and allocates nothing, and a single candidate costs no look at its load.
//! - Keys lead to the same candidate in every gateway, and after every swap of tables.
//!
//! Absent on purpose: sockets, clocks, and what the time to the first byte or a fault is. `health`, `limit` and
//! whoever serves requests know.

mod hash;
mod key;
mod pace;
mod plan;
mod set;
mod strategy;
#[cfg(test)]
pub(crate) mod tests;

use serde::Serialize;

pub use key::{Key, PREFIX_BYTES_MAX, SESSION_HEADER, Sought};
pub use pace::Pace;
pub use plan::{Arm, Plan};
pub use set::{CANDIDATES_MAX, REPLICAS_MAX, Set};
pub use strategy::choose;

/// Whether a candidate should get requests now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Open,
    /// It has as much to do as it was found to be able to.
    Full,
    /// It said that it has too much to do.
    Busy,
    /// It was found broken.
    Out,
}

/// How much a candidate has to do, and how fast it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Requests that are there.
    pub in_flight: u32,
    /// Requests that it says wait in it, those of others included.
    pub waiting: u32,
    /// None: not known.
    pub first_byte_us: Option<u32>,
}

/// What is known of candidates now. Each question may cost a look at a shared counter.
pub trait Fleet {
    fn standing(&self, candidate: usize) -> Standing;
    fn work(&self, candidate: usize) -> Work;
}
