use DeploymentStatus as S;

use super::*;
use crate::domain::Timestamp;
use crate::test_values::workspace_name;

const KEPT: Duration = Duration::from_secs(4);

/// Every deployment has been DELETED for the same time.
struct For(Duration);

impl Records for For {
    fn kept(&self) -> Duration {
        KEPT
    }
    fn deleted_for(&self, _: i64) -> Duration {
        self.0
    }
}

fn deployment(status: S) -> SeenDeployment {
    SeenDeployment {
        state: SeenState { seq: 1, status, since: Timestamp(5) },
        workspace: workspace_name("team"),
        name: "llama".into(),
        is_leaving: false,
        is_untouched: false,
        is_ours: false,
        has_stale_routes: false,
    }
}

fn plan_for(deployment: SeenDeployment) -> Plan {
    let observed = Observed { deployments: vec![deployment], leaving: Vec::new() };
    plan(&observed, Runtime::None, &For(Duration::ZERO))
}

/// The state it is brought into, if any.
fn goal(deployment: SeenDeployment) -> Option<S> {
    match &plan_for(deployment).steps[..] {
        [Step::Advance { to, .. }] => Some(*to),
        [] => None,
        steps => panic!("{steps:?}"),
    }
}

#[test]
fn without_a_runtime_what_is_new_fails_with_a_word_on_what_to_do() {
    for status in [S::Created, S::Pending] {
        let plan = plan_for(SeenDeployment { is_untouched: true, ..deployment(status) });
        let [Step::Advance { seen, to: S::Error, message }] = &plan.steps[..] else { panic!("{plan:?}") };
        assert_eq!(seen.status, status);
        assert!(message.contains("nimgate provider create"), "{message}");
    }
}

#[test]
fn what_a_controller_spoke_about_is_left_alone() {
    for status in [S::Unknown, S::Created, S::Pending, S::Ready, S::Error, S::Lost] {
        assert_eq!(plan_for(deployment(status)), Plan::default(), "{status:?}");
    }
}

#[test]
fn routes_go_before_the_deployment() {
    let deleting = SeenDeployment { has_stale_routes: true, ..deployment(S::Deleting) };
    let seen = deleting.state;
    assert_eq!(plan_for(deleting).steps, [Step::Withdraw { seen }]);
    assert_eq!(goal(deployment(S::Deleting)), Some(S::Deleted));
    // Reported as deleted by a controller, without having been asked for.
    let deleted = SeenDeployment { has_stale_routes: true, ..deployment(S::Deleted) };
    assert_eq!(plan_for(deleted).steps, [Step::Withdraw { seen: deployment(S::Deleted).state }]);
}

#[test]
fn the_record_of_a_deleted_one_stays_for_a_while() {
    let observed = Observed { deployments: vec![deployment(S::Deleted)], leaving: Vec::new() };
    let after = |age| plan(&observed, Runtime::None, &For(age));
    let early = after(KEPT / 4);
    assert_eq!((early.steps.len(), early.look_again_in), (0, Some(KEPT * 3 / 4)));
    let seen = deployment(S::Deleted).state;
    assert_eq!(after(KEPT).steps, [Step::Forget { seen }]);
    assert_eq!(after(KEPT * 2).look_again_in, None);
}

#[test]
fn everything_in_a_leaving_workspace_is_on_its_way_out() {
    for status in [S::Unknown, S::Created, S::Pending, S::Ready, S::Error, S::Lost] {
        let leaving = SeenDeployment { is_leaving: true, is_untouched: true, ..deployment(status) };
        assert_eq!(goal(leaving), Some(S::Deleting), "{status:?}");
    }
    let deleted = SeenDeployment { is_leaving: true, ..deployment(S::Deleted) };
    let seen = deleted.state;
    assert_eq!(plan_for(deleted).steps, [Step::Forget { seen }], "nobody waits to read it");
}

#[test]
fn a_leaving_workspace_is_emptied_in_order_and_goes_last() {
    let workspace = workspace_name("team");
    let steps = |has_deployments, holds| {
        let leaving = Leaving { workspace: workspace.clone(), has_deployments, holds };
        let observed = Observed { deployments: Vec::new(), leaving: vec![leaving] };
        plan(&observed, Runtime::None, &For(Duration::ZERO)).steps
    };
    assert_eq!(steps(true, Some(Contents::Providers)), [], "deployments first");
    assert_eq!(
        steps(false, Some(Contents::Providers)),
        [Step::Empty { workspace: workspace.clone(), contents: Contents::Providers }]
    );
    assert_eq!(steps(false, None), [Step::Remove { workspace: workspace.clone() }]);
}

#[test]
fn the_earliest_due_time_counts() {
    struct Ages;
    impl Records for Ages {
        fn kept(&self) -> Duration {
            KEPT
        }
        fn deleted_for(&self, seq: i64) -> Duration {
            Duration::from_secs(seq.unsigned_abs())
        }
    }
    let with_seq = |seq| {
        let mut deleted = deployment(S::Deleted);
        deleted.state.seq = seq;
        deleted
    };
    let observed = Observed { deployments: vec![with_seq(1), with_seq(3), with_seq(2)], leaving: vec![] };
    let plan = plan(&observed, Runtime::None, &Ages);
    assert_eq!(plan.look_again_in, Some(Duration::from_secs(1)));
}
