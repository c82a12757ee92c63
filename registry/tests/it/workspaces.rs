use http::Method;
use serde_json::{Value, json};

use crate::fake_provider::{Behaviour, FakeProvider};
use crate::harness::{Harness, WORKSPACES, config};

#[tokio::test]
async fn default_and_system_are_there_from_the_first_start() {
    let h = Harness::start().await;
    let page = h.get(&format!("{WORKSPACES}?sort=name")).await.expect(200).body;
    let names: Vec<_> =
        page["data"].as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["default", "system"]);
    assert_eq!(page["filter"], Value::Null);
    assert!(page.as_object().unwrap().contains_key("filter"), "this list keeps nulls");
    assert_eq!(page["pagination"]["total_results"], 2);
}

#[tokio::test]
async fn a_new_workspace_is_routable_and_unique() {
    let h = Harness::start().await;
    let made = h.post(WORKSPACES, json!({"name": "team-a", "description": "A", "odd": 1})).await.expect(201);
    let generation = made.generation().unwrap();
    assert!(made.body["id"].as_str().unwrap().starts_with("workspace-"));
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    assert!(snapshot.workspaces.iter().any(|w| w.as_str() == "team-a"));
    assert_eq!(h.get(&format!("{WORKSPACES}/team-a")).await.expect(200).body, made.body);

    let again = h.post(WORKSPACES, json!({"name": "team-a"})).await.expect(409);
    assert_eq!(again.headers["x-should-retry"], "false");
    h.post(WORKSPACES, json!({"name": "Team"})).await.expect(422);
    let missing = h.get(&format!("{WORKSPACES}/nope")).await.expect(404);
    assert_eq!(missing.message(), "Workspace 'nope' not found");
}

#[tokio::test]
async fn a_workspace_is_described_anew() {
    let h = Harness::start().await;
    let path = format!("{WORKSPACES}/team-a");
    h.post(&format!("{WORKSPACES}?wait_role_propagation=true"), json!({ "name": "team-a" }))
        .await
        .expect(201);
    let described = h.put(&path, json!({ "description": "ours" })).await.expect(200).body;
    assert_eq!(described["description"], "ours");
    assert_ne!(described["created_at"], described["updated_at"]);
    assert_eq!(
        h.put(&path, json!({})).await.expect(200).body["description"],
        "ours",
        "not given, not changed"
    );
    h.put(&path, json!({ "description": "x".repeat(1001) })).await.expect(422);
    h.put(&format!("{WORKSPACES}/nope"), json!({ "description": "x" })).await.expect(404);
}

const IN_TEAM: &str = "/apis/models/v2/workspaces/team-a";
const VIRTUAL_MODELS: &str = "/apis/inference-gateway/v2/workspaces/team-a/virtual-models";
const FILESETS_OF_TEAM: &str = "/apis/files/v2/workspaces/team-a/filesets";

/// A workspace with something of many kinds in it.
async fn furnished(h: &Harness, models: usize) -> FakeProvider {
    h.post(WORKSPACES, json!({ "name": "team-a" })).await.expect(201);
    let ids: Vec<_> = (0..models).map(|number| json!({ "id": format!("model-{number}") })).collect();
    let list = json!({ "object": "list", "data": ids }).to_string();
    let fake = FakeProvider::start(Behaviour::Says(list)).await;
    let secrets = "/apis/secrets/v2/workspaces/team-a/secrets";
    for (path, body) in [
        (secrets, json!({ "name": "key1", "value": "v" })),
        (
            &format!("{IN_TEAM}/providers"),
            json!({ "name": "p1", "host_url": fake.url(), "api_key_secret_name": "key1" }),
        ),
        (&format!("{IN_TEAM}/prompts"), json!({ "name": "prompt" })),
        (&format!("{IN_TEAM}/deployment-configs"), json!({ "name": "cfg", "nim_deployment": { "gpu": 0 } })),
        (&format!("{IN_TEAM}/deployments"), json!({ "name": "dep", "config": "cfg" })),
        (&format!("{WORKSPACES}/team-a/projects"), json!({ "name": "project" })),
        (&format!("{WORKSPACES}/team-a/entities/thing"), json!({ "name": "entity", "data": {} })),
        (VIRTUAL_MODELS, json!({ "name": "virtual", "default_model_entity": "team-a/model-0" })),
    ] {
        h.post(path, body).await.expect(201);
    }
    h.post(FILESETS_OF_TEAM, json!({ "name": "fs" })).await.expect(200);
    let file = format!("{FILESETS_OF_TEAM}/fs/-/a/b.txt");
    h.raw(Method::PUT, &file, "text/plain", b"kept in a folder").await.expect(200);
    h.answer_where(&format!("{IN_TEAM}/models"), |page| page.body["pagination"]["total_results"] == models)
        .await;
    fake
}

