use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use proto_shared::KeyRing;
use registry::{OpenError, Registry};
use serde_json::json;

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, PROVIDERS, SECRETS, config};

#[tokio::test]
async fn a_restart_keeps_everything_and_generations_rise() {
    let h = Harness::start().await;
    let fake = FakeProvider::listing(&["tiny"]).await;
    h.post(SECRETS, json!({"name": "key1", "value": "v"})).await.expect(201);
    let body = json!({"name": "p1", "host_url": fake.url(), "api_key_secret_name": "key1"});
    h.post(PROVIDERS, body).await.expect(201);
    let before = h.provider_where("p1", |p| p["status"] == "READY").await;
    let old = h.snapshot();

    let h = h.restart().await;
    let new = h.snapshot();
    assert_eq!(new.installation, old.installation);
    assert_eq!(new.generation, old.generation);
    assert_eq!(serde_json::to_value(&*new).unwrap(), serde_json::to_value(&*old).unwrap());
    assert_eq!(h.get(&format!("{PROVIDERS}/p1")).await.expect(200).body, before);
    let next = h.delete(&format!("{PROVIDERS}/p1")).await.expect(204).generation().unwrap();
    assert_eq!(next, old.generation + 1);
}

#[tokio::test]
async fn what_was_acknowledged_is_in_a_copy_of_the_files_taken_at_once() {
    let h = Harness::start().await;
    for number in 0..20 {
        let body = json!({"name": format!("s{number}"), "value": "v"});
        h.post(SECRETS, body).await.expect(201);
    }
    // As a kill would leave them: database and log, without any goodbye.
    let copy = Arc::new(tempfile::tempdir().unwrap());
    std::fs::create_dir(copy.path().join("data")).unwrap();
    for name in ["nimgate.sqlite", "nimgate.sqlite-wal"] {
        let from = h.dir.path().join("data").join(name);
        std::fs::copy(from, copy.path().join("data").join(name)).unwrap();
    }
    let copied = Harness::with(config(copy.path(), &h.key), copy).await;
    let page = copied.get(SECRETS).await.expect(200).body;
    assert_eq!(page["pagination"]["total_results"], 20);
}

#[tokio::test]
async fn a_wrong_master_key_is_refused_and_nothing_is_touched() {
    let h = Harness::start().await;
    h.post(SECRETS, json!({"name": "key1", "value": "v"})).await.expect(201);
    let (dir, key) = h.stop().await;
    let wrong = Arc::new(KeyRing::generate().unwrap());
    let database = dir.path().join("data/nimgate.sqlite");
    let before = eventually_opened_and_closed(&dir, &key).await;
    let refused = Registry::open(config(dir.path(), &wrong)).await;
    let Err(OpenError::WrongKey { sealed_with, have }) = refused else { panic!("accepted") };
    assert_eq!((sealed_with.as_str(), have.as_str()), (&*key.current_id(), &*wrong.current_id()));
    assert_eq!(std::fs::read(&database).unwrap(), before);
    let again = Harness::with(config(dir.path(), &key), dir).await;
    again.get(&format!("{SECRETS}/key1")).await.expect(200);
}

/// Opens and closes once more, so that the log is folded in; gives the database's bytes.
async fn eventually_opened_and_closed(dir: &Arc<tempfile::TempDir>, key: &Arc<KeyRing>) -> Vec<u8> {
    drop(Registry::open(config(dir.path(), key)).await.unwrap());
    // The lock is free when the last thread has closed the file.
    drop(Registry::open(config(dir.path(), key)).await.unwrap());
    let wal = dir.path().join("data/nimgate.sqlite-wal");
    let start = std::time::Instant::now();
    while wal.exists() && start.elapsed() < crate::harness::DEADLINE {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    std::fs::read(dir.path().join("data/nimgate.sqlite")).unwrap()
}

#[tokio::test]
async fn a_second_registry_on_the_same_folder_is_refused() {
    let h = Harness::start().await;
    let second = Registry::open(config(h.dir.path(), &h.key)).await;
    assert!(matches!(second, Err(OpenError::InUse { .. })));
}

#[tokio::test]
async fn foreign_damaged_and_newer_files_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let key = Arc::new(KeyRing::generate().unwrap());
    let path = dir.path().join("data/nimgate.sqlite");
    std::fs::create_dir(dir.path().join("data")).unwrap();

    std::fs::write(&path, b"this is no database, and longer than a header of one would be .....").unwrap();
    let refused = Registry::open(config(dir.path(), &key)).await.err();
    assert!(matches!(refused, Some(OpenError::Foreign(_))), "{refused:?}");

    std::fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let refused = Registry::open(config(dir.path(), &key)).await.err();
    assert!(matches!(refused, Some(OpenError::Foreign(_))), "{refused:?}");

    std::fs::remove_file(&path).unwrap();
    drop(Registry::open(config(dir.path(), &key)).await.unwrap());
    drop(Registry::open(config(dir.path(), &key)).await.unwrap());
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.busy_timeout(crate::harness::DEADLINE).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let refused = Registry::open(config(dir.path(), &key)).await.err();
    assert!(matches!(refused, Some(OpenError::Newer { found: 99, .. })), "{refused:?}");
}

#[tokio::test]
async fn folder_and_files_are_for_the_owner_only() {
    let h = Harness::start().await;
    h.post(SECRETS, json!({"name": "key1", "value": "v"})).await.expect(201);
    let data = h.dir.path().join("data");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
