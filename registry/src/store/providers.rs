//! Providers.

use std::collections::BTreeMap;

use proto_shared::snapshot::Watch;
use proto_shared::{HostUrl, ProviderName, WorkspaceName};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::documents::{CREATED_AT, DESCRIPTION, NAME, PROJECT, UPDATED_AT, WORKSPACE};
use super::page::{self, Source, json, json_or_null, parsed, to_json, to_json_or_null};
use super::writer::Write;
use super::{secrets, served};
use crate::domain::filter::{Field, FieldKind};
use crate::domain::provider::{Finding, GivenStatus, STATUS_MESSAGE_CHARS_MAX, is_enabled};
use crate::domain::sight::Sight;
use crate::domain::{
    EntityId, ListRules, Page, PageRequest, Provider, ProviderSpec, ProviderStatus, SortKey, Timestamp,
};
use crate::error::Error;

const COLUMNS: &str = "seq, revision, id, workspace, name, project, description, host_url, \
    api_key_secret_name, auth_header_format, enabled_models, default_extra_body, required_extra_body, \
    default_extra_headers, required_extra_headers, model_deployment_id, timeouts, replay, status, \
    status_message, created_us, updated_us, withheld, preset, backend, instances, locality, \
    watch, instances_watch, seen_status, seen_message";

pub const LIST: ListRules = ListRules {
    keys: &[SortKey::Name, SortKey::CreatedAt, SortKey::UpdatedAt, SortKey::Status],
    ..ListRules::with(&[
        WORKSPACE,
        PROJECT,
        Field { name: "status", kind: FieldKind::Text, column: "shown_status" },
        Field { name: "model_deployment_id", kind: FieldKind::Text, column: "model_deployment_id" },
        NAME,
        DESCRIPTION,
        Field { name: "host_url", kind: FieldKind::Text, column: "host_url" },
        CREATED_AT,
        UPDATED_AT,
    ])
};

/// A row without its models.
fn decode(row: &Row<'_>) -> rusqlite::Result<Provider> {
    let status: String = row.get(18)?;
    Ok(Provider {
        seq: row.get(0)?,
        revision: row.get(1)?,
        id: EntityId::stored(row.get(2)?),
        workspace: parsed(row, 3)?,
        name: parsed(row, 4)?,
        spec: ProviderSpec {
            project: row.get(5)?,
            description: row.get(6)?,
            host_url: parsed(row, 7)?,
            api_key_secret_name: row
                .get::<_, Option<String>>(8)?
                .is_some()
                .then(|| parsed(row, 8))
                .transpose()?,
            auth_header_format: row
                .get::<_, Option<String>>(9)?
                .is_some()
                .then(|| parsed(row, 9))
                .transpose()?,
            enabled_models: json_or_null(row, 10)?,
            default_extra_body: json_or_null(row, 11)?,
            required_extra_body: json_or_null(row, 12)?,
            default_extra_headers: json_or_null(row, 13)?,
            required_extra_headers: json_or_null(row, 14)?,
            model_deployment_id: row.get(15)?,
            timeouts: json(row, 16)?,
            replay: json(row, 17)?,
            preset: row.get(23)?,
            backend: json(row, 24)?,
            locality: json_or_null(row, 26)?,
            watch: json_or_null(row, 27)?.unwrap_or_default(),
        },
        status: status.parse().unwrap_or(ProviderStatus::Unknown),
        status_message: row.get(19)?,
        served: Vec::new(),
        created: Timestamp(row.get(20)?),
        updated: Timestamp(row.get(21)?),
        withheld: row.get(22)?,
        instances: json_or_null(row, 25)?.unwrap_or_default(),
        instances_watch: json_or_null(row, 28)?.unwrap_or_default(),
        seen: sight(row, 29)?,
    })
}

