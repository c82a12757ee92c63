//! `nimgate status`: is it running, is it ready, and what does it serve?

use std::collections::BTreeMap;

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
    /// What the registry says of itself.
    platform: Result<Value, String>,
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
    let (ready, models, providers, generation, platform) = tokio::join!(
        api.http.get("/health/ready"),
        api.list_models(),
        api.all(&providers, ""),
        generation(admin_url),
        api.http.get("/status")
    );
    Status {
        ready: ready.map(drop).map_err(|e| e.to_string()),
        generation,
        models: models.map(|models| models.len()).map_err(|e| e.to_string()),
        providers: providers.map_err(|e| e.to_string()),
        platform: platform.map_err(|e| e.to_string()),
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
            "gateways": self.platform.as_ref().ok().map(|platform| &platform["gateways"]),
            "runtimes": self.platform.as_ref().ok().map(|platform| &platform["runtimes"]),
            "unrecorded_instances": self.platform.as_ref().ok().map(|platform| &platform["unrecorded_instances"]),
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
            ("runtimes", &self.runtimes()),
        ] {
            output::say(&format!("{label:<10} {}", output::line(value)))?;
        }
        for (url, in_flight) in self.draining() {
            let line =
                format!("{} has left the routes; requests still on it: {in_flight}", output::line(&url));
            output::say(&format!("{:<10} {line}", "draining"))?;
        }
        for stray in
            self.platform.iter().flat_map(|platform| platform["unrecorded_instances"].as_array()).flatten()
        {
            let stray = output::line(stray.as_str().unwrap_or_default());
            output::say(&format!(
                "{:<10} {stray} runs and is not in the database: it is left alone",
                "attention"
            ))?;
        }
        match &self.providers {
            Err(why) => output::say(&format!("providers  {}", output::line(why))),
            Ok(list) => {
                output::say("")?;
                PROVIDER.table(list, false, PROVIDER.first, &api.at)
            }
        }
    }

    /// Addresses that have left the routes, and how many requests all gateways have on them.
    fn draining(&self) -> BTreeMap<String, u64> {
        let gateways = self.platform.iter().flat_map(|platform| platform["gateways"].as_array()).flatten();
        let addresses = gateways.flat_map(|gateway| gateway["draining"].as_array()).flatten();
        let mut draining = BTreeMap::new();
        for address in addresses {
            let url = address["url"].as_str().unwrap_or_default().to_owned();
            *draining.entry(url).or_default() += address["in_flight"].as_u64().unwrap_or_default();
        }
        draining
    }

    /// What deployments run on.
    fn runtimes(&self) -> String {
        let runtimes = match &self.platform {
            Ok(platform) => platform["runtimes"].as_array().cloned().unwrap_or_default(),
            Err(why) => return why.clone(),
        };
        let told = runtimes.iter().map(|runtime| {
            let name = runtime["name"].as_str().unwrap_or_default();
            match runtime["message"].as_str() {
                None => name.to_owned(),
                Some(why) => format!("{name} (can't be asked: {why})"),
            }
        });
        let told: Vec<_> = told.collect();
        if told.is_empty() { "none: deployments are not started here".into() } else { told.join(", ") }
    }
}
