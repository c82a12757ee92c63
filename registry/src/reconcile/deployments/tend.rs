//! One version of a deployment: what keeps its instances running. Pure.
//!
//! Each replica is looked after by itself, with its own tries; what is told of the version follows from all of them.

use std::time::Duration;

use super::ending::{self, Stays};
use super::gpus::{Pool, Room};
use super::plan::{Group, Plan, Step, is_alive};
use super::routing;
use super::seen::{Known, Listing, Probe, Seen, Version, Wanted, Work};
use super::slots;
use super::standing::{self, STARTED, Standing};
use crate::domain::DeploymentStatus as Status;
use crate::runtime::{Fault, FaultKind, InstanceId, Phase};
use crate::store::instances::{Intent, Mark, Record, RecordKey, RuntimeKind};

/// Tries in a row that may fail before a deployment is given up.
pub const RETRIES_MAX: u32 = 5;
/// Before the second try in a row; doubled with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(30);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// What was ready for this long starts anew with its tries.
const STEADY_AFTER: Duration = Duration::from_secs(600);

const STOPS_FIRST: &str = "No GPU is free for both: the older version stops before this one starts";

/// Before try `failures` (from 1) after so many failures in a row: the first comes at once.
pub fn backoff(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => BACKOFF_FIRST.saturating_mul(1 << (more - 2).min(16)).min(BACKOFF_MAX),
    }
}

/// A version that is to run.
pub fn tend(plan: &mut Plan, seen: &Seen, pool: &mut Pool, version: &Version, group: &Group<'_>) {
    let Some(runtime) = version.runtime else { return };
    let listing = match seen.listing(runtime) {
        listing @ Listing::Here(_) => listing,
        Listing::Away(why) | Listing::Absent(why) => return away(plan, version, &why),
    };
    let holders = slots::holders(version);
    let stays = |record: &Record| {
        let holds = holders.iter().any(|holder| holder.key == record.key);
        if holds && !group.surplus.contains(&record.key) { Stays::Record } else { Stays::Nothing }
    };
    for record in version.records.iter().filter(|record| record.ending.is_some()) {
        ending::finish(plan, seen, version, record, runtime, stays(record));
    }
    for record in holders.iter().filter(|record| group.surplus.contains(&record.key)) {
        if record.ending.is_none() && !routing::is_routed(seen, version, record) {
            ending::let_go(plan, seen, record);
        }
    }
    let Ok(wanted) = &version.wanted else { return };
    if version.state.status == Status::Error && !holders.iter().any(|record| record.is_current()) {
        return;
    }
    let tries = version.tries;
    let mut look = Look { plan, seen, version, group, wanted, runtime, listing: &listing, tries };
    let mut standings = Vec::new();
    for record in holders.iter().filter(|record| !group.surplus.contains(&record.key)) {
        standings.push((record.key.replica, look.stands(record)));
    }
    let count = usize::try_from(wanted.replicas).unwrap_or(usize::MAX);
    for replica in slots::missing(version, &group.surplus, count) {
        let standing = look.begin(pool, replica);
        standings.push((replica, standing));
    }
    standing::tell(plan, seen, version, group, &standings);
}

