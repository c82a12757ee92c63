//! The clock of everything that fades: coarse, never set back, and the same for the whole process.

use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since this was first asked.
pub fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}
