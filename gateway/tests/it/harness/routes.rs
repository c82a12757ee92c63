//! What the fake registry publishes, piece by piece.

use std::sync::{Arc, OnceLock};

use proto_shared::secret::SecretString;
use proto_shared::snapshot::{SNAPSHOT_FORMAT, UpstreamTimeouts};
use proto_shared::{Candidate, KeyRing, ModelRoute, ProviderRoute, RouteSnapshot};
use proto_shared::{SealedSecret, SecretIdentity};

/// The master key of all gateways here.
pub fn master_key() -> Arc<KeyRing> {
    static KEY: OnceLock<Arc<KeyRing>> = OnceLock::new();
    Arc::clone(KEY.get_or_init(|| Arc::new(KeyRing::generate().unwrap())))
}

/// A provider's key, as the registry keeps it.
pub fn sealed(plain: &str) -> SealedSecret {
    let identity = SecretIdentity { workspace: "default", name: "key", version: 1 };
    master_key().seal(&identity, &SecretString::from(plain.to_owned())).unwrap()
}

/// The routes of the default workspace.
#[derive(Clone)]
pub struct Routes(RouteSnapshot);

impl Routes {
    pub fn new() -> Self {
        Self(RouteSnapshot {
            format: SNAPSHOT_FORMAT,
            installation: "fake".into(),
            generation: 0,
            workspaces: vec!["default".parse().unwrap()],
            local_only: vec![],
            providers: vec![],
            models: vec![],
        })
    }

    /// Provider `p1` at `url`, and model `m1`, which it calls `served`.
    pub fn usual(url: &str, served: &str) -> Self {
        Self::new().provider("p1", url).model("m1", served, &["p1"])
    }

    /// The same, with the provider changed.
    pub fn usual_with(url: &str, served: &str, change: impl FnOnce(&mut ProviderRoute)) -> Self {
        Self::new().provider_with("p1", url, change).model("m1", served, &["p1"])
    }

    pub fn provider(self, name: &str, url: &str) -> Self {
        self.provider_with(name, url, |_| {})
    }

    pub fn provider_with(mut self, name: &str, url: &str, change: impl FnOnce(&mut ProviderRoute)) -> Self {
        let mut provider = ProviderRoute {
            workspace: "default".parse().unwrap(),
            name: name.parse().unwrap(),
            host_url: proto_shared::HostUrl::parse(url).unwrap(),
            api_key: None,
            missing_secret: None,
            auth_header_format: Default::default(),
            default_extra_headers: Default::default(),
            required_extra_headers: Default::default(),
            default_extra_body: Default::default(),
            required_extra_body: Default::default(),
            timeouts: UpstreamTimeouts::default(),
            replay: Default::default(),
            replicas: Vec::new(),
            origin: Default::default(),
            backend: Default::default(),
            ready: true,
            local: false,
            watch: None,
        };
        change(&mut provider);
        self.0.providers.push(provider);
        self
    }

    /// A model that `providers` serve, in this order, all under the name `served`.
    pub fn model(mut self, name: &str, served: &str, providers: &[&str]) -> Self {
        let candidates = providers.iter().map(|provider| Candidate {
            workspace: "default".parse().unwrap(),
            provider: provider.parse().unwrap(),
            served_name: served.into(),
        });
        self.0.models.push(ModelRoute {
            workspace: "default".parse().unwrap(),
            name: name.parse().unwrap(),
            created: 1_700_000_000,
            candidates: candidates.collect(),
            aliases: None,
            middleware: vec![],
            routing: Default::default(),
            local_only: None,
            resume: false,
            resume_where_known: false,
            stream_comment_interval_ms: None,
            limits: Default::default(),
        });
        self
    }

    /// The model that was last added, changed.
    pub fn but(mut self, change: impl FnOnce(&mut ModelRoute)) -> Self {
        change(self.0.models.last_mut().unwrap());
        self
    }

    /// All providers, changed.
    pub fn each_provider(mut self, change: impl FnMut(&mut ProviderRoute)) -> Self {
        self.0.providers.iter_mut().for_each(change);
        self
    }

    /// No request of the workspace goes to a hosted provider.
    pub fn local_only(mut self) -> Self {
        self.0.local_only.push("default".parse().unwrap());
        self
    }

    pub fn installation(mut self, id: &str) -> Self {
        self.0.installation = id.into();
        self
    }

    pub fn format(mut self, format: u32) -> Self {
        self.0.format = format;
        self
    }

    pub fn snapshot(self, generation: u64) -> RouteSnapshot {
        RouteSnapshot { generation, ..self.0 }
    }
}