fn away(plan: &mut Plan, version: &Version, why: &str) {
    let ran = version.records.iter().any(|record| record.launched.is_some());
    match (ran, version.state.status) {
        (_, Status::Error) => {}
        (true, _) => {
            let message =
                format!("{why}. What runs goes on running, and is left as it is until it can be asked again");
            plan.tell_ready(version, Status::Unknown, message, None);
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
    group: &'l Group<'l>,
    wanted: &'l Wanted,
    runtime: RuntimeKind,
    listing: &'l Listing,
    /// The number of the last try.
    tries: u32,
}

impl Look<'_> {
    /// Nothing of this replica is there yet.
    fn begin(&mut self, pool: &mut Pool, replica: u32) -> Standing {
        let newest = self.group.newest;
        let steps_in = newest.is_some_and(|newest| newest.state.status == Status::Error)
            && self.group.routing.leads_to == Some(self.version.number);
        let is_newest = newest.is_some_and(|newest| newest.number == self.version.number);
        if self.version.state.status == Status::Error || !(is_newest || steps_in) {
            return Standing::same("Not started: the deployment failed, or a newer version of it starts");
        }
        let gpus = match self.gpus(pool) {
            Ok(gpus) => gpus,
            Err(waits) => return waits,
        };
        let intent = Intent { key: self.next_key(replica), gpus, failures: 0, retry_at: None, message: None };
        self.plan.steps.push(Step::Intend { seen: self.version.state, intent });
        Standing::starting()
    }

    /// The GPUs it gets, if there are enough; else what it waits for.
    fn gpus(&mut self, pool: &mut Pool) -> Result<Vec<String>, Standing> {
        let wanted = self.wanted.gpus;
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let short = match pool.take(wanted) {
            Ok(gpus) => return Ok(gpus),
            Err(short) => short,
        };
        let is_beside = self.older().any(is_alive);
        let waits = |message: &str| Err(Standing::Told(Status::Pending, message.into()));
        let needed = usize::try_from(wanted).unwrap_or(usize::MAX);
        if short.has < needed {
            let message = format!(
                "It wants {wanted} GPU(s), and this host has {}: ask for fewer (gpu, --gpus; 0 for none), or deploy it \
                 where there are more, or use a hosted model (nimgate provider create). GPUs are found with nvidia-smi: is \
                 the NVIDIA driver installed?",
                short.has
            );
            return Err(Standing::Told(Status::Error, message));
        }
        let has_begun = self.version.records.iter().any(|record| record.is_current())
            || self.plan.steps.iter().any(|step| self.begins(step));
        match self.group.room {
            Room::Coming | Room::Shrink { .. } if is_beside => waits(
                "No GPU is free for both: an instance of the older version stops before this one starts",
            ),
            Room::Coming | Room::Shrink { .. } => waits(STOPS_FIRST),
            Room::AsItIs if !has_begun && short.free + self.held_by_older() >= needed => {
                self.stop_older();
                waits(STOPS_FIRST)
            }
            Room::AsItIs => waits(&short.why(wanted)),
        }
    }

    fn begins(&self, step: &Step) -> bool {
        matches!(step, Step::Intend { seen, .. } if *seen == self.version.state)
    }

    fn older(&self) -> impl Iterator<Item = &Version> {
        self.group.versions.iter().filter(|one| one.number < self.version.number)
    }

    fn held_by_older(&self) -> usize {
        self.older().flat_map(|version| &version.records).map(|record| record.gpus.len()).sum()
    }

    fn stop_older(&mut self) {
        let number = self.version.number;
        let versions = self.group.versions.iter().filter(|one| one.number < number);
        for version in versions.filter(|version| is_alive(version) && version.runtime.is_some()) {
            let message = format!("Stopped to free its GPUs for version {number}");
            self.plan.tell(version, Status::Deleting, message);
        }
    }

    /// An id that nothing has or had, recorded or not.
    fn next_key(&mut self, replica: u32) -> RecordKey {
        let listed = match self.listing {
            Listing::Here(instances) => instances
                .keys()
                .filter(|id| id.deployment == self.version.deployment && id.version == self.version.number)
                .map(|id| id.incarnation)
                .max(),
            Listing::Away(_) | Listing::Absent(_) => None,
        };
        self.tries = self.tries.max(listed.unwrap_or(0)).saturating_add(1);
        RecordKey { deployment: self.version.state.seq, replica, incarnation: self.tries }
    }

    /// It is recorded: it is started, watched, and made again.
    fn stands(&mut self, record: &Record) -> Standing {
        if record.failed {
            return match &record.message {
                Some(message) => Standing::Told(Status::Error, message.clone()),
                None => Standing::same("Given up"),
            };
        }
        let id = self.version.instance(record);
        let known = self.seen.known.get(&id).cloned().unwrap_or_default();
        if let Some(Work::Failed { fault, .. }) = &known.work {
            return self.failed_to_start(record, fault);
        }
        match self.listing.find(&id).map(|instance| &instance.phase) {
            None if record.launched.is_some() => self.vanished(record),
            None | Some(Phase::Created) => self.start(record, &id, &known),
            Some(Phase::Running { endpoint: None, .. }) => Standing::Told(
                Status::Pending,
                "It runs, and nothing leads to it: its network was taken away".into(),
            ),
            Some(Phase::Running { endpoint: Some(endpoint), .. }) => self.running(record, &known, *endpoint),
            Some(Phase::Exited { code, oom_killed, .. }) => {
                let how = how_it_ended(*code, *oom_killed);
                self.exited(record, &id, &known, &how)
            }
        }
    }

    fn start(&mut self, record: &Record, id: &InstanceId, known: &Known) -> Standing {
        if let Some(at) = record.retry_at.filter(|at| *at > self.seen.now) {
            self.plan.wait_until(at, self.seen.now);
            return match &record.message {
                Some(message) if self.version.message != *message => {
                    Standing::Told(Status::Pending, message.clone())
                }
                Some(message) => Standing::same(message.clone()),
                None => Standing::starting(),
            };
        }
        if let Some(Work::UnderWay(message)) = &known.work {
            if let Some(given_up) = self.check_patience(record, known, false) {
                return given_up;
            }
            return Standing::Moving(message.clone().unwrap_or_else(|| "Preparing to start".into()));
        }
        let (seen, id, gpus) = (self.version.state, id.clone(), record.gpus.clone());
        self.plan.steps.push(Step::Launch { seen, id, gpus, runtime: self.runtime });
        Standing::starting()
    }

    fn running(&mut self, record: &Record, known: &Known, endpoint: std::net::SocketAddr) -> Standing {
        if record.launched.is_none() {
            self.plan.steps.push(Step::Mark(record.key, Mark::Launched));
            return Standing::Told(Status::Pending, STARTED.into());
        }
        let path = &self.wanted.health_path;
        match (&known.probe, record.ready) {
            (Some(Probe::Ready), None) => {
                self.plan.steps.push(Step::Mark(record.key, Mark::Ready));
                Standing::started()
            }
            (Some(Probe::Ready), Some(since)) => Standing::Ready { since, endpoint },
            (Some(Probe::NotReady(why)), Some(_)) => {
                let message = format!("Not ready any more: {path} {why}. Out of rotation until it is");
                Standing::Told(Status::Pending, message)
            }
            (Some(Probe::NotReady(why)), None) => {
                let loading = Standing::Moving(format!("Loading: {path} {why}"));
                self.check_patience(record, known, true).unwrap_or(loading)
            }
            // Nobody asked it yet: what stands holds.
            (None, Some(since)) if routing::is_routed(self.seen, self.version, record) => {
                Standing::Ready { since, endpoint }
            }
            (None, Some(_)) => Standing::same("It is asked whether it is ready"),
            (None, None) => Standing::started(),
        }
    }

    /// What it comes to when nothing moves for too long.
    fn check_patience(&mut self, record: &Record, known: &Known, is_running: bool) -> Option<Standing> {
        let begun = [Some(record.created), record.retry_at, record.launched, known.moved];
        let last = begun.into_iter().flatten().max().unwrap_or(record.created);
        let deadline = last.after(self.wanted.startup);
        if deadline > self.seen.now {
            self.plan.wait_until(deadline, self.seen.now);
            return None;
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
        Some(self.give_up(record, true, message))
    }

    fn give_up(&mut self, record: &Record, stop: bool, message: String) -> Standing {
        let (seen, record) = (self.version.state, record.key);
        self.plan.steps.push(Step::GiveUp { seen, record, stop, message: message.clone() });
        Standing::Told(Status::Error, message)
    }

    fn failed_to_start(&mut self, record: &Record, fault: &Fault) -> Standing {
        // What it serves was changed between two tries at making it: half of the one before is there.
        if fault.kind == FaultKind::SpecConflict {
            return self.again(record, Status::Pending, &fault.message);
        }
        let failures = record.failures.saturating_add(1);
        if !fault.kind.is_transient() || (failures > RETRIES_MAX && fault.kind != FaultKind::Unavailable) {
            return self.give_up(record, true, fault.message.clone());
        }
        // The first failure to start is no reason to hurry.
        let wait = backoff(failures.saturating_add(1));
        let at = self.seen.now.after(wait);
        let message = format!("{}; {}", fault.message, next_try(failures, wait));
        let (seen, record, told) = (self.version.state, record.key, message.clone());
        let failures = failures.min(RETRIES_MAX);
        self.plan.steps.push(Step::Retry { seen, record, failures, at, message });
        Standing::Told(Status::Pending, told)
    }

    fn vanished(&mut self, record: &Record) -> Standing {
        self.again(record, Status::Lost, "Its container is gone: somebody removed it")
    }

    fn exited(&mut self, record: &Record, id: &InstanceId, known: &Known, how: &str) -> Standing {
        let Some(words) = &known.last_words else {
            if !matches!(known.work, Some(Work::UnderWay(_))) {
                self.plan.steps.push(Step::ReadLastWords { id: id.clone(), runtime: self.runtime });
            }
            return Standing::same(how.to_owned());
        };
        let words =
            if words.is_empty() { "It printed nothing.".into() } else { format!("Its last words:\n{words}") };
        match record.ready {
            None => self.give_up(record, false, format!("{how} before it was ready. {words}")),
            Some(_) => self.again(record, Status::Pending, &format!("{how}. {words}")),
        }
    }

    /// It was there once, and is made again; unless that was tried often enough.
    fn again(&mut self, record: &Record, to: Status, what: &str) -> Standing {
        let now = self.seen.now;
        let was_steady = record.ready.is_some_and(|since| now.since(since) >= STEADY_AFTER);
        let failures = if was_steady { 1 } else { record.failures.saturating_add(1) };
        if failures > RETRIES_MAX {
            return self.give_up(record, true, format!("Given up after {RETRIES_MAX} tries. {what}"));
        }
        let wait = backoff(failures);
        let message = format!("{} {what}", sentence(&next_try(failures, wait)));
        let intent = Intent {
            key: self.next_key(record.key.replica),
            gpus: record.gpus.clone(),
            failures,
            retry_at: (!wait.is_zero()).then(|| now.after(wait)),
            message: Some(message.clone()),
        };
        let (seen, old) = (self.version.state, record.key);
        self.plan.steps.push(Step::Replace { seen, old, intent });
        Standing::Told(to, message)
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
