//! Another master key, while everything goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proto_shared::secret::ExposeSecret;
use proto_shared::{Caller, KeyRing, Keys, MasterKey};
use registry::{OpenError, Registry};
use serde_json::json;

use crate::fake_provider::FakeProvider;
use crate::harness::{Harness, PROVIDERS, SECRETS, config};

const ROTATE: &str = "/apis/secrets/v2/rotate-encryption-keys";
/// More than fit into one transaction.
const SECRETS_MADE: usize = 150;

fn ring(keys: &[&MasterKey]) -> Arc<KeyRing> {
    let text: String = keys.iter().map(|key| format!("{}\n", key.to_base64().as_str())).collect();
    Arc::new(KeyRing::new(Keys::parse(&text).unwrap()))
}

/// A registry under the key `old`, with secrets, one of them used by a provider.
async fn under(old: &MasterKey, fake: &FakeProvider) -> Harness {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let h = Harness::with(config(dir.path(), &ring(&[old])), dir).await;
    for number in 0..SECRETS_MADE {
        let body = json!({"name": format!("s{number}"), "value": format!("value {number}")});
        h.post(SECRETS, body).await.expect(201);
    }
    let body = json!({"name": "p1", "host_url": fake.url(), "api_key_secret_name": "s7"});
    h.post(PROVIDERS, body).await.expect(201);
    h.provider_where("p1", |p| p["status"] == "READY").await;
    h
}

async fn restarted(h: Harness, keys: &[&MasterKey]) -> Harness {
    let (dir, _) = h.stop().await;
    Harness::with(config(dir.path(), &ring(keys)), dir).await
}

async fn expect_values(h: &Harness) {
    for number in [0, 7, 64, SECRETS_MADE - 1] {
        let path = format!("{SECRETS}/s{number}/access");
        let value = h.get_for(Caller::Loopback, &path).await.expect(200).body["value"].clone();
        assert_eq!(value, format!("value {number}"));
    }
}

