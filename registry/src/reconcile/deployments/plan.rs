//! What to do about deployments, from what was seen. Pure: it is told the time.
//!
//! What must stay true:
//! - A plan of what it leads to is empty: a step is planned only while it would change something.
//! - An instance is recorded before it is started, and its record goes after it. No id is used twice.
//! - Routes lead to an instance only while it is ready, and are gone before it is stopped.
//! - Of a runtime that can't be asked nothing is concluded. What nobody recorded is never touched.
//! - A GPU is given to one instance, until nothing of it is left.
//! - What is told of a version follows from its instances, so a step that was cut off loses no word.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ending;
use super::gpus::{self, Pool, Room};
use super::routing::{self, Led, Routing};
use super::seen::{Listing, Seen, Version, Wanted};
use super::slots;
use super::tend;
use crate::domain::deployment::REPLACED_BY;
use crate::domain::observed::SeenState;
use crate::domain::provider::STATUS_MESSAGE_CHARS_MAX;
use crate::domain::{DeploymentStatus, Timestamp};
use crate::runtime::{DeploymentId, InstanceId};
use crate::store::instances::{Intent, Mark, RecordKey, RuntimeKind};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is ours from now on.
    Accept {
        seen: SeenState,
        runtime: RuntimeKind,
    },
    /// Brings a version into a state, or the same state with another message.
    Tell {
        seen: SeenState,
        to: DeploymentStatus,
        message: String,
        /// How many of its instances take requests; absent: as many as before.
        ready: Option<u32>,
    },
    /// The state is the same, and got further: the message takes the place of the one before.
    Progress {
        seen: SeenState,
        message: String,
    },
    Intend {
        seen: SeenState,
        intent: Intent,
    },
    /// An instance that ended makes way for the next try.
    Replace {
        seen: SeenState,
        old: RecordKey,
        intent: Intent,
    },
    /// A start that may succeed later is put off.
    Retry {
        seen: SeenState,
        record: RecordKey,
        failures: u32,
        at: Timestamp,
        message: String,
    },
    /// What still runs of it is stopped; what ended stays, for its log.
    GiveUp {
        seen: SeenState,
        record: RecordKey,
        stop: bool,
        message: String,
    },
    Mark(RecordKey, Mark),
    Forget(RecordKey),
    /// Leads the routes of a deployment there, or (`None`) takes them out of rotation.
    Route {
        version: SeenState,
        deployment: DeploymentId,
        to: Option<Led>,
    },
    /// The rest takes its time, and is done off the loop.
    Launch {
        seen: SeenState,
        id: InstanceId,
        gpus: Vec<String>,
        runtime: RuntimeKind,
    },
    Stop {
        id: InstanceId,
        runtime: RuntimeKind,
    },
    ReadLastWords {
        id: InstanceId,
        runtime: RuntimeKind,
    },
    RemoveVolumes {
        deployment: DeploymentId,
        runtime: RuntimeKind,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// When something will be due that is not yet.
    pub look_again_in: Option<Duration>,
}

impl Plan {
    /// Brings a version into a state in which none of its instances takes requests, unless it is in it.
    pub fn tell(&mut self, version: &Version, to: DeploymentStatus, message: impl Into<String>) {
        self.tell_ready(version, to, message, Some(0));
    }

    /// The same, with how many take requests; absent: as many as before.
    pub fn tell_ready(
        &mut self,
        version: &Version,
        to: DeploymentStatus,
        message: impl Into<String>,
        ready: Option<u32>,
    ) {
        let message: String = message.into().chars().take(STATUS_MESSAGE_CHARS_MAX).collect();
        let is_told = (version.state.status, &version.message) == (to, &message);
        if !is_told || ready.is_some_and(|ready| version.ready_replicas != Some(ready)) {
            self.steps.push(Step::Tell { seen: version.state, to, message, ready });
        }
    }

    pub fn wait_until(&mut self, at: Timestamp, now: Timestamp) {
        let left = at.since(now);
        self.look_again_in = Some(self.look_again_in.map_or(left, |known| known.min(left)));
    }
}

