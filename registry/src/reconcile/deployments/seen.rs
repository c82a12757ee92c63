//! What the planner of deployments sees in one look.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use proto_shared::snapshot::Watch;

use crate::domain::observed::SeenState;
use crate::domain::{ProviderStatus, Timestamp};
use crate::runtime::{DeploymentId, Fault, Gpu, Instance, InstanceId};
use crate::store::instances::{Record, RuntimeKind};

#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub now: Timestamp,
    /// In the order of deployments, and of each the oldest first.
    pub versions: Vec<Version>,
    /// Of deployments that were given one.
    pub providers: BTreeMap<DeploymentId, RoutingProvider>,
    pub runtimes: BTreeMap<RuntimeKind, Listing>,
    /// Of this host. Absent: nobody asked, as nobody needs one.
    pub gpus: Option<Vec<Gpu>>,
    pub known: BTreeMap<InstanceId, Known>,
    pub volumes: BTreeMap<DeploymentId, Work>,
    /// Of those that are on their way out: no gateway has a request under way there, or will have one.
    pub drained: BTreeSet<InstanceId>,
    /// What requests under way get to end once the routes are gone.
    pub drain_timeout: Duration,
}

/// One version of a deployment that is ours, or may become so.
#[derive(Debug, Clone)]
pub struct Version {
    pub state: SeenState,
    pub message: String,
    pub deployment: DeploymentId,
    pub number: u32,
    /// Nobody has said anything about it since it was made.
    pub is_untouched: bool,
    pub runtime: Option<RuntimeKind>,
    /// What its config asks for, or why that can't be had.
    pub wanted: Result<Wanted, String>,
    pub records: Vec<Record>,
    /// The number of its last try at an instance.
    pub tries: u32,
    /// As it was told last; absent: never.
    pub ready_replicas: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub runtime: RuntimeKind,
    /// Of each instance.
    pub gpus: u32,
    pub replicas: u32,
    pub health_path: String,
    pub metrics_path: &'static str,
    /// How long it may take to get ready while nothing moves.
    pub startup: Duration,
}

impl Wanted {
    /// Where its instances say how they are.
    pub fn watch(&self) -> Watch {
        Watch {
            health_path: Some(self.health_path.clone()),
            metrics_path: Some(self.metrics_path.to_owned()),
        }
    }
}

/// The provider through which a deployment is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingProvider {
    pub host_url: String,
    pub instances: Vec<String>,
    pub status: ProviderStatus,
    pub withheld: bool,
}

/// What a runtime says of its instances.
#[derive(Debug, Clone)]
pub enum Listing {
    Here(BTreeMap<InstanceId, Instance>),
    /// It can't be asked: nothing is known, and nothing may be concluded.
    Away(String),
    /// Nothing of the kind runs here.
    Absent(String),
}

/// What only this process knows of an instance. It is found out again after a restart.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub probe: Option<Probe>,
    /// What it said that it serves, when it got ready.
    pub models: Option<Vec<String>>,
    pub work: Option<Work>,
    /// The end of its log, once it ended.
    pub last_words: Option<String>,
    /// When its download or its log last moved.
    pub moved: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    Ready,
    /// Why not.
    NotReady(String),
}

/// Something that takes its time, off the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// With what there is to be told about it.
    UnderWay(Option<String>),
    Failed {
        fault: Fault,
        at: Timestamp,
    },
    Done,
}

impl Listing {
    pub fn find(&self, id: &InstanceId) -> Option<&Instance> {
        match self {
            Self::Here(instances) => instances.get(id),
            Self::Away(_) | Self::Absent(_) => None,
        }
    }
}

impl Version {
    pub fn instance(&self, record: &Record) -> InstanceId {
        InstanceId {
            deployment: self.deployment.clone(),
            version: self.number,
            replica: record.key.replica,
            incarnation: record.key.incarnation,
        }
    }
}

impl RoutingProvider {
    pub fn leads_to(&self, endpoint: SocketAddr) -> bool {
        let url = host_url(endpoint);
        !self.withheld && (self.host_url == url || self.instances.contains(&url))
    }
}

impl Seen {
    /// As its runtime lists it.
    pub fn instance(&self, kind: RuntimeKind, id: &InstanceId) -> Option<&Instance> {
        self.runtimes.get(&kind)?.find(id)
    }

    pub fn listing(&self, kind: RuntimeKind) -> Listing {
        let absent = || Listing::Absent(format!("nothing here runs {}", kind.what()));
        self.runtimes.get(&kind).cloned().unwrap_or_else(absent)
    }

    /// Instances of ours that no record speaks of: the database is not the one that started them.
    pub fn strays(&self) -> BTreeSet<InstanceId> {
        let recorded: BTreeSet<_> = self
            .versions
            .iter()
            .flat_map(|version| version.records.iter().map(|record| version.instance(record)))
            .collect();
        let listed = self.runtimes.values().flat_map(|listing| match listing {
            Listing::Here(instances) => instances.keys().cloned().collect(),
            Listing::Away(_) | Listing::Absent(_) => Vec::new(),
        });
        listed.filter(|id| !recorded.contains(id)).collect()
    }
}

/// How an instance is reached.
pub fn host_url(endpoint: SocketAddr) -> String {
    format!("http://{endpoint}")
}
