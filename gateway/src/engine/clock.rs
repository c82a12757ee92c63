//! The times that one attempt is measured by.

use std::time::Instant;

/// When things last moved. The clock is read at most once for each step.
pub struct Clock {
    pub now: Option<Instant>,
    pub started: Instant,
    pub sent: Instant,
    pub up_read: Instant,
    pub down_wrote: Instant,
    pub up_wrote: Instant,
    pub looked: Instant,
    /// When the client took enough for the upstream to be read again.
    pub unblocked: Instant,
    /// When an event for the client's idle timer was last due.
    pub beat: Instant,
    /// When a translated stream came to its last event.
    pub said_all: Option<Instant>,
    pub uploaded_bytes: u64,
}

impl Clock {
    /// Of an attempt that begins now, for a request that began before.
    pub fn start(started: Instant) -> Self {
        let now = Instant::now();
        Self {
            now: None,
            started,
            sent: now,
            up_read: now,
            down_wrote: now,
            up_wrote: now,
            looked: now,
            unblocked: now,
            beat: now,
            said_all: None,
            uploaded_bytes: 0,
        }
    }

    pub fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }
}

/// What runs out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    FirstByte,
    Idle,
    Total,
    DownStall,
    UpStall,
    UploadRate,
    /// An answer is read on without a client.
    LeftBehind,
    /// A translated stream has said all, and its upstream goes on.
    LastWords,
    /// No limit: the request has been under way for long enough to be shown.
    Show,
    /// No limit: time for an event that says nothing new.
    KeepAlive,
    /// No limit: time for a comment, since nobody has said anything.
    Silence,
    /// No limit: time to see whether the client is still there.
    ClientLook,
}