pub fn plan(seen: &Seen) -> Plan {
    let mut plan = Plan::default();
    let mut pool = Pool::new(seen);
    for versions in seen.versions.chunk_by(|one, other| one.deployment == other.deployment) {
        group(&mut plan, seen, &mut pool, versions);
    }
    plan
}

pub fn is_alive(version: &Version) -> bool {
    !matches!(version.state.status, DeploymentStatus::Deleting | DeploymentStatus::Deleted)
}

/// All versions of one deployment, the oldest first, and what was found out about them together.
pub struct Group<'g> {
    pub versions: &'g [Version],
    /// That is to run.
    pub newest: Option<&'g Version>,
    pub routing: Routing,
    /// Instances that are too many.
    pub surplus: BTreeSet<RecordKey>,
    pub room: Room,
}

impl<'g> Group<'g> {
    fn new(seen: &Seen, pool: &Pool, versions: &'g [Version]) -> Self {
        let newest = versions.iter().rev().find(|version| is_alive(version));
        let room = gpus::room(seen, pool, versions);
        let keep = |version: &Version| match (&version.wanted, room) {
            (_, Room::Shrink { seq, keep }) if seq == version.state.seq => keep,
            (Ok(wanted), _) => usize::try_from(wanted.replicas).unwrap_or(usize::MAX),
            (Err(_), _) => usize::MAX,
        };
        let alive = versions.iter().filter(|version| is_alive(version));
        let surplus = alive.flat_map(|version| slots::surplus(seen, version, keep(version))).collect();
        Self { versions, newest, routing: routing::decide(seen, versions, &surplus), surplus, room }
    }
}

fn group(plan: &mut Plan, seen: &Seen, pool: &mut Pool, versions: &[Version]) {
    let group = Group::new(seen, pool, versions);
    plan.steps.extend(group.routing.step.clone());
    for version in versions {
        match (version.runtime, group.newest) {
            (None, _) if !is_alive(version) => {}
            (None, _) if !version.is_untouched => {}
            (_, Some(newest)) if is_alive(version) && version.number < newest.number => {
                if !superseded(plan, version, newest, &group.routing) {
                    tend::tend(plan, seen, pool, version, &group);
                }
            }
            _ if is_alive(version) => accept_or_tend(plan, seen, pool, version, &group),
            (Some(runtime), _) => ending::wind_down(plan, seen, version, versions, runtime),
            (None, _) => {}
        }
    }
}

/// An older version goes when the newest has its routes, and when it serves nothing and never did.
fn superseded(plan: &mut Plan, version: &Version, newest: &Version, routing: &Routing) -> bool {
    let is_replaced =
        routing.leads_to == Some(newest.number) && newest.state.status == DeploymentStatus::Ready;
    let may_serve_again = version.records.iter().any(|record| record.is_current() && record.ready.is_some());
    let is_unused = routing.leads_to != Some(version.number) && !routing.is_unsure && !may_serve_again;
    if is_replaced || is_unused {
        plan.tell(version, DeploymentStatus::Deleting, format!("{REPLACED_BY} {}", newest.number));
    }
    is_replaced || is_unused
}

fn accept_or_tend(plan: &mut Plan, seen: &Seen, pool: &mut Pool, version: &Version, group: &Group<'_>) {
    if version.runtime.is_some() {
        return tend::tend(plan, seen, pool, version, group);
    }
    let wanted: &Wanted = match &version.wanted {
        Ok(wanted) => wanted,
        Err(why) => return plan.tell(version, DeploymentStatus::Error, why.clone()),
    };
    match seen.listing(wanted.runtime) {
        Listing::Absent(why) => plan.tell(version, DeploymentStatus::Error, why),
        Listing::Here(_) | Listing::Away(_) => {
            plan.steps.push(Step::Accept { seen: version.state, runtime: wanted.runtime });
        }
    }
}

#[cfg(test)]
mod tests;
