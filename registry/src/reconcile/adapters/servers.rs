//! What servers list, and how vLLM is told of adapters: a NIM looks by itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Target;
use crate::discovery::{self, Failure};
use crate::domain::deployment_config::Engine;
use crate::domain::launch;

const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// Of weights that may be gigabytes.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// The adapters that a server lists; none while it can't be asked.
pub type Listed = Option<BTreeSet<String>>;

#[derive(Deserialize)]
struct List {
    data: Vec<Card>,
}

#[derive(Deserialize)]
struct Card {
    #[serde(default)]
    id: String,
}

/// Those of these model ids that are of adapters.
pub fn adapters_of<'i>(ids: impl IntoIterator<Item = &'i str>) -> BTreeSet<String> {
    let is_adapter = |id: &&str| launch::adapter_of_folder(id).is_some();
    ids.into_iter().filter(is_adapter).map(str::to_owned).collect()
}

/// What the servers list, after those that have to be told were told.
pub async fn bring(target: &Target, shown: &BTreeSet<String>) -> Vec<Listed> {
    let mut all = Vec::with_capacity(target.servers.len());
    for endpoint in &target.servers {
        let mut listed = list(*endpoint).await;
        if let (Engine::Vllm, Some(before)) = (target.engine, &listed)
            && before != shown
        {
            tell(target, *endpoint, shown, before).await;
            listed = list(*endpoint).await;
        }
        all.push(listed);
    }
    all
}

async fn list(endpoint: SocketAddr) -> Listed {
    match discovery::call(endpoint, "/v1/models", None, LIST_TIMEOUT).await {
        Ok((StatusCode::OK, body)) => {
            let list: List = serde_json::from_slice(&body).ok()?;
            Some(adapters_of(list.data.iter().map(|card| card.id.as_str())))
        }
        _ => None,
    }
}

async fn tell(target: &Target, endpoint: SocketAddr, shown: &BTreeSet<String>, listed: &BTreeSet<String>) {
    for adapter in listed.difference(shown) {
        let body = json!({ "lora_name": adapter });
        say(endpoint, "/v1/unload_lora_adapter", adapter, &body).await;
    }
    for adapter in shown.difference(listed) {
        let body = json!({ "lora_name": adapter, "lora_path": format!("{}/{adapter}", target.folder) });
        say(endpoint, "/v1/load_lora_adapter", adapter, &body).await;
    }
}

/// Its list tells whether it heard.
async fn say(endpoint: SocketAddr, path: &str, adapter: &str, body: &serde_json::Value) {
    let why = match discovery::call(endpoint, path, Some(body), LOAD_TIMEOUT).await {
        Ok((StatusCode::OK, _)) => return,
        Ok((status, _)) => Failure::Status(status.as_u16()),
        Err(failure) => failure,
    };
    tracing::warn!(%endpoint, path, adapter, %why, "a server did not take what it was told of an adapter");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_told_from_models_by_their_ids() {
        let ids = ["default/tiny", "team-a--tuned", "a--b--c", "x--Y", "meta/llama--8b", ""];
        assert_eq!(adapters_of(ids), BTreeSet::from(["team-a--tuned".to_owned()]));
    }
}
