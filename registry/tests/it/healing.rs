//! A database that can't be written for a while.

use serde_json::json;

use crate::harness::{Harness, SECRETS};

#[tokio::test]
async fn a_file_that_another_program_locks_is_a_503_with_a_time_and_heals() {
    let h = Harness::start().await;
    let other = rusqlite::Connection::open(h.dir.path().join("data/nimgate.sqlite")).unwrap();
    other.busy_timeout(crate::harness::DEADLINE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = h.post(SECRETS, json!({"name": "key1", "value": "v"})).await.expect(503);
    assert_eq!(refused.message(), "the database is locked by another program");
    assert!(refused.headers.contains_key("retry-after"));
    h.get(SECRETS).await.expect(200);
    h.get("/health/live").await.expect(200);
    other.execute_batch("ROLLBACK").unwrap();
    h.post(SECRETS, json!({"name": "key1", "value": "v"})).await.expect(201);
}
