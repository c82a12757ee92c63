//! Small valid values for unit tests.

use proto_shared::snapshot::{Replay, UpstreamTimeouts, Watch};
use proto_shared::{Backend, HostUrl, WorkspaceName};

use crate::domain::ProviderSpec;

pub fn workspace_name(name: &str) -> WorkspaceName {
    WorkspaceName::new(name).unwrap()
}

pub fn provider_spec(host_url: &str) -> ProviderSpec {
    ProviderSpec {
        project: None,
        description: None,
        host_url: HostUrl::parse(host_url).unwrap(),
        api_key_secret_name: None,
        auth_header_format: None,
        enabled_models: None,
        default_extra_body: None,
        required_extra_body: None,
        default_extra_headers: None,
        required_extra_headers: None,
        model_deployment_id: None,
        timeouts: UpstreamTimeouts::default(),
        replay: Replay::Never,
        preset: None,
        backend: Backend::default(),
        locality: None,
        watch: Watch::default(),
    }
}
