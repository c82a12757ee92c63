use serde_json::json;

use crate::harness::{Harness, WORKSPACES};

const CONFIGS: &str = "/apis/entities/v2/workspaces/default/entities/target_config";
const PROJECTS: &str = "/apis/entities/v2/workspaces/default/projects";

#[tokio::test]
async fn an_entity_is_kept_as_it_was_written_nulls_included() {
    let h = Harness::start().await;
    let data = json!({"b": null, "a": {"n": 1e2, "list": [null, 1]}});
    let made = h.post(CONFIGS, json!({"name": "one", "data": data, "project": "p"})).await.expect(201);
    assert!(made.body["id"].as_str().unwrap().starts_with("target-config-"), "{}", made.text);
    assert_eq!((&made.body["entity_type"], &made.body["db_version"]), (&json!("target_config"), &json!(1)));
    let by_id = h.get(&format!("/apis/entities/v2/entities/{}", made.body["id"].as_str().unwrap())).await;
    assert_eq!(by_id.body["data"], data);
    assert_eq!(h.get(CONFIGS).await.body["data"][0]["data"], data);
    h.post(CONFIGS, json!({"name": "one", "data": {}})).await.expect(409);
    h.get(&format!("{CONFIGS}/none")).await.expect(404);
    h.get("/apis/entities/v2/workspaces/default/entities/Bad%20Type").await.expect(422);
}

#[tokio::test]
async fn two_writers_notice_each_other_by_the_version() {
    let h = Harness::start().await;
    h.post(CONFIGS, json!({"name": "one", "data": {"n": 1}})).await.expect(201);
    let path = format!("{CONFIGS}/one");
    let change = json!({"data": {"n": 2}, "expected_db_version": 1});
    let changed = h.put(&path, change.clone()).await;
    assert_eq!((changed.status.as_u16(), &changed.body["db_version"]), (200, &json!(2)));
    let late = h.put(&path, change).await.expect(409);
    assert_eq!(late.headers["x-should-retry"], "false");
    assert_eq!(h.get(&path).await.body["data"], json!({"n": 2}));
}

#[tokio::test]
async fn names_are_unique_below_one_parent_and_may_change() {
    let h = Harness::start().await;
    let top = h.post(CONFIGS, json!({"data": {}})).await.expect(201);
    let parent = top.body["id"].as_str().unwrap().to_owned();
    for body in [json!({"name": "kid", "data": {}}), json!({"name": "kid", "parent": parent, "data": {}})] {
        h.post(CONFIGS, body).await.expect(201);
    }
    let kid = format!("{CONFIGS}/kid?parent={parent}");
    assert_eq!(h.get(&kid).await.body["parent"], json!(parent));
    h.put(&kid, json!({"new_name": "child", "data": {}})).await.expect(200);
    h.get(&kid).await.expect(404);
    h.delete(&format!("{CONFIGS}/child?parent={parent}")).await.expect(200);
    h.get(&format!("{CONFIGS}/kid")).await.expect(200);
}

#[tokio::test]
async fn entities_are_found_by_what_is_in_them_and_counted() {
    let h = Harness::start().await;
    for (name, kind) in [("aa", "x"), ("bb", "x"), ("cc", "y")] {
        let data = json!({"kind": kind, "deep": {"n": name.len(), "name": name}});
        h.post(CONFIGS, json!({"name": name, "data": data})).await.expect(201);
    }
    let found = h.get(&format!("{CONFIGS}?filter[data][deep][name]=bb")).await;
    assert_eq!(found.body["data"][0]["name"], "bb", "{}", found.text);
    assert_eq!(found.body["pagination"]["total_results"], 1);
    let counted = h.get(&format!("{CONFIGS}?count_by=kind&page_size=1")).await;
    assert_eq!(counted.body["group_counts"], json!({"x": 2, "y": 1}), "{}", counted.text);
}

#[tokio::test]
async fn projects_are_made_listed_changed_and_deleted() {
    let h = Harness::start().await;
    let made = h.post(PROJECTS, json!({"name": "ml-project", "description": "d"})).await.expect(201);
    let path = format!("{PROJECTS}/ml-project");
    let changed = h.put(&path, json!({"description": "e"})).await;
    assert_eq!((&changed.body["description"], &changed.body["id"]), (&json!("e"), &made.body["id"]));
    assert_eq!(h.get(PROJECTS).await.body["data"][0]["name"], "ml-project");
    let deleted = h.delete(&path).await;
    assert_eq!((deleted.status.as_u16(), &deleted.body["id"]), (200, &made.body["id"]));
    h.get(&path).await.expect(404);
}

#[tokio::test]
async fn without_authentication_a_workspace_has_no_members_and_takes_none() {
    let h = Harness::start().await;
    let members = format!("{WORKSPACES}/default/members");
    assert_eq!(h.get(&members).await.body, json!({"data": []}));
    h.post(&members, json!({"principal": "me", "roles": ["admin"]})).await.expect(403);
    h.get(&format!("{WORKSPACES}/none/members")).await.expect(404);
}
