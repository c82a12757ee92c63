//! What all connections of one simulated server share.

use crate::catalog::Catalog;
use crate::fault::{Fault, FaultError, Scope};
use crate::loras::{self, LoraError};
use crate::options::SimOptions;
use crate::record::Recorder;
use crate::script::Script;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Counters of one simulated server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub open_connections: u64,
    pub accepted_connections: u64,
    pub in_flight: u64,
    pub answered: u64,
    /// Requests whose client left before the end of the answer.
    pub cancelled: u64,
}

pub(crate) struct Shared {
    pub catalog: RwLock<Catalog>,
    pub recorder: Arc<Recorder>,
    pub script: Script,
    pub token_gap: Duration,
    pub api_key: Option<String>,
    pub open_connections: Arc<AtomicU64>,
    pub accepted_connections: AtomicU64,
    pub created_s: u64,
    started: Instant,
    ready_after: Duration,
    ready_override: Mutex<Option<bool>>,
    /// Requests that it says wait in it.
    pub waiting: AtomicU64,
    fault: Mutex<Fault>,
}

impl Shared {
    pub fn new(options: &SimOptions) -> Result<Self, FaultError> {
        let fault = Fault::parse(options.fault.as_deref().unwrap_or_default(), Scope::Process)?;
        Ok(Self {
            catalog: RwLock::new(Catalog { models: options.models.clone(), loras: options.loras.clone() }),
            recorder: Recorder::new(),
            script: Script::default(),
            token_gap: Duration::from_millis(options.token_ms),
            api_key: options.api_key.clone(),
            open_connections: Arc::default(),
            accepted_connections: AtomicU64::new(0),
            created_s: now_s(),
            started: Instant::now(),
            ready_after: Duration::from_millis(options.ready_after_ms),
            ready_override: Mutex::new(None),
            waiting: AtomicU64::new(0),
            fault: Mutex::new(fault),
        })
    }

    pub fn find_loras(&self, source: &Path) -> Result<(), LoraError> {
        let found = loras::scan(source)?;
        self.catalog.write().find_loras(source, &found);
        Ok(())
    }

    pub fn is_ready(&self) -> bool {
        self.ready_override.lock().unwrap_or_else(|| self.started.elapsed() >= self.ready_after)
    }

    pub fn set_ready(&self, ready: bool) {
        *self.ready_override.lock() = Some(ready);
    }

    pub fn set_fault(&self, spec: &str) -> Result<(), FaultError> {
        *self.fault.lock() = Fault::parse(spec, Scope::Process)?;
        Ok(())
    }

    /// The process's fault for a request, counted against its `times`.
    pub fn fault_for(&self, target: &str) -> Fault {
        self.take_fault(|fault| {
            !fault.refuse && fault.path.as_deref().is_none_or(|path| target.starts_with(path))
        })
        .unwrap_or_default()
    }

    /// Whether the next connection is to be closed at once.
    pub fn refuses(&self) -> bool {
        self.take_fault(|fault| fault.refuse).is_some()
    }

    fn take_fault(&self, concerns: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut fault = self.fault.lock();
        if !concerns(&fault) {
            return None;
        }
        if let Some(times) = fault.times {
            fault.times = Some(times.checked_sub(1)?);
        }
        Some(fault.clone())
    }

    pub fn stats(&self) -> Stats {
        Stats {
            open_connections: self.open_connections.load(Relaxed),
            accepted_connections: self.accepted_connections.load(Relaxed),
            in_flight: self.recorder.in_flight(),
            answered: self.recorder.answered(),
            cancelled: self.recorder.cancelled(),
        }
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(fault: &str) -> Shared {
        Shared::new(&SimOptions { fault: Some(fault.to_owned()), ..SimOptions::default() }).unwrap()
    }

    #[test]
    fn a_fault_with_times_runs_out() {
        let shared = shared("status=503,times=2");
        let hit = || shared.fault_for("/v1/models").status.is_some();
        assert_eq!([hit(), hit(), hit()], [true, true, false]);
    }

    #[test]
    fn a_fault_with_a_path_leaves_others_alone() {
        let shared = shared("status=503,path=/v1/chat");
        assert!(shared.fault_for("/v1/chat/completions").status.is_some());
        assert!(shared.fault_for("/v1/models").status.is_none());
    }

    #[test]
    fn readiness_can_be_taken_back() {
        let shared = shared("");
        assert!(shared.is_ready());
        shared.set_ready(false);
        assert!(!shared.is_ready());
    }
}
