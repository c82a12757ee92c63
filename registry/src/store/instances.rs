//! Instances of deployments: what was meant to run, recorded before it is made.
//!
//! Invariant: a record goes only after nothing of its instance is left.

use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::page::{json, json_or_null, to_json};
use super::writer::Write;
use super::{deployments, routes};
use crate::domain::deployment_config::ConfigBody;
use crate::domain::{Deployment, Timestamp};
use crate::error::Error;

/// What runs instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuntimeKind {
    Docker,
    Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKey {
    /// The `seq` of the version of a deployment.
    pub deployment: i64,
    pub replica: u32,
    pub incarnation: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: RecordKey,
    pub gpus: Vec<String>,
    /// Tries in a row that failed before this one.
    pub failures: u32,
    pub created: Timestamp,
    /// Not started before.
    pub retry_at: Option<Timestamp>,
    pub launched: Option<Timestamp>,
    pub ready: Option<Timestamp>,
    /// Given up.
    pub failed: bool,
    /// What is to be told of it while it does not run.
    pub message: Option<String>,
    /// To be stopped: then at the latest.
    pub ending: Option<Ending>,
}

/// How an instance goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// What it is at is waited for until then.
    pub at: Timestamp,
    /// From this generation on, no route leads to it.
    pub generation: u64,
}

impl RuntimeKind {
    pub const ALL: [Self; 2] = [Self::Docker, Self::Process];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }

    /// What it runs, for a message.
    pub fn what(self) -> &'static str {
        match self {
            Self::Docker => "containers",
            Self::Process => "commands",
        }
    }
}

impl FromStr for RuntimeKind {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl Record {
    /// Whether it is to run, or to be tried again.
    pub fn is_current(&self) -> bool {
        !self.failed && self.ending.is_none()
    }
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Record> {
    let time = |index| row.get::<_, Option<i64>>(index).map(|time| time.map(Timestamp));
    Ok(Record {
        key: RecordKey { deployment: row.get(0)?, replica: row.get(1)?, incarnation: row.get(2)? },
        gpus: json(row, 3)?,
        failures: row.get(4)?,
        created: Timestamp(row.get(5)?),
        retry_at: time(6)?,
        launched: time(7)?,
        ready: time(8)?,
        failed: row.get(9)?,
        message: row.get(10)?,
        ending: time(11)?.map(|at| ending(at, row.get(12))).transpose()?,
    })
}

fn ending(at: Timestamp, generation: rusqlite::Result<Option<i64>>) -> rusqlite::Result<Ending> {
    // What was marked by an older program has none, and its time is short.
    let generation = generation?.and_then(|generation| u64::try_from(generation).ok());
    Ok(Ending { at, generation: generation.unwrap_or(u64::MAX) })
}

pub fn all(connection: &Connection) -> Result<Vec<Record>, Error> {
    let records = connection
        .prepare_cached(
            "SELECT deployment, replica, incarnation, gpus, failures, created_us, retry_us, launched_us, \
             ready_us, failed, message, ending_us, ending_generation FROM instances ORDER BY deployment, replica, incarnation",
        )?
        .query_map([], decode)?
        .collect::<Result<_, _>>()?;
    Ok(records)
}

/// What is meant to run next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub key: RecordKey,
    pub gpus: Vec<String>,
    pub failures: u32,
    pub retry_at: Option<Timestamp>,
    /// Why it is tried again.
    pub message: Option<String>,
}

pub fn insert(write: &Write<'_>, intent: &Intent) -> Result<(), Error> {
    let Intent { key, gpus, failures, retry_at, message } = intent;
    write
        .prepare_cached("UPDATE deployments SET tries = max(tries, ?2) WHERE seq = ?1")?
        .execute((key.deployment, key.incarnation))?;
    write
        .prepare_cached(
            "INSERT INTO instances (deployment, replica, incarnation, gpus, failures, created_us, retry_us, \
             message) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            key.deployment,
            key.replica,
            key.incarnation,
            to_json(gpus)?,
            failures,
            write.now().0,
            retry_at.map(|at| at.0),
            message,
        ))?;
    write.wake_reconciler();
    Ok(())
}

/// What is told of it from now on.
pub fn explain(write: &Write<'_>, key: RecordKey, message: &str) -> Result<(), Error> {
    let RecordKey { deployment, replica, incarnation } = key;
    write
        .prepare_cached(
            "UPDATE instances SET message = ?4 WHERE deployment = ?1 AND replica = ?2 AND incarnation = ?3",
        )?
        .execute((deployment, replica, incarnation, message))?;
    Ok(())
}

/// A change of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Launched,
    Ready,
    Failed,
    /// It is stopped then at the latest. The routes of this moment don't lead to it.
    Ending(Timestamp),
    Retry {
        failures: u32,
        at: Timestamp,
    },
}

