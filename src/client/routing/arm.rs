//! A model in the place of a provider: the one provider that serves it, asked for it.

use proto_shared::names::EntityName;
use serde_json::Value;

use super::{or_absent, texts};
use crate::cli::Number;
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::http::encoded;
use crate::client::provider::PROVIDER;

/// Each share with a provider in it. What is neither a provider nor a model may still come, as a provider.
pub async fn resolved(api: &Api, shares: Vec<Number>) -> Result<Vec<Number>, ClientError> {
    let mut resolved = Vec::with_capacity(shares.len());
    for share in shares {
        resolved.push(match of_model(api, &share).await? {
            Some((provider, model)) => Number { provider, model: Some(model), ..share },
            None => share,
        });
    }
    Ok(resolved)
}

async fn of_model(api: &Api, share: &Number) -> Result<Option<(String, String)>, ClientError> {
    if share.model.is_some() {
        return Ok(None);
    }
    let id = share.provider.as_str();
    let (workspace, name) = id.split_once('/').unwrap_or((&api.workspace, id));
    let there = Api { workspace: workspace.to_owned(), ..api.clone() };
    // What can be no name is refused with its reason by who knows what one is.
    if EntityName::new(name).is_err() || or_absent(there.get(&PROVIDER.one(&there, name)).await)?.is_some() {
        return Ok(None);
    }
    let path = format!("{}/{}", there.path("models", "models"), encoded(name));
    let Some(entity) = or_absent(there.get(&path).await)? else { return Ok(None) };
    let serving = texts(&entity["model_providers"]);
    let [provider] = &*serving else { return Err(ambiguous(id, &serving)) };
    let (workspace, provider_name) = provider.split_once('/').unwrap_or((workspace, provider));
    let there = Api { workspace: workspace.to_owned(), ..api.clone() };
    let provider_found = there.get(&PROVIDER.one(&there, provider_name)).await?;
    let own = format!("{}/{name}", entity["workspace"].as_str().unwrap_or(workspace));
    Ok(served_name(&provider_found, &own).map(|model| (provider.clone(), model)))
}

/// What a provider calls a model.
fn served_name(provider: &Value, model: &str) -> Option<String> {
    let mut served = provider["served_models"].as_array().into_iter().flatten();
    let served = served.find(|served| served["model_entity_id"] == model)?;
    served["served_model_name"].as_str().map(str::to_owned)
}

fn ambiguous(model: &str, serving: &[String]) -> ClientError {
    ClientError::Usage(match serving {
        [] => format!("there is no provider {model}, and nobody serves model {model} now"),
        all => format!(
            "model {model} is served by {}: say which of them is meant, as PROVIDER:MODEL=SHARE",
            all.join(", ")
        ),
    })
}
