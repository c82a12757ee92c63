//! Ending processes: the whole group, and whatever left it but still carries the token.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::{Instant, sleep, timeout_at};

use super::super::id::InstanceId;
use super::super::{Fault, FaultKind};
use super::Inner;
use super::identity::{Identity, with_token};
use super::record::{self, State};

const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the kernel may take for a SIGKILL: a process that waits for a device stays until it answers.
const KILL_WAIT_MAX: Duration = Duration::from_secs(20);

impl Inner {
    pub(super) async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), Fault> {
        let folder = self.folder(id);
        // A start that is under way is waited for.
        let record = {
            let _changing = self.changing.lock().await;
            record::read(&folder)?
        };
        if let Some(record) = record {
            let leader = match record.state {
                State::Running { identity, .. } => Some(identity),
                State::Starting => with_token(&record.token).first().and_then(|pid| Identity::of(*pid)),
                State::Exited(_) => None,
            };
            end(leader.as_ref(), &record.token, grace).await.map_err(|kind| cannot_stop(id, kind))?;
        }
        let _changing = self.changing.lock().await;
        record::remove_folder(folder).await?;
        self.wake();
        Ok(())
    }
}

async fn end(leader: Option<&Identity>, token: &str, grace: Duration) -> Result<(), FaultKind> {
    signal(leader, token, Signal::TERM)?;
    if gone(leader, token, Instant::now() + grace).await {
        return Ok(());
    }
    signal(leader, token, Signal::KILL)?;
    if gone(leader, token, Instant::now() + KILL_WAIT_MAX).await { Ok(()) } else { Err(FaultKind::Engine) }
}

fn signal(leader: Option<&Identity>, token: &str, signal: Signal) -> Result<(), FaultKind> {
    let group = leader.filter(|leader| leader.is_alive()).and_then(|leader| Pid::from_raw(leader.pid));
    if let Some(group) = group {
        sent(kill_process_group(group, signal))?;
    }
    // One that is in the group was told already; being told twice to terminate could mean "now".
    let told = group.map_or(0, |group| group.as_raw_nonzero().get());
    let left = with_token(token).into_iter().filter(|&pid| group_of(pid) != Some(told));
    for pid in left.filter_map(Pid::from_raw) {
        sent(kill_process(pid, signal))?;
    }
    Ok(())
}

fn group_of(pid: i32) -> Option<i32> {
    super::identity::stat(pid).map(|stat| stat.group)
}

fn sent(result: rustix::io::Result<()>) -> Result<(), FaultKind> {
    match result {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) => Err(FaultKind::PermissionDenied),
        Err(_) => Err(FaultKind::Engine),
    }
}

/// Whether all of it is gone in time: first the leader, then what it left behind.
async fn gone(leader: Option<&Identity>, token: &str, deadline: Instant) -> bool {
    if let Some(leader) = leader
        && timeout_at(deadline, leader.gone(POLL_INTERVAL)).await.is_err()
    {
        return false;
    }
    while !with_token(token).is_empty() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL_INTERVAL).await;
    }
    true
}

fn cannot_stop(id: &InstanceId, kind: FaultKind) -> Fault {
    let why = match kind {
        FaultKind::PermissionDenied => "it runs as another user, and only root may signal it",
        _ => "the kernel does not let go of it; a device or a network disk may hang",
    };
    Fault::new(kind, format!("{id} can't be stopped: {why}"))
}
