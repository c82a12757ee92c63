//! The state of one address, and what each event makes of it: values in, a value out.

use std::fmt;

use super::Pass;
use super::fault::{Event, Fault};

/// Faults in a row after which it is out; of those that mean it can't be reached, one.
pub const CONSECUTIVE_FAULTS_MAX: u32 = 3;
/// Faults are counted over so long.
pub const WINDOW_MS: u64 = 10_000;
/// Half of the requests of a window must have failed, and it must have had so many.
pub const RATE_REQUESTS_MIN: u32 = 20;
/// How long it is out the first time; each further time, twice as long.
pub const EJECTION_BASE_MS: u64 = 1_000;
/// The longest.
pub const EJECTION_MAX_MS: u64 = 60_000;
/// A probe that did not end after so long is not waited for: the next request is another.
pub const PROBE_MAX_MS: u64 = 60_000;
/// The same where requests got no answer in time: a good server's answer to one may take long as well, and all others
/// are refused meanwhile.
pub const SILENT_PROBE_MAX_MS: u64 = 10_000;
/// So long after its time it is told to be out, when no request came to show more.
pub const LATELY_MS: u64 = 60_000;
/// What an ejection's length is varied by, so that many gateways don't come back at once: up to a quarter.
const JITTER_PARTS: u64 = 4;

/// One step of its clock; the clock wraps after 13 years.
const TICK_MS: u64 = 100;
const EJECTIONS_MAX: u32 = 15;
const COUNT_MAX: u32 = 1_023;

/// When, in steps of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(u32);

impl Tick {
    pub fn at_ms(now_ms: u64) -> Self {
        Self((now_ms / TICK_MS) as u32)
    }

    fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.wrapping_add(ms.div_ceil(TICK_MS) as u32))
    }

    /// Whether it is not before `other`.
    fn is_from(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0) < 1 << 31
    }

    fn is_past(self, since: Self, ms: u64) -> bool {
        self.is_from(since.plus_ms(ms))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It gets requests; the window over which they are counted began then.
    Closed {
        window: Tick,
    },
    Out {
        until: Tick,
    },
    /// One request shows whether it is back.
    Probing {
        since: Tick,
    },
}

/// What an address was left out for, as long as nobody knows better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds {
    /// It was reached, and too many requests failed: a suspicion, the next one may succeed.
    Failing,
    /// Nobody gets through, and trying may take as long as connecting may.
    Unreachable,
    /// Requests get through and no answer comes, as long as the first byte may take.
    Silent,
}

impl Grounds {
    /// Whether who goes there waits long and mostly in vain: it gets one request at a time, also when all are out.
    pub fn makes_wait(self) -> bool {
        matches!(self, Self::Unreachable | Self::Silent)
    }

    fn of(fault: Fault) -> Self {
        match fault {
            Fault::Dns | Fault::Connect | Fault::Tls => Self::Unreachable,
            Fault::Timeout => Self::Silent,
            Fault::Reset | Fault::Status => Self::Failing,
        }
    }
}

impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failing => "its last requests failed",
            Self::Unreachable => "its last requests got no connection",
            Self::Silent => "its last requests got no answer in time",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub phase: Phase,
    pub grounds: Grounds,
    pub consecutive: u32,
    /// How often it was out lately.
    pub ejections: u32,
    pub oks: u32,
    pub faults: u32,
}

impl State {
    /// Two bits of phase, 32 of time, two of grounds, four of faults in a row, four of ejections, twice ten of counts.
    pub fn pack(self) -> u64 {
        let (phase, Tick(tick)) = match self.phase {
            Phase::Closed { window } => (0, window),
            Phase::Out { until } => (1, until),
            Phase::Probing { since } => (2, since),
        };
        let counts = u64::from(self.oks.min(COUNT_MAX)) << 10 | u64::from(self.faults.min(COUNT_MAX));
        let rows =
            u64::from(self.consecutive.min(15)) << 24 | u64::from(self.ejections.min(EJECTIONS_MAX)) << 20;
        let grounds = match self.grounds {
            Grounds::Failing => 0,
            Grounds::Unreachable => 1,
            Grounds::Silent => 2,
        };
        phase << 62 | u64::from(tick) << 30 | grounds << 28 | rows | counts
    }

    pub fn unpack(word: u64) -> Self {
        let tick = Tick((word >> 30) as u32);
        let bits = |shift: u32, count: u32| (word >> shift) as u32 & ((1 << count) - 1);
        Self {
            phase: match word >> 62 {
                0 => Phase::Closed { window: tick },
                1 => Phase::Out { until: tick },
                _ => Phase::Probing { since: tick },
            },
            grounds: match bits(28, 2) {
                0 => Grounds::Failing,
                1 => Grounds::Unreachable,
                _ => Grounds::Silent,
            },
            consecutive: bits(24, 4),
            ejections: bits(20, 4),
            oks: bits(10, 10),
            faults: bits(0, 10),
        }
    }

