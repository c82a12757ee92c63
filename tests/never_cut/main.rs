//! Nothing is cut by us: whatever is restarted, replaced or read again while many streams run and requests come, no
//! connection is refused or reset and every stream comes to its end.
//!
//! A binary of its own, so that these run beside no other tests; one after the other, because each loads the
//! machine. What is counted is what clients see, never how long it took.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crowd;
mod hand_over;
mod model_server;
mod renewal;
mod rolling_restart;

/// Held by the test that runs.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
