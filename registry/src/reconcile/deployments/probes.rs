//! Probes: one small task for each instance that runs. One that hangs delays no other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::task::JoinSet;

use super::memory::Memory;
use super::seen::Probe;
use super::work::now;
use crate::discovery::{Failure, get_models, get_status};
use crate::runtime::{InstanceId, LogQuery};
use crate::store::instances::RuntimeKind;

use super::Runtimes;

/// A probe of what was never ready: from connecting to the answer's head.
const LOADING_TIMEOUT: Duration = Duration::from_secs(5);
/// While it loads: soon at first, for what is ready at once.
const LOADING_FIRST: Duration = Duration::from_millis(20);
const LOADING_MAX: Duration = Duration::from_secs(2);
/// Between two probes of an instance that is ready.
pub const READY_INTERVAL: Duration = Duration::from_secs(3);
/// After a probe of a ready instance that got no answer.
const DOUBT_INTERVAL: Duration = Duration::from_millis(500);
/// What gets ready is asked for its models; routes don't wait longer for the answer.
const MODELS_TIMEOUT: Duration = Duration::from_secs(2);
/// While it loads, its log is looked at this often.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// Looking at a log ends then.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// What is probed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub endpoint: SocketAddr,
    pub path: String,
    pub runtime: RuntimeKind,
}

/// How silence of what was ready is judged.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// One probe, from connecting to the answer's head.
    pub timeout: Duration,
    /// Between two probes.
    pub interval: Duration,
    /// So many probes in a row without an answer, and it is not ready.
    pub silent_max: u32,
}

pub struct Prober {
    patience: Patience,
    tasks: JoinSet<()>,
    targets: BTreeMap<InstanceId, (Target, tokio::task::AbortHandle)>,
}

impl Prober {
    pub fn new(patience: Patience) -> Self {
        Self { patience, tasks: JoinSet::new(), targets: BTreeMap::new() }
    }

    /// Probes exactly these from now on.
    pub fn sync(&mut self, wanted: &BTreeMap<InstanceId, Target>, memory: &Memory, runtimes: &Runtimes) {
        while self.tasks.try_join_next().is_some() {}
        self.targets.retain(|id, (target, task)| {
            let stays = wanted.get(id) == Some(target);
            if !stays {
                task.abort();
                memory.unprobed(id);
            }
            stays
        });
        for (id, target) in wanted {
            if !self.targets.contains_key(id) {
                let watch =
                    watch(id.clone(), target.clone(), self.patience, memory.clone(), runtimes.clone());
                let task = self.tasks.spawn(watch);
                self.targets.insert(id.clone(), (target.clone(), task));
            }
        }
    }
}

async fn watch(id: InstanceId, target: Target, patience: Patience, memory: Memory, runtimes: Runtimes) {
    let (mut pause, mut silent, mut is_ready) = (LOADING_FIRST, 0, false);
    let mut log = LogWatch::default();
    loop {
        let timeout = if is_ready { patience.timeout } else { LOADING_TIMEOUT };
        let wait = match get_status(target.endpoint, &target.path, timeout).await {
            Ok(status) if status.is_success() => {
                if !is_ready {
                    memory.serves(&id, get_models(target.endpoint, MODELS_TIMEOUT).await);
                }
                (is_ready, silent) = (true, 0);
                memory.probed(&id, Probe::Ready);
                patience.interval
            }
            Err(failure) if is_ready && silent + 1 < patience.silent_max && failure != Failure::Refused => {
                silent += 1;
                DOUBT_INTERVAL
            }
            other => {
                (is_ready, silent) = (false, 0);
                memory.probed(&id, Probe::NotReady(why_not(other)));
                log.look(&id, &target, &memory, &runtimes).await;
                pause = (pause * 3 / 2).min(LOADING_MAX);
                pause
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn why_not(answer: Result<http::StatusCode, Failure>) -> String {
    match answer {
        Ok(status) => format!("answers {}", status.as_u16()),
        // What has not bound its port yet, and what cuts the connection, look alike behind a proxy.
        Err(Failure::Refused | Failure::Protocol) => "does not answer yet".into(),
        Err(failure) => failure.to_string(),
    }
}

/// Tells a start that gets on from one that hangs.
#[derive(Default)]
struct LogWatch {
    last: Option<String>,
    looked: Option<tokio::time::Instant>,
}

impl LogWatch {
    async fn look(&mut self, id: &InstanceId, target: &Target, memory: &Memory, runtimes: &Runtimes) {
        if self.looked.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        self.looked = Some(tokio::time::Instant::now());
        let Some(runtime) = runtimes.get(target.runtime) else { return };
        let last = async {
            let mut lines = runtime.logs(id, LogQuery::last(1)).await.ok()?;
            lines.next().await?.ok()
        };
        let Ok(last) = tokio::time::timeout(LOG_TIMEOUT, last).await else { return };
        if last.is_some() && last != self.last {
            self.last = last;
            memory.log_moved(id, now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::runtime::DeploymentId;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Answers, but for those connections of which `hangs` says that nothing comes. Counts them.
    async fn server(hangs: fn(usize) -> bool) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let nth = counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 1024]).await;
                    if hangs(nth) {
                        return std::future::pending().await;
                    }
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                });
            }
        });
        (address, asked)
    }

    fn watched(endpoint: SocketAddr) -> (Memory, InstanceId) {
        let deployment = DeploymentId::new("default", "llama").unwrap();
        let id = InstanceId { deployment, version: 1, replica: 0, incarnation: 1 };
        let target = Target { endpoint, path: "/ready".into(), runtime: RuntimeKind::Process };
        let interval = Duration::from_millis(10);
        let patience = Patience { timeout: Duration::from_millis(100), interval, silent_max: 2 };
        let memory = Memory::default();
        tokio::spawn(watch(id.clone(), target, patience, memory.clone(), Runtimes::default()));
        (memory, id)
    }

    async fn until(memory: &Memory, mut holds: impl FnMut(Option<Probe>) -> bool, id: &InstanceId) {
        let looking = async {
            while !holds(memory.known().get(id).and_then(|known| known.probe.clone())) {
                memory.changed().await;
            }
        };
        tokio::time::timeout(DEADLINE, looking).await.unwrap();
    }

    /// The first two connections: readiness, and the models.
    #[tokio::test]
    async fn what_accepts_and_answers_nothing_is_not_ready_after_so_many_probes() {
        let (address, asked) = server(|nth| nth > 3).await;
        let (memory, id) = watched(address);
        until(&memory, |probe| probe == Some(Probe::Ready), &id).await;
        until(&memory, |probe| matches!(probe, Some(Probe::NotReady(_))), &id).await;
        assert_eq!(asked.load(Ordering::Relaxed), 6, "four that answered, two in a row that did not");
    }

    #[tokio::test]
    async fn one_probe_without_an_answer_changes_nothing() {
        let (address, asked) = server(|nth| nth > 3 && nth % 2 == 0).await;
        let (memory, id) = watched(address);
        until(&memory, |probe| probe == Some(Probe::Ready), &id).await;
        let looking = async {
            while asked.load(Ordering::Relaxed) < 9 {
                let probe = memory.known().get(&id).and_then(|known| known.probe.clone());
                assert_eq!(probe, Some(Probe::Ready));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, looking).await.unwrap();
    }
}
