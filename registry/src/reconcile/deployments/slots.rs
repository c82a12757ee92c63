//! Which instance holds which replica of a version, and which of them are to go. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::routing;
use super::seen::{Seen, Version};
use crate::store::instances::{Record, RecordKey};

/// Of each replica the try that stands for it, in their order. One that was given up stands until its version goes:
/// else it would be begun with again.
pub fn holders(version: &Version) -> Vec<&Record> {
    let mut holders: BTreeMap<u32, &Record> = BTreeMap::new();
    for record in version.records.iter().filter(|record| record.failed || record.ending.is_none()) {
        let holder = holders.entry(record.key.replica).or_insert(record);
        if holder.key.incarnation < record.key.incarnation {
            *holder = record;
        }
    }
    holders.into_values().collect()
}

/// Those beyond the first `keep`: what was given up goes first, then what is not ready, then the newest.
pub fn surplus(seen: &Seen, version: &Version, keep: usize) -> BTreeSet<RecordKey> {
    let mut holders = holders(version);
    let excess = holders.len().saturating_sub(keep);
    holders.sort_by_key(|record| {
        let is_ready = routing::ready_at(seen, version, record).is_some();
        (!record.failed, is_ready, Reverse(record.key.incarnation))
    });
    holders.into_iter().take(excess).map(|record| record.key).collect()
}

/// Replicas up to `wanted` that nothing holds.
pub fn missing(version: &Version, surplus: &BTreeSet<RecordKey>, wanted: usize) -> Vec<u32> {
    let holders = holders(version);
    let taken: BTreeSet<u32> = holders.iter().map(|record| record.key.replica).collect();
    let staying = holders.iter().filter(|record| !surplus.contains(&record.key)).count();
    (0..).filter(|replica| !taken.contains(replica)).take(wanted.saturating_sub(staying)).collect()
}
