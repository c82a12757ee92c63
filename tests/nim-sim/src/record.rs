//! What the server received, and how each exchange ended.
//!
//! Invariants: at most [`MAX_RECORDS`] requests and [`MAX_RECORDED_BYTES`] of bodies are kept, oldest out first; every
//! request has one [`Ticket`], and a ticket dropped before its answer was handed over means that the client left.

use bytes::Bytes;
use http::Version;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub const MAX_RECORDS: usize = 1000;
/// The most that is kept of one body; the rest is read and counted.
pub const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// The most that is kept of all bodies together.
pub const MAX_RECORDED_BYTES: usize = 256 * 1024 * 1024;

/// One request as received.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub id: u64,
    /// Which connection it came on, counted from 1: two requests with one number shared a connection.
    pub connection: u64,
    pub method: String,
    /// The request target as sent; on HTTP/2 the `:path`.
    pub target: String,
    pub version: Version,
    /// Names and values in order. HTTP/1: in the case sent; bytes that are not UTF-8 are replaced (see `raw_head`).
    pub headers: Vec<(String, String)>,
    /// HTTP/1: the head from the request line to the blank line, byte for byte.
    pub raw_head: Option<Bytes>,
    /// The first [`MAX_BODY_BYTES`] of the body, without transfer coding.
    pub body: Bytes,
    /// How long the body was, kept or not.
    pub body_len: u64,
    /// Whether the body came to its end.
    pub body_complete: bool,
    pub received_at: Instant,
    /// The status answered, once there is one.
    pub status: Option<u16>,
    pub outcome: Outcome,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not.
    Open,
    /// The whole answer was handed to the socket.
    Answered,
    /// This server dropped the connection, as asked.
    Cut,
    /// The client was gone before the end of the answer; seen then.
    ClientLeft { at: Instant },
}

impl Recorded {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The first value of a header, its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn client_left(&self) -> bool {
        matches!(self.outcome, Outcome::ClientLeft { .. })
    }
}

/// The requests seen when a wait ended without success.
#[derive(Debug, thiserror::Error)]
#[error("not seen within {waited:?}; received so far: {}", summary(.seen))]
pub struct WaitTimeout {
    pub waited: Duration,
    pub seen: Vec<Recorded>,
}

fn summary(seen: &[Recorded]) -> String {
    let lines: Vec<String> =
        seen.iter().map(|r| format!("{} {} {:?} {:?}", r.method, r.target, r.status, r.outcome)).collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("; ") }
}

#[derive(Default)]
struct Ring {
    next_id: u64,
    records: VecDeque<Recorded>,
    body_bytes: usize,
}

impl Ring {
    /// Ids are consecutive within the ring, so an id is an index.
    fn get_mut(&mut self, id: u64) -> Option<&mut Recorded> {
        let first = self.records.front()?.id;
        let index = usize::try_from(id.checked_sub(first)?).ok()?;
        self.records.get_mut(index)
    }

    fn trim(&mut self) {
        while self.records.len() > MAX_RECORDS
            || (self.body_bytes > MAX_RECORDED_BYTES && self.records.len() > 1)
        {
            let Some(oldest) = self.records.pop_front() else { return };
            self.body_bytes -= oldest.body.len();
        }
    }
}

pub(crate) struct Recorder {
    ring: Mutex<Ring>,
    changed: watch::Sender<u64>,
    in_flight: AtomicU64,
    cancelled: AtomicU64,
    answered: AtomicU64,
}

