//! Model entities: written by their owners, or made by discovery. Who serves them is `served`'s matter.

use std::collections::HashSet;

use proto_shared::{ModelName, WorkspaceName};
use rusqlite::{Connection, OptionalExtension};

use super::documents::{self, CREATED_AT, DESCRIPTION, NAME, PROJECT, UPDATED_AT, WORKSPACE};
use super::page::{self, Source, json, parsed, to_json};
use super::writer::Write;
use super::{adapters, filesets, served};
use crate::domain::document::Draft;
use crate::domain::filter::{Field, FieldKind};
use crate::domain::model::{ModelBody, ServedBy, TRUSTED_REPOSITORIES, is_trusted, prefer};
use crate::domain::routes::ProviderOrder;
use crate::domain::{Document, ListRules, Model, Page, PageRequest, model_spec};
use crate::error::Error;

/// In the order of `documents::decode`.
const COLUMNS: &str =
    "seq, id, workspace, name, project, description, coalesce(body, '{}'), created_us, updated_us";

pub const LIST: ListRules = ListRules::with(&[
    WORKSPACE,
    PROJECT,
    NAME,
    DESCRIPTION,
    Field { name: "fileset", kind: FieldKind::Text, column: "json_extract(body, '$.fileset')" },
    Field {
        name: "base_model",
        kind: FieldKind::TextOrPresence,
        column: "json_extract(body, '$.base_model')",
    },
    Field { name: "base_model.name", kind: FieldKind::Text, column: "json_extract(body, '$.base_model')" },
    Field {
        name: "finetuning_type",
        kind: FieldKind::TextOrPresence,
        column: "json_extract(body, '$.finetuning_type')",
    },
    Field { name: "prompt", kind: FieldKind::Presence, column: "json_extract(body, '$.prompt')" },
    Field { name: "adapters", kind: FieldKind::Presence, column: HAS_ADAPTER },
    Field { name: "adapters.finetuning_type", kind: FieldKind::TextAmong, column: ADAPTER_TYPES },
    Field { name: "lora_enabled", kind: FieldKind::Bool, column: LORA_ENABLED },
    CREATED_AT,
    UPDATED_AT,
]);

const HAS_ADAPTER: &str = "(SELECT 1 FROM adapters a \
    WHERE json_extract(a.body, '$.model') = models.workspace || '/' || models.name)";

const ADAPTER_TYPES: &str = "SELECT json_extract(a.body, '$.finetuning_type') AS item FROM adapters a \
    WHERE json_extract(a.body, '$.model') = models.workspace || '/' || models.name";

/// Some deployment config of the model enables LoRA, in either form of a config.
const LORA_ENABLED: &str = "EXISTS (SELECT 1 FROM deployment_configs c WHERE c.latest \
    AND (json_extract(c.body, '$.model_spec.lora_enabled') OR json_extract(c.body, '$.nim_deployment.lora_enabled')) \
    AND models.workspace || '/' || models.name IN ( \
        json_extract(c.body, '$.model_entity_id'), \
        json_extract(c.body, '$.model_spec.model_namespace') || '/' || json_extract(c.body, '$.model_spec.model_name'), \
        json_extract(c.body, '$.nim_deployment.model_namespace') || '/' \
            || json_extract(c.body, '$.nim_deployment.model_name')))";

fn not_found(workspace: &str, name: &str) -> Error {
    Error::NotFound(format!("Model with workspace '{workspace}' and name '{name}' not found"))
}

pub fn list(
    connection: &Connection,
    workspace: Option<&str>,
    request: &PageRequest,
) -> Result<Page<Model>, Error> {
    let source = Source { from: "models", columns: COLUMNS, has_workspace: true };
    let Page { rows, total } = page::list(connection, source, workspace, request, documents::decode)?;
    let rows = rows.into_iter().map(|row| joined(connection, row)).collect::<Result<_, _>>()?;
    Ok(Page { rows, total })
}

pub fn get(connection: &Connection, workspace: &str, name: &str) -> Result<Model, Error> {
    joined(connection, document(connection, workspace, name)?)
}

/// What is stored of it, without who serves it.
pub fn document(connection: &Connection, workspace: &str, name: &str) -> Result<Document<ModelBody>, Error> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM models WHERE workspace = ?1 AND name = ?2"))?
        .query_row([workspace, name], documents::decode)
        .optional()?
        .ok_or_else(|| not_found(workspace, name))
}

