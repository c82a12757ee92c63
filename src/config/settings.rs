//! The checked configuration. A [`Settings`] is valid in itself; whether the files it names can be
//! read is for those who read them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use gateway::cors::AllowedOrigins;
use gateway::{AccessLog, GatewayConfig, Limits, RegistryAddress, TlsFiles};
use proto_shared::HostUrl;
use proto_shared::egress::{EgressPolicy, EgressRule};
use proto_shared::host_url::Host;
use registry::{DeploymentConfig, FilesConfig, RegistryLogin, RuntimeChoice, SecretAccess, ToolCallPlugins};

use super::declared::Declared;
use super::layers::{Layers, Problem, Source, Value};
use super::limits::{self, Row};
use super::{deployments, keys};

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    // Gateway and registry in one process.
    Up,
    Gateway,
    Registry,
}

/// What defaults depend on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `$XDG_DATA_HOME/nimgate`, or below `$HOME`; absent when neither is set.
    pub data_home: Option<PathBuf>,
    pub cores: usize,
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub listen: Vec<SocketAddr>,
    pub admin_listen: SocketAddr,
    pub registry: RegistryAddress,
    pub registry_listen: SocketAddr,
    pub data_dir: PathBuf,
    pub master_key_file: Option<PathBuf>,
    pub tls: Option<TlsFiles>,
    pub egress: EgressPolicy,
    pub secret_access: SecretAccess,
    pub tool_call_plugins: ToolCallPlugins,
    /// Who pulls from image registries that want a login.
    pub registries: Vec<RegistryLogin>,
    /// What deployments run on.
    pub runtime: RuntimeChoice,
    pub docker_host: Option<String>,
    pub access_log: AccessLog,
    pub cors: AllowedOrigins,
    pub upstream_ca: Option<PathBuf>,
    pub threads: NonZeroUsize,
    /// Longest file of a fileset.
    pub file_bytes_max: u64,
    pub insecure_no_auth: bool,
    pub limits: Limits,
    /// As far as it is numbers.
    pub deployments: DeploymentConfig,
    /// Made or changed at start.
    pub declared: Declared,
}

