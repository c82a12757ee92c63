//! A world of values: it takes steps as the store and a runtime would, and checks each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::sample::Index;

use super::super::super::routing::Led;
use super::super::super::seen::{
    Known, Listing, Probe, RoutingProvider, Seen, Version, Wanted, Work, host_url,
};
use super::super::super::slots;
use super::super::{Plan, Step, is_alive, plan};
use crate::domain::deployment::may_become;
use crate::domain::observed::SeenState;
use crate::domain::{DeploymentStatus as Status, ProviderStatus, Timestamp};
use crate::runtime::{DeploymentId, Fault, FaultKind, Gpu, Instance, InstanceId, Phase};
use crate::store::instances::{Ending, Mark, Record, RecordKey, RuntimeKind};
use std::time::Duration;

pub const NAMES: [&str; 2] = ["llama", "qwen"];
const GPUS: u32 = 3;
/// More plans in a row than any chain of events needs.
const PLANS_MAX: usize = 60;

fn wanted(version: &Version) -> usize {
    version.wanted.as_ref().map_or(0, |wanted| usize::try_from(wanted.replicas).unwrap())
}

#[derive(Debug, Clone)]
pub enum Event {
    Order { name: usize, gpus: u32, replicas: u32 },
    Scale { name: usize, replicas: u32 },
    Drained(Index),
    Delete { name: usize },
    GetsReady(Index),
    GetsUnready(Index),
    Exits(Index, i32),
    Vanishes(Index),
    RuntimeIsAway(bool),
    StartsFail(bool),
    TimePasses(u64),
    Restart,
}

#[derive(Debug)]
pub struct World {
    seen: Seen,
    instances: BTreeMap<InstanceId, Instance>,
    used: BTreeSet<InstanceId>,
    is_away: bool,
    starts_fail: bool,
    next: i64,
}

