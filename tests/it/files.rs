//! Files of filesets through the gateway: any size in flat memory, and never lost once acknowledged.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use integration_tests::client::{Reply, send};
use integration_tests::{Home, Serving};
use serde_json::json;

const FILESETS: &str = "/apis/files/v2/workspaces/default/filesets";
const FILE: &str = "/apis/files/v2/workspaces/default/filesets/fs/-/deep%2Ffolder/w%20%C3%BC.bin";
const MIB: usize = 1024 * 1024;
/// What transfers of any size may add to the process.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

async fn call(up: &Serving, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Reply {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(up.address, request.body(Full::from(body)).unwrap()).await.unwrap()
}

async fn with_fileset(up: &Serving) {
    let made = up.post(FILESETS, &json!({ "name": "fs" })).await.unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
}

/// The most memory that a process ever had.
fn peak_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_large_file_passes_in_both_directions_without_being_held() {
    let home = Home::new().await;
    let up = home.up(&[]).await;
    with_fileset(&up).await;
    let bytes: Bytes = (0..128 * MIB / 4).flat_map(|n| u32::try_from(n).unwrap().to_le_bytes()).collect();
    let before = peak_kib(up.process.id());
    let made = call(&up, Method::PUT, FILE, &[], bytes.clone()).await;
    assert_eq!(made.status, 200, "{}", made.text());
    assert_eq!(made.json()["path"], "deep/folder/w ü.bin");
    let got = call(&up, Method::GET, FILE, &[], Bytes::new()).await;
    assert!(got.body == bytes);
    let grown = peak_kib(up.process.id()) - before;
    assert!(grown < GROWTH_KIB_MAX, "128 MiB up and down took {grown} KiB of memory");

    let head = call(&up, Method::HEAD, FILE, &[], Bytes::new()).await;
    assert_eq!(head.header("content-length"), Some(bytes.len().to_string().as_str()));
    let part = call(&up, Method::GET, FILE, &[("range", "bytes=4-11")], Bytes::new()).await;
    assert_eq!((part.status.as_u16(), &*part.body), (206, &bytes[4..12]));
    assert_eq!(part.header("content-range"), Some(format!("bytes 4-11/{}", bytes.len()).as_str()));
    assert_eq!(part.header("etag"), head.header("etag"));
}

#[tokio::test]
async fn an_acknowledged_file_is_there_after_a_kill() {
    let home = Home::new().await;
    let mut up = home.up(&[]).await;
    with_fileset(&up).await;
    let made = call(&up, Method::PUT, FILE, &[], Bytes::from_static(b"kept")).await;
    assert_eq!(made.status, 200, "{}", made.text());
    up.process.kill().await;
    let again = home.up(&[]).await;
    assert_eq!(call(&again, Method::GET, FILE, &[], Bytes::new()).await.text(), "kept");
}

#[tokio::test]
async fn the_token_of_a_puller_of_weights_reaches_the_registry() {
    let home = Home::new().await;
    let up = home.up(&[]).await;
    with_fileset(&up).await;
    let path = "/apis/files/v2/hf/api/models/default/fs";
    assert_eq!(call(&up, Method::GET, path, &[], Bytes::new()).await.status, 401);
    let token = [("authorization", "Bearer service:models")];
    assert_eq!(call(&up, Method::GET, path, &token, Bytes::new()).await.json()["id"], "default/fs");
}
