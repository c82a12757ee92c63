//! Uploads that do not go as they should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use proto_shared::KeyRing;
use registry::FilesConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::files::{at, on_disk, paths, with_fileset};
use crate::harness::{DEADLINE, FILESETS, Harness, config};

const IDLE: Duration = Duration::from_millis(300);

async fn with_limits(files: FilesConfig) -> Harness {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let key = Arc::new(KeyRing::generate().unwrap());
    let mut config = config(dir.path(), &key);
    config.files = files;
    let h = Harness::with(config, dir).await;
    h.post(FILESETS, json!({ "name": "fs" })).await.expect(200);
    h
}

/// An upload to `f` as raw text: a head, and what of the body is given.
async fn begin(h: &Harness, framing: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(h.address).await.unwrap();
    let head = format!("PUT {} HTTP/1.1\r\nhost: r\r\n{framing}\r\n\r\n", at("f"));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

async fn until_nothing_is_left(h: &Harness) {
    let start = Instant::now();
    while !on_disk(h).is_empty() {
        assert!(start.elapsed() < DEADLINE, "still there: {:?}", on_disk(h));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_something_is_there(h: &Harness) {
    let start = Instant::now();
    while on_disk(h).is_empty() {
        assert!(start.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn status(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut text)).await.unwrap().unwrap();
    String::from_utf8_lossy(&text).split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_nothing_wherever_it_is_cut() {
    let h = with_fileset().await;
    for (framing, body) in [
        ("content-length: 1000000", vec![b'x'; 0]),
        ("content-length: 1000000", vec![b'x'; 1]),
        ("content-length: 1000000", vec![b'x'; 300_000]),
        ("content-length: 1000000", vec![b'x'; 999_999]),
        ("transfer-encoding: chunked", b"".to_vec()),
        ("transfer-encoding: chunked", b"5\r\nabc".to_vec()),
        ("transfer-encoding: chunked", b"5\r\nabcde\r\n".to_vec()),
        ("transfer-encoding: chunked", b"5\r\nabcde\r\n0\r\n".to_vec()),
    ] {
        let stream = begin(&h, framing, &body).await;
        until_something_is_there(&h).await;
        drop(stream);
        until_nothing_is_left(&h).await;
        assert_eq!(paths(&h, "").await, Vec::<String>::new(), "{framing}, {} bytes", body.len());
    }
}

#[tokio::test]
async fn a_cut_upload_leaves_the_file_that_was_there() {
    let h = with_fileset().await;
    h.raw(Method::PUT, &at("f"), "", b"old").await.expect(200);
    let stream = begin(&h, "content-length: 10", b"new").await;
    while on_disk(&h).len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    while on_disk(&h).len() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(h.get(&at("f")).await.expect(200).text, "old");
}

#[tokio::test]
async fn a_sender_that_stops_or_drips_is_cut_off() {
    let h = with_limits(FilesConfig { idle_timeout: IDLE, ..FilesConfig::default() }).await;
    let mut silent = begin(&h, "content-length: 10\r\nconnection: close", b"abc").await;
    assert_eq!(status(&mut silent).await, "408");
    let dripping = begin(&h, "content-length: 100000\r\nconnection: close", b"").await;
    let (mut from, mut to) = dripping.into_split();
    let drip = tokio::spawn(async move {
        while to.write_all(b"x").await.is_ok() {
            tokio::time::sleep(IDLE / 10).await;
        }
    });
    let mut text = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, from.read_to_end(&mut text)).await.unwrap();
    assert!(String::from_utf8_lossy(&text).starts_with("HTTP/1.1 408"), "{}", String::from_utf8_lossy(&text));
    drip.abort();
    until_nothing_is_left(&h).await;
}

#[tokio::test]
async fn an_upload_may_take_longer_than_the_idle_time_out_while_it_goes_on() {
    let idle = Duration::from_secs(2);
    let h = with_limits(FilesConfig { idle_timeout: idle, ..FilesConfig::default() }).await;
    let part = vec![b'x'; 20_000];
    let mut stream = begin(&h, "content-length: 200000\r\nconnection: close", b"").await;
    for _ in 0..10 {
        stream.write_all(&part).await.unwrap();
        tokio::time::sleep(idle / 8).await;
    }
    assert_eq!(status(&mut stream).await, "200");
    assert_eq!(paths(&h, "").await, ["f"]);
}

#[tokio::test]
async fn a_file_beyond_the_limit_is_refused_whether_it_is_announced_or_not() {
    let h = with_limits(FilesConfig { file_bytes_max: 10, ..FilesConfig::default() }).await;
    h.raw(Method::PUT, &at("f"), "", &[b'x'; 10]).await.expect(200);
    h.delete(&at("f")).await.expect(200);
    h.raw(Method::PUT, &at("f"), "", &[b'x'; 11]).await.expect(413).message();
    let chunked = "transfer-encoding: chunked\r\nconnection: close";
    let mut stream = begin(&h, chunked, b"b\r\nabcdefghijk\r\n0\r\n\r\n").await;
    assert_eq!(status(&mut stream).await, "413");
    until_nothing_is_left(&h).await;
}

#[tokio::test]
async fn more_uploads_than_allowed_are_told_to_come_back() {
    let h = with_limits(FilesConfig { uploads_max: 1, ..FilesConfig::default() }).await;
    let first = begin(&h, "content-length: 10", b"abc").await;
    until_something_is_there(&h).await;
    let busy = h.raw(Method::PUT, &at("g"), "", b"x").await.expect(503);
    assert_eq!(busy.headers["retry-after"], "1");
    drop(first);
    until_nothing_is_left(&h).await;
    h.raw(Method::PUT, &at("g"), "", b"x").await.expect(200);
}

#[tokio::test]
async fn a_fileset_that_is_deleted_meanwhile_takes_the_upload_with_it() {
    let h = with_fileset().await;
    let mut stream = begin(&h, "content-length: 6\r\nconnection: close", b"abc").await;
    until_something_is_there(&h).await;
    h.delete(&format!("{FILESETS}/fs")).await.expect(200);
    stream.write_all(b"def").await.unwrap();
    assert_eq!(status(&mut stream).await, "404");
    until_nothing_is_left(&h).await;
}
