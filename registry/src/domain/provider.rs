//! A provider: what its owner configured, and what was found out about it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use proto_shared::egress::is_private;
use proto_shared::snapshot::{Replay, UpstreamTimeouts, Watch};
use proto_shared::{
    AuthTemplate, Backend, HostUrl, ModelName, ProviderName, SecretName, WorkspaceName, entity_name_for,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::sight::Sight;
use super::{EntityId, Timestamp};

/// Longest status message, in characters.
pub const STATUS_MESSAGE_CHARS_MAX: usize = 1000;
/// Longest upstream id that becomes routable, in bytes.
pub const UPSTREAM_ID_BYTES_MAX: usize = 255;

/// A stored provider.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Order of creation; never used again.
    pub seq: i64,
    /// Rises with every change of the configuration or of the key. A probe's result counts only for
    /// the revision it was made with.
    pub revision: i64,
    pub id: EntityId,
    pub workspace: WorkspaceName,
    pub name: ProviderName,
    pub spec: ProviderSpec,
    pub status: ProviderStatus,
    pub status_message: String,
    /// What gateways see of it, if that is to be told.
    pub seen: Option<Sight>,
    pub served: Vec<ServedModel>,
    /// Out of rotation: its deployment is not ready.
    pub withheld: bool,
    /// Where the instances are that this registry runs for it; empty: its owner says where it is.
    pub instances: Vec<HostUrl>,
    /// Where those say how they are.
    pub instances_watch: Watch,
    pub created: Timestamp,
    pub updated: Timestamp,
}

impl Provider {
    /// What its owner says wins. Else it is local where an instance of this registry serves, or where its URL leads
    /// to a private network by its form: a name may lead anywhere, so behind one it is hosted.
    pub fn is_local(&self) -> bool {
        match self.spec.locality {
            Some(locality) => locality == Locality::Local,
            None => self.instances.contains(&self.spec.host_url) || is_private(&self.spec.host_url),
        }
    }

    /// `workspace/name`
    pub fn label(&self) -> String {
        format!("{}/{}", self.workspace, self.name)
    }

    /// Every address it is served at; at least one.
    pub fn addresses(&self) -> &[HostUrl] {
        if self.instances.len() > 1 { &self.instances } else { std::slice::from_ref(&self.spec.host_url) }
    }

    /// Status and message for people and clients: what gateways see goes before READY, and before nothing else.
    pub fn shown(&self) -> (ProviderStatus, Cow<'_, str>) {
        let own = self.status_message.as_str();
        match self.seen.as_ref().filter(|_| self.status == ProviderStatus::Ready) {
            None => (self.status, Cow::Borrowed(own)),
            Some(seen) if own.is_empty() => (seen.status, Cow::Borrowed(&*seen.message)),
            Some(seen) => {
                let both = format!("{}. {own}", seen.message);
                (seen.status, Cow::Owned(both.chars().take(STATUS_MESSAGE_CHARS_MAX).collect()))
            }
        }
    }

    /// Whether these are its models, in this order.
    pub fn serves(&self, models: &[(ModelName, String)]) -> bool {
        let stored = self.served.iter().map(|served| (&served.name, &served.served_name));
        models.iter().map(|(name, id)| (name, id)).eq(stored)
    }
}

/// Everything an owner may set.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSpec {
    pub project: Option<String>,
    pub description: Option<String>,
    pub host_url: HostUrl,
    pub api_key_secret_name: Option<SecretName>,
    pub auth_header_format: Option<AuthTemplate>,
    /// Upstream ids that become routable. Absent or empty: all. A pinned model goes before.
    pub enabled_models: Option<Vec<String>>,
    pub default_extra_body: Option<Map<String, Value>>,
    pub required_extra_body: Option<Map<String, Value>>,
    pub default_extra_headers: Option<BTreeMap<String, String>>,
    pub required_extra_headers: Option<BTreeMap<String, String>>,
    pub model_deployment_id: Option<String>,
    pub timeouts: UpstreamTimeouts,
    pub replay: Replay,
    /// The preset that its owner named: what it filled in stands in the other fields.
    pub preset: Option<String>,
    pub backend: Backend,
    /// Absent: where it is tells.
    pub locality: Option<Locality>,
    /// Where its servers say how they are.
    pub watch: Watch,
}

impl ProviderSpec {
    /// All that a provider with a pinned model serves. The model keeps the name it has among `served`.
    pub fn pinned(&self, workspace: &WorkspaceName, served: &[ServedModel]) -> Option<(ModelName, String)> {
        let id = self.backend.pinned_model.as_ref()?;
        let known = served.iter().find(|model| model.served_name == *id);
        let name = known.map_or_else(|| entity_name_for(workspace, id), |model| model.name.clone());
        Some((name, id.clone()))
    }
}

/// Whether what a provider is sent stays with whoever runs this installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Locality {
    Local,
    Hosted,
}

/// One model of a provider: its routable name, and what the provider calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    pub name: ModelName,
    pub served_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProviderStatus {
    Unknown,
    Created,
    Pending,
    Ready,
    Error,
    Deleting,
    Deleted,
    Lost,
}

/// Status and message a caller gave along.
#[derive(Debug, Clone, Default)]
pub struct GivenStatus {
    pub status: Option<ProviderStatus>,
    pub message: Option<String>,
}

/// What discovery, or the owner of a deployment, has to say about a provider.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finding {
    pub status: Option<ProviderStatus>,
    pub message: Option<String>,
    /// Names are distinct.
    pub served: Option<Vec<(ModelName, String)>>,
    pub model_deployment_id: Option<Option<String>>,
}

impl ProviderStatus {
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Created,
        Self::Pending,
        Self::Ready,
        Self::Error,
        Self::Deleting,
        Self::Deleted,
        Self::Lost,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Created => "CREATED",
            Self::Pending => "PENDING",
            Self::Ready => "READY",
            Self::Error => "ERROR",
            Self::Deleting => "DELETING",
            Self::Deleted => "DELETED",
            Self::Lost => "LOST",
        }
    }

    /// Whether discovery looks at it. What is going away is left alone.
    pub fn is_probed(self) -> bool {
        !matches!(self, Self::Deleting | Self::Deleted)
    }
}

impl FromStr for ProviderStatus {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(())
    }
}

/// Whether a provider's own name for a model can be routed and sent.
pub fn is_upstream_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= UPSTREAM_ID_BYTES_MAX && !id.chars().any(char::is_control)
}

/// Whether `enabled` lets the upstream id through.
pub fn is_enabled(enabled: Option<&[String]>, upstream_id: &str) -> bool {
    match enabled {
        None | Some([]) => true,
        Some(ids) => ids.iter().any(|id| id == upstream_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back_as_itself() {
        for status in ProviderStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!("ready".parse::<ProviderStatus>().is_err());
    }

    #[test]
    fn an_absent_or_empty_list_enables_everything() {
        assert!(is_enabled(None, "a"));
        assert!(is_enabled(Some(&[]), "a"));
        assert!(is_enabled(Some(&["a".into()]), "a"));
        assert!(!is_enabled(Some(&["b".into()]), "a"));
    }
}
