//! All routes of one generation, as the registry publishes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::auth_template::AuthTemplate;
use crate::backend::Backend;
use crate::host_url::HostUrl;
use crate::limits::RequestLimits;
use crate::names::{ModelName, ProviderName, SecretName, WorkspaceName};
use crate::routing::Routing;
use crate::secret::SealedSecret;

/// Version of this format. A gateway refuses a higher one and keeps the table it has.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// Everything a gateway needs to build its table. Secrets stay sealed: a snapshot may be written
/// to disk and sent over a local socket as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteSnapshot {
    pub format: u32,
    /// Which registry database this comes from. Generations of two installations don't compare.
    pub installation: String,
    /// Only ever rises within one installation.
    pub generation: u64,
    pub workspaces: Vec<WorkspaceName>,
    /// Those of which no request may go to a provider that is not local.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_only: Vec<WorkspaceName>,
    pub providers: Vec<ProviderRoute>,
    pub models: Vec<ModelRoute>,
}

/// One provider: where it is and how it is called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProviderRoute {
    pub workspace: WorkspaceName,
    pub name: ProviderName,
    pub host_url: HostUrl,
    /// Where it is served, when that is at several addresses; empty: at `host_url` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<HostUrl>,
    /// Who says that it is there.
    #[serde(default, skip_serializing_if = "Origin::is_owner")]
    pub origin: Origin,
    /// The key, sealed under the installation's master key; absent: none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SealedSecret>,
    /// The secret that should be its key and is not there: the provider must not be called without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_secret: Option<SecretName>,
    #[serde(default)]
    pub auth_header_format: AuthTemplate,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default_extra_headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub required_extra_headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub default_extra_body: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub required_extra_body: Map<String, Value>,
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    #[serde(default)]
    pub replay: Replay,
    /// Which dialect it speaks, and how.
    #[serde(default)]
    pub backend: Backend,
    /// True once discovery has found the provider usable (status READY).
    #[serde(default)]
    pub ready: bool,
    /// Whether what it is sent stays with whoever runs this installation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// How gateways look at its addresses beside the requests; absent: not at all, because a look is not free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
}

impl ProviderRoute {
    /// Every address it is served at; at least one.
    pub fn addresses(&self) -> &[HostUrl] {
        if self.replicas.is_empty() { std::slice::from_ref(&self.host_url) } else { &self.replicas }
    }
}

/// Where a server of one's own says how it is, from the root of its host. What is not given is tried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// Answers 200 when it takes requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// A page of metrics, as Prometheus reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_path: Option<String>,
}

impl Watch {
    /// What it does not say is as `other` has it.
    pub fn or(self, other: &Self) -> Self {
        let Self { health_path, metrics_path } = other;
        Self {
            health_path: self.health_path.or_else(|| health_path.clone()),
            metrics_path: self.metrics_path.or_else(|| metrics_path.clone()),
        }
    }
}

/// Who says where a provider is. What the registry runs itself may be on a private address, whatever the egress
/// policy says of others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Whoever configured the provider.
    #[default]
    Owner,
    /// The registry, which started what serves there.
    Deployment,
}

impl Origin {
    fn is_owner(&self) -> bool {
        *self == Self::Owner
    }
}

/// Time limits of one upstream, in milliseconds. Every limit has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamTimeouts {
    /// TCP (and TLS) until the connection stands.
    pub connect_timeout_ms: u64,
    /// From the request's last byte to the answer's first.
    pub first_byte_timeout_ms: u64,
    /// Longest gap between two reads of an answer.
    pub idle_timeout_ms: u64,
    /// The whole request.
    pub total_timeout_ms: u64,
    /// How long an idle pooled connection is kept; below the upstream's own keep-alive.
    pub pool_idle_timeout_ms: u64,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 3_000,
            first_byte_timeout_ms: 300_000,
            idle_timeout_ms: 120_000,
            total_timeout_ms: 3_600_000,
            pool_idle_timeout_ms: 4_000,
        }
    }
}

/// Whether a request of which bytes were already written may be sent again when no byte of an
/// answer came: `safe` only for providers that are ours and unbilled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    #[default]
    Never,
    Safe,
}

/// One routable model, and the providers that serve it, in order of preference. Those of a workspace
/// come newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelRoute {
    pub workspace: WorkspaceName,
    pub name: ModelName,
    /// Seconds since the epoch, for `/v1/models`.
    pub created: u64,
    /// None: nobody serves it now.
    pub candidates: Vec<Candidate>,
    /// Upstream ids that mean this model; absent: the served names of its candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<String>>,
    /// Plugins it wants. There are none: it is refused, and has no candidates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub middleware: Vec<String>,
    /// How its requests are spread over the candidates.
    #[serde(default, skip_serializing_if = "Routing::is_default")]
    pub routing: Routing,
    /// Who says that its requests may go to local providers alone; the others are not among its candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_only: Option<LocalOnly>,
    /// Whether a stream whose server died goes on at another address: its providers can continue a last message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resume: bool,
    /// The same at addresses of which a gateway has learned that they can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resume_where_known: bool,
    /// How often the client of a stream gets a comment while nobody says anything yet; absent: as the providers say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_comment_interval_ms: Option<u32>,
    /// How much may be asked of it.
    #[serde(default, skip_serializing_if = "RequestLimits::is_none")]
    pub limits: RequestLimits,
}

/// What keeps the requests for a model from hosted providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalOnly {
    pub by: LocalRule,
    /// Who serves it and is no candidate therefore, as `workspace/provider`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What is marked as local only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalRule {
    Workspace(WorkspaceName),
    /// `workspace/name`, as what follows.
    VirtualModel(String),
    Model(String),
}

impl std::fmt::Display for LocalRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Workspace(name) => write!(f, "workspace {name}"),
            Self::VirtualModel(id) => write!(f, "virtual model {id}"),
            Self::Model(id) => write!(f, "model {id}"),
        }
    }
}

/// One provider that may serve a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub workspace: WorkspaceName,
    pub provider: ProviderName,
    /// What the provider calls the model.
    pub served_name: String,
}