#[tokio::test]
async fn every_secret_moves_to_the_new_key_and_the_old_one_is_not_needed_any_more() {
    let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
    let fake = FakeProvider::listing(&["tiny"]).await;
    let h = restarted(under(&old, &fake).await, &[&new, &old]).await;
    let data = h.dir.path().join("data");
    let before = h.get(ROTATE).await.expect(200).body;
    assert_eq!(before, json!({"current_key": new.id(), "secrets": SECRETS_MADE, "waiting": SECRETS_MADE}));
    assert_eq!(registry::verify(&data, &ring(&[&new]).keys()).unwrap().faults.len(), SECRETS_MADE + 1);

    let done = h.call(http::Method::POST, ROTATE, None).await.expect(202);
    assert_eq!((&done.body["rotated_secrets"], &done.body["success"]), (&json!(SECRETS_MADE), &json!(true)));
    let generation = done.generation().expect("a provider uses one of them");
    let snapshot = h.snapshot_where(|s| s.generation >= generation).await;
    let sealed = snapshot.providers[0].api_key.clone().unwrap();
    assert_eq!(new.open(&sealed).unwrap().expose_secret(), "value 7", "gateways get it under the new key");
    let verified = registry::verify(&data, &ring(&[&new]).keys()).unwrap();
    assert_eq!((verified.sound, verified.faults), (SECRETS_MADE as u64, vec![]));
    let again = h.call(http::Method::POST, ROTATE, None).await.expect(202);
    assert_eq!(
        (&again.body["rotated_secrets"], again.generation()),
        (&json!(0), None),
        "nothing is left to do"
    );

    let h = restarted(h, &[&new]).await;
    expect_values(&h).await;
    let (dir, _) = h.stop().await;
    let refused = Registry::open(config(dir.path(), &ring(&[&old]))).await.err();
    assert!(matches!(refused, Some(OpenError::WrongKey { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_interrupted_rotation_needs_both_keys_and_goes_on_where_it_ended() {
    let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
    let fake = FakeProvider::listing(&["tiny"]).await;
    let h = restarted(under(&old, &fake).await, &[&new, &old]).await;
    // Dropped after its first transaction, as by a kill.
    let registry = h.registry.clone();
    let mut rotation = Box::pin(async move { registry.rotate_keys().await });
    let waiting = async || h.registry.key_progress().await.unwrap().waiting;
    while waiting().await == SECRETS_MADE as u64 {
        assert!(futures_util::FutureExt::now_or_never(&mut rotation).is_none(), "it is not done yet");
    }
    drop(rotation);
    let left = waiting().await;
    assert!((1..SECRETS_MADE as u64).contains(&left), "{left}");
    expect_values(&h).await;

    let (dir, _) = h.stop().await;
    for one in [&old, &new] {
        let refused = Registry::open(config(dir.path(), &ring(&[one]))).await.err();
        let Some(OpenError::WrongKey { sealed_with, have }) = refused else { panic!("{refused:?}") };
        assert!(sealed_with != have && have == one.id());
    }
    let h = Harness::with(config(dir.path(), &ring(&[&new, &old])), dir).await;
    expect_values(&h).await;
    // What was on its way to the store when it was dropped may have been done all the same.
    let left = h.registry.key_progress().await.unwrap().waiting;
    assert_eq!(h.registry.rotate_keys().await.unwrap().rotated, left, "no secret twice");
    let h = restarted(h, &[&new]).await;
    expect_values(&h).await;
}

#[tokio::test]
async fn calls_go_on_while_keys_rotate_and_what_they_store_is_under_the_new_key() {
    let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
    let fake = FakeProvider::listing(&["tiny"]).await;
    let h = restarted(under(&old, &fake).await, &[&new, &old]).await;
    let done = AtomicBool::new(false);
    let rotate = async {
        let rotation = h.registry.rotate_keys().await.unwrap();
        done.store(true, Ordering::Relaxed);
        rotation
    };
    let work = async {
        let mut rounds = 0;
        while !done.load(Ordering::Relaxed) || rounds < 5 {
            h.patch(&format!("{SECRETS}/s149"), json!({"value": "value 149"})).await.expect(200);
            h.post(SECRETS, json!({"name": format!("new{rounds}"), "value": "v"})).await.expect(201);
            expect_values(&h).await;
            rounds += 1;
        }
    };
    let (rotation, ()) = tokio::join!(rotate, work);
    assert!(rotation.complete && rotation.failed.is_empty());
    expect_values(&restarted(h, &[&new]).await).await;
}

#[tokio::test]
async fn a_damaged_secret_is_named_and_holds_nobody_else_up() {
    let (old, new) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
    let fake = FakeProvider::listing(&["tiny"]).await;
    let h = restarted(under(&old, &fake).await, &[&new, &old]).await;
    let other = rusqlite::Connection::open(h.dir.path().join("data/nimgate.sqlite")).unwrap();
    let swap = "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 's2') WHERE name = 's1'; \
                UPDATE secrets SET sealed = json_set(sealed, '$.value', 'AAAA') WHERE name = 's3'";
    other.execute_batch(swap).unwrap();
    h.get_for(Caller::Loopback, &format!("{SECRETS}/s1/access")).await.expect(500);
    let rotation = h.registry.rotate_keys().await.unwrap();
    assert_eq!(rotation.failed, ["default/s1", "default/s3"]);
    assert!(!rotation.complete, "the old key is still needed");
    let verified = registry::verify(&h.dir.path().join("data"), &h.key.keys()).unwrap();
    let faults: Vec<_> = verified.faults.iter().map(|fault| fault.secret.as_str()).collect();
    assert_eq!(faults, ["default/s1", "default/s3", "the key check"]);
    h.delete(&format!("{SECRETS}/s3")).await.expect(204);
    h.patch(&format!("{SECRETS}/s1"), json!({"value": "again"})).await.expect(200);
    assert!(h.registry.rotate_keys().await.unwrap().complete);
}

#[tokio::test]
async fn an_older_value_put_back_into_its_row_does_not_open() {
    let h = Harness::start().await;
    h.post(SECRETS, json!({"name": "key1", "value": "revoked"})).await.expect(201);
    let other = rusqlite::Connection::open(h.dir.path().join("data/nimgate.sqlite")).unwrap();
    let old: String = other.query_row("SELECT sealed FROM secrets", [], |row| row.get(0)).unwrap();
    h.patch(&format!("{SECRETS}/key1"), json!({"value": "good"})).await.expect(200);
    other.execute("UPDATE secrets SET sealed = ?1", [old]).unwrap();
    h.get_for(Caller::Loopback, &format!("{SECRETS}/key1/access")).await.expect(500);
    assert_eq!(registry::verify(&h.dir.path().join("data"), &h.key.keys()).unwrap().faults.len(), 1);
}
