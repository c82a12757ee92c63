use super::*;
use crate::domain::provider::UPSTREAM_ID_BYTES_MAX;
use crate::domain::{EntityId, Timestamp};
use crate::test_values::{provider_spec, workspace_name};

fn provider(status: ProviderStatus, message: &str, served: &[(&str, &str)]) -> Provider {
    Provider {
        seq: 1,
        revision: 1,
        id: EntityId::new("model-provider", 1),
        workspace: workspace_name("default"),
        name: proto_shared::ProviderName::new("p1").unwrap(),
        spec: provider_spec("http://h:1"),
        status,
        status_message: message.into(),
        seen: None,
        withheld: false,
        instances: Vec::new(),
        instances_watch: Default::default(),
        served: served
            .iter()
            .map(|(name, id)| ServedModel { name: ModelName::new(*name).unwrap(), served_name: (*id).into() })
            .collect(),
        created: Timestamp(0),
        updated: Timestamp(0),
    }
}

fn listed(ids: &[&str]) -> Probed {
    Probed::Listed(ids.iter().map(|id| (*id).to_owned()).collect())
}

fn names(verdict: &Verdict) -> Vec<(&str, &str)> {
    verdict.served.iter().flatten().map(|(name, id)| (name.as_str(), id.as_str())).collect()
}

const CREATED: ProviderStatus = ProviderStatus::Created;
const READY: ProviderStatus = ProviderStatus::Ready;
const ERROR: ProviderStatus = ProviderStatus::Error;

#[test]
fn a_new_provider_with_a_list_becomes_ready_with_normalised_names() {
    let verdict = judge(&provider(CREATED, "x", &[]), &listed(&["meta/llama-3.2-1b-instruct", "tiny"]), 0);
    assert_eq!(verdict.status, Some(READY));
    assert_eq!(verdict.message.as_deref(), Some(""));
    assert_eq!(
        names(&verdict),
        [("meta-llama-3-2-1b-instruct", "meta/llama-3.2-1b-instruct"), ("tiny", "tiny")]
    );
}

#[test]
fn the_same_list_again_changes_nothing() {
    let stored = provider(READY, "", &[("a-b", "a/b"), ("tiny", "tiny")]);
    assert_eq!(judge(&stored, &listed(&["a/b", "tiny"]), 0), Verdict::NOTHING);
}

#[test]
fn enabled_models_narrow_the_list() {
    let mut stored = provider(CREATED, "", &[]);
    stored.spec.enabled_models = Some(vec!["b".into(), "absent".into()]);
    assert_eq!(names(&judge(&stored, &listed(&["aa", "b"]), 0)).len(), 1);
    let verdict = judge(&stored, &listed(&["aa"]), 0);
    assert_eq!(verdict.message.as_deref(), Some("The provider lists none of its enabled_models"));
}

#[test]
fn ids_that_normalise_alike_get_distinct_names_that_do_not_move() {
    let verdict = judge(&provider(CREATED, "", &[]), &listed(&["a:b", "a/b", "a-b"]), 0);
    let found = names(&verdict);
    assert_eq!(found[2], ("a-b", "a-b"), "the id that is spelled like the name gets it");
    assert!(found[0].0.starts_with("a-b-") && found[1].0.starts_with("a-b-"));
    assert_ne!(found[0].0, found[1].0);

    let stored = provider(READY, "", &[("a-b", "a:b")]);
    let later = judge(&stored, &listed(&["a/b", "a:b"]), 0);
    assert_eq!(names(&later)[1], ("a-b", "a:b"), "an id keeps the name it has");
}

#[test]
fn odd_ids_and_repeated_ones_are_left_out() {
    let long = "x".repeat(UPSTREAM_ID_BYTES_MAX + 1);
    let verdict = judge(&provider(CREATED, "", &[]), &listed(&["", "a\nb", &long, "ok", "ok"]), 0);
    assert_eq!(names(&verdict), [("ok", "ok")]);
}

#[test]
fn the_number_of_models_is_limited_and_said() {
    let ids: Vec<String> = (0..=MODELS_PER_PROVIDER_MAX).map(|i| format!("m{i}")).collect();
    let verdict = judge(&provider(CREATED, "", &[]), &Probed::Listed(ids), 0);
    assert_eq!(verdict.served.map(|s| s.len()), Some(MODELS_PER_PROVIDER_MAX));
    assert!(verdict.message.is_some_and(|m| m.contains("10000")));
}