/// Where `nimgate gateway` looks for its registry, and `nimgate registry` listens.
const REGISTRY_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);
const THREADS_MIN: usize = 2;
const THREADS_MAX: usize = 1024;
/// 1 PiB.
const FILE_BYTES_MAX_MAX: u64 = 1 << 50;
const LISTENERS_MAX: usize = 64;
/// Linux takes 107 bytes for the path of a Unix socket.
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl Settings {
    /// Checks everything and reports all problems together.
    pub fn check(layers: Layers, role: Role, around: &Surroundings) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { layers };
        let listen = reader.listeners();
        let admin_listen = reader.address(keys::ADMIN_LISTEN, ADMIN_DEFAULT);
        let registry_listen = reader.address(keys::REGISTRY_LISTEN, REGISTRY_DEFAULT);
        let data_dir = reader.data_dir(role, around);
        let insecure_no_auth = reader.switch(keys::INSECURE_NO_AUTH).unwrap_or(false);
        let mut reachable =
            reader.refuse_public(keys::LISTEN, &listen, role != Role::Registry, insecure_no_auth);
        reachable |= reader.refuse_public(
            keys::ADMIN_LISTEN,
            &[admin_listen],
            role != Role::Registry,
            insecure_no_auth,
        );
        reachable |= reader.refuse_public(
            keys::REGISTRY_LISTEN,
            &[registry_listen],
            role == Role::Registry,
            insecure_no_auth,
        );
        let egress = reader.egress(!reachable);
        let settings = Self {
            declared: reader.declared(&egress),
            registry: reader.registry(role, &data_dir),
            listen,
            admin_listen,
            registry_listen,
            data_dir,
            master_key_file: reader.path(keys::MASTER_KEY_FILE),
            tls: reader.tls(),
            egress,
            secret_access: match reader.switch(keys::SECRETS_ACCESS) {
                None | Some(true) => SecretAccess::Loopback,
                Some(false) => SecretAccess::Off,
            },
            tool_call_plugins: match reader.switch(keys::TOOL_CALL_PLUGINS) {
                None | Some(false) => ToolCallPlugins::Refused,
                Some(true) => ToolCallPlugins::Allowed,
            },
            registries: reader.registries(),
            runtime: reader.runtime(reachable),
            docker_host: reader.text(keys::DOCKER_HOST).filter(|host| !host.is_empty()),
            access_log: reader.access_log(),
            cors: reader.cors(),
            upstream_ca: reader.path(keys::UPSTREAM_CA),
            threads: reader.threads(around),
            file_bytes_max: reader.file_bytes_max(),
            insecure_no_auth,
            limits: reader.numbers(limits::ROWS),
            deployments: reader.numbers(deployments::ROWS),
        };
        if reader.layers.problems.is_empty() { Ok(settings) } else { Err(reader.layers.problems) }
    }

    /// The Unix socket between the two roles of `nimgate up`.
    pub fn registry_socket(&self) -> PathBuf {
        registry_socket(&self.data_dir)
    }

    /// Where this process listens, as far as it is known before binding: no provider may point there.
    pub fn own_addresses(&self) -> Vec<SocketAddr> {
        self.listen.iter().copied().chain([self.admin_listen]).filter(|address| address.port() != 0).collect()
    }

    /// Where a running gateway hands its listeners over to the next one.
    pub fn upgrade_socket(&self) -> PathBuf {
        self.data_dir.join(format!("upgrade-{}.sock", self.first_port()))
    }

    pub fn gateway_config(&self) -> GatewayConfig {
        GatewayConfig {
            listen: self.listen.clone(),
            admin_listen: self.admin_listen,
            tls: self.tls.clone(),
            registry: self.registry.clone(),
            snapshot_path: Some(self.data_dir.join(format!("routes-{}.json", self.first_port()))),
            egress: self.egress.clone(),
            limits: self.limits.clone(),
            access_log: self.access_log,
            cors: self.cors.clone(),
            upstream_ca: self.upstream_ca.clone(),
            names: gateway::Names::System,
        }
    }

    // Several gateways of one machine may share a data folder: their files are told apart by port.
    fn first_port(&self) -> u16 {
        self.listen.first().map_or(0, SocketAddr::port)
    }
}

fn registry_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("registry.sock")
}

/// Takes values out of the layers and notes what is wrong with them.
struct Reader {
    layers: Layers,
}

