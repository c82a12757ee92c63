//! Filesets as those see them who refer to them: models and adapters.

use proto_shared::WorkspaceName;
use rusqlite::{Connection, OptionalExtension};

use crate::domain::Reference;
use crate::error::Error;

/// Where the files of a fileset come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// The data folder.
    Local,
    /// A hub: `organisation/…`.
    Repository(String),
    Elsewhere,
}

/// The fileset that `reference`, written in `workspace`, means. None there: 400.
pub fn require(
    connection: &Connection,
    workspace: &WorkspaceName,
    reference: &Reference,
) -> Result<Origin, Error> {
    let (workspace, name) = (reference.workspace(workspace), reference.name());
    connection
        .prepare_cached(
            "SELECT json_extract(body, '$.storage.type'), coalesce(json_extract(body, '$.storage.repo_id'), \
             json_extract(body, '$.storage.org') || '/' || json_extract(body, '$.storage.target')) \
             FROM filesets WHERE workspace = ?1 AND name = ?2",
        )?
        .query_row([workspace.as_str(), name.as_str()], |row| {
            Ok(match (row.get_ref(0)?.as_str_or_null()?, row.get(1)?) {
                (None | Some("local"), _) => Origin::Local,
                (_, Some(repository)) => Origin::Repository(repository),
                (_, None) => Origin::Elsewhere,
            })
        })
        .optional()?
        .ok_or_else(|| {
            let reason = format!("Fileset '{name}' not found in workspace '{workspace}'; create it first");
            Error::refused("fileset", reason)
        })
}
