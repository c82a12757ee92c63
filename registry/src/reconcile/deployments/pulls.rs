//! Pulls under way, for those who watch. A pull is here from its first byte until it ends, however it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::runtime::{InstanceId, PullProgress};

/// Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pulls {
    known: Arc<Mutex<BTreeMap<InstanceId, PullProgress>>>,
}

/// One of them; it ends with this.
#[derive(Debug)]
pub struct Pull {
    pulls: Pulls,
    id: InstanceId,
}

impl Pulls {
    pub fn begin(&self, id: &InstanceId) -> Pull {
        Pull { pulls: self.clone(), id: id.clone() }
    }

    /// Of one version of a deployment. Its replicas pull the same image: the one that is furthest tells how far it is.
    pub fn of(&self, workspace: &str, deployment: &str, version: i64) -> Option<PullProgress> {
        let known = self.known.lock();
        let is_meant = |id: &InstanceId| {
            let of = (id.deployment.workspace(), id.deployment.deployment(), i64::from(id.version));
            of == (workspace, deployment, version)
        };
        known.iter().filter(|(id, _)| is_meant(id)).map(|(_, pull)| *pull).max_by_key(|pull| pull.bytes_done)
    }
}

impl Pull {
    pub fn moved(&self, progress: PullProgress) {
        self.pulls.known.lock().insert(self.id.clone(), progress);
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.pulls.known.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::DeploymentId;

    #[test]
    fn a_pull_is_known_until_it_ends() {
        let deployment = DeploymentId::new("default", "llama").unwrap();
        let id = |replica| InstanceId { deployment: deployment.clone(), version: 1, replica, incarnation: 0 };
        let pulls = Pulls::default();
        let (first, second) = (pulls.begin(&id(0)), pulls.begin(&id(1)));
        assert_eq!(pulls.of("default", "llama", 1), None, "nothing came yet");
        let at = |bytes_done| PullProgress { bytes_done, bytes_total: 9, layers_done: 0, layers_total: 1 };
        first.moved(at(3));
        second.moved(at(5));
        assert_eq!(pulls.of("default", "llama", 1), Some(at(5)));
        assert_eq!(pulls.of("default", "llama", 2), None);
        drop(second);
        assert_eq!(pulls.of("default", "llama", 1), Some(at(3)));
        drop(first);
        assert_eq!(pulls.of("default", "llama", 1), None);
    }
}
