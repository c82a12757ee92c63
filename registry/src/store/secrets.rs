//! Secrets: sealed values, and what may be told about them.

use proto_shared::secret::{ExposeSecret, SecretError, SecretString};
use proto_shared::{KeyRing, NameError, SealedSecret, SecretIdentity, SecretName, WorkspaceName};
use rusqlite::{Connection, OptionalExtension, Row};

use super::page::{self, Source, json, parsed, to_json};
use super::writer::Write;
use crate::domain::{ListRules, Page, PageRequest, Secret, Sort, SortKey, Timestamp};
use crate::error::Error;

/// Workspace and name of the secret that the environment gives.
pub const NGC_API_KEY: (&str, &str) = ("system", "ngc-api-key");
/// Tells it from one that somebody stored under its name before it was reserved.
const NGC_DESCRIPTION: &str = "Default NGC API key secret for the platform";

const COLUMNS: &str = "workspace, name, description, created_us, updated_us";

pub const LIST: ListRules = ListRules {
    default_size: 10,
    default_sort: Sort::NEWEST_FIRST,
    keys: &[SortKey::CreatedAt],
    ..ListRules::with(&[])
};

fn decode(row: &Row<'_>) -> rusqlite::Result<Secret> {
    Ok(Secret {
        workspace: parsed(row, 0)?,
        name: parsed(row, 1)?,
        description: row.get(2)?,
        created: Timestamp(row.get(3)?),
        updated: Timestamp(row.get(4)?),
    })
}

pub fn list(
    connection: &Connection,
    workspace: Option<&str>,
    request: &PageRequest,
) -> Result<Page<Secret>, Error> {
    let source = Source { from: "secrets", columns: COLUMNS, has_workspace: true };
    page::list(connection, source, workspace, request, decode)
}

pub fn get(connection: &Connection, workspace: &str, name: &str) -> Result<Secret, Error> {
    connection
        .prepare_cached(
            "SELECT workspace, name, description, created_us, updated_us FROM secrets \
             WHERE workspace = ?1 AND name = ?2",
        )?
        .query_row([workspace, name], decode)
        .optional()?
        .ok_or_else(|| Error::NotFound(format!("Secret {workspace}/{name} not found")))
}

pub fn exists(connection: &Connection, workspace: &str, name: &str) -> Result<bool, Error> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM secrets WHERE workspace = ?1 AND name = ?2")?
        .exists([workspace, name])?)
}

/// The sealed value, for a route. One that was sealed for another place or version is refused.
pub fn sealed(connection: &Connection, workspace: &str, name: &str) -> Result<Option<SealedSecret>, Error> {
    let found = connection
        .prepare_cached("SELECT version, sealed FROM secrets WHERE workspace = ?1 AND name = ?2")?
        .query_row([workspace, name], |row| Ok((row.get(0)?, json(row, 1)?)))
        .optional()?;
    let Some((version, sealed)) = found else { return Ok(None) };
    belongs(&sealed, workspace, name, version)?;
    Ok(Some(sealed))
}

/// Whether a sealed value is the one its row should hold.
pub fn belongs(sealed: &SealedSecret, workspace: &str, name: &str, version: i64) -> Result<(), SecretError> {
    let right =
        (&*sealed.workspace, &*sealed.name, i64::try_from(sealed.version)) == (workspace, name, Ok(version));
    if right { Ok(()) } else { Err(SecretError::Damaged) }
}

/// Seals `value` under a version that was never used before.
fn seal(
    write: &Write<'_>,
    key: &KeyRing,
    workspace: &WorkspaceName,
    name: &SecretName,
    value: &SecretString,
) -> Result<(i64, String), Error> {
    let version: i64 = write
        .prepare_cached("UPDATE registry SET secret_version = secret_version + 1 RETURNING secret_version")?
        .query_row([], |row| row.get(0))?;
    let identity = SecretIdentity {
        workspace: workspace.as_str(),
        name: name.as_str(),
        version: u64::try_from(version).unwrap_or_default(),
    };
    Ok((version, to_json(&key.seal(&identity, value)?)?))
}

