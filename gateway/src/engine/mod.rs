//! The engine: one loop from a client's connection to an upstream's and back.
//!
//! Invariants:
//! - All I/O of a request happens in one task, by polling: no read waits for a write, and dropping
//!   the task closes both sides.
//! - Only [`relay`] decides what happens between head and end of an answer; protocols hide behind
//!   [`down::Down`] and [`up::Up`].
//! - Buffers are bounded: nothing is read while what was read before has not gone out.
//! - Nothing is sent twice once a byte of an answer went down.

mod admit;
pub mod app;
mod choice;
mod clock;
pub mod connection;
mod connection_h1;
mod connection_h2;
pub mod context;
mod control;
mod down;
mod down_h1;
mod down_h2;
mod encode;
mod exchange;
mod forward;
mod frames;
mod last_words;
mod left_behind;
mod local;
mod plan;
mod read_body;
mod relay;
mod reply;
mod resumption;
mod scrub;
mod seats;
mod serve;
mod silence;
mod timer;
mod translated;
mod trial;
mod tunnel;
mod up;
mod up_h1;
mod up_h2;
mod wire;

pub use relay::NoAnswer;
pub use up::{ReplyParts, UpError};

/// The registry as an upstream.
pub fn control_upstream(
    address: crate::config::RegistryAddress,
    listeners: Vec<std::net::SocketAddr>,
) -> control::ControlUpstream {
    control::ControlUpstream::new(address, listeners)
}
