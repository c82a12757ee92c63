//! What the integration tests share: the real command as a child process, a small HTTP client, an
//! upstream that records what it gets, and raw requests with their judge.
//!
//! Invariants:
//! - Every wait has a deadline, and a wait that fails says what was seen instead.
//! - Nothing that is started here outlives its test. Every port is on loopback and chosen by the system.
//! - A helper that can't do its part panics with the reason: the test that called it has failed.
//!
//! Absent on purpose: anything that reaches into the gateway's or the registry's types. A test that
//! needs those belongs to their crates.

pub mod client;
pub mod home;
pub mod process;
pub mod raw;
pub mod recorder;
pub mod wait;

pub use home::{Ended, Home, Serving, free_address};
pub use process::{Process, binary};
pub use wait::{DEADLINE, eventually, within};

/// Whether a missing tool is a failure instead of a reason to skip.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}
