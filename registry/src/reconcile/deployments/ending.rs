//! What brings a version of a deployment, or one instance of it, to its end. Pure.

use std::time::Duration;

use super::plan::{Plan, Step, is_alive};
use super::routing;
use super::seen::{Listing, Seen, Version, Work};
use crate::domain::DeploymentStatus as Status;
use crate::store::instances::{Mark, Record, RuntimeKind};

/// After a stop that failed, the next try comes this much later.
const STOP_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A version that goes: routes, then what they led to, then what only it used.
pub fn wind_down(
    plan: &mut Plan,
    seen: &Seen,
    version: &Version,
    versions: &[Version],
    runtime: RuntimeKind,
) {
    if version.state.status != Status::Deleting {
        return;
    }
    if let (Listing::Away(why) | Listing::Absent(why), false) =
        (seen.listing(runtime), version.records.is_empty())
    {
        return plan.tell(
            version,
            Status::Deleting,
            format!("{why}. It is stopped as soon as that can be asked again"),
        );
    }
    for record in &version.records {
        match record.ending {
            Some(_) => finish(plan, seen, version, record, runtime, Stays::Nothing),
            // The step that takes the route away comes first.
            None if routing::is_routed(seen, version, record) => {}
            None => let_go(plan, seen, record),
        }
    }
    if version.records.is_empty() {
        delete(plan, seen, version, versions, runtime);
    }
}

fn delete(plan: &mut Plan, seen: &Seen, version: &Version, versions: &[Version], runtime: RuntimeKind) {
    let is_needed = |other: &Version| {
        other.state.seq != version.state.seq && (is_alive(other) || !other.records.is_empty())
    };
    if versions.iter().any(is_needed) {
        return plan.tell(version, Status::Deleted, "Deployment version deleted");
    }
    match seen.volumes.get(&version.deployment) {
        Some(Work::Done) => {
            plan.tell(version, Status::Deleted, "Deployment deleted: its containers and volumes are gone")
        }
        Some(Work::UnderWay(_)) => {}
        Some(Work::Failed { fault, at }) if at.after(STOP_AGAIN_AFTER) > seen.now => {
            plan.wait_until(at.after(STOP_AGAIN_AFTER), seen.now);
            plan.tell(version, Status::Deleting, fault.message.clone());
        }
        Some(Work::Failed { .. }) | None => {
            let deployment = version.deployment.clone();
            plan.steps.push(Step::RemoveVolumes { deployment, runtime });
        }
    }
}

/// Routes don't lead to it any more: it is stopped once what it is at is done, or its time is over.
pub fn let_go(plan: &mut Plan, seen: &Seen, record: &Record) {
    let is_at_work = record.ready.is_some() && !record.failed;
    let drain = if is_at_work { seen.drain_timeout } else { Duration::ZERO };
    plan.steps.push(Step::Mark(record.key, Mark::Ending(seen.now.after(drain))));
}

/// What is left of an instance that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stays {
    Nothing,
    /// Its record says that it was given up.
    Record,
}

/// An instance that is to be stopped: after its drain, until nothing of it is left.
pub fn finish(
    plan: &mut Plan,
    seen: &Seen,
    version: &Version,
    record: &Record,
    runtime: RuntimeKind,
    stays: Stays,
) {
    let id = version.instance(record);
    let work = seen.known.get(&id).and_then(|known| known.work.as_ref());
    let Some(ending) = record.ending else { return };
    let is_running = routing::endpoint(seen, version, record).is_some();
    if ending.at > seen.now && is_running && !seen.drained.contains(&id) {
        return plan.wait_until(ending.at, seen.now);
    }
    match (work, seen.listing(runtime)) {
        (_, Listing::Away(_) | Listing::Absent(_)) => {}
        (Some(Work::Failed { at, .. }), _) if at.after(STOP_AGAIN_AFTER) > seen.now => {
            plan.wait_until(at.after(STOP_AGAIN_AFTER), seen.now);
        }
        (Some(Work::Done), listing) if listing.find(&id).is_none() => match stays {
            Stays::Nothing => plan.steps.push(Step::Forget(record.key)),
            Stays::Record => {}
        },
        (Some(Work::UnderWay(_)), _) => {}
        _ => plan.steps.push(Step::Stop { id, runtime }),
    }
}
