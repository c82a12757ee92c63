//! Providers and models in words and tables.

use serde_json::Value;

use super::super::api::Provider;
use super::super::error::ClientError;
use super::super::output::{self, Table, plain};
use crate::cli::{Connection, Output, ProviderCreateArgs};

/// Models listed after a create before the rest is only counted.
const MODELS_SHOWN_MAX: usize = 15;

/// Says what became usable. A provider that is not usable is a failure of the command.
pub fn verdict(
    provider: &Provider,
    args: &ProviderCreateArgs,
    connection: &Connection,
) -> Result<(), ClientError> {
    let name = &args.name;
    let at = connection.repeated();
    let look = format!("look again: nimgate provider get {name}{at}");
    let reason = match provider.message().trim().trim_end_matches('.') {
        "" => String::new(),
        text => format!(": {}", plain(text)),
    };
    match provider.status.as_str() {
        "READY" if connection.view.output == Output::Json => Ok(()),
        "READY" => show_usable(provider, &at),
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
             URL or key is wrong: nimgate provider delete {name}{at}, and create it again"
        ))),
    }
}

fn show_usable(provider: &Provider, at: &str) -> Result<(), ClientError> {
    let name = &provider.name;
    if provider.models().is_empty() {
        let reason = match provider.message() {
            "" => "it lists no models (or none that --enabled-models lets through)",
            text => text,
        };
        return output::say(&format!(
            "provider {name} is ready, without models of its own: {}\ncall it past the model routes: nimgate chat MODEL \
             \"Hello\" --provider {name}{at}",
            plain(reason)
        ));
    }
    output::say(&format!("provider {name} is ready; models:"))?;
    show_models(provider, MODELS_SHOWN_MAX)?;
    let first = provider.models().first().map_or("MODEL", |model| model.name());
    output::say(&format!("\nnext: nimgate chat {} \"Hello\"{at}", plain(first)))
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

pub fn list(providers: Vec<Value>, form: Output) -> Result<(), ClientError> {
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

pub fn one(provider: &Provider) -> Result<(), ClientError> {
    let secret = provider.api_key_secret_name.as_deref().unwrap_or("none");
    for (label, value) in [
        ("name", provider.name.as_str()),
        ("url", &provider.host_url),
        ("secret", secret),
        ("status", &provider.status),
        ("message", provider.message()),
    ] {
        if !value.is_empty() {
            output::say(&format!("{label:<8} {}", output::line(value)))?;
        }
    }
    if provider.models().is_empty() { Ok(()) } else { show_models(provider, usize::MAX) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

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
