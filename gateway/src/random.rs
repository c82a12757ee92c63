//! Random numbers for choices that need not be secret: jitter, balancing, names of processes.

use std::hash::{BuildHasher, RandomState};

/// From the keyed hash of the standard library: each call has keys of its own, and makes no system call.
pub fn random() -> u64 {
    RandomState::new().hash_one(0)
}
