//! Memory: idle, at 256 connections, for each open stream and for each idle connection.
//!
//! Each figure is of a process that was just started, so that no earlier load is in it.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::peer::{Peer, PeerSpec};
use crate::error::BenchError;
use crate::gateways::Upstream;
use crate::load::{ClosedPlan, Edge, Until, closed, hold};
use crate::process::Memory;
use crate::prompts::Prompt;

const STREAMS: usize = 1_000;
const IDLE_CONNECTIONS: usize = 2_000;
const BUSY_CONNECTIONS: usize = 256;
const BUSY_WINDOW: Duration = Duration::from_secs(1);
/// Streams open for longer than it takes to open them all: 50 events this far apart.
const STREAM_PAUSE_MS: u64 = 500;
/// Time for buffers to be given back, and for slow streams to have had a few events.
const SETTLE: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Serialize)]
pub struct MemoryRecord {
    pub peer: &'static str,
    pub idle: Memory,
    pub at_256_connections: Memory,
    /// Of proportional memory, so that nothing is counted twice.
    pub per_stream_kib: f64,
    pub per_idle_connection_kib: f64,
}

pub fn measure(spec: &PeerSpec, upstream: &Upstream, folder: &Path) -> Result<MemoryRecord, BenchError> {
    let part = |name: &str| folder.join(format!("memory-{name}"));
    let peer = spec.start(upstream, &part("busy"))?;
    thread::sleep(SETTLE);
    let idle = Memory::read(&peer.pids);
    let at_256_connections = busy(&peer)?;
    drop(peer);
    let per_stream_kib = per_held(
        &spec.start(upstream, &part("streams"))?,
        Prompt::Paced { pause_ms: STREAM_PAUSE_MS },
        STREAMS,
        Until::Begun,
    )?;
    let per_idle_connection_kib = per_held(
        &spec.start(upstream, &part("connections"))?,
        Prompt::Small,
        IDLE_CONNECTIONS,
        Until::Answered,
    )?;
    Ok(MemoryRecord { peer: spec.name, idle, at_256_connections, per_stream_kib, per_idle_connection_kib })
}

fn busy(peer: &Peer) -> Result<Memory, BenchError> {
    let plan = ClosedPlan {
        connections: BUSY_CONNECTIONS,
        warm_up: Duration::from_millis(250),
        window: BUSY_WINDOW,
        spread: Duration::ZERO,
    };
    let mut memory = Memory::default();
    closed(&peer.target(Prompt::Small)?, &plan, |edge| {
        if edge == Edge::End {
            memory = Memory::read(&peer.pids);
        }
    })?;
    Ok(memory)
}

/// KiB for each of `count` held connections.
fn per_held(peer: &Peer, prompt: Prompt, count: usize, until: Until) -> Result<f64, BenchError> {
    // A paced answer takes long to read: its length does not matter here, as it is never whole.
    let checked = if prompt.is_stream() { Prompt::Burst } else { prompt };
    let mut target = peer.target(checked)?;
    target.requests = [peer.request(prompt)].into();
    thread::sleep(SETTLE);
    let before = Memory::read(&peer.pids);
    let held = hold(&target, count, until)?;
    thread::sleep(SETTLE);
    let after = Memory::read(&peer.pids);
    drop(held);
    Ok((after.pss_kib as f64 - before.pss_kib as f64) / count as f64)
}
