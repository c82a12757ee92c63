use super::*;
use crate::domain::{EntityId, ServedModel, Timestamp};
use crate::test_values::{provider_spec, workspace_name};

fn provider(seq: i64, name: &str, served: &[(&str, &str)], status: ProviderStatus) -> Arc<KeyedProvider> {
    let served = served
        .iter()
        .map(|(name, served_name)| ServedModel {
            name: ModelName::new(*name).unwrap(),
            served_name: (*served_name).into(),
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
        withheld: false,
        instances: Vec::new(),
        served,
        created: Timestamp(0),
        updated: Timestamp(0),
    };
    Arc::new(KeyedProvider { provider, key: None })
}

fn two_providers() -> [Arc<KeyedProvider>; 2] {
    [
        provider(1, "old", &[("tiny", "org/tiny")], ProviderStatus::Error),
        provider(2, "new", &[("tiny", "tiny"), ("big", "big")], ProviderStatus::Ready),
    ]
}

fn named(name: &str, entity: Option<&str>) -> VirtualRoute {
    in_workspace("default", name, entity)
}

fn in_workspace(workspace: &str, name: &str, entity: Option<&str>) -> VirtualRoute {
    VirtualRoute {
        workspace: workspace_name(workspace),
        name: ModelName::new(name).unwrap(),
        target: Target::read(entity.map(str::to_owned)),
        created: 5,
        middleware: Vec::new(),
    }
}

fn routes(virtual_models: Vec<VirtualRoute>, orders: Vec<ProviderOrder>) -> RouteSnapshot {
    let catalogue = Catalogue { virtual_models, orders, ..Catalogue::default() };
    snapshot("i", 7, vec![workspace_name("default")], &two_providers(), &catalogue)
}

fn candidates(route: &ModelRoute) -> Vec<(&str, &str)> {
    route.candidates.iter().map(|c| (c.provider.as_str(), c.served_name.as_str())).collect()
}

#[test]
fn the_oldest_provider_is_the_first_candidate() {
    let snapshot = routes(vec![named("tiny", None), named("big", None)], vec![]);
    let names: Vec<_> = snapshot.models.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["tiny", "big"], "in the order of the virtual models");
    let tiny = &snapshot.models[0];
    assert_eq!(candidates(tiny), [("old", "org/tiny"), ("new", "tiny")]);
    assert_eq!((tiny.created, &tiny.aliases), (5, &None), "aliases are the served names");
    assert_eq!(snapshot.providers.iter().map(|p| p.ready).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn the_owner_of_a_model_says_which_provider_comes_first() {
    let order = ProviderOrder {
        workspace: workspace_name("default"),
        model: ModelName::new("tiny").unwrap(),
        providers: vec!["default/new".into()],
    };
    let snapshot = routes(vec![named("tiny", None), named("chat", Some("tiny"))], vec![order]);
    for route in &snapshot.models {
        assert_eq!(candidates(route), [("new", "tiny"), ("old", "org/tiny")], "{}", route.name);
    }
}

#[test]
fn a_virtual_model_leads_to_its_default_entity_also_from_another_workspace() {
    let models = vec![
        named("chat", Some("tiny")),
        in_workspace("team", "chat", Some("default/big")),
        in_workspace("team", "lost", Some("big")),
        named("nonsense", Some("No Model")),
    ];
    let snapshot = routes(models, vec![]);
    assert_eq!(candidates(&snapshot.models[0]), [("old", "org/tiny"), ("new", "tiny")]);
    assert_eq!(candidates(&snapshot.models[1]), [("new", "big")]);
    assert!(snapshot.models[2].candidates.is_empty() && snapshot.models[3].candidates.is_empty());
}

#[test]
fn upstream_ids_follow_the_name_they_normalise_to() {
    let snapshot = routes(vec![named("chat", Some("tiny")), named("tiny", Some("big"))], vec![]);
    assert_eq!(snapshot.models[0].aliases.as_deref(), Some(&[][..]));
    let wanted = ["org/tiny".to_owned(), "tiny".to_owned()];
    assert_eq!(snapshot.models[1].aliases.as_deref(), Some(&wanted[..]));
    assert_eq!(candidates(&snapshot.models[1]), [("new", "big")]);
}

#[test]
fn what_needs_middleware_has_no_candidates_even_for_a_gateway_that_knows_none() {
    let mut guarded = named("tiny", None);
    guarded.middleware = vec!["guard".into()];
    let snapshot = routes(vec![guarded], vec![]);
    let route = &snapshot.models[0];
    assert!(route.candidates.is_empty());
    assert_eq!(route.middleware, ["guard"]);
    assert_eq!(route.aliases.as_ref().map(Vec::len), Some(2), "its upstream ids must not lead past it");
}

#[test]
fn an_adapter_is_also_called_as_clients_of_the_platform_put_it_together() {
    let names = |adapter: &str, base: &str| AdapterNames {
        adapter: Reference::try_from(adapter.to_owned()).unwrap(),
        base: Reference::try_from(base.to_owned()).unwrap(),
    };
    let ids = ["default--tuned", "team--tuned", "default--other"];
    let catalogue = Catalogue {
        virtual_models: ids.iter().map(|id| named(&id.replace("--", "-"), None)).collect(),
        adapters: HashMap::from([
            (ids[0].to_owned(), names("default/tuned", "default/tiny")),
            (ids[1].to_owned(), names("team/tuned", "default/tiny")),
            (ids[2].to_owned(), names("default/other", "team/tiny")),
        ]),
        ..Catalogue::default()
    };
    let served: Vec<_> = ids.iter().map(|id| (id.replace("--", "-"), *id)).collect();
    let served: Vec<_> = served.iter().map(|(name, id)| (name.as_str(), *id)).collect();
    let providers = [provider(1, "nim", &served, ProviderStatus::Ready)];
    let snapshot = snapshot("i", 7, vec![workspace_name("default")], &providers, &catalogue);
    let aliases = |at: usize| snapshot.models[at].aliases.clone().unwrap();
    assert_eq!(aliases(0), ["default--tuned", "tiny&adapters/default/tuned", "tuned"]);
    assert_eq!(aliases(1), ["team--tuned", "tiny&adapters/team/tuned"]);
    assert_eq!(aliases(2), ["default--other", "team/tiny&adapters/default/other", "other"]);
    assert_eq!(candidates(&snapshot.models[0]), [("nim", "default--tuned")]);
}
