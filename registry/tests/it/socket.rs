use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::harness::{DEADLINE, Harness};

async fn live_over(path: &std::path::Path) -> Option<String> {
    let mut stream = UnixStream::connect(path).await.ok()?;
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

async fn wait_until_live(path: &std::path::Path) {
    let start = std::time::Instant::now();
    while live_over(path).await.is_none() {
        assert!(start.elapsed() < DEADLINE);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_socket_is_for_the_owner_replaces_a_stale_one_and_goes_with_the_registry() {
    let h = Harness::start().await;
    let path = h.dir.path().join("registry.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a stale socket stands there");
    let (stop, stopping) = watch::channel(false);
    let (registry, at) = (h.registry.clone(), path.clone());
    let serving = tokio::spawn(async move { registry.serve_unix(at, stopping).await });
    wait_until_live(&path).await;
    assert!(live_over(&path).await.unwrap().contains(r#"{"status":"live"}"#));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let (_keep, never) = watch::channel(false);
    let second = h.registry.serve_unix(path.clone(), never).await;
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);

    stop.send(true).unwrap();
    tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap().unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let h = Harness::start().await;
    let path = h.dir.path().join("registry.sock");
    std::fs::write(&path, "mine").unwrap();
    let (_keep, never) = watch::channel(false);
    assert!(h.registry.serve_unix(path.clone(), never).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}
