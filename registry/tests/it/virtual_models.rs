use proto_shared::{ModelRoute, RouteSnapshot};
use serde_json::{Value, json};

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, MODELS, PROVIDERS, WORKSPACES, names_in};

const VIRTUAL: &str = "/apis/inference-gateway/v2/workspaces/default/virtual-models";

async fn serving(ids: &[&'static str]) -> (Harness, FakeProvider) {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(ids).await;
    h.post(PROVIDERS, json!({"name": "p1", "host_url": fake.url()})).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    (h, fake)
}

fn route<'s>(snapshot: &'s RouteSnapshot, name: &str) -> &'s ModelRoute {
    snapshot.models.iter().find(|model| model.name.as_str() == name).unwrap()
}

async fn at(h: &Harness, generation: Option<u64>) -> std::sync::Arc<RouteSnapshot> {
    let generation = generation.expect("the answer names the generation that holds the change");
    h.snapshot_where(|snapshot| snapshot.generation >= generation).await
}

#[tokio::test]
async fn a_virtual_model_reads_back_as_it_was_written() {
    let h = Harness::start().await;
    let body = json!({
        "name": "guarded", "default_model_entity": "default/tiny", "override_proxy": "a.b",
        "models": [{"model": "default/tiny", "backend_format": "OPENAI_CHAT"}, {"model": "other"}],
        "request_middleware": [{"name": "guard", "config_type": "t", "config": {"a": null}}],
        "response_middleware": [{"name": "log", "config_type": "t", "config_id": "c"}],
    });
    let made = h.post(VIRTUAL, body.clone()).await.expect(201);
    for field in ["name", "default_model_entity", "override_proxy"] {
        assert_eq!(made.body[field], body[field], "{field}");
    }
    assert_eq!(made.body["models"][0], body["models"][0]);
    assert_eq!(made.body["request_middleware"][0]["config"], json!({"a": null}));
    assert_eq!(made.body["post_response_middleware"], json!([]));
    assert_eq!((&made.body["autoprovisioned"], &made.body["created_by"]), (&json!(false), &json!("")));
    assert!(made.body["id"].as_str().unwrap().starts_with("virtual-model-"));
    assert_eq!(made.body["entity_id"], made.body["id"]);
    let path = format!("{VIRTUAL}/guarded");
    assert_eq!(h.get(&path).await.expect(200).body, made.body);

    let changed = h.patch(&path, json!({"models": [], "default_model_entity": null})).await.expect(200).body;
    assert_eq!((&changed["models"], &changed["default_model_entity"]), (&json!([]), &Value::Null));
    assert_eq!(changed["response_middleware"][0]["name"], "log", "only what is sent changes");

    let twice = h.post(VIRTUAL, json!({"name": "guarded"})).await.expect(409);
    assert_eq!(twice.message(), "VirtualModel 'default/guarded' already exists");
    h.delete(&path).await.expect(204);
    let gone = h.get(&path).await.expect(404);
    assert_eq!(gone.message(), "VirtualModel 'guarded' not found in workspace 'default'.");
    h.patch(&path, json!({})).await.expect(404);
    h.delete(&path).await.expect(404);
}

#[tokio::test]
async fn bad_names_and_unknown_workspaces_are_the_callers_fault() {
    let h = Harness::start().await;
    for name in ["Bad Name", "x", "", "a--b", "ws/name"] {
        h.post(VIRTUAL, json!({"name": name})).await.expect(422);
    }
    h.post(&VIRTUAL.replace("default", "nows"), json!({"name": "ok"})).await.expect(422);
    h.post(VIRTUAL, json!({"name": "ok", "request_middleware": [{"name": "x"}]})).await.expect(422);
    h.get(&VIRTUAL.replace("default", "nows")).await.expect(404);
    for query in ["page=0", "page_size=201", "exclude_autoprovisioned=perhaps"] {
        h.get(&format!("{VIRTUAL}?{query}")).await.expect(422);
    }
    h.get(&format!("{VIRTUAL}?filter[zzz]=1")).await.expect(400);
}

