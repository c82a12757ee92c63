//! `nimgate status`: is it running, is it ready, and what does it serve?

use serde_json::{Value, json};

use super::api::Api;
use super::error::ClientError;
use super::http::{ADMIN, Http};
use super::output;
use super::provider::PROVIDER;
use crate::cli::StatusArgs;

struct Status {
    ready: Result<(), String>,
    /// Unknown when the admin listener can't be reached.
    generation: Option<u64>,
    models: Result<usize, String>,
    providers: Result<Vec<Value>, String>,
}

/// Fails when the gateway can't be reached or is not ready.
pub async fn run(args: StatusArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    api.http.get("/health/live").await?;
    let status = look(&api, &args.admin.admin_url).await;
    output::show(args.connection.view.output, &status.as_json(&api), || status.print(&api))?;
    match status.ready {
        Ok(()) => Ok(()),
        Err(why) => Err(ClientError::Said(format!("the gateway at {} is not ready: {why}", api.http.base()))),
    }
}

async fn look(api: &Api, admin_url: &str) -> Status {
    let providers = PROVIDER.all(api);
    let (ready, models, providers, generation) = tokio::join!(
        api.http.get("/health/ready"),
        api.list_models(),
        api.all(&providers, ""),
        generation(admin_url)
    );
    Status {
        ready: ready.map(drop).map_err(|e| e.to_string()),
        generation,
        models: models.map(|models| models.len()).map_err(|e| e.to_string()),
        providers: providers.map_err(|e| e.to_string()),
    }
}

async fn generation(admin_url: &str) -> Option<u64> {
    let http = Http::new(admin_url, ADMIN, None).ok()?;
    http.get("/health/ready").await.ok()?["generation"].as_u64()
}

impl Status {
    fn as_json(&self, api: &Api) -> Value {
        json!({
            "url": api.http.base(),
            "ready": self.ready.is_ok(),
            "reason": self.ready.as_ref().err(),
            "generation": self.generation,
            "models": self.models.as_ref().ok(),
            "providers": self.providers.as_ref().ok(),
        })
    }

    fn print(&self, api: &Api) -> Result<(), ClientError> {
        let generation = self.generation.map_or("unknown".to_owned(), |n| n.to_string());
        let ready = if self.ready.is_ok() { "yes" } else { "no" };
        let models = match &self.models {
            Ok(n) => n.to_string(),
            Err(why) => why.clone(),
        };
        for (label, value) in [
            ("gateway", api.http.base()),
            ("ready", ready),
            ("routes", &format!("generation {generation}")),
            ("models", &models),
        ] {
            output::say(&format!("{label:<10} {}", output::line(value)))?;
        }
        match &self.providers {
            Err(why) => output::say(&format!("providers  {}", output::line(why))),
            Ok(list) => {
                output::say("")?;
                PROVIDER.table(list, false, PROVIDER.first, &api.at)
            }
        }
    }
}
