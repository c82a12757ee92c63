//! Databases of older releases.

use std::sync::Arc;

use proto_shared::secret::SecretString;
use proto_shared::{Caller, KeyRing, SecretIdentity};
use rusqlite::Connection;
use serde_json::json;

use crate::harness::{Harness, MODELS, PROVIDERS, SECRETS, config};

/// "nimg".
const APPLICATION_ID: i64 = 0x6e69_6d67;

/// What the first release left behind: its schema, and rows as it wrote them.
fn first_release(path: &std::path::Path, key: &KeyRing) {
    let database = Connection::open(path).unwrap();
    database.execute_batch(include_str!("../../src/store/schema_1.sql")).unwrap();
    database.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    let seal = |workspace, name, version, value: &str| {
        let identity = SecretIdentity { workspace, name, version };
        serde_json::to_string(&key.seal(&identity, &SecretString::from(value.to_owned())).unwrap()).unwrap()
    };
    let check = seal("", "master key", 0, "nimgate");
    database.execute("INSERT INTO registry VALUES (1, 'installation-1', ?1, 41, 3)", [check]).unwrap();
    database
        .execute_batch(
            "INSERT INTO workspaces VALUES (1, 'workspace-1', 'default', NULL, 1, 1), \
             (2, 'workspace-2', 'system', NULL, 1, 1), (3, 'workspace-3', 'team-a', 'ours', 1, 1)",
        )
        .unwrap();
    for (number, workspace) in [(1, "default"), (2, "team-a")] {
        let sealed = seal(workspace, "key1", number + 1, &format!("sk-{number}"));
        database
            .execute(
                "INSERT INTO secrets VALUES (?1, ?2, 'key1', 'mine', ?3, 5, 6)",
                (i64::try_from(number).unwrap(), workspace, sealed),
            )
            .unwrap();
    }
    database
        .execute_batch(
            "INSERT INTO providers VALUES (1, 'model-provider-1', 'default', 'p1', NULL, 'first', \
             'http://127.0.0.1:9', 'key1', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}', '\"never\"', \
             'READY', '', 3, 40, 7, 8); \
             INSERT INTO models VALUES (1, 'model-1', 'default', 'tiny', 'discovered', NULL, 9, 9); \
             INSERT INTO served_models VALUES (1, 0, 1, 'org/tiny')",
        )
        .unwrap();
}

#[tokio::test]
async fn a_database_of_the_first_release_keeps_everything_and_a_copy_of_itself() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let key = Arc::new(KeyRing::generate().unwrap());
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    first_release(&data.join("nimgate.sqlite"), &key);

    let h = Harness::with(config(dir.path(), &key), Arc::clone(&dir)).await;
    let secret = h.get(&format!("{SECRETS}/key1")).await.expect(200).body;
    assert_eq!(
        (&secret["description"], &secret["created_at"]),
        (&json!("mine"), &json!("1970-01-01T00:00:00.000005"))
    );
    for (workspace, value) in [("default", "sk-1"), ("team-a", "sk-2")] {
        let path = format!("/apis/secrets/v2/workspaces/{workspace}/secrets/key1/access");
        assert_eq!(h.get_for(Caller::Loopback, &path).await.expect(200).body["value"], value);
    }
    let provider = h.get(&format!("{PROVIDERS}/p1")).await.expect(200).body;
    assert_eq!((&provider["id"], &provider["description"]), (&json!("model-provider-1"), &json!("first")));
    h.get(&format!("{MODELS}/tiny")).await.expect(200);
    let snapshot = h.snapshot();
    assert_eq!(snapshot.installation, "installation-1");
    assert!(snapshot.generation >= 41, "generations never go back");
    assert!(snapshot.providers[0].api_key.is_some());

    let copy = Connection::open(data.join("nimgate.schema-1.bak")).unwrap();
    let (version, secrets): (i64, i64) = (
        copy.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap(),
        copy.query_row("SELECT count(*) FROM secrets", [], |row| row.get(0)).unwrap(),
    );
    assert_eq!((version, secrets), (1, 2));
}
