use proto_shared::routing::Strategy;
use serde_json::json;

use super::*;
use crate::domain::provider::Locality;
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
        seen: None,
        withheld: false,
        instances: Vec::new(),
        instances_watch: Watch::default(),
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
        routing: None,
        local_only: false,
        resume: ResumeWish::Off,
        stream_comment_interval_ms: None,
        limits: None,
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

fn wish(value: serde_json::Value) -> Option<crate::domain::routing::RoutingWish> {
    Some(serde_json::from_value(value).unwrap())
}

#[test]
fn without_a_word_requests_go_to_the_least_busy_and_an_order_is_kept_to() {
    let order = |model: &str| ProviderOrder {
        workspace: workspace_name("default"),
        model: ModelName::new(model).unwrap(),
        providers: vec!["default/new".into()],
    };
    let strategies = |orders| {
        let snapshot = routes(vec![named("tiny", None), named("big", None)], orders);
        [0, 1].map(|at| snapshot.models[at].routing.strategy)
    };
    assert_eq!(
        strategies(vec![]),
        [Strategy::LeastBusy, Strategy::Priority],
        "one candidate needs no choice"
    );
    assert_eq!(strategies(vec![order("big")]), [Strategy::LeastBusy, Strategy::Priority]);
    assert_eq!(strategies(vec![order("tiny")]), [Strategy::Priority, Strategy::Priority]);
}

#[test]
fn a_written_routing_is_published_and_who_is_named_comes_first() {
    let mut split = named("tiny", None);
    split.routing = wish(json!({ "strategy": "weighted", "sticky": "session", "providers": [
        { "provider": "new", "weight": 9 }, { "provider": "to-come", "weight": 1 }] }));
    let snapshot = routes(vec![split], vec![]);
    let tiny = &snapshot.models[0];
    assert_eq!(candidates(tiny), [("new", "tiny"), ("old", "org/tiny")]);
    assert_eq!(
        serde_json::to_value(&tiny.routing).unwrap(),
        json!({ "strategy": "weighted", "sticky": "session", "providers": [
            { "workspace": "default", "provider": "new", "weight": 9 },
            { "workspace": "default", "provider": "to-come", "weight": 1 },
            { "workspace": "default", "provider": "old", "weight": 0 },
        ] })
    );
}

/// `big` is served by a hosted provider, `tiny` by that and by a local one.
fn with_boundary(model: VirtualRoute, mark: impl FnOnce(&mut Catalogue)) -> ModelRoute {
    let hosted = provider(2, "hosted", &[("tiny", "tiny"), ("big", "big")], ProviderStatus::Ready);
    let mut local = provider(1, "nim", &[("tiny", "tiny")], ProviderStatus::Ready);
    Arc::get_mut(&mut local).unwrap().provider.spec = provider_spec("http://127.0.0.1:8000");
    let mut catalogue = Catalogue { virtual_models: vec![model], ..Catalogue::default() };
    mark(&mut catalogue);
    snapshot("i", 7, vec![workspace_name("default")], &[hosted, local], &catalogue).models.remove(0)
}

#[test]
fn what_is_marked_local_only_anywhere_on_the_way_leaves_out_hosted_providers() {
    let (default, team) = (workspace_name("default"), workspace_name("team"));
    let tiny = || (default.clone(), ModelName::new("tiny").unwrap());
    let chat = || in_workspace("team", "chat", Some("default/tiny"));
    let model = LocalRule::Model("default/tiny".into());
    let marked = [
        (VirtualRoute { local_only: true, ..chat() }, None, LocalRule::VirtualModel("team/chat".into())),
        (chat(), Some(&team), LocalRule::Workspace(team.clone())),
        (chat(), Some(&default), LocalRule::Workspace(default.clone())),
        (chat(), None, model.clone()),
        (named("tiny", None), None, model.clone()),
    ];
    for (route, workspace, by) in marked {
        let route = with_boundary(route, |catalogue| {
            catalogue.local_workspaces = workspace.into_iter().cloned().collect();
            catalogue.local_models.extend((by == model).then(tiny));
        });
        assert_eq!(candidates(&route), [("nim", "tiny")], "{by}");
        assert_eq!(route.local_only, Some(LocalOnly { by, left_out: vec!["default/hosted".into()] }));
        assert!(route.routing.is_default(), "one candidate needs no choice");
    }
    let open = with_boundary(chat(), |_| {});
    assert_eq!((open.candidates.len(), open.local_only), (2, None));
}

#[test]
fn a_model_that_only_hosted_providers_serve_keeps_its_ids_and_says_whom_it_lost() {
    let marked = VirtualRoute { local_only: true, ..named("big", None) };
    let route = with_boundary(marked, |_| {});
    assert!(route.candidates.is_empty());
    assert_eq!(route.local_only.map(|rule| rule.left_out), Some(vec!["default/hosted".to_owned()]));
    assert_eq!(route.aliases, Some(vec!["big".to_owned()]), "its upstream ids must not lead past it");
}