#[tokio::test]
async fn each_served_model_has_its_own_and_it_goes_with_the_last_who_serves_it() {
    let (h, fake) = serving(&["meta/llama", "tiny"]).await;
    let own = h.get(&format!("{VIRTUAL}/meta-llama")).await.expect(200).body;
    assert_eq!(own["default_model_entity"], "default/meta-llama");
    assert_eq!(own["autoprovisioned"], true);
    assert_eq!(
        (&own["created_by"], &own["updated_by"]),
        (&json!("service:platform"), &json!("service:platform"))
    );
    h.snapshot_where(|s| s.models.len() == 2).await;

    h.post(PROVIDERS, json!({"name": "p2", "host_url": fake.url(), "enabled_models": ["tiny"]}))
        .await
        .expect(201);
    h.provider_where("p2", |p| p["status"] == "READY").await;
    let deleted = h.delete(&format!("{PROVIDERS}/p1")).await.expect(204).generation();
    let snapshot = at(&h, deleted).await;
    assert_eq!(snapshot.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["tiny"]);
    h.get(&format!("{VIRTUAL}/meta-llama")).await.expect(404);
    h.get(&format!("{VIRTUAL}/tiny")).await.expect(200);
}

#[tokio::test]
async fn an_automatic_one_that_is_changed_becomes_its_owners_and_stays() {
    let (h, _fake) = serving(&["tiny", "big"]).await;
    let path = format!("{VIRTUAL}/tiny");
    let changed = h.patch(&path, json!({"default_model_entity": "default/big"})).await.expect(200);
    assert_eq!((&changed.body["autoprovisioned"], &changed.body["updated_by"]), (&json!(false), &json!("")));
    let snapshot = at(&h, changed.generation()).await;
    assert_eq!(route(&snapshot, "tiny").candidates[0].served_name, "big");
    assert_eq!(route(&snapshot, "tiny").aliases.as_deref(), Some(&["tiny".to_owned()][..]));

    let deleted = h.delete(&format!("{PROVIDERS}/p1")).await.expect(204).generation();
    let snapshot = at(&h, deleted).await;
    assert_eq!(snapshot.models.len(), 1);
    assert!(route(&snapshot, "tiny").candidates.is_empty(), "in the table, and nobody serves it");
    h.get(&path).await.expect(200);
}

#[tokio::test]
async fn of_a_served_model_that_is_deleted_the_automatic_one_takes_the_place() {
    let (h, _fake) = serving(&["tiny"]).await;
    let path = format!("{VIRTUAL}/tiny");
    let mine = h.patch(&path, json!({"default_model_entity": "default/nobody"})).await.expect(200).body;
    let deleted = h.delete(&path).await.expect(204);
    let again = h.get(&path).await.expect(200).body;
    assert_eq!(
        (&again["autoprovisioned"], &again["default_model_entity"]),
        (&json!(true), &json!("default/tiny"))
    );
    assert_ne!(again["id"], mine["id"]);
    let snapshot = at(&h, deleted.generation()).await;
    assert_eq!(route(&snapshot, "tiny").candidates.len(), 1);
}

#[tokio::test]
async fn one_that_was_made_before_its_model_was_served_is_left_as_it_is() {
    let h = Harness::start().await;
    let made = h
        .post(VIRTUAL, json!({"name": "tiny", "default_model_entity": "default/big"}))
        .await
        .expect(201)
        .body;
    let fake = FakeProvider::listing(&["tiny", "big"]).await;
    h.post(PROVIDERS, json!({"name": "p1", "host_url": fake.url()})).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    assert_eq!(h.get(&format!("{VIRTUAL}/tiny")).await.body, made);
    let snapshot = h.snapshot_where(|s| s.models.len() == 2).await;
    assert_eq!(route(&snapshot, "tiny").candidates[0].served_name, "big");
}