/// What is known of a request when its head is in.
pub(crate) struct Arrival {
    pub connection: u64,
    pub method: String,
    pub target: String,
    pub version: Version,
    pub headers: Vec<(String, String)>,
    pub raw_head: Option<Bytes>,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            ring: Mutex::default(),
            changed: watch::Sender::new(0),
            in_flight: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        })
    }

    pub fn open(self: &Arc<Self>, arrival: Arrival) -> Ticket {
        let id = {
            let mut ring = self.ring.lock();
            let id = ring.next_id;
            ring.next_id += 1;
            ring.records.push_back(Recorded {
                id,
                connection: arrival.connection,
                method: arrival.method,
                target: arrival.target,
                version: arrival.version,
                headers: arrival.headers,
                raw_head: arrival.raw_head,
                body: Bytes::new(),
                body_len: 0,
                body_complete: false,
                received_at: Instant::now(),
                status: None,
                outcome: Outcome::Open,
            });
            ring.trim();
            id
        };
        self.in_flight.fetch_add(1, Relaxed);
        self.notify();
        Ticket { recorder: Arc::clone(self), id, ended: false }
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.ring.lock().records.iter().cloned().collect()
    }

    pub fn clear(&self) {
        let mut ring = self.ring.lock();
        ring.records.clear();
        ring.body_bytes = 0;
    }

    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    pub fn cancelled(&self) -> u64 {
        self.cancelled.load(Relaxed)
    }

    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    pub async fn wait_for(
        &self,
        satisfied: impl Fn(&[Recorded]) -> bool,
        deadline: Duration,
    ) -> Result<Vec<Recorded>, WaitTimeout> {
        let mut changes = self.changed.subscribe();
        let until = tokio::time::Instant::now() + deadline;
        loop {
            changes.mark_unchanged();
            let seen = self.requests();
            if satisfied(&seen) {
                return Ok(seen);
            }
            if !matches!(tokio::time::timeout_at(until, changes.changed()).await, Ok(Ok(()))) {
                return Err(WaitTimeout { waited: deadline, seen: self.requests() });
            }
        }
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Recorded)) {
        if let Some(record) = self.ring.lock().get_mut(id) {
            change(record);
        }
        self.notify();
    }

    fn notify(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}

/// The open end of one record.
pub(crate) struct Ticket {
    recorder: Arc<Recorder>,
    id: u64,
    ended: bool,
}

impl Ticket {
    pub fn body(&self, body: Bytes, body_len: u64, complete: bool) {
        let mut ring = self.recorder.ring.lock();
        let kept = body.len();
        if let Some(record) = ring.get_mut(self.id) {
            record.body = body;
            record.body_len = body_len;
            record.body_complete = complete;
            ring.body_bytes += kept;
            ring.trim();
        }
        drop(ring);
        self.recorder.notify();
    }

    pub fn status(&self, status: u16) {
        self.recorder.update(self.id, |record| record.status = Some(status));
    }

    /// Ends the record; only the first end counts.
    pub fn end(&mut self, outcome: Outcome) {
        if self.ended {
            return;
        }
        self.ended = true;
        let counters = &self.recorder;
        counters.in_flight.fetch_sub(1, Relaxed);
        match outcome {
            Outcome::Answered => counters.answered.fetch_add(1, Relaxed),
            Outcome::ClientLeft { .. } => counters.cancelled.fetch_add(1, Relaxed),
            Outcome::Cut | Outcome::Open => 0,
        };
        self.recorder.update(self.id, |record| record.outcome = outcome);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(Outcome::ClientLeft { at: Instant::now() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(target: &str) -> Arrival {
        Arrival {
            connection: 1,
            method: "GET".to_owned(),
            target: target.to_owned(),
            version: Version::HTTP_11,
            headers: Vec::new(),
            raw_head: None,
        }
    }

    #[test]
    fn the_oldest_request_goes_when_the_ring_is_full() {
        let recorder = Recorder::new();
        for n in 0..=MAX_RECORDS {
            recorder.open(arrival(&format!("/{n}"))).end(Outcome::Answered);
        }
        let seen = recorder.requests();
        assert_eq!(seen.len(), MAX_RECORDS);
        assert_eq!(seen[0].target, "/1");
    }

    #[test]
    fn bodies_together_stay_below_their_limit() {
        let recorder = Recorder::new();
        let body = Bytes::from(vec![0_u8; MAX_BODY_BYTES]);
        let tickets: Vec<Ticket> = (0..5).map(|_| recorder.open(arrival("/"))).collect();
        for ticket in &tickets {
            ticket.body(body.clone(), body.len() as u64, true);
        }
        let kept: usize = recorder.requests().iter().map(|r| r.body.len()).sum();
        assert!(kept <= MAX_RECORDED_BYTES);
        assert_eq!(recorder.requests().last().unwrap().body.len(), MAX_BODY_BYTES);
    }

    #[test]
    fn a_ticket_dropped_early_means_the_client_left() {
        let recorder = Recorder::new();
        drop(recorder.open(arrival("/")));
        assert!(recorder.requests()[0].client_left());
        assert_eq!((recorder.cancelled(), recorder.in_flight()), (1, 0));
    }

    #[test]
    fn an_update_after_clear_is_ignored() {
        let recorder = Recorder::new();
        let mut old = recorder.open(arrival("/old"));
        recorder.clear();
        let _new = recorder.open(arrival("/new"));
        old.end(Outcome::Answered);
        assert_eq!(recorder.requests()[0].outcome, Outcome::Open);
    }
}
