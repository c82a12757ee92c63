//! Random numbers for choices that need not be secret: jitter, balancing, names of processes.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// From the keyed hash of the standard library: each call has keys of its own, and makes no system call.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Spreads what many do at the same pace: between half of `pause` and all of it.
pub fn jittered(pause: Duration) -> Duration {
    let random = random() % 1000;
    pause / 2 + pause.mul_f64(random as f64 / 2000.0)
}