#[test]
fn a_provider_without_a_list_is_ready_for_its_provider_route() {
    for kind in [NoList::NotFound, NoList::OtherShape] {
        let verdict = judge(&provider(CREATED, "", &[]), &Probed::NoList(kind), 0);
        assert_eq!(verdict.status, Some(READY));
        assert!(verdict.message.is_some_and(|m| m.contains("entity routing is disabled")));
    }
}

#[test]
fn a_new_provider_that_fails_says_so_at_once() {
    let verdict = judge(&provider(CREATED, "", &[]), &Probed::Failed(Failure::Refused), 0);
    assert_eq!(verdict.status, Some(ERROR));
    assert_eq!(verdict.message.as_deref(), Some("Provider discovery failed: connection refused"));
}

#[test]
fn a_working_provider_is_given_up_at_the_second_failure_and_keeps_its_models() {
    let stored = provider(READY, "", &[("tiny", "tiny")]);
    for probed in [Probed::Failed(Failure::TimedOut), Probed::NoList(NoList::NotFound)] {
        let first = judge(&stored, &probed, 0);
        assert!(first.is_nothing_new() && first.doubtful, "{probed:?}");
        assert!(!judge(&stored, &probed, 1).is_nothing_new(), "{probed:?}");
    }
    let second = judge(&stored, &Probed::Failed(Failure::TimedOut), 1);
    assert_eq!((second.status, second.served), (Some(ERROR), None));
}

#[test]
fn a_refused_key_counts_at_once_and_too_many_requests_never() {
    let stored = provider(READY, "", &[]);
    let refused = judge(&stored, &Probed::Failed(Failure::Status(401)), 0);
    assert_eq!(refused.message.as_deref(), Some("Provider discovery failed: answered 401"));
    assert!(judge(&stored, &Probed::Failed(Failure::Status(429)), 9).is_nothing_new());
}

#[test]
fn a_provider_comes_back_by_itself() {
    let stored = provider(ERROR, "Provider discovery failed: timed out", &[("tiny", "tiny")]);
    let verdict = judge(&stored, &listed(&["tiny"]), 7);
    assert_eq!(verdict, Verdict { status: Some(READY), message: Some(String::new()), ..Verdict::NOTHING });
}

#[test]
fn what_is_going_away_is_left_alone() {
    let stored = provider(ProviderStatus::Deleting, "", &[]);
    assert_eq!(judge(&stored, &listed(&["tiny"]), 0), Verdict::NOTHING);
}

fn pinned(status: ProviderStatus, served: &[(&str, &str)]) -> Provider {
    let mut stored = provider(status, "x", served);
    stored.spec.backend.pinned_model = Some("Org/M".into());
    stored
}

#[test]
fn a_pinned_model_is_the_only_one_whatever_the_list_says() {
    for (probed, says) in [
        (listed(&["aa", "Org/M", "bb"]), ""),
        (listed(&[]), ""),
        (Probed::NoList(NoList::NotFound), ""),
        (Probed::NoList(NoList::OtherShape), ""),
        (listed(&["aa"]), "does not name its pinned model 'Org/M'"),
        (Probed::Failed(Failure::Status(405)), "can't be had (answered 405)"),
        (Probed::Failed(Failure::Status(429)), "answered 429"),
        (Probed::Failed(Failure::TooLong(8)), "longer than 8 bytes"),
    ] {
        let verdict = judge(&pinned(CREATED, &[]), &probed, 0);
        assert_eq!(verdict.status, Some(READY), "{probed:?}");
        assert_eq!(names(&verdict), [("org-m", "Org/M")], "{probed:?}");
        let message = verdict.message.clone().unwrap_or_default();
        assert!(message.contains(says) && message.is_empty() == says.is_empty(), "{message}");
    }
    let renamed = judge(&pinned(CREATED, &[("mine", "Org/M")]), &listed(&[]), 0);
    assert_eq!(renamed.served, None, "it keeps its name");
}

#[test]
fn a_pinned_model_does_not_make_up_for_a_refused_key_or_a_dead_host() {
    for failure in [Failure::Status(401), Failure::Status(403), Failure::Refused, Failure::Status(502)] {
        let verdict = judge(&pinned(CREATED, &[("org-m", "Org/M")]), &Probed::Failed(failure), 0);
        assert_eq!((verdict.status, &verdict.served), (Some(ERROR), &None));
    }
}
