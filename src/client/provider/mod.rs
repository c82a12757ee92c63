//! `nimgate provider` and `nimgate model`.

mod show;

use std::time::Duration;

use http::StatusCode;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::api::{Api, Provider};
use super::error::ClientError;
use super::http::FAR_GATEWAY;
use super::output::{self, Table};
use super::secret::from_environment;
use crate::cli::{Connection, Listing, Output, ProviderCommand, ProviderCreateArgs};

const POLL_INTERVAL: Duration = Duration::from_millis(150);

pub async fn run(command: ProviderCommand) -> Result<(), ClientError> {
    match command {
        ProviderCommand::Create(args) => create(*args).await,
        ProviderCommand::List(args) => {
            let providers = Api::new(&args.connection)?.list_providers().await?;
            show::list(providers, args.connection.view.output)
        }
        ProviderCommand::Get(args) => {
            let value = Api::new(&args.connection)?.get_provider(&args.name).await.map_err(see_list)?;
            match args.connection.view.output {
                Output::Json => output::json(&value),
                Output::Table => show::one(&Provider::read(&value)),
            }
        }
        ProviderCommand::Delete(args) => {
            Api::new(&args.connection)?.delete_provider(&args.name).await.map_err(see_list)?;
            match args.connection.view.output {
                Output::Json => output::json(&json!({"deleted": args.name})),
                Output::Table => output::say(&format!("provider {} deleted", args.name)),
            }
        }
    }
}

fn see_list(error: ClientError) -> ClientError {
    error.or_try(StatusCode::NOT_FOUND, || "see: nimgate provider list".to_owned())
}

async fn create(args: ProviderCreateArgs) -> Result<(), ClientError> {
    let connection = Connection::from(args.connection.clone());
    let api = Api::named(&connection, FAR_GATEWAY)?;
    let secret = match &args.key_env {
        Some(variable) => Some(store_key(&api, &args, variable).await?),
        None => args.secret.clone(),
    };
    api.create_provider(&body_of(&args, secret.as_deref())).await.map_err(|e| {
        e.or_try(StatusCode::CONFLICT, || format!("delete it first: nimgate provider delete {}", args.name))
    })?;
    let decided = wait(&api, &args.name, Duration::from_secs(args.wait_s)).await?;
    if connection.view.output == Output::Json {
        output::json(&decided)?;
    }
    show::verdict(&Provider::read(&decided), &args, &connection)
}

/// Stores the key from the environment under the secret's name, over an older one.
async fn store_key(api: &Api, args: &ProviderCreateArgs, variable: &str) -> Result<String, ClientError> {
    let key = from_environment(variable)?;
    let name = args.secret.as_ref().unwrap_or(&args.name);
    let description = format!("key of provider {}", args.name);
    match api.create_secret(name, &key, Some(&description)).await {
        Err(e) if e.status() == Some(StatusCode::CONFLICT) => api.replace_secret(name, &key).await?,
        other => other?,
    };
    Ok(name.clone())
}

fn body_of(args: &ProviderCreateArgs, secret: Option<&str>) -> Value {
    let mut body = Map::new();
    let mut put = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(field.to_owned(), value);
        }
    };
    let enabled = (!args.enabled_models.is_empty()).then(|| json!(args.enabled_models));
    put("name", Some(json!(args.name)));
    put("host_url", Some(json!(args.url)));
    put("api_key_secret_name", secret.map(Value::from));
    put("auth_header_format", args.auth_header_format.clone().map(Value::from));
    put("description", args.description.clone().map(Value::from));
    put("enabled_models", enabled);
    put("default_extra_body", args.default_extra_body.clone().map(Value::Object));
    put("required_extra_body", args.required_extra_body.clone().map(Value::Object));
    put("default_extra_headers", args.default_extra_headers.clone().map(Value::Object));
    put("required_extra_headers", args.required_extra_headers.clone().map(Value::Object));
    Value::Object(body)
}

/// Waits until discovery has decided about the provider and the gateway routes to its models, or
/// the time is over; gives what the provider is then.
pub async fn wait(api: &Api, name: &str, limit: Duration) -> Result<Value, ClientError> {
    let deadline = Instant::now() + limit;
    let bar = spinner(format!("asking {name} for its models"));
    loop {
        let value = api.get_provider(name).await?;
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

/// Draws nothing where standard error is no terminal.
fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// `nimgate model list`.
pub async fn list_models(args: Listing) -> Result<(), ClientError> {
    let models = Api::new(&args.connection)?.list_models().await?;
    if args.connection.view.output == Output::Json {
        return output::json(&Value::Array(models));
    }
    if models.is_empty() {
        return output::say(
            "no models; add a provider: nimgate provider create NAME --url URL --key-env VARIABLE",
        );
    }
    let mut table = Table::new(&["MODEL", "OWNER"]);
    for model in &models {
        table
            .row(&[model["id"].as_str().unwrap_or_default(), model["owned_by"].as_str().unwrap_or_default()]);
    }
    table.print()
}

#[cfg(test)]
pub mod tests {
    use clap::Parser as _;

    use super::super::testing;
    use super::*;
    use crate::cli::{Cli, ClientCommand, Command};

    pub fn args(more: &[&str]) -> ProviderCreateArgs {
        let line = ["nimgate", "provider", "create", "p", "--url", "http://h/v1"];
        let cli = Cli::try_parse_from(line.iter().chain(more)).unwrap();
        let Command::Client(ClientCommand::Provider(ProviderCommand::Create(create))) = cli.command else {
            panic!("not a provider to create")
        };
        *create
    }

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

    #[tokio::test]
    async fn a_key_from_the_environment_replaces_the_one_that_is_there() {
        let (api, asked) = testing::gateway(|line, _| match line.starts_with("POST") {
            true => testing::json(409, r#"{"detail":"exists"}"#),
            false => testing::json(200, r#"{"name":"p"}"#),
        })
        .await;
        assert_eq!(store_key(&api, &args(&[]), "PATH").await.unwrap(), "p");
        let asked = asked.lock().unwrap();
        assert_eq!(asked[1].0, "PATCH /apis/secrets/v2/workspaces/default/secrets/p");
        assert!(asked[1].1.contains(&std::env::var("PATH").unwrap()));
    }

    #[tokio::test]
    async fn lists_are_read_to_their_last_page() {
        let (api, asked) = testing::gateway(|_, nth| {
            testing::json(
                200,
                &format!(r#"{{"data":[{{"name":"p{nth}"}}],"pagination":{{"total_pages":2}}}}"#),
            )
        })
        .await;
        assert_eq!(api.list_providers().await.unwrap().len(), 2);
        assert!(asked.lock().unwrap()[1].0.ends_with("/providers?page=2&page_size=100"));
    }

    #[test]
    fn only_what_was_given_is_sent() {
        let bare = body_of(&args(&[]), None);
        assert_eq!(bare, json!({"name": "p", "host_url": "http://h/v1"}));
        let full = args(&[
            "--enabled-models",
            "a,b",
            "--enabled-models",
            "c",
            "--default-extra-body",
            r#"{"top_k": 5}"#,
            "--auth-header-format",
            "X-Api-Key: {{ auth_secret }}",
        ]);
        assert_eq!(
            body_of(&full, Some("s")),
            json!({
                "name": "p", "host_url": "http://h/v1", "api_key_secret_name": "s",
                "auth_header_format": "X-Api-Key: {{ auth_secret }}",
                "enabled_models": ["a", "b", "c"], "default_extra_body": {"top_k": 5},
            })
        );
    }
}
