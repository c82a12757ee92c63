//! The publisher: after each commit that changed routes, the newest snapshot for everyone who watches.
//!
//! Invariants:
//! - Generation and content are read in one transaction, so they agree.
//! - A storm of commits is answered with the newest state only; no commit is left unpublished.
//! - The feed line is serialised once, however many gateways there are.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use proto_shared::RouteSnapshot;
use proto_shared::feed::FeedMessage;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::watch;

use crate::domain::routes::{self, KeyedProvider};
use crate::error::Error;
use crate::store::Opened;
use crate::store::routes::{RouteCache, RouteState};

/// After a failed read, the next try comes this much later, commit or not.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// One generation, as gateways get it. The snapshot itself is absent on purpose: the line says it all, in a
/// quarter of the memory.
#[derive(Debug)]
pub struct Published {
    pub generation: u64,
    /// The feed line, newline included.
    pub line: Bytes,
    /// The same providers as they are stored, for discovery.
    pub(crate) providers: Vec<Arc<KeyedProvider>>,
}

/// Publishes the present state, then starts the thread that publishes every later one.
pub fn start(opened: Opened) -> Result<(crate::store::Store, watch::Receiver<Arc<Published>>), Error> {
    let Opened { store, committed, mut reader, lock } = opened;
    let mut cache = RouteCache::default();
    let (sender, receiver) = watch::channel(Arc::new(read(&mut reader, &mut cache)?));
    std::thread::Builder::new()
        .name("registry-publish".into())
        .spawn(move || {
            run(&mut reader, &mut cache, &committed, &sender);
            drop(lock);
        })
        .map_err(|error| Error::from(no_thread(error)))?;
    Ok((store, receiver))
}

/// Ends when the writer has ended.
fn run(
    reader: &mut Connection,
    cache: &mut RouteCache,
    committed: &Receiver<()>,
    published: &watch::Sender<Arc<Published>>,
) {
    let mut behind = false;
    loop {
        let signal = if behind {
            committed.recv_timeout(RETRY_AFTER)
        } else {
            committed.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        if signal == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        behind = match read(reader, cache) {
            Ok(next) => {
                publish(published, next);
                false
            }
            Err(error) => {
                tracing::error!(%error, "can't read the routes; gateways keep what they have");
                true
            }
        };
    }
}

fn publish(published: &watch::Sender<Arc<Published>>, next: Published) {
    published.send_if_modified(|now| {
        let newer = next.generation > now.generation;
        if newer {
            *now = Arc::new(next);
        }
        newer
    });
}

fn read(reader: &mut Connection, cache: &mut RouteCache) -> Result<Published, Error> {
    let transaction = reader.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let state = cache.read(&transaction)?;
    transaction.finish()?;
    let RouteState { installation, generation, workspaces, providers, catalogue } = state;
    let snapshot = routes::snapshot(&installation, generation, workspaces, &providers, &catalogue);
    Ok(Published { generation, line: feed_line(snapshot)?, providers })
}

fn feed_line(snapshot: RouteSnapshot) -> Result<Bytes, Error> {
    let mut line = serde_json::to_vec(&FeedMessage::Snapshot(Arc::new(snapshot)))
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    line.push(b'\n');
    Ok(Bytes::from(line))
}

fn no_thread(error: io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
