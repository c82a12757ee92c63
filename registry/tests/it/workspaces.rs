use serde_json::{Value, json};

use crate::harness::{Harness, WORKSPACES};

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
