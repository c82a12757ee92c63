//! One version of a deployment: what keeps it running, and what brings it to its end. Pure.

use std::time::Duration;

use super::gpus::Pool;
use super::plan::{Plan, Step, is_alive};
use super::routing::{self, Routing};
use super::seen::{Known, Listing, Probe, RoutingProvider, Seen, Version, Wanted, Work};
use crate::domain::{DeploymentStatus as Status, ProviderStatus, Timestamp};
use crate::runtime::{Fault, FaultKind, InstanceId, Phase};
use crate::store::instances::{Intent, Mark, Record, RecordKey, RuntimeKind};

/// Tries in a row that may fail before a deployment is given up.
pub const RETRIES_MAX: u32 = 5;
/// Before the second try in a row; doubled with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(30);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// What was ready for this long starts anew with its tries.
const STEADY_AFTER: Duration = Duration::from_secs(600);
/// What requests under way get to end once the routes are gone.
pub const DRAIN: Duration = Duration::from_secs(5);
/// After a stop that failed, the next try comes this much later.
const STOP_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// READY waits so long for the models to be discovered.
const DISCOVERY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Before try `failures` (from 1) after so many failures in a row: the first comes at once.
pub fn backoff(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => BACKOFF_FIRST.saturating_mul(1 << (more - 2).min(16)).min(BACKOFF_MAX),
    }
}

/// A version that is to run.
pub fn tend(
    plan: &mut Plan,
    seen: &Seen,
    pool: &mut Pool,
    version: &Version,
    versions: &[Version],
    routing: &Routing,
) {
    let Some(runtime) = version.runtime else { return };
    let listing = match seen.listing(runtime) {
        listing @ Listing::Here(_) => listing,
        Listing::Away(why) | Listing::Absent(why) => return away(plan, version, &why),
    };
    for record in version.records.iter().filter(|record| record.ending.is_some()) {
        finish(plan, seen, version, record, runtime);
    }
    let Ok(wanted) = &version.wanted else { return };
    let mut look = Look { plan, seen, version, routing, wanted, runtime, listing: &listing };
    match version.records.iter().rev().find(|record| record.ending.is_none()) {
        Some(record) if record.failed => {}
        Some(record) => look.keep(record),
        None if version.state.status == Status::Error => {}
        None => look.begin(pool, versions),
    }
}

fn away(plan: &mut Plan, version: &Version, why: &str) {
    let ran = version.records.iter().any(|record| record.launched.is_some());
    match (ran, version.state.status) {
        (_, Status::Error) => {}
        (true, _) => {
            let message =
                format!("{why}. What runs goes on running, and is left as it is until it can be asked again");
            plan.tell(version, Status::Unknown, message);
        }
        (false, _) => {
            plan.tell(version, Status::Pending, format!("{why}. It starts as soon as it can be asked again"))
        }
    }
}

struct Look<'l> {
    plan: &'l mut Plan,
    seen: &'l Seen,
    version: &'l Version,
    routing: &'l Routing,
    wanted: &'l Wanted,
    runtime: RuntimeKind,
    listing: &'l Listing,
}

