//! Which GPUs are free. Rebuilt at each look from what is recorded and from what runs. Pure.

use std::collections::BTreeSet;

use super::plan::is_alive;
use super::seen::{Listing, Seen, Version};
use super::slots;
use crate::domain::DeploymentStatus;
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

    fn free(&self) -> impl Iterator<Item = &Gpu> {
        let is_free =
            |gpu: &&Gpu| !self.taken.contains(&gpu.uuid) && gpu.memory_used_mib <= FOREIGN_USE_MIB_MAX;
        self.all.iter().filter(is_free)
    }

    /// So many GPUs, the first that are free; or how things stand.
    pub fn take(&mut self, count: u32) -> Result<Vec<String>, Short> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let free: Vec<String> = self.free().map(|gpu| gpu.uuid.clone()).collect();
        if free.len() < count {
            let ours = self.all.iter().filter(|gpu| self.taken.contains(&gpu.uuid)).count();
            return Err(Short { has: self.all.len(), free: free.len(), ours });
        }
        let given: Vec<_> = free.into_iter().take(count).collect();
        self.taken.extend(given.iter().cloned());
        Ok(given)
    }
}

/// How the first instance of a new version comes to its GPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Room {
    /// Nothing older makes room for it, or need not.
    #[default]
    AsItIs,
    /// Something older is on its way out, and that is enough.
    Coming,
    /// An older version keeps so many of its instances, and goes on serving.
    Shrink { seq: i64, keep: usize },
}

/// Whether an older version of the same deployment can make room for the first instance of the newest, and go on
/// serving with what is left of it.
pub fn room(seen: &Seen, pool: &Pool, versions: &[Version]) -> Room {
    let mut alive = versions.iter().filter(|version| is_alive(version));
    let Some((newest, Ok(wanted))) = alive.next_back().map(|newest| (newest, &newest.wanted)) else {
        return Room::AsItIs;
    };
    let needed = usize::try_from(wanted.gpus).unwrap_or(usize::MAX);
    let has_begun = newest.records.iter().any(|record| record.ending.is_none() || record.failed);
    let is_off = has_begun || newest.state.status == DeploymentStatus::Error;
    if is_off || seen.gpus.is_none() || pool.free().count() >= needed {
        return Room::AsItIs;
    }
    let leaving = versions.iter().flat_map(|version| &version.records).filter(|it| it.ending.is_some());
    let coming: usize = leaving.filter(|record| !record.failed).map(|record| record.gpus.len()).sum();
    let soon = pool.free().count().saturating_add(coming);
    if soon >= needed {
        return Room::Coming;
    }
    let mut shrunk = alive.filter_map(|older| {
        let each = usize::try_from(older.wanted.as_ref().ok()?.gpus).ok().filter(|each| *each > 0)?;
        let held = slots::holders(older).len();
        let fewer = (needed - soon).div_ceil(each);
        (held > fewer).then(|| Room::Shrink { seq: older.state.seq, keep: held - fewer })
    });
    shrunk.next_back().unwrap_or_default()
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
