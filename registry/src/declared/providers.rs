//! Providers that a file declares. Deployments' providers are not touched.

use std::sync::Arc;

use proto_shared::egress::EgressPolicy;
use proto_shared::secret::SecretString;
use proto_shared::{ProviderName, WorkspaceName};
use serde_json::Value;

use super::{Applied, DeclarationFault, faults};
use crate::Registry;
use crate::api::body;
use crate::api::providers::body::CreateProvider;
use crate::domain::ProviderSpec;
use crate::domain::provider::GivenStatus;
use crate::error::Error;
use crate::store::{providers, secrets, workspaces};

/// A provider as it is to be.
#[derive(Debug, Clone)]
pub struct DeclaredProvider {
    pub workspace: WorkspaceName,
    pub name: ProviderName,
    spec: ProviderSpec,
}

impl DeclaredProvider {
    /// What a declaration may say.
    pub const FIELDS: [&str; 26] = [
        "name",
        "project",
        "description",
        "host_url",
        "api_key_secret_name",
        "auth_header_format",
        "enabled_models",
        "default_extra_body",
        "required_extra_body",
        "default_extra_headers",
        "required_extra_headers",
        "timeouts",
        "replay",
        "preset",
        "backend_format",
        "pinned_model",
        "uses_reasoning_parser",
        "num_concurrent_requests",
        "stream_comment_interval_ms",
        "leaving_clients",
        "requests_per_minute",
        "hold_back",
        "chat_traits",
        "locality",
        "health_path",
        "metrics_path",
    ];

    /// Reads what the API would take to create it.
    pub fn parse(
        workspace: &str,
        declared: &Value,
        egress: &EgressPolicy,
    ) -> Result<Self, Vec<DeclarationFault>> {
        let workspace = WorkspaceName::new(workspace)
            .map_err(|reason| vec![DeclarationFault::of("workspace", reason.to_string())])?;
        let parsed = body::parse::<CreateProvider>(declared).map_err(faults)?;
        let (spec, _) = parsed.rest.accept(egress).map_err(faults)?;
        Ok(Self { workspace, name: parsed.name, spec })
    }
}

impl Registry {
    /// Makes the provider what it is declared to be, and stores its key when one is given, all or nothing.
    pub async fn declare(
        &self,
        declared: &DeclaredProvider,
        key: Option<SecretString>,
    ) -> Result<Applied, Error> {
        let declared = declared.clone();
        // The addresses that this process listens on are known only now.
        let egress = &self.inner.config.egress;
        egress.check_url(&declared.spec.host_url).map_err(|reason| Error::refused("host_url", reason))?;
        let ring = Arc::clone(&self.inner.config.master_key);
        let done = self.inner.store.write(move |write| {
            let DeclaredProvider { workspace, name, spec } = &declared;
            workspaces::require_target(write, workspace.as_str())?;
            let mut is_new_key = false;
            if let (Some(key), Some(secret)) = (&key, &spec.api_key_secret_name) {
                if (workspace.as_str(), secret.as_str()) == secrets::NGC_API_KEY {
                    let reason = "it is what NGC_API_KEY holds; leave key_env and key_file out";
                    return Err(Error::refused("api_key_secret_name", reason));
                }
                let description = format!("key of provider {name}");
                is_new_key = secrets::put(write, &ring, workspace, secret, key, &description)?;
            }
            let Some(stored) = providers::find(write, workspace.as_str(), name.as_str())? else {
                providers::insert(write, workspace, name, spec, &GivenStatus::default())?;
                return Ok(Applied::Created);
            };
            if stored.spec.model_deployment_id.is_some() {
                let reason = "it leads to a deployment; give the declared provider another name";
                return Err(Error::Conflict(format!("Model provider {workspace}/{name}: {reason}")));
            }
            if stored.spec == *spec {
                return Ok(if is_new_key { Applied::Updated } else { Applied::Unchanged });
            }
            providers::replace(write, &stored, spec, &GivenStatus::default())?;
            Ok(Applied::Updated)
        });
        Ok(done.await?.value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults_of(declared: &Value) -> Vec<String> {
        let parsed = DeclaredProvider::parse("default", declared, &EgressPolicy::local());
        parsed.unwrap_err().iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect()
    }

    #[test]
    fn every_field_of_a_declaration_is_one_of_the_api() {
        use utoipa::ToSchema as _;
        let mut schemas = Vec::new();
        CreateProvider::schemas(&mut schemas);
        let document = serde_json::to_string(&schemas).unwrap()
            + &serde_json::to_string(&CreateProvider::name()).unwrap();
        for field in DeclaredProvider::FIELDS.iter().filter(|field| **field != "name") {
            assert!(document.contains(&format!("\"{field}\"")), "{field}");
        }
    }

    #[test]
    fn faults_are_told_by_field() {
        let both = faults_of(&json!({"name": "A B", "num_concurrent_requests": 0}));
        assert_eq!(both.len(), 3, "{both:?}");
        assert!(both.contains(&"host_url: Field required".to_owned()), "{both:?}");
        let preset = faults_of(&json!({"name": "p1", "preset": "x"}));
        assert!(preset[0].starts_with("preset: there is no such preset; there are anthropic"), "{preset:?}");
        let traits = faults_of(&json!({"name": "p1", "preset": "vllm", "chat_traits": {"takes_files": 1}}));
        assert!(traits[0].starts_with("chat_traits.takes_files: "), "{traits:?}");
        let place = faults_of(&json!({"name": "p1", "host_url": "http://169.254.169.254"}));
        assert!(place[0].starts_with("host_url: "), "{place:?}");
    }
}
