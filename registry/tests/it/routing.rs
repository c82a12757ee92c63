//! How requests are spread, and where they may go: as it is written, shown, and published.

use proto_shared::routing::Strategy;
use proto_shared::{LocalRule, ModelRoute, RouteSnapshot};
use serde_json::{Value, json};

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, MODELS, PROVIDERS, WORKSPACES};

const VIRTUAL: &str = "/apis/inference-gateway/v2/workspaces/default/virtual-models";

/// Two providers of one model, on loopback; the fakes live as long as they are held.
async fn two_arms() -> (Harness, [FakeProvider; 2]) {
    let h = Harness::start().await;
    let fakes = [FakeProvider::listing(&["tiny"]).await, FakeProvider::listing(&["tiny"]).await];
    for (name, fake) in ["arm-a", "arm-b"].into_iter().zip(&fakes) {
        h.post(PROVIDERS, json!({ "name": name, "host_url": fake.url() })).await.expect(201);
        h.provider_where(name, |provider| provider["status"] == "READY").await;
    }
    (h, fakes)
}

fn tiny(snapshot: &RouteSnapshot) -> &ModelRoute {
    snapshot.models.iter().find(|model| model.name.as_str() == "tiny").unwrap()
}

async fn published(h: &Harness, generation: Option<u64>) -> ModelRoute {
    let generation = generation.expect("the answer names the generation that holds the change");
    let snapshot = h.snapshot_where(|snapshot| snapshot.generation >= generation).await;
    tiny(&snapshot).clone()
}

fn names(route: &ModelRoute) -> Vec<&str> {
    route.candidates.iter().map(|candidate| candidate.provider.as_str()).collect()
}

#[tokio::test]
async fn limits_of_a_model_are_kept_member_by_member_and_published() {
    let (h, _fakes) = two_arms().await;
    let path = format!("{VIRTUAL}/tiny");
    h.patch(&path, json!({ "limits": { "concurrency": 4 } })).await.expect(200);
    let both = h.patch(&path, json!({ "limits": { "requests_per_minute": 60 } })).await.expect(200);
    assert_eq!(both.body["limits"], json!({ "concurrency": 4, "requests_per_minute": 60 }));
    let limits = published(&h, both.generation()).await.limits;
    assert_eq!((limits.concurrency, limits.requests_per_minute), (Some(4), Some(60)));
    let one = h.patch(&path, json!({ "limits": { "concurrency": 0 } })).await.expect(200);
    assert_eq!(one.body["limits"], json!({ "requests_per_minute": 60 }));
    let none = h.patch(&path, json!({ "limits": null })).await.expect(200);
    assert_eq!(none.body.get("limits"), None);
    assert!(published(&h, none.generation()).await.limits.is_none());
    h.patch(&path, json!({ "limits": { "concurrency": 100_001 } })).await.expect(422);

    let mut provider = h.get(&format!("{PROVIDERS}/arm-a")).await.expect(200).body;
    assert!(
        provider.get("requests_per_minute").is_none() && provider.get("hold_back").is_none(),
        "{provider}"
    );
    (provider["requests_per_minute"], provider["hold_back"]) = (json!(30), json!("always"));
    let changed = h.put(&format!("{PROVIDERS}/arm-a"), provider).await.expect(200);
    assert_eq!(
        (&changed.body["requests_per_minute"], &changed.body["hold_back"]),
        (&json!(30), &json!("always"))
    );
    h.snapshot_where(|snapshot| {
        let arm = snapshot.providers.iter().find(|provider| provider.name.as_str() == "arm-a");
        arm.is_some_and(|arm| {
            (arm.backend.requests_per_minute, arm.backend.hold_back)
                == (Some(30), proto_shared::HoldBack::Always)
        })
    })
    .await;
}

#[tokio::test]
async fn a_routing_is_kept_as_written_published_and_taken_back() {
    let (h, _fakes) = two_arms().await;
    let path = format!("{VIRTUAL}/tiny");
    let plain = h.get(&path).await.expect(200).body;
    assert!(plain.get("routing").is_none() && plain.get("local_only").is_none(), "{plain}");

    let split = json!({ "strategy": "weighted", "sticky": "user", "providers": [
        { "provider": "arm-b", "weight": 90 }, { "provider": "default/arm-a", "weight": 10 }] });
    let changed = h.patch(&path, json!({ "routing": split })).await.expect(200);
    assert_eq!((&changed.body["routing"], &changed.body["autoprovisioned"]), (&split, &json!(false)));
    let route = published(&h, changed.generation()).await;
    assert_eq!((route.routing.strategy, names(&route)), (Strategy::Weighted, vec!["arm-b", "arm-a"]));
    assert_eq!(route.routing.providers.iter().map(|share| share.weight).collect::<Vec<_>>(), [90, 10]);

    let other = h.patch(&path, json!({ "default_model_entity": "default/tiny" })).await.expect(200);
    assert_eq!(other.body["routing"], split, "what is not sent stays");
    let off = h.patch(&path, json!({ "routing": null, "autoprovisioned": true })).await.expect(200);
    assert_eq!(off.body.get("routing"), None);
    let route = published(&h, off.generation()).await;
    assert_eq!((route.routing.strategy, names(&route)), (Strategy::LeastBusy, vec!["arm-a", "arm-b"]));
}

