//! Providers in words and tables.

use serde_json::Value;

use super::record::Provider;
use crate::cli::Output;
use crate::client::error::ClientError;
use crate::client::noun;
use crate::client::output::{self, Table, plain};

/// Models listed after a create before the rest is only counted.
const MODELS_SHOWN_MAX: usize = 15;

/// Says what became usable. A provider that is not usable is a failure of the command. `at` repeats
/// gateway and workspace.
pub fn verdict(provider: &Provider, wait_s: u64, form: Output, at: &str) -> Result<(), ClientError> {
    let name = &provider.name;
    let look = format!("look again: nimgate provider get {name}{at}");
    let reason = match provider.message().trim().trim_end_matches('.') {
        "" => String::new(),
        text => format!(": {}", plain(text)),
    };
    match provider.status.as_str() {
        "READY" if form == Output::Table => show_usable(provider, at),
        "READY" => Ok(()),
        // Who does not wait is not told how it ended, however quick that was.
        _ if wait_s == 0 => match form {
            Output::Table => {
                output::say(&format!("provider {name} created; its models are being asked for; {look}"))
            }
            Output::Json | Output::Yaml => Ok(()),
        },
        "CREATED" | "PENDING" => Err(ClientError::Said(format!(
            "provider {name} is there, but {} gave no list of models within {wait_s} s{reason}; it is asked \
             again and again\n  {look}",
            provider.host_url
        ))),
        status => Err(ClientError::Said(format!(
            "provider {name} is there, but is {status}{reason}; it is asked again and again\n  {look}\n  if its URL \
             or key is wrong: nimgate provider update {name} --url URL --key-env VARIABLE{at}"
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

/// What is set, in words.
pub fn one(value: &Value) -> Result<(), ClientError> {
    let provider = Provider::read(value);
    for (label, value) in settings(value) {
        output::say(&format!("{label:<13}{}", output::line(&value)))?;
    }
    if provider.models().is_empty() { Ok(()) } else { show_models(&provider, usize::MAX) }
}

fn settings(value: &Value) -> Vec<(&'static str, String)> {
    let secret = value["api_key_secret_name"].as_str().unwrap_or("none").to_owned();
    let of = |field: &str| noun::text(&value[field]);
    let rows = [
        ("name", of("name")),
        ("preset", of("preset")),
        ("url", of("host_url")),
        ("locality", of("locality")),
        ("replay", of("replay")),
        ("health at", of("health_path")),
        ("metrics at", of("metrics_path")),
        ("secret", secret),
        ("key sent as", of("auth_header_format")),
        ("speaks", of("backend_format")),
        ("pinned model", of("pinned_model")),
        ("reasoning", of("uses_reasoning_parser")),
        ("at a time", of("num_concurrent_requests")),
        ("comments ms", of("stream_comment_interval_ms")),
        ("who leaves", of("leaving_clients")),
        ("a minute", of("requests_per_minute")),
        ("hold back", of("hold_back")),
        ("chat traits", members(&value["chat_traits"])),
        ("extra body", members(&value["default_extra_body"])),
        ("forced body", members(&value["required_extra_body"])),
        ("status", of("status")),
        ("message", of("status_message")),
    ];
    rows.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// `name=value, …`
fn members(value: &Value) -> String {
    let members = value.as_object().into_iter().flatten();
    let shown = members.map(|(name, value)| match value {
        Value::Array(items) => {
            format!("{name}={}", items.iter().map(noun::text).collect::<Vec<_>>().join("+"))
        }
        other => format!("{name}={}", noun::text(other)),
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_set_is_shown() {
        let plain =
            settings(&json!({"name": "p", "host_url": "http://h", "status": "READY", "status_message": ""}));
        assert_eq!(plain.iter().map(|row| row.0).collect::<Vec<_>>(), ["name", "url", "secret", "status"]);
        let traits = json!({"chat_traits": {"omit_fields": ["a", "b"], "takes_files": false}});
        let shown = settings(&traits).into_iter().find(|row| row.0 == "chat traits").unwrap();
        assert_eq!(shown.1, "omit_fields=a+b, takes_files=no");
    }

    #[test]
    fn a_provider_that_failed_fails_the_command_with_its_reason() {
        let failed = Provider {
            name: "p".into(),
            status: "ERROR".into(),
            status_message: Some("the key was refused (401).".into()),
            ..Provider::default()
        };
        let error = verdict(&failed, 15, Output::Table, " -w w").unwrap_err().to_string();
        assert!(
            error.contains("the key was refused (401)") && error.contains("nimgate provider update p"),
            "{error}"
        );
        // Who does not wait does not hear of it, however soon it failed.
        assert!(verdict(&failed, 0, Output::Json, "").is_ok());
        let late = Provider { name: "p".into(), status: "CREATED".into(), ..Provider::default() };
        let error = verdict(&late, 15, Output::Json, " -w w").unwrap_err().to_string();
        assert!(error.contains("within 15 s") && error.contains("nimgate provider get p -w w"), "{error}");
    }
}
