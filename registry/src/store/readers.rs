//! A few read connections, used on blocking threads.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::Semaphore;

use super::lock::DataLock;
use super::{StoreError, connection};
use crate::config::{READER_WAIT_MAX, READERS_MAX};
use crate::error::Error;

pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    _lock: Arc<DataLock>,
}

impl Readers {
    pub fn new(path: PathBuf, lock: Arc<DataLock>) -> Arc<Self> {
        let idle = Mutex::new(Vec::with_capacity(READERS_MAX));
        Arc::new(Self { path, idle, permits: Arc::new(Semaphore::new(READERS_MAX)), _lock: lock })
    }

    pub async fn run<T, F>(self: &Arc<Self>, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let waiting = Arc::clone(&self.permits).acquire_owned();
        let permit = match tokio::time::timeout(READER_WAIT_MAX, waiting).await {
            Ok(permit) => permit.map_err(|_| StoreError::Stopped)?,
            Err(_) => return Err(StoreError::Busy.into()),
        };
        let readers = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let result = readers.on_connection(job);
            drop(permit);
            result
        });
        done.await.map_err(|_| StoreError::Stopped)?
    }

    fn on_connection<T>(&self, job: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => connection::open_reader(&self.path)?,
        };
        let result = in_transaction(&mut connection, job);
        if !matches!(&result, Err(Error::Store(e)) if e.is_fatal_for_connection()) {
            self.idle.lock().push(connection);
        }
        result
    }
}

/// One read transaction, so that everything `job` reads is of one moment.
fn in_transaction<T>(
    connection: &mut Connection,
    job: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let value = job(&transaction)?;
    transaction.finish()?;
    Ok(value)
}