    pub fn is_closed(self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// Whether a request may go there: as any, or as its probe.
    pub fn takes(self, now_ms: u64) -> bool {
        let now = Tick::at_ms(now_ms);
        match self.phase {
            Phase::Closed { .. } => true,
            Phase::Out { until } => now.is_from(until),
            Phase::Probing { since } => now.is_past(since, self.probe_max_ms()),
        }
    }

    fn probe_max_ms(self) -> u64 {
        if self.grounds == Grounds::Silent { SILENT_PROBE_MAX_MS } else { PROBE_MAX_MS }
    }

    /// With one request under way that shows whether it is back; none: it is not time.
    pub fn probed(self, now_ms: u64) -> Option<Self> {
        let due = !self.is_closed() && self.takes(now_ms);
        due.then(|| Self { phase: Phase::Probing { since: Tick::at_ms(now_ms) }, ..self })
    }

    /// Whether it is out, for all that is known: when its time is over and no request showed otherwise, that is believed
    /// for a while, unless its probes find it well.
    pub fn was_out_lately(self, now_ms: u64, is_found_well: bool) -> bool {
        match self.phase {
            Phase::Closed { .. } => false,
            Phase::Probing { .. } => true,
            Phase::Out { until } => {
                !self.takes(now_ms) || (!is_found_well && !Tick::at_ms(now_ms).is_past(until, LATELY_MS))
            }
        }
    }

    /// Whether nobody else may go there, because one request is finding out whether it can be reached, or answers.
    pub fn is_on_trial(self, now_ms: u64) -> bool {
        let is_probing = matches!(self.phase, Phase::Probing { .. });
        is_probing && self.grounds.makes_wait() && !self.takes(now_ms)
    }

    /// With one request under way that finds out before it is time; none: another does already.
    pub fn tried_early(self, now_ms: u64) -> Option<Self> {
        let may = !self.is_closed() && !self.is_on_trial(now_ms);
        may.then(|| Self { phase: Phase::Probing { since: Tick::at_ms(now_ms) }, ..self })
    }

    /// Somebody got through. Whether requests succeed is not known yet; none: that is nothing new.
    pub fn reached(self) -> Option<Self> {
        let is_news = !self.is_closed() && self.grounds == Grounds::Unreachable;
        is_news.then_some(Self { grounds: Grounds::Failing, ..self })
    }

    /// With its time over; none: it is not out, or not any more.
    pub fn due(self, now_ms: u64) -> Option<Self> {
        let is_out = matches!(self.phase, Phase::Out { .. }) && !self.takes(now_ms);
        is_out.then(|| Self { phase: Phase::Out { until: Tick::at_ms(now_ms) }, ..self })
    }

    /// After a request; none: that changes nothing.
    pub fn after(self, pass: Pass, event: Event, now_ms: u64, random: u64) -> Option<Self> {
        match (self.phase, pass) {
            (Phase::Closed { window }, _) => self.counted(window, event, now_ms, random),
            (Phase::Probing { .. }, Pass::Probe | Pass::Early) => Some(match event {
                Event::Ok | Event::Busy => Self {
                    phase: Phase::Closed { window: Tick::at_ms(now_ms) },
                    consecutive: 0,
                    oks: 0,
                    faults: 0,
                    ejections: self.ejections,
                    grounds: Grounds::Failing,
                },
                // Requests that would not have come by themselves make it no longer.
                Event::Fault(fault) if pass == Pass::Early => {
                    Self { ejections: self.ejections.saturating_sub(1), ..self }
                        .ejected(fault, now_ms, random)
                }
                Event::Fault(fault) => self.ejected(fault, now_ms, random),
                // It showed nothing: the next one may.
                Event::Neutral => Self { phase: Phase::Out { until: Tick::at_ms(now_ms) }, ..self },
            }),
            // A request from before says nothing about now, but that it is answered at all.
            (Phase::Probing { .. } | Phase::Out { .. }, _) => {
                let is_news = self.grounds == Grounds::Silent && matches!(event, Event::Ok | Event::Busy);
                is_news.then_some(Self { grounds: Grounds::Failing, ..self })
            }
        }
    }

    fn counted(self, window: Tick, event: Event, now_ms: u64, random: u64) -> Option<Self> {
        let mut next = self.windowed(window, now_ms);
        match event {
            Event::Neutral | Event::Busy => return None,
            Event::Ok => {
                next.consecutive = 0;
                next.oks += 1;
            }
            Event::Fault(fault) => {
                // Nobody gets anything from an address that can't be reached, and it looks idle to all.
                let weight = if fault.is_unreachable() { CONSECUTIVE_FAULTS_MAX } else { 1 };
                next.consecutive = next.consecutive.saturating_add(weight);
                next.faults += 1;
            }
        }
        if next.oks > COUNT_MAX || next.faults > COUNT_MAX {
            // Their proportion is what counts.
            (next.oks, next.faults) = (next.oks / 2, next.faults / 2);
        }
        let many = next.oks + next.faults >= RATE_REQUESTS_MIN && next.faults >= next.oks;
        let in_a_row = next.consecutive >= CONSECUTIVE_FAULTS_MAX;
        Some(match event {
            Event::Fault(fault) if in_a_row => next.ejected(fault, now_ms, random),
            // Others were answered meanwhile.
            Event::Fault(fault) if many => {
                Self { grounds: Grounds::Failing, ..next.ejected(fault, now_ms, random) }
            }
            _ => next,
        })
    }

    /// In the window of now. A whole window without a fault makes up for one ejection.
    fn windowed(self, window: Tick, now_ms: u64) -> Self {
        let now = Tick::at_ms(now_ms);
        if !now.is_past(window, WINDOW_MS) {
            return self;
        }
        let was_fine = self.faults == 0;
        Self {
            phase: Phase::Closed { window: now },
            ejections: self.ejections.saturating_sub(u32::from(was_fine)),
            oks: 0,
            faults: 0,
            ..self
        }
    }

    fn ejected(self, fault: Fault, now_ms: u64, random: u64) -> Self {
        let base = EJECTION_BASE_MS.checked_shl(self.ejections).unwrap_or(u64::MAX).min(EJECTION_MAX_MS);
        let out_ms = base + random % (base / JITTER_PARTS + 1);
        Self {
            phase: Phase::Out { until: Tick::at_ms(now_ms).plus_ms(out_ms) },
            grounds: Grounds::of(fault),
            consecutive: 0,
            ejections: (self.ejections + 1).min(EJECTIONS_MAX),
            oks: 0,
            faults: 0,
        }
    }
}
