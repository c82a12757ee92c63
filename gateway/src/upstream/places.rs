//! How many requests one provider or model works on at once, and who waits for a place.
//!
//! What must stay true:
//! - No more places are taken than the limit says, but for those taken before it was lowered.
//! - Who waits is served in order: nobody takes a place past a request that waits, and a place that becomes
//!   free goes to the first of them.
//! - A request that stops waiting frees its turn at once; a place that was given to it meanwhile goes on to
//!   the next.
//! - While nobody waits, taking and leaving a place is one atomic change each: no lock, no allocation. Places
//!   taken and requests waiting are one word, so neither changes without the other being looked at; while
//!   somebody waits the word changes under the lock alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The places of one provider or model.
pub struct Places {
    count: AtomicU64,
    limit: AtomicU32,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    /// By number, so in order.
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// What the word says.
#[derive(Clone, Copy)]
struct Count {
    taken: u32,
    waiting: u32,
}

impl Count {
    fn unpack(word: u64) -> Self {
        Self { taken: word as u32, waiting: (word >> 32) as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.waiting) << 32 | u64::from(self.taken)
    }
}

/// What a request gets that does not take a place at once.
pub enum Entry<'p> {
    Place(Place<'p>),
    Turn(Turn<'p>),
    /// So many wait already.
    Full,
}

impl Places {
    pub fn new(limit: u32) -> Self {
        Self {
            count: AtomicU64::new(0),
            // Zero would mean "never works".
            limit: AtomicU32::new(limit.max(1)),
            queue: Mutex::default(),
        }
    }

    /// A place, if one is free and nobody waits.
    pub fn try_take(&self) -> Option<Place<'_>> {
        let limit = self.limit.load(Ordering::Relaxed);
        let free = |now: Count| now.waiting == 0 && now.taken < limit;
        self.change(|now| free(now).then_some(Count { taken: now.taken + 1, ..now }))?;
        Some(Place(self))
    }

    /// A place, or a turn in the queue of at most `waiting_max`.
    pub fn enter(&self, waiting_max: u32) -> Entry<'_> {
        let mut queue = self.queue.lock();
        // A place may have become free: then it is taken in the same change that would have queued.
        let limit = self.limit.load(Ordering::Relaxed);
        let before = self.change(|now| match now {
            Count { taken, waiting: 0 } if taken < limit => Some(Count { taken: taken + 1, waiting: 0 }),
            Count { waiting, .. } if waiting < waiting_max => Some(Count { waiting: waiting + 1, ..now }),
            _ => None,
        });
        match before {
            None => Entry::Full,
            Some(Count { taken, waiting: 0 }) if taken < limit => Entry::Place(Place(self)),
            Some(_) => {
                let (given, told) = oneshot::channel();
                let number = queue.next;
                queue.next += 1;
                queue.waiting.insert(number, given);
                Entry::Turn(Turn { places: self, number: Some(number), told })
            }
        }
    }

    /// Another limit, for those that are here too: who waits and now has a place gets it.
    pub fn set_limit(&self, limit: u32) {
        let mut queue = self.queue.lock();
        self.limit.store(limit.max(1), Ordering::Relaxed);
        while self.change(|now| self.promoted(now)).is_some() {
            queue.give_first();
        }
    }

    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether nobody has a place, nor waits for one.
    pub fn is_idle(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> u32 {
        Count::unpack(self.count.load(Ordering::Relaxed)).waiting
    }

    /// The first of those who wait has a place, if one is free.
    fn promoted(&self, now: Count) -> Option<Count> {
        let free = now.waiting > 0 && now.taken < self.limit.load(Ordering::Relaxed);
        free.then(|| Count { taken: now.taken + 1, waiting: now.waiting - 1 })
    }

    fn leave(&self) {
        let alone =
            |now: Count| (now.waiting == 0).then(|| Count { taken: now.taken.saturating_sub(1), ..now });
        if self.change(alone).is_none() {
            self.leave_waiting(self.queue.lock());
        }
    }

    /// Leaves a place that somebody may be waiting for.
    #[cold]
    fn leave_waiting(&self, mut queue: MutexGuard<'_, Queue>) {
        self.change(|now| Some(Count { taken: now.taken.saturating_sub(1), ..now }));
        if self.change(|now| self.promoted(now)).is_some() {
            queue.give_first();
        }
    }

    /// Changes the word as `to` says and gives what it was; `None` when `to` does.
    fn change(&self, mut to: impl FnMut(Count) -> Option<Count>) -> Option<Count> {
        let change = |word| to(Count::unpack(word)).map(Count::pack);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, change).ok().map(Count::unpack)
    }

    #[cfg(test)]
    fn counts(&self) -> (u32, u32) {
        let now = Count::unpack(self.count.load(Ordering::Relaxed));
        (now.taken, now.waiting)
    }
}

impl Queue {
    fn give_first(&mut self) {
        if let Some((_, given)) = self.waiting.pop_first() {
            // Its turn takes itself out of the queue before it goes, so it is still listening.
            let _ = given.send(());
        }
    }
}

/// A place, until it is dropped.
pub struct Place<'p>(&'p Places);

impl Place<'_> {
    /// Whether it is one of these.
    pub fn is_of(&self, places: &Places) -> bool {
        std::ptr::eq(self.0, places)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A turn in the queue, until it is dropped.
pub struct Turn<'p> {
    places: &'p Places,
    /// None: the place was handed on.
    number: Option<u64>,
    told: oneshot::Receiver<()>,
}

