use http::Method;
use serde_json::json;

use crate::files::{at, with_fileset};
use crate::harness::Harness;

const HF: &str = "/apis/files/v2/hf";
const TOKEN: (&str, &str) = ("authorization", "Bearer service:models");

async fn json_of(h: &Harness, path: &str) -> serde_json::Value {
    let answer = h.bytes(Method::GET, path, &[TOKEN]).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}");
    serde_json::from_slice(&answer.bytes).unwrap()
}

#[tokio::test]
async fn a_fileset_reads_like_a_repository() {
    let h = with_fileset().await;
    h.raw(Method::PUT, &at("config.json"), "", b"{}").await.expect(200);
    h.raw(Method::PUT, &at("sub/w.bin"), "", b"0123456789").await.expect(200);
    let info = json_of(&h, &format!("{HF}/api/models/default/fs/revision/main")).await;
    assert_eq!((&info["id"], &info["modelId"]), (&json!("default/fs"), &json!("default/fs")));
    assert_eq!(
        info["siblings"],
        json!([
            { "rfilename": "config.json", "size": 2 }, { "rfilename": "sub/w.bin", "size": 10 },
        ])
    );
    assert_eq!(json_of(&h, &format!("{HF}/api/models/default/fs")).await, info);
    let tree = json_of(&h, &format!("{HF}/api/models/default/fs/tree/main?recursive=true")).await;
    assert_eq!((&tree[1]["path"], &tree[1]["type"]), (&json!("sub/w.bin"), &json!("file")));

    let file = h
        .bytes(
            Method::GET,
            &format!("{HF}/default/fs/resolve/main/sub/w.bin"),
            &[TOKEN, ("range", "bytes=3-4")],
        )
        .await;
    assert_eq!((file.status.as_u16(), &*file.bytes), (206, b"34".as_slice()));
    let head = h.bytes(Method::HEAD, &format!("{HF}/default/fs/resolve/any/sub/w.bin"), &[TOKEN]).await;
    assert_eq!(head.headers["x-repo-commit"], info["sha"].as_str().unwrap());
    assert_eq!(info["sha"].as_str().unwrap().len(), 40);
    assert_eq!(head.headers["etag"], format!("\"{}\"", tree[1]["oid"].as_str().unwrap()));
    assert_eq!(head.headers["content-length"], "10");

    h.raw(Method::PUT, &at("sub/w.bin"), "", b"other").await.expect(200);
    let later = json_of(&h, &format!("{HF}/api/models/default/fs")).await;
    assert_ne!(later["sha"], info["sha"], "another state is another commit");
}

#[tokio::test]
async fn paths_are_described_for_either_form_of_the_question() {
    let h = with_fileset().await;
    h.raw(Method::PUT, &at("a%20b.txt"), "", b"x").await.expect(200);
    let path = format!("{HF}/api/models/default/fs/paths-info/main");
    for (kind, body) in [
        ("application/json", r#"{"paths":["a b.txt","none","../x"],"expand":false}"#),
        ("application/x-www-form-urlencoded", "paths=a+b.txt&paths=none&expand=False"),
    ] {
        let answer = h.send(Method::POST, &path, &[TOKEN, ("content-type", kind)], body.as_bytes()).await;
        let found: serde_json::Value = serde_json::from_slice(&answer.bytes).unwrap();
        assert_eq!((found.as_array().unwrap().len(), &found[0]["path"]), (1, &json!("a b.txt")), "{kind}");
    }
}

#[tokio::test]
async fn a_service_shows_its_token_and_hears_what_is_missing() {
    let h = with_fileset().await;
    let repository = format!("{HF}/api/models/default/fs");
    for token in [None, Some("Bearer hf_abc"), Some("Bearer service:"), Some("Basic service:x")] {
        let headers: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        let answer = h.bytes(Method::GET, &repository, &headers).await;
        assert_eq!(answer.status.as_u16(), 401, "{token:?}");
    }
    for (path, code) in [
        (format!("{HF}/api/models/default/none"), "RepoNotFound"),
        (format!("{HF}/default/none/resolve/main/x"), "RepoNotFound"),
        (format!("{HF}/default/fs/resolve/main/x"), "EntryNotFound"),
    ] {
        let answer = h.bytes(Method::GET, &path, &[TOKEN]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.headers["x-error-code"].to_str().unwrap()),
            (404, code),
            "{path}"
        );
    }
}
