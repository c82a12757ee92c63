//! Providers that are to be looked at before their time: somebody knows that what they serve changed.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// One entry for a provider at most, so it needs no bound of its own.
#[derive(Debug, Default)]
pub struct Hurry {
    providers: Mutex<BTreeSet<i64>>,
    added: Notify,
}

impl Hurry {
    pub fn look_at(&self, provider: i64) {
        self.providers.lock().insert(provider);
        self.added.notify_one();
    }

    /// Returns when there are some, which are asked for no more then.
    pub async fn taken(&self) -> BTreeSet<i64> {
        loop {
            let taken = std::mem::take(&mut *self.providers.lock());
            if !taken.is_empty() {
                return taken;
            }
            self.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_is_taken_once_whoever_asked_for_it_how_often() {
        let hurry = Hurry::default();
        for provider in [2, 1, 2] {
            hurry.look_at(provider);
        }
        assert_eq!(hurry.taken().await, BTreeSet::from([1, 2]));
        hurry.look_at(3);
        assert_eq!(hurry.taken().await, BTreeSet::from([3]));
    }
}
