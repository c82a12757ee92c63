//! An engine that is not there, or goes away for a while.

use std::os::unix::net::UnixListener;

use super::super::super::conformance::{DEADLINE, eventually, id};
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
    let fault = at("/nonexistent")
        .prepare(&launch, PullTerms::default(), &watch::Sender::default())
        .await
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::SpecInvalid);
}

/// A way to the engine that can be cut.
fn way_to_the_engine(socket: &std::path::Path) -> tokio::task::JoinHandle<()> {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut far = tokio::net::UnixStream::connect("/var/run/docker.sock").await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_comes_back_wakes_and_shows_what_still_runs() {
    if !std::path::Path::new("/var/run/docker.sock").exists() {
        missing("there is no /var/run/docker.sock");
        return;
    }
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let id = id("llama", 0);
        bench.runtime.start(&id, &spec(bench.launch(&[]))).await.unwrap();
        let before = bench.runtime.list().await.unwrap();
        let socket = bench.shared.path().join("docker.sock");
        let way = way_to_the_engine(&socket);
        let host = Some(socket.to_str().unwrap().to_owned());
        let installation = bench.runtime.installation.clone();
        let through =
            DockerRuntime::new(DockerConfig { installation, host, shared_folder: "/nonexistent".into() });
        assert_eq!(through.list().await.unwrap(), before);
        let mut changes = through.changes();
        for _ in 0..2 {
            tokio::time::timeout(DEADLINE, changes.next()).await.expect("it follows");
        }

        way.abort();
        std::fs::remove_file(&socket).unwrap();
        tokio::time::timeout(DEADLINE, changes.next()).await.expect("going away wakes");
        let list = async || through.list().await.is_err().then_some(());
        eventually("the way is cut", list).await;
        assert_eq!(through.list().await.unwrap_err().kind, FaultKind::Unavailable);

        let _way = way_to_the_engine(&socket);
        tokio::time::timeout(DEADLINE, changes.next()).await.expect("coming back wakes");
        assert_eq!(through.list().await.unwrap(), before);
    })
    .await;
}