#[tokio::test]
async fn a_virtual_model_leads_to_its_entity_or_to_the_one_of_its_name() {
    let (h, _fake) = serving(&["meta/llama"]).await;
    h.post(WORKSPACES, json!({"name": "team-a"})).await.expect(201);
    let elsewhere = VIRTUAL.replace("default", "team-a");
    for (path, body) in [
        (VIRTUAL, json!({"name": "chat", "default_model_entity": "default/meta-llama"})),
        (VIRTUAL, json!({"name": "bare", "default_model_entity": "meta-llama"})),
        (VIRTUAL, json!({"name": "lost"})),
        (&elsewhere, json!({"name": "chat", "default_model_entity": "default/meta-llama"})),
    ] {
        h.post(path, body).await.expect(201);
    }
    let snapshot = h.snapshot_where(|s| s.models.len() == 5).await;
    for name in ["chat", "bare"] {
        assert_eq!(route(&snapshot, name).candidates[0].served_name, "meta/llama", "{name}");
        assert_eq!(route(&snapshot, name).aliases.as_deref(), Some(&[][..]), "{name}");
    }
    assert!(route(&snapshot, "lost").candidates.is_empty());
    assert_eq!(snapshot.models[0].workspace.as_str(), "team-a", "newest first");
    assert_eq!(snapshot.models[0].candidates[0].workspace.as_str(), "default");
}

#[tokio::test]
async fn one_that_wants_middleware_is_routed_nowhere_and_says_what_it_wants() {
    let (h, _fake) = serving(&["tiny"]).await;
    let guard = json!([{"name": "guard", "config_type": "t"}]);
    let changed = h.patch(&format!("{VIRTUAL}/tiny"), json!({"request_middleware": guard})).await.expect(200);
    let snapshot = at(&h, changed.generation()).await;
    let tiny = route(&snapshot, "tiny");
    assert_eq!((tiny.candidates.len(), &tiny.middleware), (0, &vec!["guard".to_owned()]));
    assert_eq!(snapshot.providers.len(), 1, "its provider route stands");
    let freed = h.patch(&format!("{VIRTUAL}/tiny"), json!({"request_middleware": []})).await.expect(200);
    let snapshot = at(&h, freed.generation()).await;
    assert_eq!(route(&snapshot, "tiny").candidates.len(), 1);
}

#[tokio::test]
async fn the_list_is_newest_first_and_can_leave_out_automatic_ones() {
    let (h, _fake) = serving(&["aa", "bb"]).await;
    h.post(VIRTUAL, json!({"name": "mine", "default_model_entity": "default/aa"})).await.expect(201);
    let names = async |query: &str| names_in(&h.get(&format!("{VIRTUAL}?{query}")).await.expect(200).body);
    assert_eq!(names("").await, "mine bb aa");
    assert_eq!(names("exclude_autoprovisioned=true").await, "mine");
    assert_eq!(names("sort=name").await, "aa bb mine");
    assert_eq!(names("filter[default_model_entity]=default/aa").await, "mine aa");
    assert_eq!(names("filter[name][$like]=MIN&exclude_autoprovisioned=true").await, "mine");
    let page = h.get(&format!("{VIRTUAL}?exclude_autoprovisioned=true&page_size=1")).await.body;
    assert_eq!(page["pagination"]["total_results"], 1);
    assert!(page.get("filter").is_none(), "{page}");
    assert_eq!(h.get(VIRTUAL).await.body["pagination"]["page_size"], 20);
}

#[tokio::test]
async fn a_database_from_before_virtual_models_gets_one_for_each_served_model() {
    let (h, _fake) = serving(&["tiny"]).await;
    h.sql("DELETE FROM virtual_models", []);
    h.sql("UPDATE registry SET models_generation = 0", []);
    let h = h.restart().await;
    let own = h.get(&format!("{VIRTUAL}/tiny")).await.expect(200).body;
    assert_eq!(
        (&own["autoprovisioned"], &own["default_model_entity"]),
        (&json!(true), &json!("default/tiny"))
    );
    assert_eq!(h.snapshot().models.len(), 1);
    assert_eq!(
        h.get(&format!("{MODELS}/tiny")).await.expect(200).body["model_providers"],
        json!(["default/p1"])
    );
}
