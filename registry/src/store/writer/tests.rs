use std::sync::mpsc::channel;

use futures_util::FutureExt;
use proto_shared::MasterKey;
use tempfile::TempDir;

use super::*;
use crate::store::{Store, open};

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path(), &MasterKey::generate().unwrap().into()).unwrap();
    (dir, opened.store)
}

async fn describe(store: &Store, text: String) -> Result<(), Error> {
    let written = store.write(move |write| {
        write.execute("UPDATE workspaces SET description = ?1 WHERE name = 'default'", [text])?;
        Ok(())
    });
    written.await.map(|committed| assert_eq!(committed.generation, None))
}

#[tokio::test]
async fn a_full_queue_refuses_more_and_empties_again() {
    let (_dir, store) = store();
    let (go, wait) = channel::<()>();
    let (started, starts) = channel::<()>();
    let blocked = tokio::spawn({
        let store = store.clone();
        async move {
            let job = move |_: &Write<'_>| {
                started.send(()).unwrap();
                wait.recv().unwrap();
                Ok(())
            };
            store.write(job).await.map(drop)
        }
    });
    tokio::task::spawn_blocking(move || starts.recv().unwrap()).await.unwrap();
    let mut queued: Vec<_> = (0..WRITE_QUEUE_MAX).map(|_| Box::pin(store.write(|_| Ok(())))).collect();
    for write in &mut queued {
        assert!(write.now_or_never().is_none(), "it waits");
    }
    let refused = store.write(|_| Ok(())).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::Busy))));
    go.send(()).unwrap();
    blocked.await.unwrap().unwrap();
    // Queued writes whose callers went away are passed over; there is room again.
    drop(queued);
    tokio::task::yield_now().await;
    while matches!(describe(&store, "a".into()).await, Err(Error::Store(StoreError::Busy))) {
        tokio::task::yield_now().await;
    }
    describe(&store, "b".into()).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_changes_nothing_and_heals() {
    let (_dir, store) = store();
    let set_pages = async |pages: i64| {
        let set = store.write(move |write| {
            write.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            Ok(())
        });
        set.await.unwrap();
    };
    set_pages(1).await;
    let refused = describe(&store, "x".repeat(1_000_000)).await;
    assert!(matches!(refused, Err(Error::Store(StoreError::DiskFull))), "{refused:?}");
    set_pages(1_000_000).await;
    describe(&store, "x".repeat(1_000_000)).await.unwrap();
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_and_does_not_move_the_generation() {
    let (_dir, store) = store();
    let generation = async || {
        let read = store.read(|connection| {
            Ok(connection.query_row("SELECT generation FROM registry", [], |row| row.get::<_, i64>(0))?)
        });
        read.await.unwrap()
    };
    let before = generation().await;
    let failed: Result<Committed<()>, _> = store
        .write(|write| {
            write.touch_routes()?;
            Err(Error::NotFound("it".into()))
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(generation().await, before);
    let committed = store.write(|write| write.touch_routes().and(write.touch_routes())).await.unwrap();
    assert_eq!(committed.generation.and_then(|g| i64::try_from(g).ok()), Some(before + 1), "once");
}

#[tokio::test]
async fn a_panic_in_a_write_costs_that_write_only() {
    let (_dir, store) = store();
    let lost: Result<Committed<()>, _> = store
        .write(|write| {
            write.touch_routes()?;
            panic!("on purpose");
        })
        .await;
    assert!(matches!(lost, Err(Error::Store(StoreError::Stopped))));
    describe(&store, "after".into()).await.unwrap();
    assert!(store.is_writable());
}