impl World {
    pub fn new() -> Self {
        let gpu = |index| Gpu {
            index,
            uuid: format!("GPU-{index}"),
            name: String::new(),
            memory_total_mib: 1,
            memory_used_mib: 0,
        };
        let seen = Seen {
            gpus: Some((0..GPUS).map(gpu).collect()),
            drain_timeout: Duration::from_secs(20),
            ..Seen::default()
        };
        Self {
            seen,
            instances: BTreeMap::new(),
            used: BTreeSet::new(),
            is_away: false,
            starts_fail: false,
            next: 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.seen.versions.is_empty() && self.seen.providers.is_empty()
    }

    pub fn running(&self) -> usize {
        self.instances.len()
    }

    pub fn routed(&self) -> usize {
        let leads = |provider: &RoutingProvider| {
            self.instances.values().any(|instance| match instance.phase {
                Phase::Running { endpoint: Some(endpoint), .. } => provider.leads_to(endpoint),
                _ => false,
            })
        };
        self.seen.providers.values().filter(|provider| leads(provider)).count()
    }

    /// The replicas that run.
    pub fn replicas(&self) -> Vec<u32> {
        self.instances.keys().map(|id| id.replica).collect()
    }

    /// Of the first deployment.
    pub fn routed_versions(&self) -> Vec<u32> {
        let leads = |id: &InstanceId, endpoint| {
            self.seen.providers.get(&id.deployment).is_some_and(|provider| provider.leads_to(endpoint))
        };
        let routed = self.instances.values().filter_map(|instance| match instance.phase {
            Phase::Running { endpoint: Some(endpoint), .. } if leads(&instance.id, endpoint) => {
                Some(instance.id.version)
            }
            _ => None,
        });
        routed.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub fn drains(&mut self, replica: u32) {
        let id = self.instances.keys().find(|id| id.replica == replica).unwrap().clone();
        self.seen.drained.insert(id);
    }

    pub fn gets_unready(&mut self, replica: u32) {
        let id = self.instances.keys().find(|id| id.replica == replica).unwrap().clone();
        self.known(id).probe = Some(Probe::NotReady("answers 503".into()));
    }

    pub fn one_gets_ready(&mut self, version: u32) {
        let id = self.instances.keys().find(|id| id.version == version).unwrap().clone();
        self.known(id).probe = Some(Probe::Ready);
    }

    /// How many instances routes lead to.
    pub fn addresses(&self) -> usize {
        self.seen.providers.values().filter(|it| !it.withheld).map(|it| it.instances.len()).sum()
    }

    /// The message of the newest version.
    pub fn message(&self) -> &str {
        self.seen.versions.last().map_or("", |version| &version.message)
    }

    pub fn all_get_ready(&mut self) {
        for id in self.instances.keys().cloned().collect::<Vec<_>>() {
            self.known(id).probe = Some(Probe::Ready);
        }
    }

    fn number(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    pub fn happens(&mut self, event: Event) {
        match event {
            Event::Order { name, gpus, replicas } => self.order(NAMES[name], gpus, replicas),
            Event::Scale { name, replicas } => self.scale(NAMES[name], replicas),
            Event::Drained(which) => {
                if let Some(id) = self.pick(which) {
                    self.seen.drained.insert(id);
                }
            }
            Event::Delete { name } => {
                let since = Timestamp(self.number());
                for version in self.of(NAMES[name]) {
                    (version.state.status, version.state.since) = (Status::Deleting, since);
                }
            }
            Event::GetsReady(which) => self.probed(which, Probe::Ready),
            Event::GetsUnready(which) => self.probed(which, Probe::NotReady("answers 503".into())),
            Event::Exits(which, code) => {
                if let Some(id) = self.pick(which) {
                    let phase = Phase::Exited { code: Some(code), oom_killed: false, at: None };
                    self.instances.get_mut(&id).unwrap().phase = phase;
                    self.seen.known.entry(id).or_default().probe = None;
                }
            }
            Event::Vanishes(which) => {
                if let Some(id) = self.pick(which) {
                    self.instances.remove(&id);
                    self.seen.known.entry(id).or_default().probe = None;
                }
            }
            Event::RuntimeIsAway(away) => self.is_away = away,
            Event::StartsFail(fail) => self.starts_fail = fail,
            Event::TimePasses(seconds) => self.seen.now = self.seen.now.after(Duration::from_secs(seconds)),
            Event::Restart => {
                self.seen.known.clear();
                self.seen.volumes.clear();
            }
        }
    }

    fn of<'w>(&'w mut self, name: &'w str) -> impl Iterator<Item = &'w mut Version> {
        self.seen.versions.iter_mut().filter(move |version| version.deployment.deployment() == name)
    }

    fn scale(&mut self, name: &str, replicas: u32) {
        let since = Timestamp(self.number());
        let Some(version) = self.of(name).filter(|version| is_alive(version)).last() else { return };
        if let Ok(wanted) = &mut version.wanted {
            wanted.replicas = replicas;
        }
        if version.state.status == Status::Error && version.runtime.is_some() {
            (version.state.status, version.state.since) = (Status::Pending, since);
        }
    }

    fn order(&mut self, name: &str, gpus: u32, replicas: u32) {
        let last = self.of(name).map(|version| (version.number, is_alive(version))).last();
        let Some((number, status)) = (match last {
            None => Some((1, Status::Created)),
            Some((last, true)) => Some((last + 1, Status::Pending)),
            // A name is free again when nothing is left of it.
            Some((_, false)) => None,
        }) else {
            return;
        };
        let seq = self.number();
        self.used.retain(|id| id.deployment.deployment() != name || number > 1);
        let wanted = Wanted {
            runtime: RuntimeKind::Docker,
            gpus,
            replicas,
            health_path: "/ready".into(),
            metrics_path: "/metrics",
            startup: Duration::from_secs(600),
        };
        self.seen.versions.push(Version {
            state: SeenState { seq, status, since: Timestamp(seq) },
            message: "ordered".into(),
            deployment: DeploymentId::new("default", name).unwrap(),
            number,
            is_untouched: true,
            runtime: None,
            wanted: Ok(wanted),
            records: Vec::new(),
            tries: 0,
            ready_replicas: None,
        });
        self.seen
            .versions
            .sort_by(|one, two| (&one.deployment, one.number).cmp(&(&two.deployment, two.number)));
    }

    fn pick(&self, which: Index) -> Option<InstanceId> {
        let running = self.instances.values().filter(|it| matches!(it.phase, Phase::Running { .. }));
        let running: Vec<_> = running.map(|instance| instance.id.clone()).collect();
        (!running.is_empty()).then(|| which.get(&running).clone())
    }

    fn probed(&mut self, which: Index, probe: Probe) {
        if let Some(id) = self.pick(which) {
            self.seen.known.entry(id).or_default().probe = Some(probe);
        }
    }

    /// Plans until a plan is empty.
    pub fn settles(&mut self) {
        for _ in 0..PLANS_MAX {
            self.looks();
            let Plan { steps, .. } = plan(&self.seen);
            if steps.is_empty() {
                return self.check_rest();
            }
            steps.into_iter().for_each(|step| self.take(step));
        }
        panic!("it never comes to rest: {self:#?}");
    }

    fn looks(&mut self) {
        self.seen.versions.retain(|version| version.state.status != Status::Deleted);
        // What the other planner does: routes of what is on its way out, and what nothing here ever ran.
        let alive: BTreeSet<_> =
            self.seen.versions.iter().filter(|it| is_alive(it)).map(|it| it.deployment.clone()).collect();
        self.seen.providers.retain(|deployment, _| alive.contains(deployment));
        self.seen.versions.retain(|version| is_alive(version) || version.runtime.is_some());
        let listing = match self.is_away {
            true => Listing::Away("docker can't be asked".into()),
            false => Listing::Here(self.instances.clone()),
        };
        self.seen.runtimes = BTreeMap::from([(RuntimeKind::Docker, listing)]);
    }

    fn check_rest(&self) {
        for version in self.seen.versions.iter().filter(|version| !self.is_away && is_alive(version)) {
            let running = version.records.iter().filter(|record| record.is_current()).count();
            assert!(running <= wanted(version), "{version:#?}");
        }
    }

    /// The version, if it is still as it was seen.
    fn unchanged(&mut self, seen: SeenState) -> Option<&mut Version> {
        self.seen.versions.iter_mut().find(|version| version.state == seen)
    }

    fn tell(&mut self, seen: SeenState, to: Status, message: String, ready: Option<u32>) {
        let since = Timestamp(self.number());
        let Some(version) = self.unchanged(seen) else { return };
        assert!(may_become(version.state.status, to), "{version:?} to {to:?}");
        (version.state.status, version.state.since, version.message) = (to, since, message);
        version.is_untouched = false;
        version.ready_replicas = ready.or(version.ready_replicas);
    }

    fn record(&mut self, key: RecordKey) -> (&mut Record, InstanceId) {
        let version = self.seen.versions.iter_mut().find(|it| it.state.seq == key.deployment).unwrap();
        let index = version.records.iter().position(|record| record.key == key).unwrap();
        let id = version.instance(&version.records[index]);
        (&mut version.records[index], id)
    }

    fn insert(&mut self, seen: SeenState, intent: super::super::Intent) -> bool {
        let now = self.seen.now;
        let Some(version) = self.unchanged(seen) else { return false };
        let record = Record {
            key: intent.key,
            gpus: intent.gpus,
            failures: intent.failures,
            created: now,
            retry_at: intent.retry_at,
            message: intent.message,
            launched: None,
            ready: None,
            failed: false,
            ending: None,
        };
        let id = version.instance(&record);
        version.records.push(record);
        version.tries = version.tries.max(intent.key.incarnation);
        assert!(self.used.insert(id.clone()), "{id} is used twice");
        true
    }

    fn cut_off(&mut self, id: &InstanceId) {
        if let Some(known) = self.seen.known.get_mut(id) {
            known.work = None;
        }
    }

    fn known(&mut self, id: InstanceId) -> &mut Known {
        self.seen.known.entry(id).or_default()
    }

    fn take(&mut self, step: Step) {
        let now = self.seen.now;
        match step {
            Step::Accept { seen, runtime } => {
                if let Some(version) = self.unchanged(seen) {
                    version.runtime = Some(runtime);
                }
                self.tell(seen, Status::Pending, "accepted".into(), None);
            }
            Step::Tell { seen, to, message, ready } => self.tell(seen, to, message, ready),
            Step::Progress { seen, message } => {
                assert!(matches!(seen.status, Status::Pending | Status::Ready));
                self.tell(seen, seen.status, message, None);
            }
            Step::Intend { seen, intent } => {
                self.insert(seen, intent);
                let Some(version) = self.unchanged(seen) else { return };
                assert!(slots::holders(version).len() <= wanted(version), "too many: {version:#?}");
            }
            Step::Replace { seen, old, intent } => {
                if self.insert(seen, intent) {
                    self.end(old);
                }
            }
            Step::Retry { seen, record, failures, at, message } => {
                if self.unchanged(seen).is_some() {
                    let (record, id) = self.record(record);
                    (record.failures, record.retry_at, record.message) = (failures, Some(at), Some(message));
                    self.cut_off(&id);
                }
            }
            Step::GiveUp { seen, record, stop, message } => {
                if self.unchanged(seen).is_some() {
                    let given_up = self.record(record).0;
                    (given_up.failed, given_up.message) = (true, Some(message));
                    if stop {
                        self.end(record);
                    }
                }
            }
            Step::Mark(key, mark) => {
                let (record, id) = self.record(key);
                match mark {
                    Mark::Launched => record.launched = Some(now),
                    Mark::Ready => record.ready = Some(now),
                    Mark::Failed => record.failed = true,
                    Mark::Retry { .. } => panic!("a step of its own"),
                    Mark::Ending(at) => {
                        record.ending = Some(Ending { at, generation: 1 });
                        self.cut_off(&id);
                    }
                }
            }
            Step::Forget(key) => {
                let (_, id) = self.record(key);
                assert!(!self.instances.contains_key(&id), "{id} is forgotten and runs");
                let version =
                    self.seen.versions.iter_mut().find(|it| it.state.seq == key.deployment).unwrap();
                version.records.retain(|record| record.key != key);
                self.seen.known.remove(&id);
            }
            Step::Route { version, deployment, to } => self.route(version, deployment, to),
            Step::Launch { seen, id, gpus, .. } => self.launch(seen, id, gpus),
            Step::Stop { id, .. } => self.stop(id),
            Step::ReadLastWords { id, .. } => self.known(id).last_words = Some("bye".into()),
            Step::RemoveVolumes { deployment, .. } => drop(self.seen.volumes.insert(deployment, Work::Done)),
        }
    }

    fn end(&mut self, key: RecordKey) {
        let now = self.seen.now;
        let (record, id) = self.record(key);
        record.ending = Some(Ending { at: now, generation: 1 });
        self.cut_off(&id);
    }

    fn route(&mut self, version: SeenState, deployment: DeploymentId, to: Option<Led>) {
        if self.unchanged(version).is_none() {
            return;
        }
        let Some(Led { host_url, instances, .. }) = to else {
            self.seen.providers.get_mut(&deployment).unwrap().withheld = true;
            return;
        };
        assert!(instances.contains(&host_url));
        for url in &instances {
            assert!(self.is_ready(url), "{url} is routed and not ready: {self:#?}");
        }
        let provider =
            RoutingProvider { host_url, instances, status: ProviderStatus::Ready, withheld: false };
        self.seen.providers.insert(deployment, provider);
    }

    fn is_ready(&self, url: &str) -> bool {
        self.instances.values().any(|instance| {
            let Phase::Running { endpoint: Some(endpoint), .. } = instance.phase else { return false };
            let probe = self.seen.known.get(&instance.id).and_then(|known| known.probe.as_ref());
            // Before anybody asked, what was said before holds.
            host_url(endpoint) == url && probe.is_none_or(|probe| *probe == Probe::Ready)
        })
    }

    fn launch(&mut self, seen: SeenState, id: InstanceId, gpus: Vec<String>) {
        assert!(!self.instances.contains_key(&id), "{id} is started twice");
        if self.unchanged(seen).is_none_or(|version| !is_alive(version)) {
            return;
        }
        if self.starts_fail {
            let (fault, at) = (Fault::new(FaultKind::Engine, "no"), self.seen.now);
            self.known(id).work = Some(Work::Failed { fault, at });
            return;
        }
        let live = self.instances.values().filter(|it| matches!(it.phase, Phase::Running { .. }));
        let held: BTreeSet<_> = live.flat_map(|instance| &instance.gpus).collect();
        assert!(gpus.iter().all(|gpu| !held.contains(gpu)), "{id}: {gpus:?} are taken: {self:#?}");
        let port = 10_000 + u16::try_from(self.number() % 50_000).unwrap();
        let endpoint = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let phase = Phase::Running { endpoint, since: self.seen.now };
        let (spec_digest, image_digest) = (String::new(), None);
        self.instances.insert(id.clone(), Instance { id, phase, spec_digest, image_digest, gpus });
    }

    fn stop(&mut self, id: InstanceId) {
        assert!(!self.is_away, "nothing is asked of what can't be asked");
        if let Some(Instance { phase: Phase::Running { endpoint: Some(endpoint), .. }, .. }) =
            self.instances.get(&id)
        {
            let provider = self.seen.providers.get(&id.deployment);
            assert!(
                provider.is_none_or(|provider| !provider.leads_to(*endpoint)),
                "{id} is routed and stopped"
            );
        }
        self.instances.remove(&id);
        self.known(id).work = Some(Work::Done);
    }
}
