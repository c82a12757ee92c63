use serde_json::{Value, json};

use crate::harness::{FILESETS, Harness, MODELS, names_in};

const ADAPTERS: &str = "/apis/models/v2/workspaces/default/adapters";

async fn with_base() -> Harness {
    let h = Harness::start().await;
    h.add_files("files").await;
    h.post(MODELS, json!({"name": "base"})).await.expect(201);
    h
}

fn lora(name: &str) -> Value {
    json!({"name": name, "fileset": "files", "finetuning_type": "lora"})
}

fn of(model: &str, mut body: Value) -> Value {
    body["model"] = json!(model);
    body
}

#[tokio::test]
async fn both_spellings_make_the_same_adapter() {
    let h = with_base().await;
    let mut body = lora("one");
    body["lora_config"] = json!({"rank": 8, "alpha": 16});
    body["description"] = json!("d");
    let nested = h.post(&format!("{MODELS}/base/adapters"), body.clone()).await.expect(201).body;
    body["name"] = json!("two");
    let flat = h.post(ADAPTERS, of("base", body)).await.expect(201).body;
    let expected = json!({
        "name": "one", "workspace": "default", "description": "d", "fileset": "files",
        "finetuning_type": "lora", "enabled": true, "lora_config": {"rank": 8, "alpha": 16},
        "model": "default/base",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&nested[field], value, "{field}");
    }
    assert_eq!((&flat["name"], &flat["model"]), (&json!("two"), &json!("default/base")));
    assert_eq!(h.get(&format!("{ADAPTERS}/one")).await.expect(200).body, nested);
    let model = h.get(&format!("{MODELS}/base")).await.body;
    assert_eq!(model["adapters"], json!([nested, flat]));
}

#[tokio::test]
async fn a_change_reaches_the_adapter_by_either_path_and_only_below_its_own_model() {
    let h = with_base().await;
    h.post(MODELS, json!({"name": "other"})).await.expect(201);
    h.add_files("more").await;
    h.post(&format!("{MODELS}/base/adapters"), lora("one")).await.expect(201);
    let nested = format!("{MODELS}/base/adapters/one");
    let flat = format!("{ADAPTERS}/one");
    assert_eq!(h.patch(&nested, json!({"enabled": false})).await.expect(200).body["enabled"], false);
    let changed =
        h.patch(&flat, json!({"description": "d", "fileset": "default/more"})).await.expect(200).body;
    assert_eq!(changed["enabled"], false);
    assert_eq!((&changed["fileset"], &changed["description"]), (&json!("default/more"), &json!("d")));
    assert!(h.patch(&flat, json!({"description": null})).await.expect(200).body["description"].is_null());
    h.patch(&flat, json!({"fileset": "nowhere"})).await.expect(400);

    let elsewhere = format!("{MODELS}/other/adapters/one");
    h.patch(&elsewhere, json!({})).await.expect(404);
    h.delete(&elsewhere).await.expect(404);
    h.delete(&nested).await.expect(204);
    let gone = h.delete(&flat).await.expect(404);
    assert_eq!(gone.message(), "Adapter 'default/one' not found");
}

#[tokio::test]
async fn what_an_adapter_stands_on_must_be_there() {
    let h = with_base().await;
    h.post(ADAPTERS, of("nobody", lora("one"))).await.expect(404);
    h.post(&format!("{MODELS}/nobody/adapters"), lora("one")).await.expect(404);
    h.post(ADAPTERS, of("other/base", lora("one"))).await.expect(404);
    let mut lost = lora("one");
    lost["fileset"] = json!("nowhere");
    let refused = h.post(ADAPTERS, of("base", lost)).await.expect(400);
    assert!(refused.message().contains("Fileset 'nowhere' not found in workspace 'default'"));
    h.post(FILESETS, json!({"name": "empty"})).await.expect(200);
    let mut empty = lora("one");
    empty["fileset"] = json!("empty");
    let refused = h.post(&format!("{MODELS}/base/adapters"), empty).await.expect(400);
    assert!(refused.message().contains("Fileset 'empty' in workspace 'default' is empty"));
    for bad in [
        json!({"name": "one", "fileset": "files", "model": "base"}),
        json!({"name": "one", "fileset": "files", "finetuning_type": "lora"}),
        of("Not A Model", lora("one")),
        of("base", lora("Bad Name")),
        of(
            "base",
            json!({"name": "one", "fileset": "files", "finetuning_type": "lora", "lora_config": {"alpha": 1}}),
        ),
    ] {
        h.post(ADAPTERS, bad).await.expect(422);
    }
    h.post("/apis/models/v2/workspaces/nows/adapters", of("default/base", lora("one"))).await.expect(422);
    h.post(ADAPTERS, of("base", lora("one"))).await.expect(201);
    let twice = h.post(&format!("{MODELS}/base/adapters"), lora("one")).await.expect(409);
    assert_eq!(twice.message(), "Adapter 'default/one' already exists");
    h.patch(&format!("{ADAPTERS}/one"), json!({"fileset": "empty"})).await.expect(400);
    let remote = json!({"name": "hub", "storage": {"type": "huggingface", "repo_id": "a/b"}});
    h.post(FILESETS, remote).await.expect(200);
    h.patch(&format!("{ADAPTERS}/one"), json!({"fileset": "hub"})).await.expect(200);
}

#[tokio::test]
async fn adapters_are_filtered_by_each_of_their_fields() {
    let h = with_base().await;
    h.post(MODELS, json!({"name": "other"})).await.expect(201);
    h.post(ADAPTERS, of("base", lora("one"))).await.expect(201);
    let mut two = lora("two");
    two["enabled"] = json!(false);
    two["finetuning_type"] = json!("dora");
    h.post(ADAPTERS, of("other", two)).await.expect(201);
    for (filter, wanted) in [
        ("name=two", "two"),
        ("model=default/base", "one"),
        ("model%5D%5B%24like=oth", "two"),
        ("fileset=files", "one two"),
        ("finetuning_type=dora", "two"),
        ("enabled=true", "one"),
        ("enabled=false", "two"),
    ] {
        let (field, value) = filter.split_once('=').unwrap();
        let page = h.get(&format!("{ADAPTERS}?filter%5B{field}%5D={value}")).await.expect(200);
        assert_eq!(names_in(&page.body), wanted, "{filter}");
    }
    let all = h.get("/apis/models/v2/workspaces/-/adapters?sort=-name").await.expect(200);
    assert_eq!(names_in(&all.body), "two one");
}
