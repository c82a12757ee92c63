//! Waiting until a provider can be used.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::PROVIDER;
use super::record::Provider;
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::output;

const POLL_INTERVAL: Duration = Duration::from_millis(150);

/// Waits until discovery has decided about the provider and the gateway routes to its models, or
/// the time is over; gives what the provider is then.
pub async fn wait(api: &Api, name: &str, limit: Duration) -> Result<Value, ClientError> {
    let deadline = Instant::now() + limit;
    let bar = output::spinner(format!("asking {name} for its models"));
    loop {
        let value = PROVIDER.fetch(api, name).await?;
        let provider = Provider::read(&value);
        let settled = !undecided(&provider) && routed(api, &provider).await;
        if settled || Instant::now() + POLL_INTERVAL > deadline {
            bar.finish_and_clear();
            return Ok(value);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Whether the gateway's table holds the provider's models; one stands for all, as a table is applied whole.
async fn routed(api: &Api, provider: &Provider) -> bool {
    let Some(model) = provider.models().first() else { return true };
    // A list that can't be had says nothing about the provider.
    let Ok(listed) = api.list_models().await else { return true };
    let is_it = |id: &str| id == model.name() || id == model.model_entity_id;
    listed.iter().any(|listed| listed["id"].as_str().is_some_and(is_it))
}

fn undecided(provider: &Provider) -> bool {
    matches!(provider.status.as_str(), "CREATED" | "PENDING" | "")
}

#[cfg(test)]
mod tests {
    use super::super::super::testing;
    use super::*;

    #[tokio::test]
    async fn a_provider_counts_as_usable_once_the_gateway_routes_to_it() {
        let ready = r#"{"name":"p","status":"READY","served_models":[{"model_entity_id":"default/m"}]}"#;
        let (api, asked) = testing::gateway(move |_, nth| match nth {
            0 => testing::json(200, r#"{"name":"p","status":"CREATED","served_models":[]}"#),
            1 | 3 => testing::json(200, ready),
            2 => testing::json(200, r#"{"data":[]}"#),
            _ => testing::json(200, r#"{"data":[{"id":"default/m"}]}"#),
        })
        .await;
        let value = wait(&api, "p", Duration::from_secs(60)).await.unwrap();
        assert_eq!(Provider::read(&value).models()[0].name(), "m");
        assert_eq!(asked.lock().unwrap().len(), 5);
    }

    #[tokio::test]
    async fn the_wait_for_a_provider_ends() {
        let (api, _) = testing::gateway(|_, _| testing::json(200, r#"{"status":"CREATED"}"#)).await;
        let value = wait(&api, "p", Duration::ZERO).await.unwrap();
        assert!(undecided(&Provider::read(&value)));
    }
}
