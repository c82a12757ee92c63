//! From providers to the routes of one generation.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_shared::snapshot::SNAPSHOT_FORMAT;
use proto_shared::{
    Candidate, ModelName, ModelRoute, ProviderRoute, RouteSnapshot, SealedSecret, WorkspaceName,
};

use super::{Provider, ProviderStatus};

/// A provider with the key it uses.
#[derive(Debug)]
pub struct KeyedProvider {
    pub provider: Provider,
    pub key: Option<SealedSecret>,
}

impl KeyedProvider {
    pub fn route(&self) -> ProviderRoute {
        let Provider { workspace, name, spec, status, .. } = &self.provider;
        ProviderRoute {
            workspace: workspace.clone(),
            name: name.clone(),
            host_url: spec.host_url.clone(),
            api_key: self.key.clone(),
            auth_header_format: spec.auth_header_format.clone().unwrap_or_default(),
            default_extra_headers: spec.default_extra_headers.clone().unwrap_or_default(),
            required_extra_headers: spec.required_extra_headers.clone().unwrap_or_default(),
            default_extra_body: spec.default_extra_body.clone().unwrap_or_default(),
            required_extra_body: spec.required_extra_body.clone().unwrap_or_default(),
            timeouts: spec.timeouts,
            replay: spec.replay,
            ready: *status == ProviderStatus::Ready,
        }
    }
}

/// Builds the snapshot. `providers` are in order of creation; so are the candidates of each model.
pub fn snapshot(
    installation: &str,
    generation: u64,
    workspaces: Vec<WorkspaceName>,
    providers: &[Arc<KeyedProvider>],
) -> RouteSnapshot {
    let mut models: BTreeMap<(&WorkspaceName, &ModelName), (u64, Vec<Candidate>)> = BTreeMap::new();
    for keyed in providers {
        let provider = &keyed.provider;
        for served in &provider.served {
            let (_, candidates) = models
                .entry((&provider.workspace, &served.name))
                .or_insert_with(|| (served.created.seconds(), Vec::with_capacity(1)));
            candidates.push(Candidate {
                workspace: provider.workspace.clone(),
                provider: provider.name.clone(),
                served_name: served.served_name.clone(),
            });
        }
    }
    let models = models
        .into_iter()
        .map(|((workspace, name), (created, candidates))| ModelRoute {
            workspace: workspace.clone(),
            name: name.clone(),
            created,
            candidates,
        })
        .collect();
    RouteSnapshot {
        format: SNAPSHOT_FORMAT,
        installation: installation.to_owned(),
        generation,
        workspaces,
        providers: providers.iter().map(|keyed| keyed.route()).collect(),
        models,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EntityId, ServedModel, Timestamp};
    use crate::test_values::{provider_spec, workspace_name};

    fn provider(seq: i64, name: &str, served: &[(&str, &str)], status: ProviderStatus) -> Arc<KeyedProvider> {
        let served = served
            .iter()
            .map(|(name, served_name)| ServedModel {
                name: ModelName::new(*name).unwrap(),
                served_name: (*served_name).into(),
                created: Timestamp(5_000_000),
            })
            .collect();
        let provider = Provider {
            seq,
            revision: 1,
            id: EntityId::new("model-provider", 1),
            workspace: workspace_name("default"),
            name: proto_shared::ProviderName::new(name).unwrap(),
            spec: provider_spec("http://h:1"),
            status,
            status_message: String::new(),
            served,
            created: Timestamp(0),
            updated: Timestamp(0),
        };
        Arc::new(KeyedProvider { provider, key: None })
    }

    #[test]
    fn the_oldest_provider_is_the_first_candidate() {
        let providers = [
            provider(1, "old", &[("tiny", "org/tiny")], ProviderStatus::Error),
            provider(2, "new", &[("tiny", "tiny"), ("big", "big")], ProviderStatus::Ready),
        ];
        let snapshot = snapshot("i", 7, vec![workspace_name("default")], &providers);
        let names: Vec<_> = snapshot.models.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["big", "tiny"]);
        let tiny = &snapshot.models[1];
        let order: Vec<_> =
            tiny.candidates.iter().map(|c| (c.provider.as_str(), c.served_name.as_str())).collect();
        assert_eq!(order, [("old", "org/tiny"), ("new", "tiny")]);
        assert_eq!(tiny.created, 5);
        assert_eq!(snapshot.providers.iter().map(|p| p.ready).collect::<Vec<_>>(), [false, true]);
    }
}