pub fn insert(
    write: &Write<'_>,
    key: &KeyRing,
    workspace: &WorkspaceName,
    name: &SecretName,
    value: &SecretString,
    description: Option<&str>,
) -> Result<Secret, Error> {
    if exists(write, workspace.as_str(), name.as_str())? {
        return Err(Error::AlreadyExists(format!("Secret {workspace}/{name} already exists")));
    }
    let (version, sealed) = seal(write, key, workspace, name, value)?;
    write
        .prepare_cached(
            "INSERT INTO secrets (workspace, name, description, sealed, version, created_us, updated_us) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )?
        .execute((workspace.as_str(), name.as_str(), description, sealed, version, write.now().0))?;
    touch_users(write, workspace.as_str(), name.as_str())?;
    get(write, workspace.as_str(), name.as_str())
}

/// Makes the secret that the environment gives what the environment says now.
pub fn set_ngc_api_key(write: &Write<'_>, key: &KeyRing, value: Option<&SecretString>) -> Result<(), Error> {
    let (workspace, name) = NGC_API_KEY;
    let stored = sealed(write, workspace, name)?;
    let Some(value) = value else {
        let ours =
            stored.is_some() && get(write, workspace, name)?.description.as_deref() == Some(NGC_DESCRIPTION);
        return if ours { delete(write, workspace, name) } else { Ok(()) };
    };
    let parse = |error: NameError| Error::refused("name", error);
    let (workspace, name) = (workspace.parse().map_err(parse)?, name.parse().map_err(parse)?);
    put(write, key, &workspace, &name, value, NGC_DESCRIPTION).map(drop)
}

/// Makes `value` what is stored under the name. True: it was not.
pub fn put(
    write: &Write<'_>,
    key: &KeyRing,
    workspace: &WorkspaceName,
    name: &SecretName,
    value: &SecretString,
    description: &str,
) -> Result<bool, Error> {
    match sealed(write, workspace.as_str(), name.as_str())? {
        None => insert(write, key, workspace, name, value, Some(description)).map(|_| true),
        Some(sealed) if key.open(&sealed).is_ok_and(|old| old.expose_secret() == value.expose_secret()) => {
            Ok(false)
        }
        Some(_) => {
            let description = Some(Some(description.to_owned()));
            let change = SecretChange { value: Some(value.clone()), description };
            update(write, key, workspace.as_str(), name.as_str(), &change).map(|_| true)
        }
    }
}

/// What a PATCH may change. An outer `None` leaves the field as it is.
pub struct SecretChange {
    pub value: Option<SecretString>,
    pub description: Option<Option<String>>,
}

pub fn update(
    write: &Write<'_>,
    key: &KeyRing,
    workspace: &str,
    name: &str,
    change: &SecretChange,
) -> Result<Secret, Error> {
    let secret = get(write, workspace, name)?;
    if let Some(value) = &change.value {
        let (version, sealed) = seal(write, key, &secret.workspace, &secret.name, value)?;
        write
            .prepare_cached(
                "UPDATE secrets SET sealed = ?3, version = ?4, updated_us = ?5 \
                 WHERE workspace = ?1 AND name = ?2",
            )?
            .execute((workspace, name, sealed, version, write.now().0))?;
        touch_users(write, workspace, name)?;
    }
    if let Some(description) = &change.description {
        write
            .prepare_cached(
                "UPDATE secrets SET description = ?3, updated_us = ?4 WHERE workspace = ?1 AND name = ?2",
            )?
            .execute((workspace, name, description, write.now().0))?;
    }
    get(write, workspace, name)
}

pub fn delete(write: &Write<'_>, workspace: &str, name: &str) -> Result<(), Error> {
    get(write, workspace, name)?;
    write
        .prepare_cached("DELETE FROM secrets WHERE workspace = ?1 AND name = ?2")?
        .execute([workspace, name])?;
    touch_users(write, workspace, name)
}

/// A key changed: the providers that use it have a new revision and new routes.
fn touch_users(write: &Write<'_>, workspace: &str, name: &str) -> Result<(), Error> {
    if move_routes(write, workspace, name)? {
        write
            .prepare_cached(
                "UPDATE providers SET revision = revision + 1 WHERE workspace = ?1 AND api_key_secret_name = ?2",
            )?
            .execute((workspace, name))?;
    }
    Ok(())
}

/// What is published of a secret changed: the routes that carry it are of a new generation. True: there
/// are some.
pub fn move_routes(write: &Write<'_>, workspace: &str, name: &str) -> Result<bool, Error> {
    let used = write
        .prepare_cached("SELECT 1 FROM providers WHERE workspace = ?1 AND api_key_secret_name = ?2")?
        .exists([workspace, name])?;
    if used {
        let generation = write.touch_routes()?;
        write
            .prepare_cached(
                "UPDATE providers SET route_generation = ?3 WHERE workspace = ?1 AND api_key_secret_name = ?2",
            )?
            .execute((workspace, name, generation))?;
    }
    Ok(used)
}
