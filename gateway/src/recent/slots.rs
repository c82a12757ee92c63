//! Places for a fixed number of values that many write and hardly anybody reads.
//!
//! What must stay true: a writer never waits, neither for a reader nor for another writer; what can't be written at
//! once is not. Memory is taken a chunk at a time, when it is first needed, and never beyond the number of places.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

const CHUNK: usize = 64;
/// How many places are looked at for a free one, each twice as far away as the one before.
const PROBES_MAX: u32 = 12;

#[derive(Debug)]
struct Place<T> {
    /// Somebody who is under way has it.
    taken: AtomicBool,
    value: Mutex<Option<T>>,
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { taken: AtomicBool::new(false), value: Mutex::new(None) }
    }
}

type Chunk<T> = Box<[Place<T>]>;

#[derive(Debug)]
struct Places<T> {
    chunks: Box<[OnceLock<Chunk<T>>]>,
    len: usize,
    /// Where to write next: in a ring its turn, else a place that was free lately.
    next: AtomicUsize,
}

impl<T> Places<T> {
    fn new(len: usize) -> Self {
        let chunks = (0..len.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect();
        Self { chunks, len, next: AtomicUsize::new(0) }
    }

    fn place(&self, index: usize) -> Option<&Place<T>> {
        let made = || (0..CHUNK).map(|_| Place::default()).collect();
        self.chunks.get(index / CHUNK)?.get_or_init(made).get(index % CHUNK)
    }

    fn used(&self) -> impl Iterator<Item = &Place<T>> {
        self.chunks.iter().filter_map(OnceLock::get).flatten()
    }
}

/// The last values.
#[derive(Debug)]
pub struct Ring<T>(Places<T>);

impl<T: Clone> Ring<T> {
    pub fn new(len: usize) -> Self {
        Self(Places::new(len))
    }

    /// Whether it was kept.
    pub fn put(&self, value: T) -> bool {
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.0.len);
        let Some(place) = turn.and_then(|index| self.0.place(index)) else { return false };
        let old = match place.value.try_lock() {
            Some(mut kept) => kept.replace(value),
            None => return false,
        };
        drop(old);
        true
    }

    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Vec<T> {
        let kept =
            self.0.used().filter_map(|place| place.value.lock().as_ref().filter(|it| is_it(it)).cloned());
        kept.collect()
    }
}

/// Values of those who are under way.
#[derive(Debug)]
pub struct Current<T>(Places<T>);

/// The place of one of them.
#[derive(Debug)]
pub struct Ticket(usize);

impl<T: Clone> Current<T> {
    pub fn new(len: usize) -> Self {
        Self(Places::new(len))
    }

    /// None: no place was free among a few.
    pub fn enter(&self, value: T) -> Option<Ticket> {
        let near = self.0.next.load(Ordering::Relaxed);
        for probe in 0..PROBES_MAX {
            let index = near.wrapping_add((1 << probe) - 1).checked_rem(self.0.len)?;
            let place = self.0.place(index)?;
            if place.taken.swap(true, Ordering::AcqRel) {
                continue;
            }
            if let Some(mut kept) = place.value.try_lock() {
                *kept = Some(value);
                self.0.next.store(index + 1, Ordering::Relaxed);
                return Some(Ticket(index));
            }
            place.taken.store(false, Ordering::Release);
        }
        None
    }

    /// What is not written now is written with what comes next.
    pub fn update(&self, ticket: &Ticket, value: T) {
        if let Some(place) = self.0.place(ticket.0)
            && let Some(mut kept) = place.value.try_lock()
        {
            *kept = Some(value);
        }
    }

    /// What was there stays until somebody else takes the place, and is not found any more.
    pub fn leave(&self, ticket: Ticket) {
        if let Some(place) = self.0.place(ticket.0) {
            place.taken.store(false, Ordering::Release);
            // Who comes next finds it warm.
            self.0.next.store(ticket.0, Ordering::Relaxed);
        }
    }

    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Vec<T> {
        let taken = self.0.used().filter(|place| place.taken.load(Ordering::Acquire));
        taken.filter_map(|place| place.value.lock().as_ref().filter(|it| is_it(it)).cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_ones() {
        let ring = Ring::new(100);
        assert!((0..250).all(|n| ring.put(n)));
        let mut all = ring.find(|_| true);
        all.sort_unstable();
        assert_eq!(all, (150..250).collect::<Vec<_>>());
        assert_eq!(ring.find(|n| *n == 149), Vec::<i32>::new());
        assert!(!Ring::new(0).put(1), "without places nothing is kept");
    }

    #[test]
    fn a_writer_waits_for_nobody() {
        let ring = Ring::new(1);
        assert!(ring.put(1));
        let place = ring.0.place(0).unwrap();
        let reading = place.value.lock();
        assert!(!ring.put(2));
        drop(reading);
        assert_eq!(ring.find(|_| true), [1]);
        let current = Current::new(2);
        let place = current.0.place(0).unwrap();
        let reading = place.value.lock();
        let ticket = current.enter(1).unwrap();
        assert_eq!(ticket.0, 1, "the place that nobody looks at");
        drop(reading);
    }

    #[test]
    fn who_left_is_not_found_and_whoever_finds_no_place_is_not_kept() {
        let current = Current::new(2);
        let (one, two) = (current.enter(1).unwrap(), current.enter(2).unwrap());
        assert!(current.enter(3).is_none());
        current.update(&one, 10);
        current.leave(two);
        assert_eq!(current.find(|_| true), [10]);
        let again = current.enter(4).unwrap();
        assert_eq!(current.find(|n| *n == 4), [4]);
        current.leave(again);
        current.leave(one);
        assert!(current.find(|_| true).is_empty());
    }

    #[test]
    fn many_who_stay_leave_room_for_those_who_come_and_go() {
        let current = Current::new(4_000);
        let mut stay: Vec<_> = (0..500).map(|n| current.enter(n).unwrap()).collect();
        for n in 0..1_000 {
            current.leave(stay.swap_remove(n % stay.len()));
            let (one, two) = (current.enter(n).unwrap(), current.enter(n).unwrap());
            stay.push(one);
            current.leave(two);
        }
        assert_eq!(current.find(|_| true).len(), 500);
        assert!(current.0.used().count() < 2_000, "they stay together");
    }

    #[test]
    fn chunks_come_when_they_are_needed() {
        let ring = Ring::new(CHUNK * 3);
        assert_eq!(ring.0.used().count(), 0);
        ring.put(1);
        assert_eq!(ring.0.used().count(), CHUNK);
    }
}
