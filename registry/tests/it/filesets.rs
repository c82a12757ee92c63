use serde_json::{Value, json};

use crate::harness::{FILESETS, Harness};

#[tokio::test]
async fn a_fileset_is_made_with_its_defaults_and_shown_in_full() {
    let h = Harness::start().await;
    let made = h.post(FILESETS, json!({ "name": "weights" })).await.expect(200).body;
    assert!(made["id"].as_str().unwrap().starts_with("fileset-"));
    for (member, value) in [
        ("description", json!("")),
        ("project", json!("")),
        ("purpose", json!("generic")),
        ("custom_fields", json!({})),
        ("metadata", json!({ "dataset": null, "model": null })),
        ("workspace", json!("default")),
    ] {
        assert_eq!(made[member], value, "{member}");
    }
    assert_eq!(made["storage"]["type"], "local");
    assert_eq!(made["storage"]["read_chunk_size"], 1024 * 1024);
    let path = made["storage"]["path"].as_str().unwrap();
    assert!(!path.contains('/'), "no path of the server's own: {path}");
    assert_eq!(h.get(&format!("{FILESETS}/weights")).await.expect(200).body, made);
    let list = h.get(FILESETS).await.expect(200).body;
    assert_eq!(list["data"][0]["metadata"], json!({}), "lists leave out nulls");
    assert_eq!(h.delete(&format!("{FILESETS}/weights")).await.expect(200).body, made);
    let gone = h.get(&format!("{FILESETS}/weights")).await.expect(404);
    assert_eq!(gone.message(), "Fileset 'weights' not found in workspace 'default'");
}

