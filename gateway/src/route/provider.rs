//! A provider as the hot path needs it: everything about a request to it that does not depend on
//! the request is encoded here, once, when a table is built.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use proto_shared::backend::{
    Backend, BackendFormat, LeavingClients, STREAM_COMMENT_INTERVAL_MAX_MS, STREAM_COMMENT_INTERVAL_MIN_MS,
};
use proto_shared::routing::Strategy;
use proto_shared::secret::ExposeSecret;
use proto_shared::snapshot::Watch;
use proto_shared::{HostUrl, Keys, ProviderRoute, SecretName};

use crate::balance::{Arm, Plan, REPLICAS_MAX};
use crate::body::{ExtraBody, ModelRewrite};
use crate::limit::{Hold, RetryBudget};
use crate::metrics::{ModelTokens, ProviderMetrics};
use crate::resume::Resumable;
use crate::upstream::endpoint::{Endpoint, Endpoints};
use crate::upstream::quota::Quota;

pub struct Provider {
    pub workspace: Box<str>,
    pub name: Box<str>,
    /// `workspace/provider`: for messages and logs.
    pub label: Box<str>,
    /// For showing; requests go to `replicas`.
    pub host_url: HostUrl,
    pub ready: bool,
    /// Sent on every request: the key, required extra headers. Wins over the client's.
    pub fixed_headers: Vec<(HeaderName, HeaderValue)>,
    /// Sent where the client sent none of that name.
    pub default_headers: Vec<(HeaderName, HeaderValue)>,
    /// Set when the provider has default or required body members.
    pub extra_body: Option<ExtraBody>,
    /// Sent in the place of whatever model a request names, or does not name.
    pub pinned: Option<PinnedModel>,
    /// The key itself, to scrub it from error answers. Empty: no key.
    pub key: Box<[u8]>,
    pub replay_safe: bool,
    /// Whether what it is sent stays with whoever runs this gateway.
    pub local: bool,
    pub backend: Backend,
    /// How often the client of a stream hears something while the provider says nothing yet.
    pub comment_interval: Option<Duration>,
    /// An answer whose client has left is read on.
    pub reads_on: bool,
    /// Set when it may be asked how it is.
    pub watch: Option<Watch>,
    /// Requests under way at all its addresses, those that wait, and its rate: outlives tables.
    pub quota: Arc<Quota>,
    /// When requests wait here because its servers have too much to do.
    pub hold: Hold,
    pub metrics: Arc<ProviderMetrics>,
    /// Of requests that name it.
    pub tokens: Arc<ModelTokens>,
    /// Where it is: at least one, at most [`REPLICAS_MAX`], each address once.
    pub replicas: Box<[Replica]>,
    /// Which of them is next for requests that name the provider.
    pub plan: Plan,
    /// What such requests may be tried again out of.
    pub retries: RetryBudget,
}

/// One address of a provider, and what of a request depends on it.
pub struct Replica {
    /// `host` and the provider's fixed headers as HTTP/1 header lines.
    pub fixed_lines: Bytes,
    /// Connections, addresses and counters: outlives tables.
    pub endpoint: Arc<Endpoint>,
}

impl Replica {
    fn build(endpoint: Arc<Endpoint>, fixed: &[(HeaderName, HeaderValue)]) -> Result<Self, ProviderError> {
        let host = (http::header::HOST, header_value("host", &endpoint.url.authority())?);
        Ok(Self { fixed_lines: header_lines([&host].into_iter().chain(fixed)), endpoint })
    }

    pub fn url(&self) -> &HostUrl {
        &self.endpoint.url
    }
}

/// The one model that a provider is asked for.
pub struct PinnedModel {
    pub name: Box<str>,
    /// As a JSON string, quotes included.
    pub json: Bytes,
    /// What shows it in replies, whatever the provider calls it there.
    pub echo: Arc<ModelRewrite>,
}

impl PinnedModel {
    fn new(name: &str) -> Self {
        Self { name: name.into(), json: json_string(name), echo: Arc::new(ModelRewrite::of_any(name)) }
    }
}

/// Why one provider of a snapshot can't be used. It keeps its place in the table, unusable, so that
/// requests for it are told the reason instead of "no such provider".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    #[error("its secret '{0}' does not exist")]
    NoSecret(SecretName),
    #[error("its key does not open: {0}")]
    Key(proto_shared::secret::SecretError),
    #[error("its key can't stand in a header")]
    KeyNotPrintable,
    #[error("its header {0:?} is not valid")]
    Header(String),
}