impl Look<'_> {
    fn known(&self, id: &InstanceId) -> Known {
        self.seen.known.get(id).cloned().unwrap_or_default()
    }

    fn tell(&mut self, to: Status, message: impl Into<String>) {
        self.plan.tell(self.version, to, message);
    }

    /// Nothing of it is there yet.
    fn begin(&mut self, pool: &mut Pool, versions: &[Version]) {
        let gpus = match self.gpus(pool, versions) {
            Some(gpus) => gpus,
            None => return,
        };
        let intent = Intent { key: self.next_key(), gpus, failures: 0, retry_at: None };
        self.plan.steps.push(Step::Intend { seen: self.version.state, intent });
    }

    /// The GPUs it gets, if there are enough; else it is told what it waits for.
    fn gpus(&mut self, pool: &mut Pool, versions: &[Version]) -> Option<Vec<String>> {
        let wanted = self.wanted.gpus;
        if wanted == 0 {
            return Some(Vec::new());
        }
        let short = match pool.take(wanted) {
            Ok(gpus) => return Some(gpus),
            Err(short) => short,
        };
        let older = || versions.iter().filter(|one| one.number < self.version.number);
        let held = |version: &Version| version.records.iter().map(|record| record.gpus.len()).sum::<usize>();
        let freed: usize = older().map(held).sum();
        let needed = usize::try_from(wanted).unwrap_or(usize::MAX);
        if short.has < needed {
            let message = format!(
                "It wants {wanted} GPU(s), and this host has {}: ask for fewer (gpu), or deploy it where there are more. \
                 GPUs are found with nvidia-smi",
                short.has
            );
            self.tell(Status::Error, message);
        } else if short.free + freed >= needed {
            let number = self.version.number;
            self.tell(
                Status::Pending,
                "No GPU is free for both: the older version stops before this one starts",
            );
            for version in older().filter(|version| is_alive(version) && version.runtime.is_some()) {
                self.plan.tell(
                    version,
                    Status::Deleting,
                    format!("Stopped to free its GPUs for version {number}"),
                );
            }
        } else {
            self.tell(Status::Pending, short.why(wanted));
        }
        None
    }

    /// An id that nothing has or had, recorded or not.
    fn next_key(&self) -> RecordKey {
        let recorded = self.version.records.iter().map(|record| record.key.incarnation);
        let listed = match self.listing {
            Listing::Here(instances) => instances
                .keys()
                .filter(|id| id.deployment == self.version.deployment && id.version == self.version.number)
                .map(|id| id.incarnation)
                .max(),
            Listing::Away(_) | Listing::Absent(_) => None,
        };
        let incarnation = recorded.chain(listed).max().map_or(1, |last| last.saturating_add(1));
        RecordKey { deployment: self.version.state.seq, replica: 0, incarnation }
    }

    /// It is recorded: it is started, watched, and made again.
    fn keep(&mut self, record: &Record) {
        let id = self.version.instance(record);
        let known = self.known(&id);
        if let Some(Work::Failed { fault, .. }) = &known.work {
            return self.failed_to_start(record, fault);
        }
        match self.listing.find(&id).map(|instance| &instance.phase) {
            None if record.launched.is_some() => self.vanished(record),
            None | Some(Phase::Created) => self.start(record, &id, &known),
            Some(Phase::Running { endpoint, .. }) => match endpoint {
                Some(endpoint) => self.running(record, &known, &endpoint.to_string()),
                None => {
                    self.tell(Status::Pending, "It runs, and nothing leads to it: its network was taken away")
                }
            },
            Some(Phase::Exited { code, oom_killed, .. }) => {
                let how = how_it_ended(*code, *oom_killed);
                self.exited(record, &id, &known, &how);
            }
        }
    }

    fn start(&mut self, record: &Record, id: &InstanceId, known: &Known) {
        if let Some(at) = record.retry_at.filter(|at| *at > self.seen.now) {
            return self.plan.wait_until(at, self.seen.now);
        }
        let seen = self.version.state;
        match &known.work {
            Some(Work::UnderWay(message)) => {
                let message = message.clone().unwrap_or_else(|| "Preparing to start".into());
                self.progress(message);
                self.check_patience(record, known, false);
            }
            _ => {
                let (id, gpus) = (id.clone(), record.gpus.clone());
                self.plan.steps.push(Step::Launch { seen, id, gpus, runtime: self.runtime });
            }
        }
    }

    /// A figure that moves takes the place of the one before; any other news is news.
    fn progress(&mut self, message: String) {
        let subject = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
        if self.version.state.status == Status::Pending && subject(&self.version.message) == subject(&message)
        {
            if self.version.message != message {
                self.plan.steps.push(Step::Progress { seen: self.version.state, message });
            }
        } else {
            self.tell(Status::Pending, message);
        }
    }

    fn running(&mut self, record: &Record, known: &Known, endpoint: &str) {
        if record.launched.is_none() {
            self.plan.steps.push(Step::Mark(record.key, Mark::Launched));
            return self.tell(Status::Pending, "Container created and starting");
        }
        match (&known.probe, record.ready) {
            (Some(Probe::Ready), None) => self.plan.steps.push(Step::Mark(record.key, Mark::Ready)),
            (Some(Probe::Ready), Some(since)) => self.ready(since, endpoint),
            (Some(Probe::NotReady(why)), Some(_)) => {
                let path = &self.wanted.health_path;
                self.tell(
                    Status::Pending,
                    format!("Not ready any more: {path} {why}. Out of rotation until it is"),
                );
            }
            (Some(Probe::NotReady(why)), None) => {
                let path = &self.wanted.health_path;
                self.progress(format!("Loading: {path} {why}"));
                self.check_patience(record, known, true);
            }
            // Nobody asked it yet. What was said of it holds, unless that was that nothing is known.
            (None, Some(since)) if self.version.state.status == Status::Unknown => {
                self.ready(since, endpoint)
            }
            (None, _) => {}
        }
    }

    /// It can be reached as soon as its routes stand and its models are known.
    fn ready(&mut self, since: Timestamp, endpoint: &str) {
        if self.routing.step.is_some() {
            return;
        }
        let Some(provider) = self.seen.providers.get(&self.version.deployment) else { return };
        let is_superfluous = self.routing.leads_to != Some(self.version.number);
        let due = since.after(DISCOVERY_WAIT_MAX);
        if is_superfluous || is_discovered(provider) || due <= self.seen.now {
            self.tell(Status::Ready, format!("Running and ready at http://{endpoint}"));
        } else {
            self.plan.wait_until(due, self.seen.now);
        }
    }

    fn check_patience(&mut self, record: &Record, known: &Known, is_running: bool) {
        let begun = [Some(record.created), record.retry_at, record.launched, known.moved];
        let last = begun.into_iter().flatten().max().unwrap_or(record.created);
        let deadline = last.after(self.wanted.startup);
        if deadline > self.seen.now {
            return self.plan.wait_until(deadline, self.seen.now);
        }
        let (limit, path) = (self.wanted.startup.as_secs(), &self.wanted.health_path);
        let message = if is_running {
            format!(
                "Not ready within {limit} s: {path} never answered 200, and nothing moved in its log. Give it longer \
                 (startup_timeout_s), or look at its log"
            )
        } else {
            format!("Not started within {limit} s, and nothing moved: {}", self.version.message)
        };
        self.give_up(record, true, message);
    }

    fn give_up(&mut self, record: &Record, stop: bool, message: String) {
        let (seen, record) = (self.version.state, record.key);
        self.plan.steps.push(Step::GiveUp { seen, record, stop, message });
    }

    fn failed_to_start(&mut self, record: &Record, fault: &Fault) {
        let failures = record.failures.saturating_add(1);
        if !fault.kind.is_transient() || (failures > RETRIES_MAX && fault.kind != FaultKind::Unavailable) {
            return self.give_up(record, true, fault.message.clone());
        }
        // The first failure to start is no reason to hurry.
        let wait = backoff(failures.saturating_add(1));
        let at = self.seen.now.after(wait);
        let message = format!("{}; {}", fault.message, next_try(failures, wait));
        let (seen, record) = (self.version.state, record.key);
        self.plan.steps.push(Step::Retry { seen, record, failures: failures.min(RETRIES_MAX), at, message });
    }

    fn vanished(&mut self, record: &Record) {
        self.again(record, Status::Lost, "Its container is gone: somebody removed it");
    }

    fn exited(&mut self, record: &Record, id: &InstanceId, known: &Known, how: &str) {
        let Some(words) = &known.last_words else {
            if !matches!(known.work, Some(Work::UnderWay(_))) {
                self.plan.steps.push(Step::ReadLastWords { id: id.clone(), runtime: self.runtime });
            }
            return;
        };
        let words =
            if words.is_empty() { "It printed nothing.".into() } else { format!("Its last words:\n{words}") };
        match record.ready {
            None => self.give_up(record, false, format!("{how} before it was ready. {words}")),
            Some(_) => self.again(record, Status::Pending, &format!("{how}. {words}")),
        }
    }

    /// It was there once, and is made again; unless that was tried often enough.
    fn again(&mut self, record: &Record, to: Status, what: &str) {
        let now = self.seen.now;
        let was_steady = record.ready.is_some_and(|since| now.since(since) >= STEADY_AFTER);
        let failures = if was_steady { 1 } else { record.failures.saturating_add(1) };
        if failures > RETRIES_MAX {
            let message = format!("Given up after {RETRIES_MAX} tries. {what}");
            return self.give_up(record, true, message);
        }
        let wait = backoff(failures);
        let message = format!("{} {what}", sentence(&next_try(failures, wait)));
        let intent = Intent {
            key: self.next_key(),
            gpus: record.gpus.clone(),
            failures,
            retry_at: (!wait.is_zero()).then(|| now.after(wait)),
        };
        let (seen, old) = (self.version.state, record.key);
        self.plan.steps.push(Step::Replace { seen, old, intent, to, message });
    }
}

