//! `nimgate provider` and `nimgate model`.

use std::time::Duration;

use http::StatusCode;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::api::{Api, Provider};
use super::error::ClientError;
use super::http::FAR_GATEWAY;
use super::output::{self, Table, plain};
use super::secret::from_environment;
use crate::cli::{Connection, Listing, Output, ProviderCommand, ProviderCreateArgs};

const POLL_INTERVAL: Duration = Duration::from_millis(150);
/// Models listed after a create before the rest is only counted.
const MODELS_SHOWN_MAX: usize = 15;

pub async fn run(command: ProviderCommand) -> Result<(), ClientError> {
    match command {
        ProviderCommand::Create(args) => create(*args).await,
        ProviderCommand::List(args) => {
            let providers = Api::new(&args.connection)?.list_providers().await?;
            show_list(providers, args.connection.view.output)
        }
        ProviderCommand::Get(args) => {
            let value = Api::new(&args.connection)?.get_provider(&args.name).await.map_err(see_list)?;
            match args.connection.view.output {
                Output::Json => output::json(&value),
                Output::Table => show_one(&Provider::read(&value)),
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
    verdict(&Provider::read(&decided), &args, &connection)
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
        let settled = !undecided(&provider) && routed(api, &provider).await?;
        if settled || Instant::now() + POLL_INTERVAL > deadline {
            bar.finish_and_clear();
            return Ok(value);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Whether the gateway's table holds the provider's models; one stands for all, as a table is applied whole.
async fn routed(api: &Api, provider: &Provider) -> Result<bool, ClientError> {
    let Some(model) = provider.models().first() else { return Ok(true) };
    let listed = api.list_models().await?;
    let is_it = |id: &str| id == model.name() || id == model.model_entity_id;
    Ok(listed.iter().any(|listed| listed["id"].as_str().is_some_and(is_it)))
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

/// Says what became usable. A provider that is not usable is a failure of the command.
fn verdict(
    provider: &Provider,
    args: &ProviderCreateArgs,
    connection: &Connection,
) -> Result<(), ClientError> {
    let name = &args.name;
    let look = format!("look again: nimgate provider get {name}");
    let reason = match provider.message().trim().trim_end_matches('.') {
        "" => String::new(),
        text => format!(": {}", plain(text)),
    };
    match provider.status.as_str() {
        "READY" if connection.view.output == Output::Json => Ok(()),
        "READY" => show_usable(provider),
        "CREATED" | "PENDING" if args.wait_s == 0 => {
            if connection.view.output == Output::Json {
                return Ok(());
            }
            output::say(&format!("provider {name} created; its models are being asked for; {look}"))
        }
        "CREATED" | "PENDING" => Err(ClientError::Said(format!(
            "provider {name} was created, but {} gave no list of models within {} s{reason}; it is asked \
             again and again; {look}",
            args.url, args.wait_s
        ))),
        status => Err(ClientError::Said(format!(
            "provider {name} was created, but is {status}{reason}; it is asked again and again, so {look}; if its \
             URL or key is wrong: nimgate provider delete {name}, and create it again"
        ))),
    }
}

fn show_usable(provider: &Provider) -> Result<(), ClientError> {
    let name = &provider.name;
    if provider.models().is_empty() {
        let reason = match provider.message() {
            "" => "it lists no models (or none that --enabled-models lets through)",
            text => text,
        };
        return output::say(&format!(
            "provider {name} is ready, without models of its own: {}\ncall it past the model routes: nimgate chat MODEL \
             \"Hello\" --provider {name}",
            plain(reason)
        ));
    }
    output::say(&format!("provider {name} is ready; models:"))?;
    show_models(provider, MODELS_SHOWN_MAX)?;
    let first = provider.models().first().map_or("MODEL", |model| model.name());
    output::say(&format!("\nnext: nimgate chat {} \"Hello\"", plain(first)))
}

fn show_models(provider: &Provider, shown_max: usize) -> Result<(), ClientError> {
    let mut table = Table::new(&["  MODEL", "SERVED AS"]);
    for model in provider.models().iter().take(shown_max) {
        table.row(&[&format!("  {}", model.name()), &model.served_model_name]);
    }
    table.print()?;
    match provider.models().len().checked_sub(shown_max) {
        Some(more) if more > 0 => output::say(&format!("  … and {more} more: nimgate model list")),
        _ => Ok(()),
    }
}

fn show_list(providers: Vec<Value>, form: Output) -> Result<(), ClientError> {
    if form == Output::Json {
        return output::json(&Value::Array(providers));
    }
    if providers.is_empty() {
        return output::say(
            "no providers; add one: nimgate provider create NAME --url URL --key-env VARIABLE",
        );
    }
    let mut table = Table::new(&["NAME", "STATUS", "MODELS", "URL", "MESSAGE"]);
    for provider in providers.iter().map(Provider::read) {
        let models = provider.models().len().to_string();
        table.row(&[&provider.name, &provider.status, &models, &provider.host_url, provider.message()]);
    }
    table.print()
}

fn show_one(provider: &Provider) -> Result<(), ClientError> {
    let secret = provider.api_key_secret_name.as_deref().unwrap_or("none");
    for (label, value) in [
        ("name", provider.name.as_str()),
        ("url", &provider.host_url),
        ("secret", secret),
        ("status", &provider.status),
        ("message", provider.message()),
    ] {
        output::say(&format!("{label:<8} {}", output::line(value)))?;
    }
    if provider.models().is_empty() { Ok(()) } else { show_models(provider, usize::MAX) }
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
mod tests {
    use clap::Parser as _;

    use super::super::testing;
    use super::*;
    use crate::cli::{Cli, ClientCommand, Command};

    fn args(more: &[&str]) -> ProviderCreateArgs {
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

    #[test]
    fn a_provider_that_failed_fails_the_command_with_its_reason() {
        let args = args(&[]);
        let connection = Connection::from(args.connection.clone());
        let failed = Provider {
            status: "ERROR".into(),
            status_message: Some("the key was refused (401).".into()),
            ..Provider::default()
        };
        let error = verdict(&failed, &args, &connection).unwrap_err().to_string();
        assert!(
            error.contains("the key was refused (401)") && error.contains("nimgate provider delete p"),
            "{error}"
        );
        let late = Provider { status: "CREATED".into(), ..Provider::default() };
        let error = verdict(&late, &args, &connection).unwrap_err().to_string();
        assert!(error.contains("within 15 s") && error.contains("nimgate provider get p"), "{error}");
    }
}