impl Provider {
    pub fn build(route: &ProviderRoute, endpoints: &Endpoints, keys: &Keys) -> Result<Self, ProviderError> {
        let mut fixed = Vec::with_capacity(1 + route.required_extra_headers.len());
        if let Some(name) = &route.missing_secret {
            return Err(ProviderError::NoSecret(name.clone()));
        }
        let mut key: Box<[u8]> = Box::default();
        if let Some(sealed) = &route.api_key {
            let plain = keys.open(sealed).map_err(ProviderError::Key)?;
            let rendered = route
                .auth_header_format
                .render(plain.expose_secret())
                .map_err(|_| ProviderError::KeyNotPrintable)?;
            let mut value = header_value("the key", &rendered)?;
            value.set_sensitive(true);
            fixed.push((header_name(route.auth_header_format.header())?, value));
            key = plain.expose_secret().trim().as_bytes().into();
        }
        for (name, value) in &route.required_extra_headers {
            fixed.push((header_name(name)?, header_value(name, value)?));
        }
        let mut defaults = Vec::with_capacity(route.default_extra_headers.len());
        for (name, value) in &route.default_extra_headers {
            defaults.push((header_name(name)?, header_value(name, value)?));
        }
        let replicas = replicas(route, endpoints, &fixed)?;
        let label: Box<str> = format!("{}/{}", route.workspace, route.name).into();
        let plan = Plan::new(Strategy::LeastBusy, &[arm(&label, &replicas)]);
        let metrics = endpoints.metrics_of(route);
        Ok(Self {
            workspace: route.workspace.as_str().into(),
            name: route.name.as_str().into(),
            label,
            host_url: route.host_url.clone(),
            ready: route.ready,
            replicas,
            plan,
            retries: RetryBudget::default(),
            fixed_headers: fixed,
            default_headers: defaults,
            extra_body: extra_body(route),
            pinned: route.backend.pinned_model.as_deref().map(PinnedModel::new),
            key,
            backend: route.backend.clone(),
            comment_interval: route.backend.stream_comment_interval_ms.map(comment_interval),
            reads_on: !route.local && route.backend.leaving_clients == LeavingClients::Drain,
            local: route.local,
            watch: route.watch.clone(),
            replay_safe: route.replay == proto_shared::snapshot::Replay::Safe,
            quota: endpoints.quotas.of_provider(route),
            // Whose servers may be asked how they are, they are one's own.
            hold: Hold::of(route.backend.hold_back, route.local || route.watch.is_some()),
            tokens: metrics.tokens(""),
            metrics,
        })
    }

    /// Whether Responses requests are translated for it.
    pub fn translates_responses(&self) -> bool {
        self.backend.format == BackendFormat::OpenaiChat
    }

    /// Why none of its answers goes on elsewhere, or elsewhere's here.
    pub fn does_not_go_on(&self) -> Option<&'static str> {
        match () {
            () if !self.local && !self.replay_safe => {
                Some("asking it twice may be billed: it is hosted, and not marked replay: safe")
            }
            () if self.backend.uses_reasoning_parser => Some("reasoning of its answers is moved"),
            () if !Resumable::admits_extra(self.extra_body.as_ref()) => Some(
                "it adds members to requests of which it is not known what they do to the rest of an answer",
            ),
            () => None,
        }
    }

    /// Whether this provider sets the header itself, so that a client's is dropped.
    pub fn owns_header(&self, name: &[u8]) -> bool {
        self.fixed_headers.iter().any(|(own, _)| own.as_str().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// A snapshot may say anything; a client is not flooded.
pub(super) fn comment_interval(ms: u32) -> Duration {
    let ms = ms.clamp(STREAM_COMMENT_INTERVAL_MIN_MS, STREAM_COMMENT_INTERVAL_MAX_MS);
    Duration::from_millis(ms.into())
}

/// What the provider adds to bodies. A pinned model is the only one.
fn extra_body(route: &ProviderRoute) -> Option<ExtraBody> {
    let (default, required) = (&route.default_extra_body, &route.required_extra_body);
    if route.backend.pinned_model.is_none() || !required.contains_key("model") {
        return ExtraBody::new(default, required);
    }
    let mut required = required.clone();
    required.remove("model");
    ExtraBody::new(default, &required)
}

/// A provider's part of a plan, before anything is said about its weight and tier.
pub(super) fn arm(label: &str, replicas: &[Replica]) -> Arm {
    let addresses: Vec<&str> = replicas.iter().map(|replica| replica.url().as_str()).collect();
    Arm::listed(label, &addresses, 0)
}

pub(super) fn json_string(text: &str) -> Bytes {
    serde_json::Value::from(text).to_string().into()
}

/// An address that is listed twice would get twice its share.
fn replicas(
    route: &ProviderRoute,
    endpoints: &Endpoints,
    fixed: &[(HeaderName, HeaderValue)],
) -> Result<Box<[Replica]>, ProviderError> {
    let mut replicas: Vec<Replica> = Vec::with_capacity(route.addresses().len().min(REPLICAS_MAX));
    for url in route.addresses() {
        if replicas.iter().any(|replica| replica.url() == url) {
            continue;
        }
        if replicas.len() == REPLICAS_MAX {
            tracing::warn!(workspace = %route.workspace, provider = %route.name, "only {REPLICAS_MAX} addresses are used");
            break;
        }
        replicas.push(Replica::build(endpoints.endpoint_for(route, url), fixed)?);
    }
    Ok(replicas.into())
}

fn header_name(name: &str) -> Result<HeaderName, ProviderError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| ProviderError::Header(name.into()))
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, ProviderError> {
    HeaderValue::from_str(value).map_err(|_| ProviderError::Header(name.into()))
}

fn header_lines<'h>(headers: impl Iterator<Item = &'h (HeaderName, HeaderValue)>) -> Bytes {
    let mut lines = Vec::with_capacity(128);
    for (name, value) in headers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
    lines.into()
}
