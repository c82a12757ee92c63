//! What the publisher reads: all routes of one generation, decoding only what changed.

use std::collections::HashMap;
use std::sync::Arc;

use proto_shared::WorkspaceName;
use rusqlite::Connection;

use super::page::parsed;
use super::{adapters, models, providers, secrets, virtual_models, workspaces};
use crate::domain::routes::{Catalogue, KeyedProvider};
use crate::error::Error;

/// Everything routable, of one generation.
pub struct RouteState {
    pub installation: String,
    pub generation: u64,
    pub workspaces: Vec<WorkspaceName>,
    /// In order of creation.
    pub providers: Vec<Arc<KeyedProvider>>,
    pub catalogue: Arc<Catalogue>,
}

/// What was decoded before, each with the generation it is of: providers by number, and the catalogue.
#[derive(Default)]
pub struct RouteCache {
    providers: HashMap<i64, (i64, Arc<KeyedProvider>)>,
    catalogue: Option<(i64, Arc<Catalogue>)>,
}

/// Of the routes as they are stored.
pub fn generation(connection: &Connection) -> Result<u64, Error> {
    let generation: i64 =
        connection.prepare_cached("SELECT generation FROM registry")?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(generation).unwrap_or_default())
}

impl RouteCache {
    /// Reads one consistent state. `connection` must be inside a transaction.
    pub fn read(&mut self, connection: &Connection) -> Result<RouteState, Error> {
        let (installation, generation, models_generation): (String, i64, i64) = connection
            .prepare_cached("SELECT installation, generation, models_generation FROM registry")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let workspaces = connection
            .prepare_cached("SELECT name FROM workspaces WHERE deleting_us IS NULL ORDER BY seq")?
            .query_map([], |row| parsed(row, 0))?
            .collect::<Result<Vec<_>, _>>()?;
        let providers = self.read_providers(connection)?;
        let catalogue = self.read_catalogue(connection, models_generation)?;
        Ok(RouteState {
            installation,
            generation: u64::try_from(generation).unwrap_or_default(),
            workspaces,
            providers,
            catalogue,
        })
    }

    fn read_catalogue(&mut self, connection: &Connection, of: i64) -> Result<Arc<Catalogue>, Error> {
        if let Some((_, known)) = self.catalogue.as_ref().filter(|(have, _)| *have == of) {
            return Ok(Arc::clone(known));
        }
        let catalogue = Arc::new(Catalogue {
            virtual_models: virtual_models::routes(connection)?,
            orders: models::orders(connection)?,
            adapters: adapters::names(connection)?,
            local_workspaces: workspaces::local_only(connection)?,
            local_models: models::local_only(connection)?,
        });
        self.catalogue = Some((of, Arc::clone(&catalogue)));
        Ok(catalogue)
    }

    fn read_providers(&mut self, connection: &Connection) -> Result<Vec<Arc<KeyedProvider>>, Error> {
        let rows = connection
            .prepare_cached(
                "SELECT p.seq, p.route_generation FROM providers p JOIN workspaces w ON w.name = p.workspace \
                 WHERE w.deleting_us IS NULL ORDER BY p.seq",
            )?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(i64, i64)>, _>>()?;
        let mut next = HashMap::with_capacity(rows.len());
        let mut providers = Vec::with_capacity(rows.len());
        for (seq, generation) in rows {
            let known = self.providers.remove(&seq).filter(|(have, _)| *have == generation);
            let provider = match known {
                Some((_, provider)) => Some(provider),
                None => decode_or_skip(connection, seq),
            };
            if let Some(provider) = provider {
                providers.push(Arc::clone(&provider));
                next.insert(seq, (generation, provider));
            }
        }
        self.providers = next;
        Ok(providers)
    }
}

/// One damaged row must not stop the routes of all others.
fn decode_or_skip(connection: &Connection, seq: i64) -> Option<Arc<KeyedProvider>> {
    read_one(connection, seq)
        .inspect_err(
            |error| tracing::error!(%error, seq, "provider left out of the routes: its row is unreadable"),
        )
        .ok()
        .flatten()
}

fn read_one(connection: &Connection, seq: i64) -> Result<Option<Arc<KeyedProvider>>, Error> {
    let Some(provider) = providers::by_seq(connection, seq)? else { return Ok(None) };
    let key = match &provider.spec.api_key_secret_name {
        Some(name) => secrets::sealed(connection, provider.workspace.as_str(), name.as_str())?,
        None => None,
    };
    Ok(Some(Arc::new(KeyedProvider { provider, key })))
}
