//! Files of local filesets, over plain HTTP.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{FILESETS, Harness};

/// A registry with the fileset `fs`.
pub async fn with_fileset() -> Harness {
    let h = Harness::start().await;
    h.post(FILESETS, json!({ "name": "fs" })).await.expect(200);
    h
}

pub fn at(path: &str) -> String {
    format!("{FILESETS}/fs/-/{path}")
}

pub async fn paths(h: &Harness, query: &str) -> Vec<String> {
    let list = h.get(&format!("{FILESETS}/fs/files{query}")).await.expect(200).body;
    list["data"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

/// Every file below the folder of all files, half-done ones too.
pub fn on_disk(h: &Harness) -> Vec<String> {
    fn walk(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path.display().to_string()) }
        }
    }
    let mut found = Vec::new();
    walk(&h.dir.path().join("data/files"), &mut found);
    found
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_sent() {
    let h = with_fileset().await;
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let made =
        h.raw(Method::PUT, &at("sub/model.bin"), "application/octet-stream", &bytes).await.expect(200).body;
    let expected = json!({
        "file_ref": "default/fs#sub/model.bin",
        "file_url": "/apis/files/v2/workspaces/default/filesets/fs/-/sub/model.bin",
        "path": "sub/model.bin", "size": bytes.len(), "cache_status": null,
    });
    assert_eq!(made, expected);
    let got = h.bytes(Method::GET, &at("sub/model.bin"), &[]).await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(got.bytes == bytes);
    assert_eq!(got.headers["content-type"], "application/octet-stream");
    assert_eq!(got.headers["accept-ranges"], "bytes");
    let head = h.bytes(Method::HEAD, &at("sub/model.bin"), &[]).await;
    assert_eq!(head.headers["content-length"], bytes.len().to_string());
    assert_eq!(head.headers["etag"], got.headers["etag"]);
    assert!(head.bytes.is_empty());
    let gone = h.delete(&at("sub/model.bin")).await.expect(200).body;
    assert_eq!(gone, expected);
    let missing = h.get(&at("sub/model.bin")).await.expect(404);
    assert_eq!(missing.message(), "File 'sub/model.bin' not found in fileset 'default/fs'");
    h.delete(&at("sub/model.bin")).await.expect(404);
    assert_eq!(on_disk(&h), Vec::<String>::new());
}

#[tokio::test]
async fn names_are_free_and_slashes_may_be_encoded() {
    let h = with_fileset().await;
    for (url, path) in [
        ("a/b/c.txt", "a/b/c.txt"),
        ("a%2Fb%2Fd.txt", "a/b/d.txt"),
        ("with%20space/%C3%BC%F0%9F%98%80.txt", "with space/ü😀.txt"),
        ("50%25%3F%23", "50%?#"),
        ("%252e%252e", "%2e%2e"),
    ] {
        let made = h.raw(Method::PUT, &at(url), "text/plain", url.as_bytes()).await.expect(200).body;
        assert_eq!(made["path"], path);
        let again = made["file_url"].as_str().unwrap();
        assert_eq!(h.get(again).await.expect(200).text, url, "{again}");
    }
    assert_eq!(paths(&h, "").await.len(), 5);
    assert_eq!(paths(&h, "?path=a").await, ["a/b/c.txt", "a/b/d.txt"]);
    assert_eq!(paths(&h, "?path=a/b/").await, ["a/b/c.txt", "a/b/d.txt"]);
    assert_eq!(paths(&h, "?path=a%2Fb%2Fc.txt&include_cache_status=true").await, ["a/b/c.txt"]);
    assert_eq!(paths(&h, "?path=none").await, Vec::<String>::new());
    let list = h.get(&format!("{FILESETS}/fs/files?path=a/b/c.txt")).await.expect(200).body;
    assert_eq!(list["data"][0]["cache_status"], "not_cacheable");
}

#[tokio::test]
async fn no_path_leads_out_of_the_fileset() {
    let h = with_fileset().await;
    std::fs::write(h.dir.path().join("data/outside"), "theirs").unwrap();
    let long = "x".repeat(256);
    let deep = "x/".repeat(600);
    for path in [
        "../outside",
        "../../outside",
        "a/../../outside",
        "%2e%2e/outside",
        "%2e%2e%2foutside",
        ".%2E/outside",
        "a/%2e%2e/%2e%2e/outside",
        "%2Fetc%2Fpasswd",
        "/etc/passwd",
        "a//b",
        "a/",
        "./a",
        "%2e",
        "a%5C..%5Cb",
        "a%00b",
        "a%0Ab",
        "a%7Fb",
        &long,
        &deep,
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = h.raw(method.clone(), &at(path), "application/octet-stream", b"x").await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path}: {}", answer.text);
            answer.message();
        }
        let head = h.bytes(Method::HEAD, &at(path), &[]).await;
        assert_eq!(head.status, StatusCode::BAD_REQUEST, "HEAD {path}");
    }
    h.get(&format!("{FILESETS}/fs/files?path=../..")).await.expect(400);
    h.get(&at("%ff")).await.expect(400);
    assert_eq!(std::fs::read_to_string(h.dir.path().join("data/outside")).unwrap(), "theirs");
    assert_eq!(on_disk(&h), Vec::<String>::new());
}

