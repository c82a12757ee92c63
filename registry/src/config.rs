//! The registry's checked configuration, and the name of every limit that is not configurable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto_shared::KeyRing;
use proto_shared::egress::EgressPolicy;
use proto_shared::secret::SecretString;

pub use crate::domain::access::SecretAccess;
pub use crate::domain::deployment_config::ToolCallPlugins;
pub use crate::domain::launch::RegistryLogin;

#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Holds the database, its lock and the files of filesets. Made with mode 0700 when missing.
    pub data_dir: PathBuf,
    /// Shared with the gateway of the same process, and replaced when its file is read again.
    pub master_key: Arc<KeyRing>,
    pub egress: EgressPolicy,
    /// Who may read a secret's value through the API.
    pub secret_access: SecretAccess,
    /// The value of the secret `system/ngc-api-key`.
    pub ngc_api_key: Option<SecretString>,
    pub discovery: DiscoveryConfig,
    pub deployments: DeploymentConfig,
    pub files: FilesConfig,
}

/// What deployments may do, and what happens to their records.
#[derive(Debug, Clone)]
pub struct DeploymentConfig {
    pub tool_call_plugins: ToolCallPlugins,
    pub runtime: RuntimeChoice,
    /// Where the container engine listens, such as `unix:///var/run/docker.sock`. Absent: `DOCKER_HOST`, else
    /// Docker's usual socket.
    pub docker_host: Option<String>,
    /// Who pulls from image registries that want a login.
    pub registries: Vec<RegistryLogin>,
    /// How long the record of a deleted deployment can still be read.
    pub deleted_kept: Duration,
    /// What requests under way get to end before an instance is stopped to which no route leads any more.
    pub drain_timeout: Duration,
    /// From SIGTERM to SIGKILL: model servers end what they are at.
    pub stop_grace: Duration,
    /// A ready instance is asked whether it still is: one such probe.
    pub probe_timeout: Duration,
    /// So many probes in a row without an answer, and it is not ready.
    pub probe_failures: u32,
}

/// What deployments run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// Containers while an engine answers, and commands.
    Auto,
    /// Containers while an engine answers, and no commands: they would run as whoever runs the registry.
    Containers,
    Docker,
    Process,
    /// Nothing is started here.
    #[default]
    None,
}

impl Default for DeploymentConfig {
    fn default() -> Self {
        Self {
            tool_call_plugins: ToolCallPlugins::default(),
            runtime: RuntimeChoice::default(),
            docker_host: None,
            registries: Vec::new(),
            deleted_kept: DELETED_KEPT,
            drain_timeout: Duration::from_secs(60),
            stop_grace: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(2),
            probe_failures: 2,
        }
    }
}

/// How files of filesets come and go.
#[derive(Debug, Clone)]
pub struct FilesConfig {
    /// Longest file. Beyond: 413.
    pub file_bytes_max: u64,
    /// An upload that brings next to nothing for this long, and a download of which nothing is taken, is cut.
    pub idle_timeout: Duration,
    /// Uploads at a time. Beyond: 503.
    pub uploads_max: usize,
    /// Downloads at a time. Beyond: 503.
    pub downloads_max: usize,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            file_bytes_max: 1 << 40,
            idle_timeout: Duration::from_secs(30),
            uploads_max: 32,
            downloads_max: 128,
        }
    }
}

/// How providers are asked for their models.
#[derive(Debug, Clone)]
pub struct DiscoveryConfig {
    /// Between two looks at a provider that works; the longest pause between two at one that does not.
    pub interval: Duration,
    /// One probe, from name resolution to the answer's last byte.
    pub timeout: Duration,
    /// Probes at a time, in each of the lanes for new, working and failing providers.
    pub concurrency: usize,
    /// Longest model list that is read.
    pub body_bytes_max: usize,
    /// Further trusted roots (PEM), beside the public ones.
    pub upstream_ca: Option<PathBuf>,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            concurrency: 8,
            body_bytes_max: 8 * 1024 * 1024,
            upstream_ca: None,
        }
    }
}

/// Request bodies of the API. Beyond: 413.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// A request's body must be complete within this. Beyond: 408.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// A request must be answered within this. Beyond: 503.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A request's head must arrive within this.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Open connections on one listener; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1024;
/// How long open requests may go on once the registry was told to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What one transfer of a file holds in memory.
pub const TRANSFER_BUFFER_BYTES: usize = 256 * 1024;
/// What an upload must bring within the idle time-out to go on.
pub const UPLOAD_PROGRESS_BYTES_MIN: u64 = 16 * 1024;
/// Longest file (such as `config.json`) that is read for what it says about a model; longer ones say nothing.
pub const SMALL_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What of an upload may be written and not yet on the disk.
pub const UPLOAD_UNSYNCED_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Files in one answer. Beyond: 400, and a folder has to be named.
pub const FILES_LISTED_MAX: usize = 100_000;

/// Writes that wait for the writer. Beyond: 503.
pub const WRITE_QUEUE_MAX: usize = 256;
/// Reads at a time, each on its own connection.
pub const READERS_MAX: usize = 4;
/// A read must get a connection within this. Beyond: 503.
pub const READER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Secrets sealed again in one transaction of a rotation: it holds up other writes for a few milliseconds.
pub const ROTATION_BATCH: u32 = 64;
/// How long a start waits for a registry that is just ending to let go of the data folder.
pub const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
/// The check of the database at start is cut off after this.
pub const QUICK_CHECK_MAX: Duration = Duration::from_secs(10);

/// How long a DELETED deployment is shown before its record goes. Clients that wait for the end look
/// every three seconds and wait until there is nothing: they see it once, and are not kept longer.
pub const DELETED_KEPT: Duration = Duration::from_secs(4);

/// Logs of deployments that are read at a time. Beyond: 503.
pub const LOG_READERS_MAX: usize = 64;
/// Lines of each instance's past in an answer that asked for no number.
pub const LOG_TAIL_DEFAULT: u32 = 1000;

/// Models of one provider that become routable.
pub const MODELS_PER_PROVIDER_MAX: usize = 10_000;
/// Models of one workspace that discovery once found, nobody serves and no owner changed. Beyond: the oldest go.
pub const UNSERVED_MODELS_MAX: u32 = 10_000;