/// Says whether there was anything to mark.
pub fn mark(write: &Write<'_>, key: RecordKey, mark: Mark) -> Result<bool, Error> {
    let now = write.now().0;
    let set = |what: &str, value: i64, second: Option<i64>| {
        let sql = format!(
            "UPDATE instances SET {what} WHERE deployment = ?1 AND replica = ?2 AND incarnation = ?3"
        );
        let mut statement = write.prepare_cached(&sql)?;
        let RecordKey { deployment, replica, incarnation } = key;
        match second {
            None => statement.execute((deployment, replica, incarnation, value)),
            Some(second) => statement.execute((deployment, replica, incarnation, value, second)),
        }
    };
    let changed = match mark {
        Mark::Launched => set("launched_us = ?4", now, None),
        Mark::Ready => set("ready_us = ?4", now, None),
        Mark::Failed => set("failed = ?4", 1, None),
        Mark::Ending(at) => {
            let generation = i64::try_from(routes::generation(write)?).unwrap_or(i64::MAX);
            set("ending_us = ?4, ending_generation = ?5", at.0, Some(generation))
        }
        Mark::Retry { failures, at } => set("retry_us = ?4, failures = ?5", at.0, Some(failures.into())),
    }?;
    write.wake_reconciler();
    Ok(changed > 0)
}

/// Nothing is left of it.
pub fn forget(write: &Write<'_>, key: RecordKey) -> Result<bool, Error> {
    let gone = write
        .prepare_cached("DELETE FROM instances WHERE deployment = ?1 AND replica = ?2 AND incarnation = ?3")?
        .execute((key.deployment, key.replica, key.incarnation))?;
    write.wake_reconciler();
    Ok(gone > 0)
}

/// A version of a deployment that something here runs, or that nobody spoke about yet.
#[derive(Debug, Clone)]
pub struct StoredVersion {
    pub deployment: Deployment,
    pub is_untouched: bool,
    pub runtime: Option<RuntimeKind>,
    /// The number of the last try at running an instance.
    pub tries: u32,
    /// Absent when the config can't be read.
    pub config: Option<ConfigBody>,
}

/// In the order of deployments, and of each the oldest first. What is DELETED is left out.
pub fn versions(connection: &Connection) -> Result<Vec<StoredVersion>, Error> {
    let rows = connection
        .prepare_cached(
            "SELECT d.seq, d.status_history = '[]', d.runtime, d.tries, c.body FROM deployments d \
             LEFT JOIN deployment_configs c ON c.workspace = d.workspace AND c.name = d.config \
               AND c.version = d.config_version \
             WHERE d.status <> 'DELETED' AND (d.runtime IS NOT NULL OR d.status_history = '[]') \
             ORDER BY d.workspace, d.name, d.version",
        )?
        .query_map([], |row| {
            let runtime = row.get::<_, Option<String>>(2)?.and_then(|text| text.parse().ok());
            Ok((row.get(0)?, row.get(1)?, runtime, row.get(3)?, json_or_null(row, 4)?))
        })?
        .collect::<Result<Vec<(i64, bool, Option<RuntimeKind>, u32, Option<ConfigBody>)>, _>>()?;
    let mut versions = Vec::with_capacity(rows.len());
    for (seq, is_untouched, runtime, tries, config) in rows {
        if let Some(deployment) = deployments::by_seq(connection, seq)? {
            versions.push(StoredVersion { deployment, is_untouched, runtime, tries, config });
        }
    }
    Ok(versions)
}

/// An instance of a deployment, and what runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub key: RecordKey,
    pub version: u32,
    pub runtime: RuntimeKind,
}

/// What is recorded of one deployment, the oldest first.
pub fn of_deployment(connection: &Connection, workspace: &str, name: &str) -> Result<Vec<Recorded>, Error> {
    let rows = connection
        .prepare_cached(
            "SELECT i.deployment, i.replica, i.incarnation, d.version, d.runtime \
             FROM deployments d JOIN instances i ON i.deployment = d.seq \
             WHERE d.workspace = ?1 AND d.name = ?2 ORDER BY d.version, i.replica, i.incarnation",
        )?
        .query_map([workspace, name], |row| {
            let key = RecordKey { deployment: row.get(0)?, replica: row.get(1)?, incarnation: row.get(2)? };
            let runtime = row.get::<_, Option<String>>(4)?.and_then(|text| text.parse().ok());
            let version = row.get(3)?;
            Ok(runtime.map(|runtime| Recorded { key, version, runtime }))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// The config that a version stands on; none when it can't be read.
pub fn config_of(connection: &Connection, deployment: i64) -> Result<Option<ConfigBody>, Error> {
    let found = connection
        .prepare_cached(
            "SELECT c.body FROM deployments d JOIN deployment_configs c ON c.workspace = d.workspace \
               AND c.name = d.config AND c.version = d.config_version WHERE d.seq = ?1",
        )?
        .query_row([deployment], |row| json_or_null(row, 0))
        .optional()?;
    Ok(found.flatten())
}

/// Something here runs this version from now on.
pub fn accept(write: &Write<'_>, deployment: i64, runtime: RuntimeKind) -> Result<(), Error> {
    write
        .prepare_cached("UPDATE deployments SET runtime = ?2 WHERE seq = ?1")?
        .execute((deployment, runtime.as_str()))?;
    write.wake_reconciler();
    Ok(())
}

/// Whether anything here runs a deployment, or did.
pub fn is_any_accepted(connection: &Connection) -> Result<bool, Error> {
    Ok(connection.prepare_cached("SELECT 1 FROM deployments WHERE runtime IS NOT NULL")?.exists([])?)
}

/// Whose instances a runtime looks after.
pub fn installation(connection: &Connection) -> Result<String, Error> {
    Ok(connection.query_row("SELECT installation FROM registry", [], |row| row.get(0))?)
}