#[tokio::test]
async fn a_folder_is_no_file_and_a_file_no_folder() {
    let h = with_fileset().await;
    h.raw(Method::PUT, &at("a/b"), "", b"x").await.expect(200);
    h.raw(Method::PUT, &at("a"), "", b"x").await.expect(409).message();
    h.raw(Method::PUT, &at("a/b/c"), "", b"x").await.expect(409).message();
    h.get(&at("a")).await.expect(404);
    h.get(&at("a/b/c")).await.expect(404);
    h.delete(&at("a")).await.expect(404);
    h.delete(&at("a/b/c")).await.expect(404);
    assert_eq!(paths(&h, "").await, ["a/b"]);
    h.delete(&at("a/b")).await.expect(200);
    h.raw(Method::PUT, &at("a"), "", b"x").await.expect(200);
}

#[tokio::test]
async fn every_form_of_a_range_has_its_answer() {
    let h = with_fileset().await;
    h.raw(Method::PUT, &at("ten"), "", b"0123456789").await.expect(200);
    for (range, status, body, content_range) in [
        ("bytes=2-5", 206, "2345", "bytes 2-5/10"),
        ("bytes=0-", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=7-99", 206, "789", "bytes 7-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=5-2", 416, "", "bytes */10"),
        ("bytes=x", 416, "", "bytes */10"),
        ("bytes=0-1,5-6", 200, "0123456789", ""),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let answer = h.bytes(Method::GET, &at("ten"), &[("range", range)]).await;
        assert_eq!(answer.status.as_u16(), status, "{range}");
        let found = answer.headers.get("content-range").map_or("", |value| value.to_str().unwrap());
        assert_eq!(found, content_range, "{range}");
        if status != 416 {
            assert_eq!(answer.bytes, body.as_bytes(), "{range}");
        }
    }
    let head = h.bytes(Method::HEAD, &at("ten"), &[("range", "bytes=2-5")]).await;
    assert_eq!((head.status.as_u16(), &head.headers["content-length"]), (200, &"10".parse().unwrap()));
}

#[tokio::test]
async fn a_tag_names_one_state_of_a_file() {
    let h = with_fileset().await;
    h.raw(Method::PUT, &at("f"), "", b"one").await.expect(200);
    let tag = h.bytes(Method::GET, &at("f"), &[]).await.headers["etag"].to_str().unwrap().to_owned();
    for method in [Method::GET, Method::HEAD] {
        let known = h.bytes(method, &at("f"), &[("if-none-match", &tag)]).await;
        assert_eq!((known.status.as_u16(), known.bytes), (304, Bytes::new()));
    }
    let part = [("range", "bytes=0-0"), ("if-range", tag.as_str())];
    assert_eq!(h.bytes(Method::GET, &at("f"), &part).await.status.as_u16(), 206);
    h.raw(Method::PUT, &at("f"), "", b"two").await.expect(200);
    let changed = h.bytes(Method::GET, &at("f"), &[("if-none-match", &tag)]).await;
    assert_eq!((changed.status.as_u16(), &*changed.bytes), (200, b"two".as_slice()));
    let other = h.bytes(Method::GET, &at("f"), &part).await;
    assert_eq!(
        (other.status.as_u16(), &*other.bytes),
        (200, b"two".as_slice()),
        "a part of another file is no use"
    );
}

#[tokio::test]
async fn files_live_and_go_with_their_fileset() {
    let h = with_fileset().await;
    h.raw(Method::PUT, &at("a/b"), "", b"x").await.expect(200);
    let h = h.restart().await;
    assert_eq!(h.get(&at("a/b")).await.expect(200).text, "x");
    h.delete(&format!("{FILESETS}/fs")).await.expect(200);
    assert_eq!(on_disk(&h), Vec::<String>::new());
    h.get(&at("a/b")).await.expect(404);
    h.raw(Method::PUT, &at("a/b"), "", b"x").await.expect(404);
    h.post(FILESETS, json!({ "name": "fs" })).await.expect(200);
    assert_eq!(paths(&h, "").await, Vec::<String>::new(), "a new fileset of that name is empty");
}

#[tokio::test]
async fn files_of_a_remote_fileset_are_not_fetched_and_that_is_said() {
    let h = Harness::start().await;
    let storage = json!({ "type": "huggingface", "repo_id": "a/b" });
    h.post(FILESETS, json!({ "name": "fs", "storage": storage })).await.expect(200);
    for (method, path) in [
        (Method::GET, at("config.json")),
        (Method::PUT, at("config.json")),
        (Method::DELETE, at("config.json")),
        (Method::GET, format!("{FILESETS}/fs/files")),
    ] {
        let answer = h.raw(method, &path, "", b"x").await.expect(501);
        assert!(answer.message().starts_with("files of a huggingface fileset are not fetched"));
        assert_eq!(answer.headers["x-should-retry"], "false");
    }
}

#[tokio::test]
async fn a_form_around_a_file_is_refused() {
    let h = with_fileset().await;
    let answer = h.raw(Method::PUT, &at("f"), "multipart/form-data; boundary=x", b"--x--").await.expect(400);
    assert_eq!(answer.body["error"]["param"], "content-type");
}
