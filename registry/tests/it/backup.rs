//! Copies made while writes go on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use proto_shared::Caller;
use registry::BackupError;
use serde_json::json;

use crate::harness::{Harness, SECRETS, config};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_writes_is_whole_sound_and_starts_as_a_registry() {
    let h = Harness::start().await;
    let files = h.dir.path().join("data/files/default/set");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("config.json"), "{}").unwrap();
    let done = AtomicBool::new(false);
    let writing = async {
        let mut written = 0;
        while !done.load(Ordering::Relaxed) {
            h.post(SECRETS, json!({"name": format!("s{written}"), "value": "sk-1"})).await.expect(201);
            written += 1;
        }
        written
    };
    let (data, to) = (h.dir.path().join("data"), h.dir.path().join("copies"));
    std::fs::create_dir(&to).unwrap();
    let backing_up = async {
        let mut made: Vec<(registry::Backup, std::path::PathBuf)> = Vec::new();
        for number in 0..3 {
            let had = made.last().map_or(0, |(backup, _)| backup.secrets);
            let has = async || h.get(SECRETS).await.expect(200).body["pagination"]["total_results"].as_u64();
            while has().await <= Some(had) {}
            let (data, to) = (data.clone(), to.join(format!("b{number}")));
            let copied = tokio::task::spawn_blocking(move || (registry::back_up(&data, &to).unwrap(), to));
            made.push(copied.await.unwrap());
        }
        done.store(true, Ordering::Relaxed);
        made
    };
    let (written, made) = tokio::join!(writing, backing_up);
    let (last, to) = made.last().unwrap();
    assert!(last.secrets > made[0].0.secrets && last.secrets <= written);
    assert_eq!((last.files, last.keys.clone()), (1, vec![h.key.current_id()]));
    assert_eq!(std::fs::read_to_string(to.join("files/default/set/config.json")).unwrap(), "{}");
    assert_eq!((mode(to), mode(&to.join("nimgate.sqlite"))), (0o700, 0o600));
    let sound: String = rusqlite::Connection::open(to.join("nimgate.sqlite"))
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");

    let mut restored = config(h.dir.path(), &h.key);
    restored.data_dir = to.clone();
    let (before, secrets) = (h.snapshot(), last.secrets);
    let restored = Harness::with(restored, h.dir.clone()).await;
    let page = restored.get(SECRETS).await.expect(200).body;
    assert_eq!(page["pagination"]["total_results"], secrets);
    let value = restored.get_for(Caller::Loopback, &format!("{SECRETS}/s0/access")).await.expect(200);
    assert_eq!(value.body["value"], "sk-1");
    let after = restored.snapshot();
    assert_eq!(after.installation, before.installation);
    assert!(after.generation > before.generation + 1000, "gateways take a restored registry for newer");
}

#[tokio::test]
async fn a_backup_replaces_nothing_and_leaves_nothing_half_done() {
    let h = Harness::start().await;
    let (data, to) = (h.dir.path().join("data"), h.dir.path().join("copy"));
    std::fs::create_dir(&to).unwrap();
    assert!(matches!(registry::back_up(&data, &to), Err(BackupError::Exists(_))));
    std::fs::remove_dir(&to).unwrap();
    let nowhere = h.dir.path().join("no/such/folder");
    assert!(matches!(registry::back_up(&data, &nowhere), Err(BackupError::Io { .. })));
    assert!(matches!(registry::back_up(h.dir.path(), &to), Err(BackupError::Source(_))));
    let names: Vec<_> = std::fs::read_dir(h.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["data"]);
}

#[tokio::test]
async fn a_backup_needs_no_running_registry_and_no_key() {
    let h = Harness::start().await;
    h.post(SECRETS, json!({"name": "s1", "value": "sk-1"})).await.expect(201);
    let (dir, _) = h.stop().await;
    let made = registry::back_up(&dir.path().join("data"), &dir.path().join("copy")).unwrap();
    assert_eq!((made.secrets, made.files), (1, 0));
}
