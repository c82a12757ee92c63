//! How the instances of a version stand, and what is told of the version for it. Pure.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use super::plan::{Group, Plan, Step};
use super::seen::{RoutingProvider, Seen, Version};
use crate::domain::{DeploymentStatus as Status, ProviderStatus, Timestamp};

/// READY waits so long for the models to be discovered.
const DISCOVERY_WAIT_MAX: Duration = Duration::from_secs(10);
/// So many different reasons are told of replicas that are not ready.
const REASONS_MAX: usize = 2;

/// What is told of an instance that has just begun to run.
pub const STARTED: &str = "Created and starting";

/// How one replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is new; this is for those who hear of all replicas.
    Same(Cow<'static, str>),
    Ready {
        since: Timestamp,
        endpoint: SocketAddr,
    },
    Told(Status, String),
    /// It is on its way, and what is told moves.
    Moving(String),
}

impl Standing {
    pub fn same(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Same(text.into())
    }

    pub fn starting() -> Self {
        Self::same("Preparing to start")
    }

    /// It runs, and nothing is known of it yet.
    pub fn started() -> Self {
        Self::same(STARTED)
    }

    fn text(&self) -> &str {
        match self {
            Self::Same(text) => text,
            Self::Ready { .. } => "Ready",
            Self::Told(_, text) | Self::Moving(text) => text,
        }
    }
}

/// `standings` has each replica once, by its number.
pub fn tell(
    plan: &mut Plan,
    seen: &Seen,
    version: &Version,
    group: &Group<'_>,
    standings: &[(u32, Standing)],
) {
    match standings {
        [(_, standing)] => tell_one(plan, seen, version, group, standing),
        _ => tell_all(plan, seen, version, group, standings),
    }
}

fn tell_one(plan: &mut Plan, seen: &Seen, version: &Version, group: &Group<'_>, standing: &Standing) {
    match standing {
        Standing::Same(_) => {}
        Standing::Told(status, message) => plan.tell(version, *status, message.clone()),
        Standing::Moving(message) => {
            let subject = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
            tell_moving(plan, version, message.clone(), subject, 0);
        }
        Standing::Ready { since, endpoint } => {
            if can_be_reached(plan, seen, version, group, *since) {
                let message = format!("Running and ready at http://{endpoint}");
                plan.tell_ready(version, Status::Ready, message, Some(1));
            }
        }
    }
}

/// A figure that moves takes the place of the one before; any other news is news.
fn tell_moving(
    plan: &mut Plan,
    version: &Version,
    message: String,
    subject: impl Fn(&str) -> String,
    ready: u32,
) {
    let status = version.state.status;
    let moves = status == Status::Pending || (status == Status::Ready && ready > 0);
    let is_told = moves && version.ready_replicas.unwrap_or(0) == ready;
    if is_told && subject(&version.message) == subject(&message) {
        if version.message != message {
            plan.steps.push(Step::Progress { seen: version.state, message });
        }
        return;
    }
    let to = if ready > 0 { Status::Ready } else { Status::Pending };
    plan.tell_ready(version, to, message, Some(ready));
}

/// As soon as routes stand and models are known.
fn can_be_reached(
    plan: &mut Plan,
    seen: &Seen,
    version: &Version,
    group: &Group<'_>,
    since: Timestamp,
) -> bool {
    if group.routing.step.is_some() {
        return false;
    }
    let Some(provider) = seen.providers.get(&version.deployment) else { return false };
    let is_superfluous = group.routing.leads_to != Some(version.number);
    let due = since.after(DISCOVERY_WAIT_MAX);
    if is_superfluous || is_discovered(provider) || due <= seen.now {
        return true;
    }
    plan.wait_until(due, seen.now);
    false
}

fn is_discovered(provider: &RoutingProvider) -> bool {
    matches!(provider.status, ProviderStatus::Ready | ProviderStatus::Error)
}

fn tell_all(
    plan: &mut Plan,
    seen: &Seen,
    version: &Version,
    group: &Group<'_>,
    standings: &[(u32, Standing)],
) {
    let ready_since = standings.iter().filter_map(|(_, standing)| match standing {
        Standing::Ready { since, .. } => Some(*since),
        _ => None,
    });
    let ready = u32::try_from(ready_since.clone().count()).unwrap_or(u32::MAX);
    let is_failed = |standing: &Standing| matches!(standing, Standing::Told(Status::Error, _));
    let waits = standings.iter().any(|(_, it)| !matches!(it, Standing::Ready { .. }) && !is_failed(it));
    let count = format!("{ready} of {} ready", standings.len());
    let reasons = reasons(standings);
    let serves_not = group.routing.leads_to.is_some_and(|serving| serving != version.number);
    let is_newest = group.newest.is_some_and(|newest| newest.number == version.number);
    match ready_since.min() {
        Some(_) if serves_not && !is_newest => {}
        Some(_) if serves_not && group.routing.step.is_none() => {
            let to = if waits { Status::Pending } else { Status::Error };
            let message = format!("{count}; another version serves until all are{reasons}");
            plan.tell(version, to, message);
        }
        Some(since) => {
            if can_be_reached(plan, seen, version, group, since) {
                tell_moving(plan, version, format!("{count}{reasons}"), without_digits, ready);
            }
        }
        None if waits => tell_moving(plan, version, format!("{count}{reasons}"), without_digits, 0),
        None => plan.tell(version, Status::Error, format!("{count}{reasons}")),
    }
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Why replicas are not ready, those with the same reason together.
fn reasons(standings: &[(u32, Standing)]) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (replica, standing) in standings.iter().filter(|(_, it)| !matches!(it, Standing::Ready { .. })) {
        match reasons.iter_mut().find(|(text, _)| *text == standing.text()) {
            Some((_, replicas)) => replicas.push(replica.to_string()),
            None => reasons.push((standing.text(), vec![replica.to_string()])),
        }
    }
    let more = reasons.len().saturating_sub(REASONS_MAX);
    let mut told: String = reasons
        .iter()
        .take(REASONS_MAX)
        .map(|(text, replicas)| match replicas.as_slice() {
            [one] => format!(". Replica {one}: {text}"),
            several => format!(". Replicas {}: {text}", several.join(", ")),
        })
        .collect();
    if more > 0 {
        told.push_str(&format!(". And {more} more reasons"));
    }
    told
}
