//! One step of the store, in one transaction, if it still applies.

use proto_shared::names::EntityName;
use proto_shared::snapshot::{Replay, UpstreamTimeouts, Watch};
use proto_shared::{Backend, HostUrl, ProviderName};

use super::plan::Step;
use super::routing::Led;
use crate::discovery;
use crate::domain::launch;
use crate::domain::observed::SeenState;
use crate::domain::provider::GivenStatus;
use crate::domain::{Deployment, DeploymentStatus as Status, Provider, ProviderSpec};
use crate::error::Error;
use crate::store::instances::{self, Mark};
use crate::store::{Write, deployments, providers, reconciling};

/// Says whether anything changed. Steps that take their time are not for here.
pub fn write_step(write: &Write<'_>, step: &Step) -> Result<bool, Error> {
    match step {
        Step::Accept { seen, runtime } => with(write, *seen, |deployment| {
            instances::accept(write, seen.seq, *runtime)?;
            let message = format!("Accepted: {} runs it", runtime.as_str());
            advance(write, deployment, Status::Pending, &message)
        }),
        Step::Tell { seen, to, message, ready } => with(write, *seen, |deployment| {
            let counted = match ready {
                Some(ready) => deployments::set_ready_replicas(write, seen.seq, *ready)?,
                None => false,
            };
            Ok(advance(write, deployment, *to, message)? || counted)
        }),
        Step::Progress { seen, message } => with(write, *seen, |deployment| {
            deployments::change(write, deployment, |lifecycle, now| lifecycle.progress(message, now))
        }),
        Step::Intend { seen, intent } => {
            with(write, *seen, |_| instances::insert(write, intent).map(|()| true))
        }
        Step::Replace { seen, old, intent } => with(write, *seen, |_| {
            instances::mark(write, *old, Mark::Ending(write.now()))?;
            instances::insert(write, intent).map(|()| true)
        }),
        Step::Retry { seen, record, failures, at, message } => with(write, *seen, |_| {
            instances::explain(write, *record, message)?;
            instances::mark(write, *record, Mark::Retry { failures: *failures, at: *at })
        }),
        Step::GiveUp { seen, record, stop, message } => with(write, *seen, |_| {
            instances::explain(write, *record, message)?;
            if *stop {
                instances::mark(write, *record, Mark::Ending(write.now()))?;
            }
            instances::mark(write, *record, Mark::Failed)
        }),
        Step::Mark(record, mark) => instances::mark(write, *record, *mark),
        Step::Forget(record) => instances::forget(write, *record),
        Step::Route { version, to, .. } => {
            with(write, *version, |deployment| route(write, deployment, to.as_ref()))
        }
        Step::Launch { .. } | Step::Stop { .. } | Step::ReadLastWords { .. } | Step::RemoveVolumes { .. } => {
            Ok(false)
        }
    }
}

fn with(
    write: &Write<'_>,
    seen: SeenState,
    step: impl FnOnce(&mut Deployment) -> Result<bool, Error>,
) -> Result<bool, Error> {
    match reconciling::unchanged(write, seen)? {
        Some(mut deployment) => step(&mut deployment),
        None => Ok(false),
    }
}

fn advance(write: &Write<'_>, deployment: &mut Deployment, to: Status, message: &str) -> Result<bool, Error> {
    tracing::info!(deployment = %deployment.id, name = %deployment.name, to = to.as_str(), message, "a deployment moves on");
    deployments::change(write, deployment, |lifecycle, now| lifecycle.advance(to, message, now))
}

/// Leads the deployment's provider to where it runs, making it when there is none; or out of rotation. What is known
/// of its models goes with it, so that no request carries a name that another version had for them.
fn route(write: &Write<'_>, deployment: &Deployment, to: Option<&Led>) -> Result<bool, Error> {
    let provider = provider_of(write, deployment)?;
    let Some(to) = to else {
        return match provider {
            Some(provider) => {
                providers::withhold(write, &provider, "Its deployment is not ready").map(|()| true)
            }
            None => Ok(false),
        };
    };
    let url = |text: &str| HostUrl::parse(text).map_err(|error| Error::refused("host_url", error));
    let host_url = url(&to.host_url)?;
    let instances = to.instances.iter().map(|text| url(text)).collect::<Result<Vec<_>, _>>()?;
    let provider = match provider {
        Some(provider) => provider,
        None => {
            let made = make_provider(write, deployment, host_url.clone())?;
            deployments::set_provider(write, deployment, &format!("{}/{}", made.workspace, made.name))?;
            made
        }
    };
    let led = providers::lead(write, &provider, &host_url, &instances, &to.watch)?;
    if let Some(models) = &to.models {
        providers::record(write, &led, &discovery::listed(&led, &with_adapters(&led, models)))?;
    }
    Ok(true)
}

/// What an instance said when it got ready is older than the adapters that it was shown since. Those that are not there
/// any more go with the next look at the provider.
fn with_adapters(provider: &Provider, said: &[String]) -> Vec<String> {
    let served = provider.served.iter().map(|served| &served.served_name);
    let is_missed = |id: &&String| launch::adapter_of_folder(id).is_some() && !said.contains(id);
    said.iter().chain(served.filter(is_missed)).cloned().collect()
}

fn provider_of(write: &Write<'_>, deployment: &Deployment) -> Result<Option<Provider>, Error> {
    let named = deployment.model_provider_id.as_deref().and_then(|id| id.split_once('/'));
    let Some((workspace, name)) = named else { return Ok(None) };
    providers::find(write, workspace, name)
}

/// Named like the deployment; when that name is taken, with a part that tells it apart.
fn make_provider(write: &Write<'_>, deployment: &Deployment, host_url: HostUrl) -> Result<Provider, Error> {
    let (workspace, name) = (&deployment.workspace, &deployment.name);
    let spec = ProviderSpec {
        project: deployment.project.clone(),
        description: Some(format!("Auto-created provider for deployment {name}")),
        host_url,
        api_key_secret_name: None,
        auth_header_format: None,
        enabled_models: None,
        default_extra_body: None,
        required_extra_body: None,
        default_extra_headers: None,
        required_extra_headers: None,
        model_deployment_id: Some(format!("{workspace}/{name}")),
        timeouts: UpstreamTimeouts::default(),
        // It is ours: nobody is billed for a request that is sent again.
        replay: Replay::Safe,
        preset: None,
        backend: Backend::default(),
        locality: None,
        watch: Watch::default(),
    };
    let first = ProviderName::new(name.as_str()).map_err(|reason| Error::refused("name", reason))?;
    let is_taken = providers::find(write, workspace.as_str(), first.as_str())?.is_some();
    let chosen = if is_taken { distinct_name(name, deployment)? } else { first };
    providers::insert(write, workspace, &chosen, &spec, &GivenStatus::default())
}

/// `{name}_{8 hex}`, the name cut so that it fits.
fn distinct_name(name: &EntityName, deployment: &Deployment) -> Result<ProviderName, Error> {
    use sha1::Digest as _;
    let digest = sha1::Sha1::digest(deployment.id.to_string().as_bytes());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept: String =
        name.as_str().chars().take(proto_shared::names::NAME_BYTES_MAX - hex.len() - 1).collect();
    ProviderName::new(format!("{kept}_{hex}")).map_err(|reason| Error::refused("name", reason))
}
