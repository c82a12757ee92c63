//! What runs, so that a list needs no second look at each container.
//!
//! What must stay true: after a change of which the engine told, everything is looked at again. Its list lags
//! behind: a container that just ended may still be listed as running, and only a look at it waits for the truth.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::super::Instance;

/// A container, and its port: each start gets another one.
pub type Key = (String, u16);

#[derive(Debug, Default)]
pub struct Running(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashMap<Key, Instance>,
    /// Counts how often all was forgotten.
    epoch: u64,
}

impl Running {
    /// What is known, and as of when.
    pub fn known(&self) -> (HashMap<Key, Instance>, u64) {
        let state = self.0.lock();
        (state.known.clone(), state.epoch)
    }

    /// Unless something changed since it was looked at.
    pub fn remember(&self, known: HashMap<Key, Instance>, epoch: u64) {
        let mut state = self.0.lock();
        if state.epoch == epoch {
            state.known = known;
        }
    }

    pub fn forget(&self) {
        let mut state = self.0.lock();
        state.known.clear();
        state.epoch = state.epoch.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{DeploymentId, InstanceId, Phase};
    use super::*;

    #[test]
    fn what_was_seen_before_a_change_is_not_believed_after_it() {
        let deployment = DeploymentId::new("team", "llama").unwrap();
        let id = InstanceId { deployment, version: 1, replica: 0, incarnation: 0 };
        let instance = Instance {
            id,
            phase: Phase::Created,
            spec_digest: String::new(),
            image_digest: None,
            gpus: vec![],
        };
        let seen = HashMap::from([(("c".to_owned(), 1), instance)]);
        let running = Running::default();
        let (_, epoch) = running.known();
        running.remember(seen.clone(), epoch);
        assert_eq!(running.known().0.len(), 1);
        let (_, epoch) = running.known();
        running.forget();
        running.remember(seen, epoch);
        assert_eq!(running.known().0.len(), 0, "a look that began before the change came too late");
    }
}
