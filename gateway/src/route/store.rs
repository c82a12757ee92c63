//! The current table: read without a lock, replaced by one atomic swap that never goes back.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::table::RouteTable;

pub struct RouteStore {
    table: ArcSwap<RouteTable>,
    generation: watch::Sender<u64>,
}

/// What became of a published table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    Applied,
    /// Older than, or the same as, what is served.
    Stale {
        current: u64,
    },
    /// From another installation: generations don't compare, so it is never taken over silently.
    Foreign {
        current: String,
    },
}

impl Default for RouteStore {
    fn default() -> Self {
        Self { table: ArcSwap::default(), generation: watch::Sender::new(0) }
    }
}

impl RouteStore {
    /// The table of this moment. The guard must not live across an `.await`.
    pub fn load(&self) -> Guard<Arc<RouteTable>> {
        self.table.load()
    }

    /// The table of this moment, to keep.
    pub fn load_full(&self) -> Arc<RouteTable> {
        self.table.load_full()
    }

    /// Swaps `next` in unless it is older than, or foreign to, the table that is served. Then `swapped` is
    /// called, before those who wait for the generation are told.
    pub fn publish(&self, next: RouteTable, swapped: impl FnOnce()) -> Published {
        self.swap(next, |next, now| next.generation <= now.generation, swapped)
    }

    /// The same for a table that was built again from the snapshot that is served.
    pub fn publish_again(&self, next: RouteTable) -> Published {
        self.swap(next, |next, now| next.generation < now.generation, || {})
    }

    fn swap(
        &self,
        next: RouteTable,
        is_stale: impl Fn(&RouteTable, &RouteTable) -> bool,
        swapped: impl FnOnce(),
    ) -> Published {
        let next = Arc::new(next);
        let verdict = |now: &RouteTable| {
            if !now.installation.is_empty() && now.installation != next.installation {
                Published::Foreign { current: now.installation.to_string() }
            } else if !now.installation.is_empty() && is_stale(&next, now) {
                Published::Stale { current: now.generation }
            } else {
                Published::Applied
            }
        };
        let previous = self.table.rcu(|now| match verdict(now) {
            Published::Applied => Arc::clone(&next),
            _ => Arc::clone(now),
        });
        let outcome = verdict(&previous);
        if outcome == Published::Applied {
            swapped();
            self.generation.send_if_modified(|current| {
                let newer = next.generation > *current;
                *current = next.generation.max(*current);
                newer
            });
        }
        outcome
    }

    /// Waits until `generation` is served here, at most `limit`. True: it is.
    pub async fn wait_for(&self, generation: u64, limit: Duration) -> bool {
        let mut seen = self.generation.subscribe();
        tokio::time::timeout(limit, seen.wait_for(|&now| now >= generation)).await.is_ok_and(|r| r.is_ok())
    }

    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(installation: &str, generation: u64) -> RouteTable {
        let snapshot = proto_shared::RouteSnapshot {
            format: 1,
            installation: installation.into(),
            generation,
            workspaces: vec![],
            local_only: vec![],
            providers: vec![],
            models: vec![],
        };
        let key = proto_shared::KeyRing::generate().unwrap();
        RouteTable::build(&snapshot, &crate::upstream::endpoint::Endpoints::for_tests(), &key.keys())
    }

    #[test]
    fn a_stale_table_never_replaces_a_newer_one() {
        let store = RouteStore::default();
        assert_eq!(store.publish(table("a", 5), || {}), Published::Applied);
        assert_eq!(store.publish(table("a", 4), || {}), Published::Stale { current: 5 });
        assert_eq!(store.publish(table("a", 5), || {}), Published::Stale { current: 5 });
        assert_eq!(store.publish(table("a", 6), || {}), Published::Applied);
        assert_eq!(store.load().generation, 6);
    }

    #[test]
    fn a_table_built_again_replaces_its_own_generation_and_no_newer_one() {
        let store = RouteStore::default();
        store.publish(table("a", 5), || {});
        assert_eq!(store.publish_again(table("a", 5)), Published::Applied);
        assert_eq!(store.publish_again(table("a", 4)), Published::Stale { current: 5 });
        assert_eq!(store.publish_again(table("b", 6)), Published::Foreign { current: "a".into() });
    }

    #[test]
    fn a_table_of_another_installation_is_refused() {
        let store = RouteStore::default();
        store.publish(table("a", 5), || {});
        assert_eq!(store.publish(table("b", 9), || {}), Published::Foreign { current: "a".into() });
        assert_eq!(store.load().generation, 5);
    }

    #[tokio::test]
    async fn waiting_ends_when_the_generation_is_served() {
        let store = Arc::new(RouteStore::default());
        let waiting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.wait_for(3, Duration::from_secs(30)).await }
        });
        store.publish(table("a", 2), || {});
        store.publish(table("a", 3), || {});
        assert!(waiting.await.unwrap());
        assert!(!store.wait_for(4, Duration::from_millis(1)).await);
    }
}
