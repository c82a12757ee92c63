//! The loads, and the goal of each.

use std::time::Duration;

use crate::prompts::Prompt;
use crate::upstream::EVENTS;

const PACED_PAUSE_MS: u64 = 10;
/// Half a second of events, and a little more.
const PACED_STREAM: Duration = Duration::from_millis(PACED_PAUSE_MS * EVENTS as u64 + 50);
const WARM_UP: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
pub enum Load {
    Closed { connections: usize },
    Open { rate_per_s: f64, connections: usize },
}

#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub prompt: Prompt,
    pub load: Load,
    /// Highest accepted CPU time per request, with nginx = 1.0.
    pub goal: Option<f64>,
}

pub const fn closed(name: &'static str, prompt: Prompt, connections: usize, goal: Option<f64>) -> Scenario {
    Scenario { name, prompt, load: Load::Closed { connections }, goal }
}

pub const ALL: [Scenario; 8] = [
    closed("plain1k-c1", Prompt::Small, 1, None),
    closed("plain1k-c16", Prompt::Small, 16, None),
    closed("plain1k-c64", Prompt::Small, 64, Some(1.6)),
    closed("plain1k-c256", Prompt::Small, 256, None),
    closed("big100k-c16", Prompt::Big, 16, Some(2.0)),
    closed("sse-burst-c16", Prompt::Burst, 16, Some(1.1)),
    closed("sse-paced-c64", Prompt::Paced { pause_ms: PACED_PAUSE_MS }, 64, Some(1.3)),
    Scenario {
        name: "lat1k",
        prompt: Prompt::Small,
        load: Load::Open { rate_per_s: 500.0, connections: 32 },
        goal: None,
    },
];

/// Highest accepted latency added at a fixed rate, with what nginx adds = 1.0.
pub const ADDED_LATENCY_GOAL: f64 = 1.3;

impl Scenario {
    pub fn is_paced(&self) -> bool {
        matches!(self.prompt, Prompt::Paced { .. })
    }

    pub fn is_open(&self) -> bool {
        matches!(self.load, Load::Open { .. })
    }

    /// What one request is made of in the tables: events of a paced stream, else the request itself.
    pub fn parts(&self) -> f64 {
        if self.is_paced() { (EVENTS + 1) as f64 } else { 1.0 }
    }

    pub fn warm_up(&self) -> Duration {
        if self.is_paced() { PACED_STREAM + WARM_UP } else { WARM_UP }
    }

    /// Pieces of a run, with pieces of the other peers' runs in between: what others do on the machine
    /// shall hit all peers alike.
    pub fn slices(&self) -> u32 {
        match self.load {
            Load::Open { .. } => 12,
            // Each slice has to wait for a whole stream first.
            Load::Closed { .. } if self.is_paced() => 2,
            Load::Closed { .. } => 6,
        }
    }

    /// How much longer than the others a run takes: at a low rate it needs time to see enough.
    pub fn stretch(&self) -> f64 {
        if self.is_open() { 2.0 } else { 1.0 }
    }

    /// Over what the connections begin: paced streams are spread evenly over the time one takes.
    pub fn spread(&self) -> Duration {
        if self.is_paced() { PACED_STREAM } else { Duration::ZERO }
    }
}