impl<'p> Turn<'p> {
    /// Waits for the place.
    pub async fn place(mut self) -> Place<'p> {
        // The sender is only dropped by sending.
        let _ = (&mut self.told).await;
        self.number = None;
        Place(self.places)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut queue = self.places.queue.lock();
        if queue.waiting.remove(&number).is_some() {
            self.places.change(|now| Some(Count { waiting: now.waiting.saturating_sub(1), ..now }));
        } else {
            self.places.leave_waiting(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;

    fn turn(places: &Places) -> BoxFuture<'_, Place<'_>> {
        match places.enter(100) {
            Entry::Turn(turn) => turn.place().boxed(),
            _ => panic!("there is no turn to be had"),
        }
    }

    #[test]
    fn a_place_that_becomes_free_goes_to_the_first_in_line_and_to_nobody_else() {
        let places = Places::new(1);
        let held = places.try_take().unwrap();
        let (mut first, mut second) = (turn(&places), turn(&places));
        assert!(places.try_take().is_none() && (&mut first).now_or_never().is_none());
        drop(held);
        assert!(places.try_take().is_none(), "nobody takes a place past those who wait");
        assert!((&mut second).now_or_never().is_none());
        let held = (&mut first).now_or_never().unwrap();
        assert!((&mut second).now_or_never().is_none());
        drop(held);
        drop((&mut second).now_or_never().unwrap());
        assert_eq!(places.counts(), (0, 0));
    }

    #[test]
    fn a_turn_that_is_given_up_is_free_at_once_and_its_place_goes_on() {
        let places = Places::new(1);
        let held = places.try_take().unwrap();
        let (first, second, mut third) = (turn(&places), turn(&places), turn(&places));
        drop(second);
        assert_eq!(places.counts(), (1, 2));
        drop(held);
        // The first was given the place and did not look yet.
        drop(first);
        drop((&mut third).now_or_never().unwrap());
        assert_eq!(places.counts(), (0, 0));
    }

    #[test]
    fn the_queue_is_bounded() {
        let places = Places::new(1);
        let held = places.try_take().unwrap();
        let turns = [places.enter(2), places.enter(2)];
        assert!(turns.iter().all(|entry| matches!(entry, Entry::Turn(_))));
        assert!(matches!(places.enter(2), Entry::Full));
        drop((turns, held));
        assert!(matches!(places.enter(0), Entry::Place(_)), "a free place needs no queue");
    }

    #[test]
    fn another_limit_counts_for_those_who_wait_and_for_those_inside() {
        let places = Places::new(1);
        let held = places.try_take().unwrap();
        let (mut first, mut second) = (turn(&places), turn(&places));
        places.set_limit(2);
        let other = (&mut first).now_or_never().unwrap();
        assert!((&mut second).now_or_never().is_none());
        places.set_limit(1);
        drop(held);
        assert!((&mut second).now_or_never().is_none(), "one is still over the limit's rest");
        drop(other);
        assert!((&mut second).now_or_never().is_some());
        assert_eq!(places.counts(), (0, 0));
    }

    proptest! {
        #[test]
        fn whatever_happens_no_place_is_lost_and_the_order_is_kept(
            limit in 1..4u32,
            steps in prop::collection::vec((0..5u8, 0..6usize), 0..80),
        ) {
            let places = Places::new(limit);
            let (mut limit, mut held, mut turns) = (limit, Vec::new(), Vec::new());
            for (step, which) in steps {
                match step {
                    0 => match places.try_take() {
                        Some(place) => held.push(place),
                        None => prop_assert!(held.len() >= limit as usize || !turns.is_empty()),
                    },
                    1 => match places.enter(3) {
                        Entry::Place(place) => held.push(place),
                        Entry::Turn(turn) => turns.push(turn.place().boxed()),
                        Entry::Full => prop_assert_eq!(turns.len(), 3),
                    },
                    2 if which < held.len() => drop(held.remove(which)),
                    3 if which < turns.len() => drop(turns.remove(which)),
                    4 => {
                        limit = 1 + which as u32 % 3;
                        places.set_limit(limit);
                    }
                    _ => {}
                }
                let mut blocked = false;
                let waker = futures_util::task::noop_waker();
                let mut cx = std::task::Context::from_waker(&waker);
                turns = turns.into_iter().filter_map(|mut turn: BoxFuture<'_, Place<'_>>| match turn.poll_unpin(&mut cx) {
                    Poll::Pending => { blocked = true; Some(turn) }
                    Poll::Ready(place) => { assert!(!blocked, "out of order"); held.push(place); None }
                }).collect();
                prop_assert_eq!(places.counts(), (held.len() as u32, turns.len() as u32));
                prop_assert!(turns.is_empty() || held.len() >= limit as usize, "a place is free and not given");
            }
            drop((held, turns));
            prop_assert_eq!(places.counts(), (0, 0));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_at_once_never_exceed_the_limit_and_all_get_through() {
        const LIMIT: u32 = 3;
        let places: &Places = Box::leak(Box::new(Places::new(LIMIT)));
        let inside: &AtomicU32 = Box::leak(Box::default());
        let tasks = (0..64).map(|_| {
            tokio::spawn(async move {
                for _ in 0..50 {
                    let place = match places.try_take() {
                        Some(place) => place,
                        None => match places.enter(u32::MAX) {
                            Entry::Place(place) => place,
                            Entry::Turn(turn) => turn.place().await,
                            Entry::Full => panic!("the queue has no bound here"),
                        },
                    };
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < LIMIT);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(place);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            tokio::time::timeout(std::time::Duration::from_secs(20), task).await.unwrap().unwrap();
        }
        assert_eq!(places.counts(), (0, 0));
    }
}
