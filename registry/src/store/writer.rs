//! The writer: one thread, one connection, one bounded queue.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Notify, oneshot};

use super::lock::DataLock;
use super::{Committed, StoreError, connection};
use crate::config::WRITE_QUEUE_MAX;
use crate::domain::{EntityId, Timestamp};
use crate::error::Error;

/// After this long without a write the log is folded into the database.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(5);

/// What a write does: runs on the writer thread, and answers its caller itself.
type Job = Box<dyn FnOnce(&mut Connection) -> JobEnd + Send>;

struct JobEnd {
    routes_changed: bool,
    connection_is_bad: bool,
}

#[derive(Clone)]
pub struct Writer {
    jobs: SyncSender<Job>,
    alive: Arc<()>,
    to_reconcile: Arc<Notify>,
}

/// A transaction of the writer.
pub struct Write<'c> {
    transaction: Transaction<'c>,
    generation: Cell<Option<i64>>,
    wakes_reconciler: Cell<bool>,
    now: Timestamp,
}

impl Write<'_> {
    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub fn new_id(&self, kind: &str) -> EntityId {
        EntityId::new(kind, uuid::Uuid::new_v4().as_u128())
    }

    /// Says that this transaction changes routes; the first call bumps the generation.
    pub fn touch_routes(&self) -> Result<i64, Error> {
        if let Some(generation) = self.generation.get() {
            return Ok(generation);
        }
        let generation = self
            .transaction
            .prepare_cached("UPDATE registry SET generation = generation + 1 RETURNING generation")?
            .query_row([], |row| row.get(0))?;
        self.generation.set(Some(generation));
        Ok(generation)
    }

    /// The same for a change of virtual models or of the order of a model's providers.
    pub fn touch_models(&self) -> Result<(), Error> {
        let generation = self.touch_routes()?;
        self.transaction
            .prepare_cached("UPDATE registry SET models_generation = ?1 WHERE models_generation <> ?1")?
            .execute([generation])?;
        Ok(())
    }

    /// Says that this transaction leaves something to do for the reconciler.
    pub fn wake_reconciler(&self) {
        self.wakes_reconciler.set(true);
    }
}

impl std::ops::Deref for Write<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.transaction
    }
}

impl Writer {
    /// Starts the thread. `committed` is signalled after every commit that changed routes; a signal
    /// that was not yet taken stands for the newer commit too.
    pub fn start(
        path: PathBuf,
        connection: Connection,
        lock: Arc<DataLock>,
        committed: SyncSender<()>,
    ) -> Self {
        let (jobs, queue) = sync_channel(WRITE_QUEUE_MAX);
        let alive = Arc::new(());
        let token = Arc::downgrade(&alive);
        let thread = std::thread::Builder::new().name("registry-writer".into()).spawn(move || {
            run(&path, connection, &queue, &committed);
            drop((token, lock));
        });
        if let Err(error) = thread {
            // The queue's receiver is gone with the closure: every write says that the store stopped.
            tracing::error!(%error, "can't start the writer");
        }
        Self { jobs, alive, to_reconcile: Arc::default() }
    }

    /// Notified after every commit that leaves something to do; one notice stands for all before it.
    pub fn to_reconcile(&self) -> Arc<Notify> {
        Arc::clone(&self.to_reconcile)
    }

    pub fn is_alive(&self) -> bool {
        Arc::weak_count(&self.alive) > 0
    }

    pub async fn run<T, F>(&self, work: F) -> Result<Committed<T>, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Write<'_>) -> Result<T, Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let to_reconcile = self.to_reconcile();
        let job: Job = Box::new(move |connection| {
            if answer.is_closed() {
                return JobEnd { routes_changed: false, connection_is_bad: false };
            }
            let result = transact(connection, work).map(|(committed, wakes_reconciler)| {
                if wakes_reconciler {
                    to_reconcile.notify_one();
                }
                committed
            });
            let end = JobEnd {
                routes_changed: matches!(&result, Ok(Committed { generation: Some(_), .. })),
                connection_is_bad: matches!(&result, Err(Error::Store(e)) if e.is_fatal_for_connection()),
            };
            // Nobody may be waiting any more; the write stands all the same.
            let _ = answer.send(result);
            end
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Stopped,
        })?;
        answered.await.map_err(|_| StoreError::Stopped)?
    }
}

fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Write<'_>) -> Result<T, Error>,
) -> Result<(Committed<T>, bool), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let write =
        Write { transaction, generation: Cell::new(None), wakes_reconciler: Cell::new(false), now: now() };
    let value = work(&write)?;
    let generation = write.generation.get().and_then(|g| u64::try_from(g).ok());
    let wakes_reconciler = write.wakes_reconciler.get();
    write.transaction.commit()?;
    Ok((Committed { value, generation }, wakes_reconciler))
}

fn run(path: &Path, connection: Connection, queue: &Receiver<Job>, committed: &SyncSender<()>) {
    let mut connection = Some(connection);
    let mut checkpoint_due = false;
    loop {
        let next = if checkpoint_due {
            queue.recv_timeout(CHECKPOINT_AFTER)
        } else {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let job = match next {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                checkpoint_due = false;
                connection.iter().for_each(checkpoint);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if connection.is_none() {
            connection = reopen(path);
        }
        // Without a connection the job is dropped, and its caller hears that the store stopped.
        let Some(open) = connection.as_mut() else { continue };
        // A panic rolls back, and costs this connection only: the next write has a new one.
        let end = catch_unwind(AssertUnwindSafe(|| job(open)))
            .unwrap_or(JobEnd { routes_changed: false, connection_is_bad: true });
        checkpoint_due = true;
        if end.routes_changed {
            // Full means that a signal is waiting already; it stands for this commit too.
            let _ = committed.try_send(());
        }
        if end.connection_is_bad {
            tracing::error!("a write failed inside the store; opening the database again");
            connection = None;
        }
    }
}

fn reopen(path: &Path) -> Option<Connection> {
    connection::open_writer(path)
        .inspect_err(|error| tracing::error!(%error, "can't open the database again; writes are refused"))
        .ok()
}

fn checkpoint(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        tracing::warn!(%error, "can't fold the log into the database");
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
