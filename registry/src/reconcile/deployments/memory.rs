//! What this process knows beside the database: found out again after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::seen::{Known, Probe, Work};
use crate::domain::Timestamp;
use crate::runtime::{DeploymentId, Fault, InstanceId};

#[derive(Clone, Default)]
pub struct Memory {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    is_draining: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct State {
    known: BTreeMap<InstanceId, Known>,
    volumes: BTreeMap<DeploymentId, Work>,
    running: BTreeMap<InstanceId, AbortHandle>,
}

impl Memory {
    /// Returns when something is known that was not.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    pub fn wake(&self) {
        self.inner.changed.notify_one();
    }

    /// Whether it matters what gateways still use.
    pub fn set_draining(&self, is_draining: bool) {
        self.inner.is_draining.store(is_draining, Ordering::Relaxed);
    }

    /// What gateways use has changed. They say so with every change of routes.
    pub fn wake_if_draining(&self) {
        if self.inner.is_draining.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    pub fn known(&self) -> BTreeMap<InstanceId, Known> {
        self.inner.state.lock().known.clone()
    }

    pub fn volumes(&self) -> BTreeMap<DeploymentId, Work> {
        self.inner.state.lock().volumes.clone()
    }

    /// Forgets what nobody asks for any more.
    pub fn retain(&self, instances: &BTreeSet<InstanceId>, deployments: &BTreeSet<DeploymentId>) {
        let mut state = self.inner.state.lock();
        state.known.retain(|id, _| instances.contains(id));
        state.volumes.retain(|id, _| deployments.contains(id));
        state.running.retain(|_, task| !task.is_finished());
    }

    /// A task of an instance begins. `task` is spawned inside, so that its end can't be noted before.
    pub fn begin(&self, id: &InstanceId, spawn: impl FnOnce() -> AbortHandle) {
        let mut state = self.inner.state.lock();
        state.known.entry(id.clone()).or_default().work = Some(Work::UnderWay(None));
        let task = spawn();
        state.running.insert(id.clone(), task);
    }

    /// Whatever is under way for it is cut off; runtimes can take that.
    pub fn cut_off(&self, id: &InstanceId) {
        let mut state = self.inner.state.lock();
        if let Some(task) = state.running.remove(id) {
            task.abort();
        }
        if let Some(known) = state.known.get_mut(id) {
            known.work = None;
        }
    }

    pub fn ended(&self, id: &InstanceId, work: Option<Work>) {
        self.inner.state.lock().known.entry(id.clone()).or_default().work = work;
        self.wake();
    }

    pub fn failed(&self, id: &InstanceId, fault: Fault, at: Timestamp) {
        self.ended(id, Some(Work::Failed { fault, at }));
    }

    /// Its download moves.
    pub fn progress(&self, id: &InstanceId, message: String, at: Timestamp) {
        let mut state = self.inner.state.lock();
        let Some(known) = state.known.get_mut(id) else { return };
        known.work = Some(Work::UnderWay(Some(message)));
        known.moved = Some(at);
        drop(state);
        self.wake();
    }

    pub fn log_moved(&self, id: &InstanceId, at: Timestamp) {
        self.inner.state.lock().known.entry(id.clone()).or_default().moved = Some(at);
    }

    pub fn said(&self, id: &InstanceId, words: String) {
        let mut state = self.inner.state.lock();
        let known = state.known.entry(id.clone()).or_default();
        (known.last_words, known.work) = (Some(words), None);
        drop(state);
        self.wake();
    }

    /// What it serves, by its own words.
    pub fn serves(&self, id: &InstanceId, models: Option<Vec<String>>) {
        self.inner.state.lock().known.entry(id.clone()).or_default().models = models;
    }

    /// Wakes only when the answer is another than before.
    pub fn probed(&self, id: &InstanceId, probe: Probe) {
        let mut state = self.inner.state.lock();
        let known = state.known.entry(id.clone()).or_default();
        if known.probe.as_ref() != Some(&probe) {
            known.probe = Some(probe);
            drop(state);
            self.wake();
        }
    }

    /// An instance that does not run any more is not ready either.
    pub fn unprobed(&self, id: &InstanceId) {
        if let Some(known) = self.inner.state.lock().known.get_mut(id) {
            known.probe = None;
        }
    }

    pub fn volumes_work(&self, id: &DeploymentId, work: Work) {
        self.inner.state.lock().volumes.insert(id.clone(), work);
        self.wake();
    }
}
