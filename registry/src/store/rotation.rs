//! Rotation: all sealed values under the current master key, a few in each transaction.
//!
//! Invariants:
//! - Killed anywhere, each secret is sealed under the old key or under the new one, and opens; the next
//!   run goes on where this one ended.
//! - Routes that use a secret change in the same transaction, so gateways are told.
//! - The key check follows last, in a transaction that sees no secret left behind.

use proto_shared::secret::SecretError;
use proto_shared::{Keys, SealedSecret, SecretIdentity};
use rusqlite::{Connection, OptionalExtension};

use super::page::{json, to_json};
use super::secrets::{self, move_routes};
use super::writer::Write;
use crate::config::ROTATION_BATCH;
use crate::error::Error;

/// What the master key is recognised by.
const KEY_CHECK: SecretIdentity<'static> = SecretIdentity { workspace: "", name: "master key", version: 0 };

/// How far all secrets have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyProgress {
    /// The id of the key that seals.
    pub current_key: String,
    pub secrets: u64,
    /// Secrets that another key sealed.
    pub waiting: u64,
}

pub fn progress(connection: &Connection, keys: &Keys) -> Result<KeyProgress, Error> {
    let current_key = keys.current().id().to_owned();
    let (secrets, waiting): (i64, i64) = connection
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE json_extract(sealed, '$.key_id') IS NOT ?1) FROM secrets",
        )?
        .query_row([&current_key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let count = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(KeyProgress { current_key, secrets: count(secrets), waiting: count(waiting) })
}

/// A secret's row, and why its sealed value can't be used.
struct Row {
    workspace: String,
    name: String,
    sealed: Result<SealedSecret, SecretError>,
}

impl Row {
    /// Reads the columns `workspace, name, version, sealed` from `first` on.
    fn read(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let (workspace, name): (String, String) = (row.get(first)?, row.get(first + 1)?);
        let version: i64 = row.get(first + 2)?;
        let sealed = json(row, first + 3).map_err(|_| SecretError::Damaged).and_then(|sealed| {
            secrets::belongs(&sealed, &workspace, &name, version)?;
            Ok(sealed)
        });
        Ok(Self { workspace, name, sealed })
    }
}

/// What one transaction did.
#[derive(Debug, Default)]
pub struct Batch {
    pub resealed: u64,
    /// `workspace/name` of those that do not open.
    pub failed: Vec<String>,
    /// Where the next batch begins; none: this was the last.
    pub next: Option<i64>,
}

/// Seals the secrets after number `after` again, as many as one transaction should hold.
pub fn reseal_batch(write: &Write<'_>, keys: &Keys, after: i64) -> Result<Batch, Error> {
    let rows = write
        .prepare_cached(
            "SELECT seq, workspace, name, version, sealed FROM secrets \
             WHERE seq > ?1 AND json_extract(sealed, '$.key_id') IS NOT ?2 ORDER BY seq LIMIT ?3",
        )?
        .query_map((after, keys.current().id(), i64::from(ROTATION_BATCH)), |row| {
            Ok((row.get(0)?, Row::read(row, 1)?))
        })?
        .collect::<Result<Vec<(i64, Row)>, _>>()?;
    let full = rows.len() == ROTATION_BATCH as usize;
    let mut batch = Batch { next: rows.last().filter(|_| full).map(|row| row.0), ..Batch::default() };
    for (seq, row) in rows {
        match row.sealed.and_then(|sealed| keys.reseal(&sealed)) {
            Ok(sealed) => {
                write
                    .prepare_cached("UPDATE secrets SET sealed = ?2 WHERE seq = ?1")?
                    .execute((seq, to_json(&sealed)?))?;
                move_routes(write, &row.workspace, &row.name)?;
                batch.resealed += 1;
            }
            Err(_) => batch.failed.push(format!("{}/{}", row.workspace, row.name)),
        }
    }
    Ok(batch)
}

/// Lets the key check follow once nothing is sealed under another key. False: something still is.
pub fn finish(write: &Write<'_>, keys: &Keys) -> Result<bool, Error> {
    if progress(write, keys)?.waiting > 0 {
        return Ok(false);
    }
    let check: Option<SealedSecret> =
        write.query_row("SELECT key_check FROM registry", [], |row| json(row, 0)).optional()?;
    if check.is_none_or(|check| check.key_id != keys.current().id()) {
        write.execute("UPDATE registry SET key_check = ?1", [new_check(keys)?])?;
    }
    Ok(true)
}

/// A constant sealed with the current key.
pub fn new_check(keys: &Keys) -> Result<String, Error> {
    let sealed = keys.current().seal(&KEY_CHECK, &String::from("nimgate").into())?;
    to_json(&sealed)
}

/// The ids of all keys that something is sealed with.
pub fn keys_in_use(connection: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    connection
        .prepare(
            "SELECT json_extract(key_check, '$.key_id') AS id FROM registry WHERE json_valid(key_check) \
             UNION SELECT json_extract(sealed, '$.key_id') FROM secrets ORDER BY 1",
        )?
        .query_map([], |row| row.get::<_, Option<String>>(0))?
        .filter_map(Result::transpose)
        .collect()
}

/// A secret that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFault {
    /// `workspace/name`.
    pub secret: String,
    pub why: String,
}

/// What a look at every secret gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub current_key: String,
    /// Secrets that open with the current key.
    pub sound: u64,
    pub faults: Vec<SecretFault>,
}

/// Opens every secret, and the key check, with the current key alone.
pub fn verify(connection: &Connection, keys: &Keys) -> Result<Verified, Error> {
    let key = keys.current();
    let mut verified = Verified { current_key: key.id().to_owned(), sound: 0, faults: Vec::new() };
    let mut look = |secret: String, sealed: Result<SealedSecret, SecretError>| {
        let opened = sealed.and_then(|sealed| key.open(&sealed));
        let fault = opened.err().map(|error| SecretFault { secret, why: error.to_string() });
        let sound = fault.is_none();
        verified.faults.extend(fault);
        sound
    };
    let mut sound = 0;
    let mut statement =
        connection.prepare("SELECT workspace, name, version, sealed FROM secrets ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Row { workspace, name, sealed } = Row::read(row, 0)?;
        sound += u64::from(look(format!("{workspace}/{name}"), sealed));
    }
    let check = connection.query_row("SELECT key_check FROM registry", [], |row| json(row, 0));
    look("the key check".into(), check.map_err(|_| SecretError::Damaged));
    verified.sound = sound;
    Ok(verified)
}
