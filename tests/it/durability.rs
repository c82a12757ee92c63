//! An acknowledged write stays, whatever becomes of the process; a full disk passes.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::Method;
use integration_tests::client::{Reply, request, send};
use integration_tests::{Home, eventually, in_ci};
use serde_json::{Value, json};

const ANY_PORT: &str = "127.0.0.1:0";
const SECRETS: &str = "/apis/secrets/v2/workspaces/default/secrets";
const WRITERS: usize = 4;
const ROUNDS: usize = 4;

async fn store(registry: SocketAddr, name: &str, value: &str) -> std::io::Result<Reply> {
    let body = json!({"name": name, "value": value});
    send(registry, request(Method::POST, SECRETS, Some(&body))).await
}

async fn names(registry: SocketAddr) -> Vec<String> {
    let path = format!("{SECRETS}?page_size=1000");
    let page = send(registry, request(Method::GET, &path, None)).await.unwrap().json();
    let data = page["data"].as_array().cloned().unwrap_or_default();
    data.iter().filter_map(|secret| secret["name"].as_str().map(str::to_owned)).collect()
}

/// A number of the system's choice, from `from` on, below `to`.
fn any(from: usize, to: usize) -> usize {
    from + RandomState::new().hash_one(0) as usize % (to - from)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_is_there_after_a_kill_at_any_moment() {
    let home = Home::new().await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..ROUNDS {
        let (address, mut process) = home.registry(ANY_PORT, &[]).await;
        let there = names(address).await;
        let lost: Vec<_> =
            acknowledged.lock().unwrap().iter().filter(|name| !there.contains(name)).cloned().collect();
        assert!(lost.is_empty(), "lost in round {round}: {lost:?}");
        let written = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (acknowledged, written) = (acknowledged.clone(), written.clone());
                tokio::spawn(async move {
                    for number in 0.. {
                        let name = format!("r{round}-w{writer}-n{number}");
                        match store(address, &name, "v").await {
                            Ok(reply) if reply.status == 201 => acknowledged.lock().unwrap().push(name),
                            _ => return,
                        }
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let enough = any(5, 60);
        eventually("some writes", async || (written.load(Ordering::Relaxed) >= enough).then_some(())).await;
        process.kill().await;
        for writer in writers {
            writer.await.unwrap();
        }
    }
    let (address, _process) = home.registry(ANY_PORT, &[]).await;
    let there = names(address).await;
    assert!(acknowledged.lock().unwrap().iter().all(|name| there.contains(name)));
}

/// A data folder of its own, of 4 MiB, that fills up and empties again when it is told to by files.
const SMALL_DISK: &str = r#"
mkdir -p registry && mount -t tmpfs -o size=4m,mode=0700 tmpfs registry || exit 1
until_there() { for _ in $(seq 3000); do [ -e "$1" ] && return; sleep 0.02; done; exit 1; }
( until_there fill; cat /dev/zero >registry/ballast; touch full
  until_there free; rm registry/ballast; touch freed ) >/dev/null 2>&1 &
exec "$@""#;

/// How to get a mount of one's own here, if there is a way.
fn unshared() -> Option<&'static str> {
    let works = |unshare: &&str| {
        let probe = format!("{unshare} sh -c 'mount -t tmpfs tmpfs /mnt' 2>/dev/null");
        std::process::Command::new("sh").args(["-c", &probe]).status().is_ok_and(|status| status.success())
    };
    ["unshare --mount", "unshare --user --map-root-user --mount"].into_iter().find(works)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_507_reading_goes_on_and_it_heals_by_itself() {
    let Some(unshare) = unshared() else {
        println!(
            "skipped: no right to mount a small disk{}",
            if in_ci() { " on this CI machine" } else { "" }
        );
        return;
    };
    let mut home = Home::new().await;
    let script = SMALL_DISK.replace('\'', "'\\''");
    home.launcher = Some(format!("exec {unshare} sh -c '{script}' sh \"$@\""));
    let (address, _process) = home.registry(ANY_PORT, &[]).await;
    assert_eq!(store(address, "before", "v").await.unwrap().status, 201);
    tell(home.path(), "fill", "full").await;

    let big = "x".repeat(60_000);
    let mut number = 0;
    let refused = eventually("a write that finds no room", async || {
        number += 1;
        let reply = store(address, &format!("s{number}"), &big).await.unwrap();
        (reply.status != 201).then_some(reply)
    })
    .await;
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], Value::from("disk_full"));
    assert!(refused.text().contains("free some space"), "{}", refused.text());
    let there = names(address).await;
    assert!(there.contains(&"before".to_owned()) && !there.contains(&format!("s{number}")));
    assert_eq!(send(address, request(Method::GET, "/health/live", None)).await.unwrap().status, 200);

    tell(home.path(), "free", "freed").await;
    assert_eq!(store(address, "after", &big).await.unwrap().status, 201);
    assert!(names(address).await.contains(&"after".to_owned()));
}

async fn tell(home: &Path, word: &str, answer: &str) {
    std::fs::write(home.join(word), "").unwrap();
    eventually(answer, async || home.join(answer).exists().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_command_copies_under_writes_says_what_is_missing_and_replaces_nothing() {
    let home = Home::new().await;
    let (address, mut process) = home.registry(ANY_PORT, &[]).await;
    assert_eq!(store(address, "first", "v").await.unwrap().status, 201);
    let writer = tokio::spawn(async move {
        for number in 0.. {
            if !store(address, &format!("s{number}"), "v").await.is_ok_and(|reply| reply.status == 201) {
                return;
            }
        }
    });
    let backup = ["registry", "backup", "copy", "--data-dir", "registry"];
    let said = home.run(backup).await.expect_done().stdout;
    for words in ["secrets", "not in it", "restore:", "nimgate registry verify"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    let again = home.run(backup).await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("there already"), "{}", again.stderr);
    process.kill().await;
    writer.await.unwrap();

    let key = home.key_file();
    let verify = ["registry", "verify", "--data-dir", "copy", "--master-key-file", key.to_str().unwrap()];
    let verified = home.run(verify).await.expect_done().stdout;
    assert!(verified.contains("open with master key"), "{verified}");
    std::fs::remove_dir_all(home.path().join("registry")).unwrap();
    std::fs::rename(home.path().join("copy"), home.path().join("registry")).unwrap();
    let (address, _process) = home.registry(ANY_PORT, &[]).await;
    assert!(names(address).await.contains(&"first".to_owned()));
}
