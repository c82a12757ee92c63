//! What processes use, read from `/proc`: CPU time and memory of a process and its children.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::error::BenchError;

/// The kernel's unit in `/proc/*/stat`, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// The priority of a session among all sessions.
const AUTOGROUP: &str = "/proc/self/autogroup";
/// Files a run has open: 2,000 held connections and more.
const OPEN_FILES_MIN: u64 = 8192;

/// A process and all its descendants, as they are now.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in numbers_in("/proc") {
        if let Some(parent) = stat_fields(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// CPU time used so far, thread by thread.
#[derive(Debug, Clone, Default)]
pub struct CpuClock {
    /// Exact run time of every thread, in nanoseconds.
    threads_ns: HashMap<u32, u64>,
    user: Duration,
    system: Duration,
}

/// CPU time between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuUsed {
    pub total: Duration,
    /// The share of it outside the kernel, 0 to 1; coarse.
    pub user_share: f64,
}

impl CpuClock {
    pub fn read(pids: &[u32]) -> Self {
        let mut clock = Self::default();
        for &pid in pids {
            for thread in numbers_in(&format!("/proc/{pid}/task")) {
                let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"));
                let run_ns = text.ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
                clock.threads_ns.extend(run_ns.map(|run_ns| (thread, run_ns)));
            }
            let fields = stat_fields(pid).unwrap_or_default();
            let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u32>().ok());
            clock.user += TICK * ticks(11).unwrap_or_default();
            clock.system += TICK * ticks(12).unwrap_or_default();
        }
        clock
    }

    /// What was used since `earlier`. Threads that ended in between are missed; servers keep theirs.
    pub fn since(&self, earlier: &Self) -> CpuUsed {
        let (user, system) = (self.user - earlier.user, self.system - earlier.system);
        let ns = self.threads_ns.iter().map(|(thread, now)| {
            now.saturating_sub(earlier.threads_ns.get(thread).copied().unwrap_or_default())
        });
        let total = match ns.sum() {
            // A kernel without these figures.
            0 => user + system,
            exact => Duration::from_nanos(exact),
        };
        let ticked = (user + system).as_secs_f64();
        CpuUsed { total, user_share: if ticked > 0.0 { user.as_secs_f64() / ticked } else { 0.0 } }
    }
}

/// CPU time all processes of the machine used so far.
pub fn machine_busy() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u32> = first.split_whitespace().skip(1).filter_map(|text| text.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&index: &usize| ticks.get(index)).sum::<u32>();
    TICK * busy
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Resident; pages shared between the processes of a tree count in each.
    pub rss_kib: u64,
    /// Resident; shared pages count once.
    pub pss_kib: u64,
}

impl Memory {
    pub fn read(pids: &[u32]) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            sum.rss_kib += kib(&text, "Rss:").unwrap_or_default();
            sum.pss_kib += kib(&text, "Pss:").unwrap_or_default();
        }
        sum
    }
}

fn kib(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// While it lives, the kernel prefers the processes of this login to all others.
#[derive(Debug)]
pub struct Preferred(());

impl Preferred {
    pub fn ask() -> Result<Self, BenchError> {
        fs::write(AUTOGROUP, "-15").map_err(BenchError::io(
            "--prefer: can't raise this login's priority; it needs root and a kernel with autogroups",
        ))?;
        Ok(Self(()))
    }
}

impl Drop for Preferred {
    fn drop(&mut self) {
        let _ = fs::write(AUTOGROUP, "0");
    }
}

/// Refuses to begin what would fail in the middle.
pub fn require_open_files() -> Result<(), BenchError> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<u64>().ok());
    match soft {
        Some(soft) if soft < OPEN_FILES_MIN => Err(BenchError::Setup(format!(
            "at most {soft} files may be open here, too few for this bench; run first: ulimit -n {OPEN_FILES_MIN}"
        ))),
        _ => Ok(()),
    }
}

/// The fields of `/proc/PID/stat` behind the command's name: state, parent, …
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn numbers_in(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_holds_the_process_and_its_children() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let found = tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.first(), Some(&std::process::id()));
        assert!(found.contains(&child.id()));
    }

    #[test]
    fn a_busy_thread_is_seen() {
        let own = [std::process::id()];
        let before = CpuClock::read(&own);
        let start = std::time::Instant::now();
        while CpuClock::read(&own).since(&before).total < Duration::from_millis(5) {
            assert!(start.elapsed() < Duration::from_secs(20), "no CPU time is counted");
        }
    }

    #[test]
    fn this_process_has_memory() {
        let memory = Memory::read(&[std::process::id()]);
        assert!(memory.rss_kib >= memory.pss_kib && memory.pss_kib > 0);
    }
}
