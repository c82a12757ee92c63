//! How many requests use one address, and whether others still may.
//!
//! Both are one number: a request that comes too late sees that the address is closed, or else is seen
//! by whoever closed it. So an address that is closed and unused stays unused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set: no request may begin here.
const CLOSED: usize = 1 << (usize::BITS - 1);

#[derive(Debug, Default)]
pub struct Load(AtomicUsize);

impl Load {
    pub fn in_flight(&self) -> usize {
        self.0.load(Ordering::Acquire) & !CLOSED
    }

    /// Counts a request for as long as the visit lasts. None: the address is closed.
    pub fn enter(self: &Arc<Self>) -> Option<Visit> {
        if self.0.fetch_add(1, Ordering::AcqRel) & CLOSED != 0 {
            self.0.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Visit(Arc::clone(self)))
    }

    /// Requests that are here go on; others must go elsewhere.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub fn open(&self) {
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }
}

/// A request's stay at an address.
#[derive(Debug)]
pub struct Visit(Arc<Load>);

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_address_keeps_who_is_there_and_takes_nobody_else() {
        let load = Arc::new(Load::default());
        let (first, second) = (load.enter().unwrap(), load.enter().unwrap());
        load.close();
        assert!(load.enter().is_none());
        assert_eq!(load.in_flight(), 2);
        drop((first, second));
        assert_eq!(load.in_flight(), 0);
        assert!(load.enter().is_none());
        load.open();
        assert!(load.enter().is_some());
    }

    #[test]
    fn nobody_slips_in_behind_whoever_closes() {
        for _ in 0..200 {
            let load = Arc::new(Load::default());
            let entering: Vec<_> = (0..4)
                .map(|_| {
                    let load = Arc::clone(&load);
                    std::thread::spawn(move || load.enter())
                })
                .collect();
            load.close();
            let visits: Vec<_> = entering.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(load.in_flight(), visits.iter().flatten().count());
            drop(visits);
            assert_eq!(load.in_flight(), 0);
        }
    }
}
