//! An engine that is not there. These need none.

use std::os::unix::net::UnixListener;

use super::super::super::conformance::{DEADLINE, id};
use super::*;

fn at(host: &str) -> DockerRuntime {
    let (installation, shared_folder) = (Installation::new("test"), PathBuf::from("/nonexistent"));
    DockerRuntime::new(DockerConfig { installation, host: Some(host.into()), shared_folder })
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unavailable_and_never_an_empty_list() {
    let folder = tempfile::tempdir().unwrap();
    let refusing = folder.path().join("docker.sock");
    drop(UnixListener::bind(&refusing).unwrap());
    for (host, words) in [
        ("/nonexistent/docker.sock", "no such socket"),
        (refusing.to_str().unwrap(), "connection refused"),
        ("tcp://127.0.0.1:9", "connection refused"),
        ("tcp://192.0.2.1:2375", "another machine"),
        ("ssh://host", "only unix:///path and tcp://127.0.0.1:port"),
    ] {
        let runtime = at(host);
        for fault in [
            runtime.list().await.unwrap_err(),
            runtime.volumes().await.unwrap_err(),
            runtime.check(false).await.unwrap_err(),
            runtime.stop(&id("llama", 0), Duration::ZERO).await.unwrap_err(),
        ] {
            assert_eq!(fault.kind, FaultKind::Unavailable, "{fault}");
            assert!(fault.message.contains(words), "{fault}");
        }
    }
}

#[tokio::test]
async fn waiting_for_changes_outlasts_an_engine_that_is_away() {
    let mut changes = at("/nonexistent/docker.sock").changes();
    tokio::time::timeout(DEADLINE, changes.next()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(600), changes.next()).await.is_err());
}

#[tokio::test]
async fn a_command_is_no_image() {
    let launch = Launch::Command { program: "x".into(), args: vec![], working_dir: None };
    let fault = at("/nonexistent").prepare(&launch, None, &watch::Sender::default()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::SpecInvalid);
}
