use serde_json::json;

use crate::harness::{Harness, PROMPTS, PROVIDERS, SECRETS};

#[tokio::test]
async fn pages_cut_a_stable_order() {
    let h = Harness::start().await;
    for name in ["cc", "aa", "bb"] {
        h.post(SECRETS, json!({"name": name, "value": "v"})).await.expect(201);
        h.post(PROVIDERS, json!({"name": name, "host_url": "http://127.0.0.1:9"})).await.expect(201);
    }
    let names = async |path: &str| {
        let page = h.get(path).await.expect(200).body;
        let rows = page["data"].as_array().unwrap();
        let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        (names.join(" "), page)
    };
    assert_eq!(names(PROVIDERS).await.0, "cc aa bb");
    assert_eq!(names(SECRETS).await.0, "bb aa cc", "newest first");
    assert_eq!(names(&format!("{PROVIDERS}?sort=-name")).await.0, "cc bb aa");
    let (second, page) = names(&format!("{PROVIDERS}?sort=name&page=2&page_size=2")).await;
    assert_eq!(second, "cc");
    assert_eq!(
        page["pagination"],
        json!({"page": 2, "page_size": 2, "current_page_size": 1, "total_pages": 2, "total_results": 3})
    );
    assert_eq!(page["sort"], "name");
    assert!(page["data"][0].as_object().unwrap().values().all(|value| !value.is_null()));
    assert_eq!(names(&format!("{PROVIDERS}?page=9")).await.0, "");
    assert_eq!(names("/apis/models/v2/workspaces/-/providers").await.0, "cc aa bb", "all workspaces");
}

#[tokio::test]
async fn bad_pages_are_named() {
    let h = Harness::start().await;
    for query in ["page=0", "page_size=0", "page_size=1001", "page=x", "sort=host_url"] {
        let answer = h.get(&format!("{PROVIDERS}?{query}")).await.expect(422);
        let field = query.split('=').next().unwrap();
        assert_eq!(answer.body["detail"][0]["loc"], json!(["query", field]), "{query}");
    }
    h.get("/apis/models/v2/workspaces/nows/providers").await.expect(404);
    h.get("/apis/models/v2/workspaces/nows/models").await.expect(404);
}

#[tokio::test]
async fn a_filter_finds_by_any_of_its_spellings_and_is_repeated_in_the_answer() {
    let h = Harness::start().await;
    for name in ["llama-a", "llama-b", "qwen"] {
        h.post(PROMPTS, json!({ "name": name, "project": "p", "tags": [] })).await;
    }
    for query in [
        "filter%5Bname%5D%5B%24like%5D=llama",
        "filter=%7B%22name%22%3A%7B%22%24like%22%3A%22llama%22%7D%7D",
        "filter=name~llama",
        "filter[name][$in]=llama-a,llama-b,none",
    ] {
        let answer = h.get(&format!("{PROMPTS}?sort=-name&{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        let names: Vec<_> = answer.body["data"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
        assert_eq!(names, ["llama-b", "llama-a"], "{query}");
        assert_eq!(answer.body["pagination"]["total_results"], 2, "{query}");
        assert!(answer.body["filter"]["name"].is_object(), "{query}");
    }
    let answer = h.get(&format!("{PROMPTS}?filter[zzz]=1")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().starts_with("Unknown filter field 'zzz'. Valid fields: ["), "{}", answer.text);
}

#[tokio::test]
async fn a_list_leaves_out_what_is_not_set_and_an_object_shows_it_as_null() {
    let h = Harness::start().await;
    let made = h.post(PROMPTS, json!({ "name": "ab" })).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert!(made.body["description"].is_null() && made.body.get("description").is_some());
    let list = h.get(PROMPTS).await;
    assert!(list.body["data"][0].get("description").is_none(), "{}", list.text);
    assert!(list.body.get("filter").is_none());
}
