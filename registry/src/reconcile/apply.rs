//! One step, in one transaction, if it still applies.

use proto_shared::WorkspaceName;

use super::plan::Step;
use crate::Registry;
use crate::domain::{Contents, DeploymentStatus};
use crate::error::Error;
use crate::store::{Write, deployments, leaving, reconciling};

/// Says whether anything changed.
pub async fn apply(registry: &Registry, step: Step) -> Result<bool, Error> {
    if let Step::Empty { workspace, contents: Contents::Filesets } = step {
        return remove_filesets(registry, workspace).await;
    }
    let applied = registry.inner.store.write(move |write| write_step(write, &step)).await?;
    Ok(applied.value)
}

/// The record goes first: files that nobody knows of are swept at the next start at the latest.
async fn remove_filesets(registry: &Registry, workspace: WorkspaceName) -> Result<bool, Error> {
    let store = &registry.inner.store;
    let removed = store.write(move |write| leaving::remove_filesets(write, workspace.as_str())).await?.value;
    for id in &removed {
        registry.inner.files.forget(id).await;
    }
    Ok(!removed.is_empty())
}

fn write_step(write: &Write<'_>, step: &Step) -> Result<bool, Error> {
    match step {
        Step::Advance { seen, to, message } => {
            let Some(mut deployment) = reconciling::unchanged(write, *seen)? else { return Ok(false) };
            tracing::info!(deployment = %deployment.id, name = %deployment.name, to = to.as_str(), "a deployment moves on");
            deployments::change(write, &mut deployment, |lifecycle, now| lifecycle.advance(*to, message, now))
        }
        Step::Withdraw { seen } => match reconciling::unchanged(write, *seen)? {
            Some(deployment) => reconciling::withdraw_routes(write, &deployment),
            None => Ok(false),
        },
        Step::Forget { seen } => match reconciling::unchanged(write, *seen)? {
            Some(deployment) if seen.status == DeploymentStatus::Deleted => {
                deployments::forget(write, &deployment).map(|()| true)
            }
            _ => Ok(false),
        },
        Step::Empty { workspace, contents } => {
            leaving::remove_some(write, workspace.as_str(), *contents).map(|removed| removed > 0)
        }
        Step::Remove { workspace } => {
            tracing::info!(%workspace, "a workspace is empty and goes");
            leaving::remove(write, workspace.as_str())
        }
    }
}