/// A status and a message, if there are.
fn sight(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Sight>> {
    let (status, message): (Option<String>, Option<String>) = (row.get(at)?, row.get(at + 1)?);
    let status = status.and_then(|status| status.parse().ok());
    Ok(status.map(|status| Sight { status, message: message.unwrap_or_default() }))
}

fn with_models(connection: &Connection, mut provider: Provider) -> Result<Provider, Error> {
    provider.served = served::of_provider(connection, provider.seq)?;
    Ok(provider)
}

pub fn list(
    connection: &Connection,
    workspace: Option<&str>,
    request: &PageRequest,
) -> Result<Page<Provider>, Error> {
    let source = Source { from: "providers", columns: COLUMNS, has_workspace: true };
    let Page { rows, total } = page::list(connection, source, workspace, request, decode)?;
    let rows = rows.into_iter().map(|row| with_models(connection, row)).collect::<Result<_, _>>()?;
    Ok(Page { rows, total })
}

pub fn find(connection: &Connection, workspace: &str, name: &str) -> Result<Option<Provider>, Error> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM providers WHERE workspace = ?1 AND name = ?2"))?
        .query_row([workspace, name], decode)
        .optional()?
        .map(|row| with_models(connection, row))
        .transpose()
}

/// Those through which a deployment is reached.
pub fn of_deployment(
    connection: &Connection,
    workspace: &str,
    deployment: &str,
) -> Result<Vec<Provider>, Error> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM providers WHERE workspace = ?1 AND model_deployment_id = ?2"
        ))?
        .query_map([workspace, &format!("{workspace}/{deployment}")], decode)?
        .map(|row| with_models(connection, row?))
        .collect()
}

pub fn by_seq(connection: &Connection, seq: i64) -> Result<Option<Provider>, Error> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM providers WHERE seq = ?1"))?
        .query_row([seq], decode)
        .optional()?
        .map(|row| with_models(connection, row))
        .transpose()
}

pub fn get(connection: &Connection, workspace: &str, name: &str) -> Result<Provider, Error> {
    find(connection, workspace, name)?
        .ok_or_else(|| Error::NotFound(format!("Model provider not found: {workspace}/{name}")))
}

pub fn insert(
    write: &Write<'_>,
    workspace: &WorkspaceName,
    name: &ProviderName,
    spec: &ProviderSpec,
    given: &GivenStatus,
) -> Result<Provider, Error> {
    if find(write, workspace.as_str(), name.as_str())?.is_some() {
        return Err(Error::AlreadyExists(format!("Model provider {workspace}/{name} already exists")));
    }
    require_secret(write, workspace, spec)?;
    let message = match (&given.message, given.status) {
        (Some(message), _) => message.as_str(),
        (None, Some(_)) => "",
        (None, None) => "Model provider created",
    };
    let generation = write.touch_routes()?;
    write
        .prepare_cached(
            "INSERT INTO providers (id, workspace, name, host_url, timeouts, replay, status, status_message, \
             revision, route_generation, created_us, updated_us) \
             VALUES (?1, ?2, ?3, ?4, '{}', '\"never\"', ?5, ?6, 0, ?7, ?8, ?8)",
        )?
        .execute((
            write.new_id("model-provider").as_str(),
            workspace.as_str(),
            name.as_str(),
            spec.host_url.as_str(),
            given.status.unwrap_or(ProviderStatus::Created).as_str(),
            message,
            generation,
            write.now().0,
        ))?;
    let seq = write.last_insert_rowid();
    set_spec(write, seq, spec)?;
    if let Some(pinned) = spec.pinned(workspace, &[]) {
        served::replace(write, seq, workspace, name.as_str(), &[pinned])?;
    }
    get(write, workspace.as_str(), name.as_str())
}