#[test]
fn workspaces_that_are_local_only_and_local_providers_are_told_to_gateways() {
    let local_workspaces = HashSet::from([workspace_name("default"), workspace_name("gone")]);
    let catalogue = Catalogue { local_workspaces, ..Catalogue::default() };
    let mut owned = provider(1, "said", &[], ProviderStatus::Ready);
    Arc::get_mut(&mut owned).unwrap().provider.spec.locality = Some(Locality::Local);
    let providers = [owned, provider(2, "named", &[], ProviderStatus::Ready)];
    let snapshot = snapshot("i", 7, vec![workspace_name("default")], &providers, &catalogue);
    assert_eq!(snapshot.local_only, [workspace_name("default")]);
    assert_eq!(snapshot.providers.iter().map(|p| p.local).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_provider_is_local_by_its_owners_word_or_where_we_run_it_or_by_the_form_of_its_address() {
    for (url, locality, runs_here, expected) in [
        ("http://127.0.0.1:8000", None, false, true),
        ("http://localhost:8000", None, false, true),
        ("http://10.1.2.3", None, false, true),
        ("http://[fd00::1]:8000", None, false, true),
        ("http://nim:8000", None, false, false),
        ("https://api.example", None, false, false),
        ("http://8.8.8.8", None, false, false),
        ("http://node-7:8000", None, true, true),
        ("http://nim:8000", Some(Locality::Local), false, true),
        ("http://127.0.0.1:8000", Some(Locality::Hosted), false, false),
    ] {
        let mut keyed = provider(1, "it", &[], ProviderStatus::Ready);
        let provider = &mut Arc::get_mut(&mut keyed).unwrap().provider;
        provider.spec = provider_spec(url);
        provider.spec.locality = locality;
        provider.instances.extend(runs_here.then(|| provider.spec.host_url.clone()));
        assert_eq!(keyed.route().local, expected, "{url} {locality:?}");
    }
}

#[test]
fn servers_of_ones_own_may_be_asked_how_they_are_and_hosted_providers_may_not() {
    for (url, locality, expected) in [
        ("https://api.example.com/v1", None, false),
        ("http://nim.models:8000", None, true),
        ("http://nim.models:8000", Some(Locality::Hosted), false),
        ("https://nim.models:8443", Some(Locality::Local), true),
        ("https://10.0.0.7:8443", None, true),
    ] {
        let mut owned = provider(1, "own", &[], ProviderStatus::Ready);
        let spec = &mut Arc::get_mut(&mut owned).unwrap().provider.spec;
        (spec.host_url, spec.locality) = (proto_shared::HostUrl::parse(url).unwrap(), locality);
        assert_eq!(owned.route().watch.is_some(), expected, "{url} {locality:?}");
    }
}

#[test]
fn what_a_deployment_runs_is_asked_where_its_engine_says_how_it_is_and_its_owners_word_goes_before() {
    let mut keyed = provider(1, "own", &[], ProviderStatus::Ready);
    let provider = &mut Arc::get_mut(&mut keyed).unwrap().provider;
    provider.spec.watch.health_path = Some("/up".into());
    provider.instances_watch =
        Watch { health_path: Some("/v1/health/ready".into()), metrics_path: Some("/v1/metrics".into()) };
    let of_owner = Watch { health_path: Some("/up".into()), metrics_path: None };
    assert_eq!(keyed.watch(), Some(of_owner), "those paths are of other servers");
    let provider = &mut Arc::get_mut(&mut keyed).unwrap().provider;
    provider.instances = vec![provider.spec.host_url.clone()];
    let both = Watch { health_path: Some("/up".into()), metrics_path: Some("/v1/metrics".into()) };
    assert_eq!(keyed.watch(), Some(both));
}

fn candidates_of(mut model: VirtualRoute, parts: serde_json::Value) -> ModelRoute {
    model.routing = wish(json!({ "strategy": "weighted", "providers": parts }));
    routes(vec![model], vec![]).models.remove(0)
}

#[test]
fn a_provider_may_be_asked_for_a_model_of_its_own_in_the_place_of_another() {
    let parts = json!([{ "provider": "new", "model": "org/other" }, { "provider": "old" }]);
    let route = candidates_of(named("tiny", None), parts.clone());
    assert_eq!(candidates(&route), [("new", "org/other"), ("old", "org/tiny")]);
    let ids = Some(vec!["org/tiny".to_owned(), "tiny".to_owned()]);
    assert_eq!(route.aliases, ids, "what it is asked for means no other model");
    let alone = candidates_of(named("chat", None), parts);
    assert_eq!((candidates(&alone), &alone.aliases), (vec![("new", "org/other")], &Some(vec![])));
}

#[test]
fn a_provider_that_is_named_with_two_models_is_two_candidates_in_the_order_of_their_names() {
    let two = json!([{ "provider": "new", "model": "org/70b", "weight": 9 }, { "provider": "old" },
                     { "provider": "new", "model": "org/8b" }]);
    let route = candidates_of(named("tiny", None), two);
    assert_eq!(candidates(&route), [("new", "org/70b"), ("old", "org/tiny"), ("new", "org/8b")]);
    let shares = route.routing.providers.iter().map(|share| (share.model.as_deref(), share.weight));
    assert_eq!(shares.collect::<Vec<_>>(), [(Some("org/70b"), 9), (None, 1), (Some("org/8b"), 1)]);

    let beside_its_own = json!([{ "provider": "new" }, { "provider": "new", "model": "org/70b" }]);
    let route = candidates_of(named("tiny", None), beside_its_own);
    let all = [("new", "tiny"), ("new", "org/70b"), ("old", "org/tiny")];
    assert_eq!(candidates(&route), all);
    let weights: Vec<_> = route.routing.providers.iter().map(|share| share.weight).collect();
    assert_eq!(weights, [1, 1, 0], "who is not named gets nothing");
    let by_its_name = json!([{ "provider": "new", "model": "tiny" }, { "provider": "new", "model": "big" }]);
    let route = candidates_of(named("tiny", None), by_its_name);
    assert_eq!(candidates(&route), [("new", "tiny"), ("new", "big"), ("old", "org/tiny")]);
}

#[test]
fn a_model_that_its_provider_does_not_let_through_is_not_to_be_had_by_a_routing() {
    let mut closed = provider(1, "closed", &[("tiny", "tiny")], ProviderStatus::Ready);
    Arc::get_mut(&mut closed).unwrap().provider.spec.enabled_models = Some(vec!["tiny".into()]);
    let mut model = named("tiny", None);
    model.routing =
        wish(json!({ "strategy": "priority", "providers": [{ "provider": "closed", "model": "big" }] }));
    let catalogue = Catalogue { virtual_models: vec![model], ..Catalogue::default() };
    let snapshot = snapshot("i", 7, vec![workspace_name("default")], &[closed], &catalogue);
    assert!(snapshot.models[0].candidates.is_empty());
}

#[test]
fn a_hosted_provider_of_a_sealed_workspace_is_nobodys_candidate() {
    let mut hosted = provider(1, "hosted", &[], ProviderStatus::Ready);
    Arc::get_mut(&mut hosted).unwrap().provider.workspace = workspace_name("sealed");
    let mut model = named("chat", None);
    model.routing = wish(
        json!({ "strategy": "priority", "providers": [{ "provider": "sealed/hosted", "model": "big" }] }),
    );
    let mut catalogue = Catalogue { virtual_models: vec![model], ..Catalogue::default() };
    catalogue.local_workspaces.insert(workspace_name("sealed"));
    let snapshot = snapshot("i", 7, vec![workspace_name("default")], &[hosted], &catalogue);
    let route = &snapshot.models[0];
    assert!(route.candidates.is_empty());
    let by = LocalRule::Workspace(workspace_name("sealed"));
    assert_eq!(route.local_only, Some(LocalOnly { by, left_out: vec!["sealed/hosted".into()] }));
}

#[test]
fn while_a_deployment_is_not_ready_its_stand_in_alone_is_a_candidate() {
    let of = |withheld: bool| {
        let mut own = provider(1, "nim", &[("tiny", "tiny")], ProviderStatus::Pending);
        Arc::get_mut(&mut own).unwrap().provider.withheld = withheld;
        let mut model = named("tiny", None);
        model.routing = wish(json!({ "strategy": "priority", "providers": [
            { "provider": "nim", "tier": 0 }, { "provider": "build", "tier": 1, "model": "org/tiny" }] }));
        let catalogue = Catalogue { virtual_models: vec![model], ..Catalogue::default() };
        let providers = [own, provider(2, "build", &[], ProviderStatus::Ready)];
        let route =
            snapshot("i", 7, vec![workspace_name("default")], &providers, &catalogue).models.remove(0);
        (
            candidates(&route).iter().map(|by| by.0.to_owned()).collect::<Vec<_>>(),
            route.routing.providers.len(),
        )
    };
    assert_eq!(of(true), (vec!["build".to_owned()], 2));
    assert_eq!(
        of(false),
        (vec!["nim".to_owned(), "build".to_owned()], 2),
        "and it comes back with the same tiers"
    );
}