#[tokio::test]
async fn a_deleted_workspace_loses_its_routes_at_once_then_its_contents_then_itself() {
    let h = Harness::start().await;
    let _fake = furnished(&h, 3).await;
    let path = format!("{WORKSPACES}/team-a");
    let answer = h.delete(&path).await.expect(200);
    assert_eq!(answer.body, json!({ "message": "Workspace marked for deletion", "id": "team-a" }));
    let generation = answer.generation().expect("routes changed");
    let snapshot = h.snapshot_where(|snapshot| snapshot.generation >= generation).await;
    assert!(snapshot.providers.is_empty() && snapshot.models.is_empty());
    assert!(snapshot.workspaces.iter().all(|name| name.as_str() != "team-a"));
    h.answer_where(&path, |answer| answer.status == 404).await;
    h.post(WORKSPACES, json!({ "name": "team-a" })).await.expect(201);
    for list in ["providers", "models", "prompts", "deployment-configs", "deployments"] {
        let page = h.get(&format!("{IN_TEAM}/{list}")).await.expect(200).body;
        assert_eq!(page["pagination"]["total_results"], 0, "{list}");
    }
    let folders = std::fs::read_dir(h.dir.path().join("data/files")).unwrap();
    let left: Vec<_> = folders.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[tokio::test]
async fn a_leaving_workspace_is_still_seen_and_takes_nothing_new() {
    let h = Harness::start().await;
    let fake = furnished(&h, 1).await;
    // Nobody empties it while the registry runs without its reconciler.
    let (dir, key) = h.stop().await;
    let h = Harness::without_reconciler(config(dir.path(), &key), dir).await;
    let path = format!("{WORKSPACES}/team-a");
    let before = h.get(&path).await.body;
    h.delete(&path).await.expect(200);
    h.delete(&path).await.expect(200);
    let leaving = h.get(&path).await.expect(200).body;
    assert_ne!(leaving["updated_at"], before["updated_at"]);
    let refused = h
        .post(&format!("{IN_TEAM}/providers"), json!({ "name": "p2", "host_url": fake.url() }))
        .await
        .expect(409);
    assert_eq!(
        refused.message(),
        "Workspace 'team-a' is being deleted; wait until it is gone, or use another"
    );
    h.post(&format!("{IN_TEAM}/prompts"), json!({ "name": "late" })).await.expect(409);
    h.put(&path, json!({ "description": "late" })).await.expect(409);
    h.post(WORKSPACES, json!({ "name": "team-a" })).await.expect(409);

    let h = h.restart().await;
    h.answer_where(&path, |answer| answer.status == 404).await;
}

#[tokio::test]
async fn emptying_a_workspace_goes_on_wherever_it_was_cut_off() {
    let h = Harness::start().await;
    // More than one transaction's worth, so that there is something to cut.
    let _fake = furnished(&h, 1200).await;
    let path = format!("{WORKSPACES}/team-a");
    h.delete(&path).await.expect(200);
    let (dir, key) = h.stop().await;
    let h = Harness::with(config(dir.path(), &key), dir).await;
    h.answer_where(&path, |answer| answer.status == 404).await;
    let database = rusqlite::Connection::open(h.dir.path().join("data/nimgate.sqlite")).unwrap();
    let left: i64 = database.query_row("SELECT count(*) FROM served_models", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_is_built_in_stays() {
    let h = Harness::start().await;
    for name in ["default", "system"] {
        let refused = h.delete(&format!("{WORKSPACES}/{name}")).await.expect(403);
        assert!(refused.message().contains("built in"), "{}", refused.text);
    }
    h.delete(&format!("{WORKSPACES}/nope")).await.expect(404);
}