/// Replaces the configuration. What was found out stays, as far as the new configuration allows it.
pub fn replace(
    write: &Write<'_>,
    provider: &Provider,
    spec: &ProviderSpec,
    given: &GivenStatus,
) -> Result<Provider, Error> {
    require_secret(write, &provider.workspace, spec)?;
    set_spec(write, provider.seq, spec)?;
    let status = given.status.unwrap_or(provider.status);
    let message = given.message.as_deref().unwrap_or(&provider.status_message);
    set_status(write, provider.seq, status, message)?;
    let enabled = provider
        .served
        .iter()
        .filter(|model| is_enabled(spec.enabled_models.as_deref(), &model.served_name))
        .map(|model| (model.name.clone(), model.served_name.clone()));
    let pinned = spec.pinned(&provider.workspace, &provider.served);
    let serves = pinned.map_or_else(|| enabled.collect::<Vec<_>>(), |pinned| vec![pinned]);
    if !provider.serves(&serves) {
        served::replace(write, provider.seq, &provider.workspace, provider.name.as_str(), &serves)?;
    }
    get(write, provider.workspace.as_str(), provider.name.as_str())
}

/// Records a finding; routes change only if readiness or models do.
pub fn record(write: &Write<'_>, provider: &Provider, finding: &Finding) -> Result<Provider, Error> {
    let status = finding.status.unwrap_or(provider.status);
    let message = finding.message.as_deref().unwrap_or(&provider.status_message);
    set_status(write, provider.seq, status, message)?;
    if provider.spec.model_deployment_id.is_some() {
        write.wake_reconciler();
    }
    if let Some(id) = &finding.model_deployment_id {
        write
            .prepare_cached("UPDATE providers SET model_deployment_id = ?2 WHERE seq = ?1")?
            .execute((provider.seq, id))?;
    }
    let models = finding.served.as_ref().filter(|models| !provider.serves(models));
    if let Some(models) = models {
        served::replace(write, provider.seq, &provider.workspace, provider.name.as_str(), models)?;
    }
    let readiness_changed = (status == ProviderStatus::Ready) != (provider.status == ProviderStatus::Ready);
    if models.is_some() || readiness_changed {
        let generation = write.touch_routes()?;
        write
            .prepare_cached("UPDATE providers SET route_generation = ?2 WHERE seq = ?1")?
            .execute((provider.seq, generation))?;
    }
    get(write, provider.workspace.as_str(), provider.name.as_str())
}

/// Takes it out of rotation, whatever discovery finds.
pub fn withhold(write: &Write<'_>, provider: &Provider, why: &str) -> Result<(), Error> {
    set_status(write, provider.seq, ProviderStatus::Pending, why)?;
    let generation = write.touch_routes()?;
    write
        .prepare_cached(
            "UPDATE providers SET withheld = TRUE, route_generation = ?2, revision = revision + 1 WHERE seq = ?1",
        )?
        .execute((provider.seq, generation))?;
    write.wake_reconciler();
    Ok(())
}

/// Leads it to instances that this registry runs, `host_url` being one of them, and puts it back into rotation.
/// `watch` is where those say how they are.
/// What it served before it serves still, until somebody has looked.
pub fn lead(
    write: &Write<'_>,
    provider: &Provider,
    host_url: &HostUrl,
    instances: &[HostUrl],
    watch: &Watch,
) -> Result<Provider, Error> {
    if provider.withheld {
        let known = if provider.served.is_empty() { ProviderStatus::Created } else { ProviderStatus::Ready };
        set_status(write, provider.seq, known, "")?;
    }
    let generation = write.touch_routes()?;
    write
        .prepare_cached(
            "UPDATE providers SET revision = revision + (withheld OR host_url <> ?2), withheld = FALSE, \
             host_url = ?2, instances = ?3, instances_watch = ?6, route_generation = ?4, updated_us = ?5 \
             WHERE seq = ?1",
        )?
        .execute((
            provider.seq,
            host_url.as_str(),
            to_json(&instances)?,
            generation,
            write.now().0,
            to_json(watch)?,
        ))?;
    write.wake_reconciler();
    get(write, provider.workspace.as_str(), provider.name.as_str())
}