fn next_try(number: u32, wait: Duration) -> String {
    match wait.as_secs() {
        0 => format!("trying again now (try {number} of {RETRIES_MAX})"),
        seconds => format!("trying again in {seconds} s (try {number} of {RETRIES_MAX})"),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + chars.as_str() + ".")
        .unwrap_or_default()
}

fn how_it_ended(code: Option<i32>, oom_killed: bool) -> String {
    match (code, oom_killed) {
        (_, true) => "It ran out of memory and was killed".into(),
        (Some(code), false) => format!("It exited with code {code}"),
        (None, false) => "It exited".into(),
    }
}

fn is_discovered(provider: &RoutingProvider) -> bool {
    matches!(provider.status, ProviderStatus::Ready | ProviderStatus::Error)
}

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
            Some(_) => finish(plan, seen, version, record, runtime),
            // The step that takes the route away comes first.
            None if routing::is_routed(seen, version, record) => {}
            None => {
                let drain = if record.ready.is_some() && !record.failed { DRAIN } else { Duration::ZERO };
                plan.steps.push(Step::Mark(record.key, Mark::Ending(seen.now.after(drain))));
            }
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

/// An instance that is to be stopped: after its drain, until nothing of it is left.
fn finish(plan: &mut Plan, seen: &Seen, version: &Version, record: &Record, runtime: RuntimeKind) {
    let id = version.instance(record);
    let work = seen.known.get(&id).and_then(|known| known.work.as_ref());
    let Some(due) = record.ending else { return };
    if due > seen.now {
        return plan.wait_until(due, seen.now);
    }
    match (work, seen.listing(runtime)) {
        (_, Listing::Away(_) | Listing::Absent(_)) => {}
        (Some(Work::Failed { at, .. }), _) if at.after(STOP_AGAIN_AFTER) > seen.now => {
            plan.wait_until(at.after(STOP_AGAIN_AFTER), seen.now);
        }
        (Some(Work::Done), listing) if listing.find(&id).is_none() => {
            plan.steps.push(Step::Forget(record.key))
        }
        (Some(Work::UnderWay(_)), _) => {}
        _ => plan.steps.push(Step::Stop { id, runtime }),
    }
}
