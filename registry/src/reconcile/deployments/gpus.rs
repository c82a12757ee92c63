//! Which GPUs are free. Rebuilt at each look from what is recorded and from what runs. Pure.

use std::collections::BTreeSet;

use super::seen::{Listing, Seen};
use crate::runtime::{Gpu, Phase};

/// A GPU of which more is used although nothing of ours runs there is somebody else's.
const FOREIGN_USE_MIB_MAX: u64 = 1_024;

#[derive(Debug, Default)]
pub struct Pool {
    all: Vec<Gpu>,
    taken: BTreeSet<String>,
}

impl Pool {
    pub fn new(seen: &Seen) -> Self {
        let mut taken = BTreeSet::new();
        for version in &seen.versions {
            let held = version.records.iter().filter(|record| !record.failed);
            taken.extend(held.flat_map(|record| record.gpus.iter().cloned()));
        }
        for listing in seen.runtimes.values() {
            let Listing::Here(instances) = listing else { continue };
            let holding = instances.values().filter(|it| !matches!(it.phase, Phase::Exited { .. }));
            taken.extend(holding.flat_map(|instance| instance.gpus.iter().cloned()));
        }
        Self { all: seen.gpus.clone().unwrap_or_default(), taken }
    }

    /// So many GPUs, the first that are free; or how things stand.
    pub fn take(&mut self, count: u32) -> Result<Vec<String>, Short> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let is_free =
            |gpu: &&Gpu| !self.taken.contains(&gpu.uuid) && gpu.memory_used_mib <= FOREIGN_USE_MIB_MAX;
        let free: Vec<String> = self.all.iter().filter(is_free).map(|gpu| gpu.uuid.clone()).collect();
        if free.len() < count {
            let ours = self.all.iter().filter(|gpu| self.taken.contains(&gpu.uuid)).count();
            return Err(Short { has: self.all.len(), free: free.len(), ours });
        }
        let given: Vec<_> = free.into_iter().take(count).collect();
        self.taken.extend(given.iter().cloned());
        Ok(given)
    }
}

/// Too few are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    pub has: usize,
    pub free: usize,
    pub ours: usize,
}

impl Short {
    /// What holds them.
    pub fn why(&self, wanted: u32) -> String {
        let Self { has, free, ours } = *self;
        let others = has.saturating_sub(free).saturating_sub(ours);
        let by_others = if others > 0 { format!(", {others} used by other programs") } else { String::new() };
        format!(
            "Waiting for {wanted} free GPU(s): this host has {has}, {ours} given to deployments{by_others}; it starts \
             when they are free"
        )
    }
}
