//! What to do about what was seen. Pure: it is told the time.
//!
//! Invariants:
//! - A plan of what it leads to is empty: a step is planned only while it would change something.
//! - Routes go before what they lead to; contents go before their workspace.
//! - What a controller reports is never fought: without a runtime, only what nobody spoke about is judged.

use std::time::Duration;

use proto_shared::WorkspaceName;

use crate::domain::observed::{Leaving, Observed, SeenDeployment, SeenState};
use crate::domain::{Contents, DeploymentStatus};

/// What containers run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Nothing here starts containers. Others may, and report.
    None,
    /// What is new is taken on, and what was taken on is looked after, elsewhere.
    Some,
}

/// What an owner reads who deploys where nothing can be started.
pub const NO_RUNTIME: &str = "no container runtime: this registry can't start containers. Start the model \
    server yourself and register it (nimgate provider create NAME --url http://HOST:PORT), or let a controller \
    run it and report its status";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Brings a deployment into another state.
    Advance { seen: SeenState, to: DeploymentStatus, message: &'static str },
    /// Takes the routes to a deployment away.
    Withdraw { seen: SeenState },
    /// Removes the record of a deployment that is DELETED.
    Forget { seen: SeenState },
    /// Removes some of what a workspace holds.
    Empty { workspace: WorkspaceName, contents: Contents },
    /// Removes an empty workspace.
    Remove { workspace: WorkspaceName },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// When something will be due that is not yet.
    pub look_again_in: Option<Duration>,
}

/// How long records of deleted deployments stay, and how long each has been one.
pub trait Records {
    fn kept(&self) -> Duration;
    fn deleted_for(&self, seq: i64) -> Duration;
}

pub fn plan(observed: &Observed, runtime: Runtime, records: &impl Records) -> Plan {
    let mut plan = Plan::default();
    for seen in &observed.deployments {
        match next_step(seen, runtime, records) {
            Next::Step(step) => plan.steps.push(step),
            Next::In(wait) => {
                plan.look_again_in = Some(plan.look_again_in.map_or(wait, |known| known.min(wait)));
            }
            Next::Nothing => {}
        }
    }
    plan.steps.extend(observed.leaving.iter().filter_map(step_out));
    plan
}

enum Next {
    Step(Step),
    In(Duration),
    Nothing,
}

fn next_step(deployment: &SeenDeployment, runtime: Runtime, records: &impl Records) -> Next {
    use DeploymentStatus as S;
    let seen = deployment.state;
    let advance = |to, message| Next::Step(Step::Advance { seen, to, message });
    match seen.status {
        S::Deleting | S::Deleted if deployment.has_stale_routes => Next::Step(Step::Withdraw { seen }),
        S::Deleting if deployment.is_ours => Next::Nothing,
        S::Deleting => advance(S::Deleted, "Deployment deleted"),
        S::Deleted => {
            let left = records.kept().saturating_sub(records.deleted_for(seen.seq));
            if left.is_zero() || deployment.is_leaving {
                Next::Step(Step::Forget { seen })
            } else {
                Next::In(left)
            }
        }
        _ if deployment.is_leaving => advance(S::Deleting, "Its workspace is being deleted"),
        S::Created | S::Pending if deployment.is_untouched => match runtime {
            Runtime::None => advance(S::Error, NO_RUNTIME),
            Runtime::Some => Next::Nothing,
        },
        S::Unknown | S::Created | S::Pending | S::Ready | S::Error | S::Lost => Next::Nothing,
    }
}

fn step_out(leaving: &Leaving) -> Option<Step> {
    let Leaving { workspace, has_deployments, holds } = leaving;
    let workspace = workspace.clone();
    match (has_deployments, *holds) {
        (true, _) => None,
        (false, Some(contents)) => Some(Step::Empty { workspace, contents }),
        (false, None) => Some(Step::Remove { workspace }),
    }
}

#[cfg(test)]
mod tests;