impl Reader {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        let source = self.layers.values.get(key).map(|given| given.source.clone());
        self.layers.problems.push(Problem { key: key.to_owned(), message: message.into(), source });
    }

    fn text(&self, key: &str) -> Option<String> {
        match &self.layers.values.get(key)?.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn list(&self, key: &str) -> Option<Vec<String>> {
        match &self.layers.values.get(key)?.value {
            Value::List(items) => Some(items.clone()),
            _ => None,
        }
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.layers.values.get(key)?.value {
            Value::Number(n) => Some(n),
            _ => None,
        }
    }

    fn switch(&self, key: &str) -> Option<bool> {
        match self.layers.values.get(key)?.value {
            Value::Switch(on) => Some(on),
            _ => None,
        }
    }

    fn listeners(&mut self) -> Vec<SocketAddr> {
        let Some(texts) = self.list(keys::LISTEN) else { return vec![LISTEN_DEFAULT] };
        if texts.is_empty() || texts.len() > LISTENERS_MAX {
            self.problem(keys::LISTEN, format!("must hold 1 to {LISTENERS_MAX} addresses"));
        }
        texts.iter().filter_map(|text| self.parse_address(keys::LISTEN, text)).collect()
    }

    fn address(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        match self.text(key) {
            Some(text) => self.parse_address(key, &text).unwrap_or(default),
            None => default,
        }
    }

    fn parse_address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        match numeric.as_deref().unwrap_or(text).parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let why = format!("must be an address and a port, such as 127.0.0.1:8080, not {text:?}");
                self.problem(key, why);
                None
            }
        }
    }

    /// Notes a listener that others could reach without a key. Returns whether one can be reached.
    fn refuse_public(&mut self, key: &str, addresses: &[SocketAddr], used: bool, accepted: bool) -> bool {
        let Some(public) = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback()) else {
            return false;
        };
        if used && !accepted {
            self.problem(
                key,
                format!(
                    "{public} can be reached from other machines, and nobody is asked for a key yet; listen on \
                     127.0.0.1, or accept that whoever reaches the port can use every provider with \
                     --insecure-no-auth"
                ),
            );
        }
        true
    }

    fn data_dir(&mut self, role: Role, around: &Surroundings) -> PathBuf {
        let Some(path) = self.path(keys::DATA_DIR).or_else(|| around.data_home.clone()) else {
            self.problem(keys::DATA_DIR, "there is no home folder to put it in; set --data-dir");
            return PathBuf::new();
        };
        if role == Role::Up && registry_socket(&path).as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let why =
                format!("too long: a Unix socket in it must have at most {SOCKET_PATH_BYTES_MAX} bytes");
            self.problem(keys::DATA_DIR, why);
        }
        path
    }

    /// A path of the file is meant from the file's own folder, others from the working folder.
    fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.is_empty() || text.starts_with('~') {
            self.problem(key, "must be a path, written out (\"~\" has no meaning here)");
            return None;
        }
        match self.layers.values.get(key).map(|given| &given.source) {
            Some(Source::File(file, _)) => Some(file.parent().unwrap_or(Path::new("")).join(text)),
            _ => Some(PathBuf::from(text)),
        }
    }

    fn registry(&mut self, role: Role, data_dir: &Path) -> RegistryAddress {
        if role == Role::Up {
            return RegistryAddress::Unix(registry_socket(data_dir));
        }
        let default = RegistryAddress::Tcp(REGISTRY_DEFAULT);
        let Some(text) = self.text(keys::REGISTRY) else { return default };
        if !text.contains("://") {
            return self.path(keys::REGISTRY).map_or(default, RegistryAddress::Unix);
        }
        parse_registry_url(&text).map(RegistryAddress::Tcp).unwrap_or_else(|why| {
            self.problem(keys::REGISTRY, why);
            default
        })
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        match (self.path(keys::TLS_CERTIFICATE), self.path(keys::TLS_KEY)) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                self.problem(keys::TLS_KEY, "missing: a certificate needs its key");
                None
            }
            (None, Some(_)) => {
                self.problem(keys::TLS_CERTIFICATE, "missing: a key needs its certificate");
                None
            }
        }
    }

    fn egress(&mut self, local: bool) -> EgressPolicy {
        let default = if local { EgressPolicy::local() } else { EgressPolicy::default() };
        let mut allow = Vec::new();
        for text in self.list(keys::EGRESS_ALLOW).unwrap_or_default() {
            match text.parse::<EgressRule>() {
                Ok(rule) => allow.push(rule),
                Err(why) => self.problem(keys::EGRESS_ALLOW, why),
            }
        }
        EgressPolicy {
            allow,
            allow_private: self.switch(keys::EGRESS_ALLOW_PRIVATE).unwrap_or(default.allow_private),
            allow_plaintext: self.switch(keys::EGRESS_ALLOW_PLAINTEXT).unwrap_or(default.allow_plaintext),
            ..EgressPolicy::default()
        }
    }

    fn declared(&mut self, egress: &EgressPolicy) -> Declared {
        let lists = std::mem::take(&mut self.layers.lists);
        Declared::read(&lists, egress, &mut self.layers.problems)
    }

    fn registries(&mut self) -> Vec<RegistryLogin> {
        let mut logins: Vec<RegistryLogin> = Vec::new();
        for text in self.list(keys::REGISTRIES).unwrap_or_default() {
            match text.parse::<RegistryLogin>() {
                Ok(login) if logins.iter().any(|known| known.server == login.server) => {
                    self.problem(keys::REGISTRIES, format!("{} stands there twice", login.server));
                }
                Ok(login) => logins.push(login),
                Err(why) => self.problem(keys::REGISTRIES, why),
            }
        }
        logins
    }

    fn cors(&mut self) -> AllowedOrigins {
        let Some(texts) = self.list(keys::CORS_ALLOW_ORIGINS) else { return AllowedOrigins::default() };
        let mut rules = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse() {
                Ok(rule) => rules.push(rule),
                Err(why) => self.problem(keys::CORS_ALLOW_ORIGINS, format!("{why}")),
            }
        }
        AllowedOrigins(rules)
    }

    fn access_log(&mut self) -> AccessLog {
        match self.text(keys::ACCESS_LOG).as_deref() {
            None | Some("off") => AccessLog::Off,
            Some("stdout") => AccessLog::Stdout,
            Some("stderr") => AccessLog::Stderr,
            Some(other) => {
                let why = format!("must be \"off\", \"stdout\" or \"stderr\", not {other:?}");
                self.problem(keys::ACCESS_LOG, why);
                AccessLog::Off
            }
        }
    }

    /// Whoever may write a deployment config chooses the commands that run here: by default only where callers are
    /// on this machine.
    fn runtime(&mut self, reachable: bool) -> RuntimeChoice {
        match self.text(keys::RUNTIME).as_deref() {
            None | Some("auto") if reachable => RuntimeChoice::Containers,
            None | Some("auto") => RuntimeChoice::Auto,
            Some("docker") => RuntimeChoice::Docker,
            Some("process") => RuntimeChoice::Process,
            Some("none") => RuntimeChoice::None,
            Some(other) => {
                let why = format!("must be \"auto\", \"docker\", \"process\" or \"none\", not {other:?}");
                self.problem(keys::RUNTIME, why);
                RuntimeChoice::None
            }
        }
    }

    fn threads(&mut self, around: &Surroundings) -> NonZeroUsize {
        let fallback = NonZeroUsize::MIN.saturating_add(around.cores.max(THREADS_MIN) - 1);
        let Some(n) = self.number(keys::THREADS) else { return fallback };
        match usize::try_from(n).ok().and_then(NonZeroUsize::new) {
            Some(n) if n.get() <= THREADS_MAX => n,
            _ => {
                self.problem(keys::THREADS, format!("must be from 1 to {THREADS_MAX}"));
                fallback
            }
        }
    }

    fn file_bytes_max(&mut self) -> u64 {
        let fallback = FilesConfig::default().file_bytes_max;
        let Some(n) = self.number(keys::FILES_FILE_BYTES_MAX) else { return fallback };
        if (1..=FILE_BYTES_MAX_MAX).contains(&n) {
            return n;
        }
        self.problem(keys::FILES_FILE_BYTES_MAX, format!("must be from 1 to {FILE_BYTES_MAX_MAX}"));
        fallback
    }

    fn numbers<T: Default>(&mut self, rows: &[Row<T>]) -> T {
        let mut limits = T::default();
        for row in rows {
            match self.number(row.key) {
                Some(n) if n < row.min => self.problem(row.key, format!("must be at least {}", row.min)),
                Some(n) if n > row.max => self.problem(row.key, format!("must be at most {}", row.max)),
                Some(n) => (row.set)(&mut limits, n),
                None => {}
            }
        }
        limits
    }
}

fn parse_registry_url(text: &str) -> Result<SocketAddr, String> {
    let url = HostUrl::parse(text).map_err(|e| e.to_string())?;
    if url.is_https() || !url.base_path().is_empty() {
        return Err("must be http://ADDRESS:PORT or the path of a Unix socket".to_owned());
    }
    match url.host() {
        Host::Ip(ip) => Ok(SocketAddr::new(*ip, url.port())),
        Host::Name(name) if &**name == "localhost" => {
            Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), url.port()))
        }
        Host::Name(_) => {
            Err("must be an address, such as http://10.0.0.5:8081; names are not looked up".to_owned())
        }
    }
}
