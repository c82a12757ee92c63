//! What the instances of a deployment print, as one stream of lines.
//!
//! What must stay true:
//! - However long logs and lines are, a reader holds a few pieces of them; whoever reads slowly slows reading down.
//! - A line goes out only after the secrets of its deployment were blotted out of it.
//! - An instance is read once. What is followed takes in instances that come later, and ends with the deployment.
//!
//! Absent on purpose: an order between instances. Each has its lines in order; clocks are not compared.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, SelectAll, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::launching::{self, Asked};
pub use super::work::now;
use crate::Registry;
use crate::domain::redact::Redactor;
use crate::domain::{Deployment, DeploymentStatus};
use crate::error::Error;
use crate::runtime::{DeploymentId, Fault, FaultKind, InstanceId, LogQuery, TAIL_LINES_MAX};
use crate::server::stopped;
use crate::store::instances::{self, Recorded};
use crate::store::{StoreError, deployments};

/// Whether instances came or went is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Lines that are passed on together when they are there already.
const CHUNK_LINES_MAX: usize = 32;

/// Whole lines, in pieces. Ends early when the registry stops.
pub type Pieces = BoxStream<'static, Bytes>;

/// The log of the deployment `workspace/name`.
pub async fn read(
    registry: Registry,
    workspace: String,
    name: String,
    query: LogQuery,
    mut stop: watch::Receiver<bool>,
) -> Result<Pieces, Error> {
    let permit = Arc::clone(&registry.inner.log_readers).try_acquire_owned();
    let permit = permit.map_err(|_| StoreError::Busy)?;
    let mut reader = Reader::new(registry, workspace, name, query, permit);
    let (deployment, recorded) = reader.look().await?;
    if recorded.is_empty() && !is_coming(&deployment) {
        return Err(nothing_here(&deployment));
    }
    reader.take_in(&recorded).await?;
    if !query.follow {
        let lines = stream::iter(std::mem::take(&mut reader.open)).flatten();
        return Ok(chunks(lines.map(move |line| reader.written(line)).boxed()));
    }
    let lines = stream::unfold(reader, async |mut reader| Some((reader.next_line().await?, reader)));
    let until = async move { stopped(&mut stop).await };
    Ok(chunks(lines.take_until(Box::pin(until)).boxed()))
}

fn is_coming(deployment: &Deployment) -> bool {
    matches!(deployment.lifecycle.status(), DeploymentStatus::Created | DeploymentStatus::Pending)
}

/// It never started, it is gone, or a controller elsewhere runs it.
fn nothing_here(deployment: &Deployment) -> Error {
    let Deployment { workspace, name, lifecycle, .. } = deployment;
    let (status, message) = (lifecycle.status().as_str(), lifecycle.message());
    let said = if message.is_empty() { String::new() } else { format!(": {message}") };
    Error::Conflict(format!("Deployment '{workspace}/{name}' has no log here. It is {status}{said}"))
}

fn chunks(lines: BoxStream<'static, String>) -> Pieces {
    lines.ready_chunks(CHUNK_LINES_MAX).map(|lines| Bytes::from(lines.concat())).boxed()
}

/// A line, and which instance printed it.
type Lines = BoxStream<'static, (Place, String)>;
/// Version and replica.
type Place = (u32, u32);

struct Reader {
    registry: Registry,
    workspace: String,
    name: String,
    query: LogQuery,
    open: SelectAll<Lines>,
    taken: BTreeSet<InstanceId>,
    places: BTreeSet<Place>,
    look_at: Instant,
    is_gone: bool,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    fn new(
        registry: Registry,
        workspace: String,
        name: String,
        query: LogQuery,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            registry,
            workspace,
            name,
            query,
            open: SelectAll::new(),
            taken: BTreeSet::new(),
            places: BTreeSet::new(),
            look_at: Instant::now() + LOOK_INTERVAL,
            is_gone: false,
            _permit: permit,
        }
    }

    async fn look(&mut self) -> Result<(Deployment, Vec<Recorded>), Error> {
        let (workspace, name) = (self.workspace.clone(), self.name.clone());
        let found = self.registry.inner.store.read(move |connection| {
            let deployment = deployments::get(connection, &workspace, &name, None)?;
            Ok((deployment, instances::of_deployment(connection, &workspace, &name)?))
        });
        found.await
    }

    /// Begins to read what is not read yet. What has not begun to run comes with a later look.
    async fn take_in(&mut self, recorded: &[Recorded]) -> Result<(), Error> {
        let Ok(deployment) = DeploymentId::new(&self.workspace, &self.name) else { return Ok(()) };
        for record in recorded {
            let Recorded { key, version, runtime } = *record;
            let (replica, incarnation) = (key.replica, key.incarnation);
            let id = InstanceId { deployment: deployment.clone(), version, replica, incarnation };
            if self.taken.contains(&id) {
                continue;
            }
            let Some(runtime) = self.registry.inner.runtimes.get(runtime) else { continue };
            let lines = match runtime.logs(&id, self.query).await {
                Ok(lines) => lines,
                Err(fault) if fault.kind == FaultKind::InstanceNotFound => continue,
                Err(fault) => return Err(Error::Unavailable(fault.message)),
            };
            let redactor = self.redactor(&deployment, key.deployment).await?;
            let place = (version, replica);
            let lines = lines.map(move |line| (place, told(line, &redactor)));
            self.open.push(lines.boxed());
            self.places.insert(place);
            self.taken.insert(id);
        }
        Ok(())
    }

    async fn redactor(&mut self, deployment: &DeploymentId, seq: i64) -> Result<Redactor, Error> {
        let config = self.registry.inner.store.read(move |read| instances::config_of(read, seq)).await?;
        let asked = Asked::of(config).ok();
        Ok(launching::redactor(&self.registry, deployment, asked.as_ref()).await)
    }

    /// The next line of what is followed; none when there will be no more.
    async fn next_line(&mut self) -> Option<String> {
        loop {
            if self.is_gone && self.open.is_empty() {
                return None;
            }
            tokio::select! {
                Some(line) = self.open.next() => return Some(self.written(line)),
                () = tokio::time::sleep_until(self.look_at) => self.look_again().await,
            }
        }
    }

    /// What can't be looked at now is looked at later.
    async fn look_again(&mut self) {
        // All of what an instance prints that comes while somebody reads.
        self.query = LogQuery { tail: TAIL_LINES_MAX, since: None, ..self.query };
        match self.look().await {
            Ok((deployment, recorded)) => {
                self.is_gone = deployment.lifecycle.status() == DeploymentStatus::Deleted;
                if let Err(error) = self.take_in(&recorded).await {
                    tracing::debug!(%error, "a log can't be followed; trying again");
                }
            }
            Err(Error::NotFound(_)) => self.is_gone = true,
            Err(error) => tracing::debug!(%error, "a log can't be followed; trying again"),
        }
        self.look_at = Instant::now() + LOOK_INTERVAL;
    }

    /// As it goes out: with its instance, once there were several.
    fn written(&self, (place, line): (Place, String)) -> String {
        let (version, replica) = place;
        if self.places.len() > 1 { format!("[v{version}/{replica}] {line}\n") } else { format!("{line}\n") }
    }
}

/// A log that breaks off says so in its place.
fn told(line: Result<String, Fault>, redactor: &Redactor) -> String {
    match line {
        Ok(line) => redactor.redact(&line),
        Err(fault) => format!("[nimgate] the log breaks off here: {fault}"),
    }
}