fn joined(connection: &Connection, document: Document<ModelBody>) -> Result<Model, Error> {
    let mut servers = connection
        .prepare_cached(
            "SELECT p.workspace, p.name, p.host_url, s.served_name FROM served_models s \
             JOIN providers p ON p.seq = s.provider WHERE s.model = ?1 ORDER BY s.provider",
        )?
        .query_map([document.seq], |row| {
            let (workspace, name): (WorkspaceName, String) = (parsed(row, 0)?, row.get(1)?);
            let by = ServedBy {
                provider: format!("{workspace}/{name}"),
                host_url: row.get(2)?,
                served_name: row.get(3)?,
            };
            Ok((workspace, name, by))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let order = document.body.model_providers.as_deref().unwrap_or_default();
    prefer(&mut servers, order, |(workspace, name, _)| (workspace, name));
    let fileset = match &document.body.fileset {
        Some(reference) => filesets::find(connection, &document.workspace, reference)?,
        None => None,
    };
    Ok(Model {
        spec: model_spec::known(document.body.spec.as_ref(), fileset.map(|fileset| fileset.body).as_ref()),
        served_by: servers.into_iter().map(|(_, _, by)| by).collect(),
        adapters: adapters::of_model(connection, document.workspace.as_str(), document.name.as_str())?,
        document,
    })
}

pub fn insert(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    draft: &Draft<ModelBody>,
) -> Result<Model, Error> {
    let Draft { name, project, description, body } = draft;
    check_fileset(write, workspace, body)?;
    let inserted = write
        .prepare_cached(
            "INSERT INTO models (id, workspace, name, origin, project, description, body, created_us, updated_us) \
             VALUES (?1, ?2, ?3, 'user', ?4, ?5, ?6, ?7, ?7) ON CONFLICT (workspace, name) DO NOTHING",
        )?
        .execute((
            write.new_id("model").as_str(),
            workspace.as_str(),
            name.as_str(),
            project,
            description,
            to_json(body)?,
            write.now().0,
        ))?;
    if inserted == 0 {
        let text = format!("Model with workspace '{workspace}' and name '{name}' already exists");
        return Err(Error::AlreadyExists(text));
    }
    if body.model_providers.is_some() || body.local_only {
        write.touch_models()?;
    }
    get(write, workspace.as_str(), name.as_str())
}

/// A fileset that is named must be there, and code out of it may run only if it is trusted.
fn check_fileset(write: &Write<'_>, workspace: &WorkspaceName, body: &ModelBody) -> Result<(), Error> {
    let Some(reference) = &body.fileset else { return Ok(()) };
    let fileset = filesets::referred(write, workspace, reference)?;
    match fileset.body.storage.repository() {
        Some(repository) if body.trust_remote_code && !is_trusted(&repository) => {
            let allowed = TRUSTED_REPOSITORIES.join(", ");
            Err(Error::Forbidden(format!(
                "trust_remote_code: code from {repository} may not run here, only from {allowed}"
            )))
        }
        _ => Ok(()),
    }
}

/// Stores `model` in place of `before`.
pub fn update(
    write: &Write<'_>,
    before: &Document<ModelBody>,
    model: &Document<ModelBody>,
) -> Result<Model, Error> {
    let is_other = before.body.fileset != model.body.fileset;
    if is_other || before.body.trust_remote_code != model.body.trust_remote_code {
        check_fileset(write, &before.workspace, &model.body)?;
    }
    write
        .prepare_cached("UPDATE models SET description = ?2, body = ?3, updated_us = ?4 WHERE seq = ?1")?
        .execute((before.seq, &model.description, to_json(&model.body)?, write.now().0))?;
    let is_routed_otherwise = before.body.model_providers != model.body.model_providers
        || before.body.local_only != model.body.local_only;
    if is_routed_otherwise {
        write.touch_models()?;
    }
    get(write, before.workspace.as_str(), before.name.as_str())
}

/// Deletes it, whoever serves it. While somebody does, discovery makes it again when it looks next.
pub fn delete(write: &Write<'_>, workspace: &str, name: &str) -> Result<(), Error> {
    let model = document(write, workspace, name)?;
    if model.body.model_providers.is_some() || model.body.local_only {
        write.touch_models()?;
    }
    served::forget(write, model.seq)?;
    write.prepare_cached("DELETE FROM models WHERE seq = ?1")?.execute([model.seq])?;
    Ok(())
}

/// Those whose requests never go to a hosted provider.
pub fn local_only(connection: &Connection) -> Result<HashSet<(WorkspaceName, ModelName)>, Error> {
    let models = connection
        .prepare_cached("SELECT workspace, name FROM models WHERE json_extract(body, '$.local_only')")?
        .query_map([], |row| Ok((parsed(row, 0)?, parsed(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(models)
}

/// Which owners want which providers first.
pub fn orders(connection: &Connection) -> Result<Vec<ProviderOrder>, Error> {
    let orders = connection
        .prepare_cached(
            "SELECT workspace, name, provider_order FROM models WHERE provider_order IS NOT NULL ORDER BY seq",
        )?
        .query_map([], |row| {
            Ok(ProviderOrder { workspace: parsed(row, 0)?, model: parsed(row, 1)?, providers: json(row, 2)? })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(orders)
}