#[tokio::test]
async fn an_order_that_the_owner_of_a_model_wrote_is_a_priority() {
    let (h, _fakes) = two_arms().await;
    let path = format!("{MODELS}/tiny");
    let ordered = h.patch(&path, json!({ "model_providers": ["default/arm-b"] })).await.expect(200);
    let route = published(&h, ordered.generation()).await;
    assert_eq!((route.routing.is_default(), names(&route)), (true, vec!["arm-b", "arm-a"]));
}

#[tokio::test]
async fn a_routing_may_name_who_is_still_to_come() {
    let h = Harness::start().await;
    let routing = json!({ "strategy": "priority", "providers": [{ "provider": "team/later", "tier": 0 }] });
    let made = h.post(VIRTUAL, json!({ "name": "tiny", "routing": routing })).await.expect(201);
    let route = published(&h, made.generation()).await;
    assert_eq!((route.routing.providers.len(), route.candidates.len()), (1, 0));
}

#[tokio::test]
async fn every_fault_of_a_routing_is_told_with_its_place() {
    let h = Harness::start().await;
    let part = |more: Value| {
        let mut part = json!({ "provider": "arm-a" });
        part.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "strategy": "weighted", "providers": [part] })
    };
    for (routing, place) in [
        (json!({}), "strategy"),
        (json!({ "strategy": "fastest" }), "strategy"),
        (json!({ "strategy": "least_busy", "sticky": "cookie" }), "sticky"),
        (part(json!({ "weight": -1 })), "weight"),
        (part(json!({ "weight": 1_000_001 })), "weight"),
        (part(json!({ "weight": 0.5 })), "weight"),
        (part(json!({ "tier": 1_001 })), "tier"),
        (part(json!({ "provider": "No Name" })), "provider"),
        (part(json!({ "provider": null })), "provider"),
        (part(json!({ "model": "" })), "model"),
        (part(json!({ "model": "a\nb" })), "model"),
        (part(json!({ "weight": 0 })), "providers"),
        (
            json!({ "strategy": "priority", "providers": [{ "provider": "aa" }, { "provider": "aa" }] }),
            "provider",
        ),
        (
            json!({ "strategy": "weighted", "providers": [
                { "provider": "aa", "model": "m" }, { "provider": "aa" }, { "provider": "aa", "model": "m" }] }),
            "provider",
        ),
    ] {
        let refused = h.post(VIRTUAL, json!({ "name": "tiny", "routing": routing })).await.expect(422);
        let loc = refused.body["detail"][0]["loc"].as_array().unwrap().clone();
        assert_eq!((&loc[1], loc.last().unwrap()), (&json!("routing"), &json!(place)), "{routing}: {loc:?}");
    }
}

#[tokio::test]
async fn resuming_is_kept_as_written_published_and_taken_back() {
    let (h, _fakes) = two_arms().await;
    let path = format!("{VIRTUAL}/tiny");
    let on = h.patch(&path, json!({ "resume": true })).await.expect(200);
    assert_eq!(on.body["resume"], true);
    assert!(published(&h, on.generation()).await.resume);
    let learned = h.patch(&path, json!({ "resume": "auto" })).await.expect(200);
    assert_eq!(learned.body["resume"], "auto");
    let route = published(&h, learned.generation()).await;
    assert!(!route.resume && route.resume_where_known, "an older gateway takes it for off");
    let off = h.patch(&path, json!({ "resume": false })).await.expect(200);
    assert_eq!(off.body.get("resume"), None);
    let route = published(&h, off.generation()).await;
    assert!(!route.resume && !route.resume_where_known);
    h.patch(&path, json!({ "resume": "perhaps" })).await.expect(422);
}

#[tokio::test]
async fn comments_during_silence_are_kept_as_written_published_and_taken_back() {
    let (h, _fakes) = two_arms().await;
    let path = format!("{VIRTUAL}/tiny");
    let on = h.patch(&path, json!({ "stream_comment_interval_ms": 15_000 })).await.expect(200);
    assert_eq!(on.body["stream_comment_interval_ms"], 15_000);
    assert_eq!(published(&h, on.generation()).await.stream_comment_interval_ms, Some(15_000));
    let off = h.patch(&path, json!({ "stream_comment_interval_ms": null })).await.expect(200);
    assert_eq!(off.body.get("stream_comment_interval_ms"), None);
    assert_eq!(published(&h, off.generation()).await.stream_comment_interval_ms, None);
    for bad in [0, 99, 600_001] {
        let refused = h.patch(&path, json!({ "stream_comment_interval_ms": bad })).await.expect(422);
        assert_eq!(refused.body["detail"][0]["loc"], json!(["body", "stream_comment_interval_ms"]));
    }
}