#[tokio::test]
async fn conflicts_and_missing_workspaces_are_told_apart() {
    let h = Harness::start().await;
    h.post(FILESETS, json!({ "name": "aa" })).await.expect(200);
    let twice = h.post(FILESETS, json!({ "name": "aa" })).await.expect(409);
    assert!(twice.message().contains("already exists"));
    assert_eq!(twice.headers["x-should-retry"], "false");
    let nowhere =
        h.post("/apis/files/v2/workspaces/nows/filesets", json!({ "name": "aa" })).await.expect(422);
    assert_eq!(nowhere.message(), "Workspace 'nows' does not exist. Please create the workspace first.");
    h.patch(&format!("{FILESETS}/zz"), json!({})).await.expect(404);
    h.delete(&format!("{FILESETS}/zz")).await.expect(404);
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_null_means_the_default() {
    let h = Harness::start().await;
    let body = json!({
        "name": "aa", "description": "d", "project": "p", "purpose": "model", "custom_fields": { "k": null },
        "metadata": { "model": { "tool_calling": { "tool_call_parser": "hermes" } } },
    });
    let made = h.post(FILESETS, body).await.expect(200).body;
    let path = format!("{FILESETS}/aa");
    let same =
        h.patch(&path, json!({ "name": "other", "storage": { "type": "local" } })).await.expect(200).body;
    assert_eq!(same["description"], "d");
    assert_eq!((&same["name"], &same["custom_fields"]), (&json!("aa"), &json!({ "k": null })));
    assert_eq!(same["metadata"], made["metadata"]);
    let reset = json!({ "description": null, "purpose": null, "metadata": null, "custom_fields": null });
    let reset = h.patch(&path, reset).await.expect(200).body;
    assert_eq!((&reset["description"], &reset["purpose"]), (&json!(""), &json!("generic")));
    assert_eq!((&reset["custom_fields"], &reset["project"]), (&json!({}), &json!("p")));
    assert_eq!(reset["metadata"], json!({ "dataset": null, "model": null }));
}

#[tokio::test]
async fn both_spellings_of_tool_calling_are_kept_as_the_models() {
    let h = Harness::start().await;
    let metadata = json!({
        "tool_calling": { "chat_template": "{{ messages }}", "tool_call_parser": "hermes" },
        "model": { "tool_calling": { "tool_call_parser": "pythonic", "auto_tool_choice": true } },
        "unknown": { "dropped": true },
    });
    let made = h.post(FILESETS, json!({ "name": "aa", "metadata": metadata })).await.expect(200).body;
    let kept = json!({
        "dataset": null,
        "model": { "tool_calling": {
            "chat_template": "{{ messages }}", "tool_call_parser": "pythonic",
            "tool_call_plugin": null, "auto_tool_choice": true,
        } },
    });
    assert_eq!(made["metadata"], kept);
    let changed = json!({ "metadata": { "tool_calling": { "tool_call_parser": "mistral" } } });
    let changed = h.patch(&format!("{FILESETS}/aa"), changed).await.expect(200).body;
    assert_eq!(changed["metadata"]["model"]["tool_calling"]["tool_call_parser"], "mistral");
    assert_eq!(changed["metadata"]["model"]["tool_calling"]["chat_template"], Value::Null);
}

#[tokio::test]
async fn remote_storage_is_kept_with_its_defaults_and_secrets_need_not_exist_yet() {
    let h = Harness::start().await;
    for (name, storage, defaults) in [
        (
            "hf",
            json!({ "type": "huggingface", "repo_id": "meta-llama/Llama-3.1-8B", "token_secret": "ws/hf-token" }),
            json!({ "revision": "main", "repo_type": "model", "endpoint": "https://huggingface.co",
                    "original_revision": null, "read_chunk_size": 1_048_576 }),
        ),
        (
            "ngc",
            json!({ "type": "ngc", "org": "nim", "team": "meta", "target": "llama", "api_key_secret": "ngc" }),
            json!({ "target_type": "resource", "version": null, "host": "https://api.ngc.nvidia.com" }),
        ),
        (
            "s3",
            json!({ "type": "s3", "bucket": "b", "access_key_id_secret": "a", "secret_access_key_secret": "b" }),
            json!({ "prefix": "", "signature_version": "s3v4", "use_sdk_auth": false, "region": null }),
        ),
    ] {
        let made = h.post(FILESETS, json!({ "name": name, "storage": storage })).await.expect(200).body;
        for part in [storage, defaults] {
            for (member, value) in part.as_object().unwrap() {
                assert_eq!(&made["storage"][member], value, "{name}.{member}");
            }
        }
    }
    let found = h.get(&format!("{FILESETS}?filter[storage_type]=ngc")).await.expect(200).body;
    assert_eq!(
        (&found["data"][0]["name"], &found["pagination"]["total_results"]),
        (&json!("ngc"), &json!(1))
    );
}

#[tokio::test]
async fn faults_of_a_fileset_are_named_by_their_place() {
    let h = Harness::start().await;
    let s3 = |more: Value| {
        let mut storage = json!({ "type": "s3", "bucket": "b" });
        storage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "storage": storage })
    };
    for (body, status, param) in [
        (json!({ "name": "Not" }), 422, "name"),
        (json!({ "description": "x".repeat(256) }), 422, "description"),
        (json!({ "purpose": "other" }), 422, "purpose"),
        (json!({ "cache": "yes" }), 422, "cache"),
        (json!({ "storage": { "type": "local", "path": "/etc" } }), 400, "storage.type"),
        (json!({ "storage": { "type": "tape" } }), 422, "storage.type"),
        (json!({ "storage": { "type": "huggingface" } }), 422, "storage.repo_id"),
        (json!({ "storage": { "type": "huggingface", "repo_id": "a/b/c" } }), 422, "storage.repo_id"),
        (
            json!({ "storage": { "type": "huggingface", "repo_id": "a/b", "token_secret": "No Ref" } }),
            422,
            "storage.token_secret",
        ),
        (
            json!({ "storage": { "type": "huggingface", "repo_id": "a/b", "endpoint": "ftp://x" } }),
            400,
            "storage.endpoint",
        ),
        (
            json!({ "storage": { "type": "ngc", "team": "t", "target": "m", "api_key_secret": "k" } }),
            422,
            "storage.org",
        ),
        (s3(json!({})), 422, "storage.use_sdk_auth"),
        (s3(json!({ "use_sdk_auth": true })), 400, "storage.use_sdk_auth"),
        (json!({ "metadata": { "dataset": { "schema": "row" } } }), 422, "metadata.dataset"),
        (
            json!({ "metadata": { "model": { "tool_calling": { "auto_tool_choice": "yes" } } } }),
            422,
            "metadata.model.tool_calling.auto_tool_choice",
        ),
    ] {
        let mut body = body;
        if body.get("name").is_none() {
            body["name"] = json!("aa");
        }
        let answer = h.post(FILESETS, body.clone()).await.expect(status);
        assert_eq!(answer.body["error"]["param"], param, "{body}: {}", answer.text);
    }
    assert_eq!(h.get(FILESETS).await.body["pagination"]["total_results"], 0);
}

#[tokio::test]
async fn the_list_is_newest_first_in_short_pages_and_filtered() {
    let h = Harness::start().await;
    for number in 0..12 {
        let purpose = if number % 2 == 0 { "model" } else { "dataset" };
        let body =
            json!({ "name": format!("set-{number:02}"), "purpose": purpose, "description": "about x" });
        h.post(FILESETS, body).await.expect(200);
    }
    let page = h.get(FILESETS).await.expect(200).body;
    assert_eq!((&page["sort"], page["data"].as_array().unwrap().len()), (&json!("-created_at"), 10));
    assert_eq!(page["data"][0]["name"], "set-11");
    assert_eq!(page["pagination"]["total_pages"], 2);
    h.get(&format!("{FILESETS}?page_size=101")).await.expect(422);
    for (query, total) in [
        ("filter[purpose]=model", 6),
        ("filter[name][$like]=set-1", 2),
        ("filter[description][$like]=ABOUT", 12),
        ("filter[storage_type]=local", 12),
        ("filter[storage_type]=s3", 0),
        ("filter[created_at][$gte]=2020-01-01", 12),
        ("filter[updated_at][$lt]=2020-01-01", 0),
    ] {
        let found = h.get(&format!("{FILESETS}?{query}")).await.expect(200).body;
        assert_eq!(found["pagination"]["total_results"], total, "{query}");
    }
    h.get(&format!("{FILESETS}?filter[cache]=true")).await.expect(400);
}
