//! Where a request goes next at one provider: each of its addresses once.
//!
//! An address that has left the table since the request was resolved is passed over: whoever waits until
//! it is unused must not see it used again.

use crate::balance::{Set, choose};
use crate::random::random;
use crate::route::{Provider, Replica};
use crate::upstream::Visit;

pub struct Addresses<'p> {
    replicas: &'p [Replica],
    untried: Set,
    outdated: bool,
}

impl<'p> Addresses<'p> {
    pub fn of(provider: &'p Provider) -> Self {
        let replicas = &provider.replicas;
        Self { replicas, untried: Set::all(replicas.len()), outdated: false }
    }

    /// The next address; the request counts as in flight there while it holds the visit.
    pub fn next(&mut self) -> Option<(&'p Replica, Visit)> {
        let replicas = self.replicas;
        let rank = |index: usize| replicas.get(index).map_or(0, |at| at.endpoint.load.rank());
        while let Some(index) = choose(self.untried, random, rank) {
            self.untried.remove(index);
            let replica = replicas.get(index)?;
            match replica.endpoint.load.enter() {
                Some(visit) => return Some((replica, visit)),
                None => self.outdated = true,
            }
        }
        None
    }

    /// Whether an address was passed over: a newer table knows better.
    pub fn outdated(&self) -> bool {
        self.outdated
    }
}