/// Of which something is shown, by number.
pub fn seen(connection: &Connection) -> Result<BTreeMap<i64, Sight>, Error> {
    let rows = connection
        .prepare_cached("SELECT seq, seen_status, seen_message FROM providers WHERE seen_status IS NOT NULL")?
        .query_map([], |row| Ok((row.get(0)?, sight(row, 1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().filter_map(|(seq, sight)| Some((seq, sight?))).collect())
}

/// What gateways see of it, to be shown. No route depends on it.
pub fn set_seen(write: &Write<'_>, seq: i64, sight: Option<&Sight>) -> Result<(), Error> {
    let status = sight.map(|sight| sight.status.as_str());
    let message = sight.map(|sight| &sight.message);
    write
        .prepare_cached(
            "UPDATE providers SET seen_status = ?2, seen_message = ?3, updated_us = ?4 WHERE seq = ?1",
        )?
        .execute((seq, status, message, write.now().0))?;
    Ok(())
}

pub fn delete(write: &Write<'_>, workspace: &str, name: &str) -> Result<(), Error> {
    let provider = get(write, workspace, name)?;
    write.touch_routes()?;
    served::withdraw(write, provider.seq, workspace)?;
    write.prepare_cached("DELETE FROM providers WHERE seq = ?1")?.execute([provider.seq])?;
    Ok(())
}

fn require_secret(write: &Write<'_>, workspace: &WorkspaceName, spec: &ProviderSpec) -> Result<(), Error> {
    let Some(name) = &spec.api_key_secret_name else { return Ok(()) };
    if secrets::exists(write, workspace.as_str(), name.as_str())? {
        return Ok(());
    }
    let reason = format!("Secret '{name}' not found in workspace '{workspace}'; create it first");
    Err(Error::refused("api_key_secret_name", reason))
}

/// What its owner points elsewhere is not at the instances of this registry any more.
fn set_spec(write: &Write<'_>, seq: i64, spec: &ProviderSpec) -> Result<(), Error> {
    let generation = write.touch_routes()?;
    write
        .prepare_cached(
            "UPDATE providers SET project = :project, description = :description, host_url = :host_url, \
             api_key_secret_name = :secret, auth_header_format = :auth, enabled_models = :enabled, \
             default_extra_body = :default_body, required_extra_body = :required_body, \
             default_extra_headers = :default_headers, required_extra_headers = :required_headers, \
             model_deployment_id = :deployment, timeouts = :timeouts, replay = :replay, \
             preset = :preset, backend = :backend, locality = :locality, watch = :watch, \
             instances = iif(host_url = :host_url, instances, NULL), \
             revision = revision + 1, route_generation = :generation, updated_us = :now WHERE seq = :seq",
        )?
        .execute(named_params! {
            ":seq": seq,
            ":project": spec.project,
            ":description": spec.description,
            ":host_url": spec.host_url.as_str(),
            ":secret": spec.api_key_secret_name.as_ref().map(|name| name.as_str()),
            ":auth": spec.auth_header_format.clone().map(String::from),
            ":enabled": to_json_or_null(&spec.enabled_models)?,
            ":default_body": to_json_or_null(&spec.default_extra_body)?,
            ":required_body": to_json_or_null(&spec.required_extra_body)?,
            ":default_headers": to_json_or_null(&spec.default_extra_headers)?,
            ":required_headers": to_json_or_null(&spec.required_extra_headers)?,
            ":deployment": spec.model_deployment_id,
            ":timeouts": to_json(&spec.timeouts)?,
            ":replay": to_json(&spec.replay)?,
            ":preset": spec.preset,
            ":backend": to_json(&spec.backend)?,
            ":locality": to_json_or_null(&spec.locality)?,
            ":watch": to_json(&spec.watch)?,
            ":generation": generation,
            ":now": write.now().0,
        })?;
    Ok(())
}

fn set_status(write: &Write<'_>, seq: i64, status: ProviderStatus, message: &str) -> Result<(), Error> {
    let message: String = message.chars().take(STATUS_MESSAGE_CHARS_MAX).collect();
    write
        .prepare_cached(
            "UPDATE providers SET status = ?2, status_message = ?3, updated_us = ?4 WHERE seq = ?1",
        )?
        .execute((seq, status.as_str(), message, write.now().0))?;
    Ok(())
}