#[tokio::test]
async fn what_is_local_only_has_no_hosted_candidate_from_the_next_generation_on() {
    let (h, fakes) = two_arms().await;
    let hosted = json!({ "host_url": fakes[1].url(), "locality": "hosted" });
    let changed = h.put(&format!("{PROVIDERS}/arm-b"), hosted).await.expect(200);
    assert_eq!(changed.body["locality"], "hosted");
    let shown = h.get(&format!("{PROVIDERS}/arm-a")).await.expect(200).body;
    assert_eq!(shown.get("locality"), None, "left out where nobody said it");

    let (workspace, model) = (format!("{WORKSPACES}/default"), format!("{MODELS}/tiny"));
    let by_workspace = LocalRule::Workspace("default".parse().unwrap());
    let by_name = LocalRule::VirtualModel("default/tiny".into());
    let by_model = LocalRule::Model("default/tiny".into());
    let virtual_model = format!("{VIRTUAL}/tiny");
    for (path, is_put, rule) in
        [(&workspace, true, by_workspace), (&model, false, by_model), (&virtual_model, false, by_name)]
    {
        let mark = async |on: bool| {
            let body = json!({ "local_only": on });
            if is_put { h.put(path, body).await } else { h.patch(path, body).await }.expect(200)
        };
        let marked = mark(true).await;
        assert_eq!(marked.body["local_only"], true, "{path}");
        let route = published(&h, marked.generation()).await;
        assert_eq!(names(&route), ["arm-a"], "{path}");
        let local_only = route.local_only.unwrap();
        assert_eq!((local_only.by, local_only.left_out), (rule, vec!["default/arm-b".to_owned()]));
        let open = mark(false).await;
        assert_eq!(open.body.get("local_only"), None, "{path}");
        let route = published(&h, open.generation()).await;
        assert_eq!((names(&route).len(), route.local_only), (2, None), "{path}");
    }
}

#[tokio::test]
async fn where_a_server_says_how_it_is_is_kept_as_written_published_and_taken_back() {
    let h = Harness::start().await;
    let url = "http://127.0.0.1:9";
    let paths = json!({ "host_url": url, "health_path": "/up?deep=1", "metrics_path": "/stats" });
    let made = h.put(&format!("{PROVIDERS}/own"), paths).await.expect(200);
    assert_eq!(
        (&made.body["health_path"], &made.body["metrics_path"]),
        (&json!("/up?deep=1"), &json!("/stats"))
    );
    let watch = async |generation: Option<u64>| {
        let snapshot = h.snapshot_where(|snapshot| Some(snapshot.generation) >= generation).await;
        snapshot.providers[0].watch.clone().unwrap()
    };
    let told = watch(made.generation()).await;
    assert_eq!(
        (told.health_path.as_deref(), told.metrics_path.as_deref()),
        (Some("/up?deep=1"), Some("/stats"))
    );
    let bare = h.put(&format!("{PROVIDERS}/own"), json!({ "host_url": url })).await.expect(200);
    assert_eq!(bare.body.get("health_path"), None, "left out where nobody said it");
    assert_eq!(watch(bare.generation()).await, Default::default());
    for bad in ["up", "", "/a b", "/a#b", "/é", &format!("/{}", "x".repeat(255))] {
        let body = json!({ "host_url": url, "health_path": bad });
        let refused = h.put(&format!("{PROVIDERS}/own"), body).await.expect(422);
        assert_eq!(refused.body["detail"][0]["loc"], json!(["body", "health_path"]), "{bad}");
    }
}

#[tokio::test]
async fn a_workspace_is_local_only_from_its_first_moment() {
    let h = Harness::start().await;
    let made = h.post(WORKSPACES, json!({ "name": "sealed", "local_only": true })).await.expect(201);
    let generation = made.generation().unwrap();
    let snapshot = h.snapshot_where(|snapshot| snapshot.generation >= generation).await;
    assert_eq!(snapshot.local_only.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["sealed"]);
    let told = h.put(&format!("{WORKSPACES}/sealed"), json!({ "description": "x" })).await.expect(200);
    assert_eq!(told.body["local_only"], true, "what is not sent stays");
    h.post(PROVIDERS, json!({ "name": "aa", "host_url": "http://h", "locality": "near" })).await.expect(422);
}
