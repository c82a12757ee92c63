//! Who waits until a server of a model has room again: in order, and only the first looks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::places::{Entry, Place, Places};
use crate::uptime::now_ms;

/// A request that left the line counts for one in so many.
const GAPS: u64 = 8;

pub struct Line {
    /// The one place is that of the first, who looks for room.
    head: Places,
    /// 40 bits of when somebody last left the line, 24 of how long it took lately from one to the next.
    gap: AtomicU64,
}

const GAP_BITS: u32 = 24;
const GAP_MAX_MS: u64 = (1 << GAP_BITS) - 1;

impl Default for Line {
    fn default() -> Self {
        Self { head: Places::new(1), gap: AtomicU64::new(0) }
    }
}

impl Line {
    /// Whether nobody stands in it.
    pub fn is_empty(&self) -> bool {
        self.head.is_idle()
    }

    /// How many stand in it behind the first.
    pub fn waiting(&self) -> u32 {
        self.head.waiting()
    }

    /// The place at its head, or a turn.
    pub fn enter(&self, waiting_max: u32) -> Entry<'_> {
        self.head.enter(waiting_max)
    }

    /// The first found room, and the next may look.
    pub fn leave(&self, head: Place<'_>) {
        let now_ms = now_ms();
        let next = |word: u64| {
            let (at_ms, gap_ms) = (word >> GAP_BITS, word & GAP_MAX_MS);
            let took_ms = now_ms.saturating_sub(at_ms).min(GAP_MAX_MS);
            // After a pause of the line the time since the last one says nothing.
            let gap_ms = match word {
                0 => 0,
                _ if took_ms > PAUSE_MS => gap_ms,
                _ => (gap_ms * (GAPS - 1) + took_ms).div_ceil(GAPS),
            };
            Some(now_ms << GAP_BITS | gap_ms)
        };
        let _ = self.gap.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        drop(head);
    }

    /// How long who comes now would stand in it, as it went lately.
    pub fn expected_ms(&self) -> u64 {
        (u64::from(self.waiting()) + 1) * (self.gap.load(Ordering::Relaxed) & GAP_MAX_MS)
    }
}

/// Longer than this between two is no step of a line.
const PAUSE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_the_head_and_the_others_turns_within_a_bound() {
        let line = Line::default();
        assert!(line.is_empty());
        let Entry::Place(head) = line.enter(1) else { panic!("nobody is there") };
        let Entry::Turn(turn) = line.enter(1) else { panic!("one may wait") };
        assert!(matches!(line.enter(1), Entry::Full));
        assert_eq!((line.is_empty(), line.waiting()), (false, 1));
        drop(turn);
        line.leave(head);
        assert!(line.is_empty());
    }
}
