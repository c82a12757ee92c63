//! `nimgate secret`.

use std::env;
use std::io::{self, IsTerminal as _, Read as _};

use http::StatusCode;
use serde_json::{Value, json};

use super::api::Api;
use super::error::ClientError;
use super::output::{self, Table};
use crate::cli::{Output, SecretCommand, SecretCreateArgs};

/// Longest value read from a file or standard input.
const VALUE_BYTES_MAX: u64 = 1024 * 1024;

pub async fn run(command: SecretCommand) -> Result<(), ClientError> {
    match command {
        SecretCommand::Create(args) => create(args).await,
        SecretCommand::List(args) => {
            let secrets = Api::new(&args.connection)?.list_secrets().await?;
            show_list(secrets, args.connection.view.output)
        }
        SecretCommand::Delete(args) => {
            Api::new(&args.connection)?.delete_secret(&args.name).await?;
            match args.connection.view.output {
                Output::Json => output::json(&json!({"deleted": args.name})),
                Output::Table => output::say(&format!("secret {} deleted", args.name)),
            }
        }
    }
}

async fn create(args: SecretCreateArgs) -> Result<(), ClientError> {
    let value = value_of(&args)?;
    let api = Api::new(&args.connection)?;
    let created = api.create_secret(&args.name, &value, args.description.as_deref()).await.map_err(|e| {
        e.or_try(StatusCode::CONFLICT, || format!("delete it first: nimgate secret delete {}", args.name))
    })?;
    match args.connection.view.output {
        Output::Json => output::json(&created),
        Output::Table => output::say(&format!(
            "secret {name} stored; use it with: nimgate provider create NAME --url URL --secret {name}",
            name = args.name
        )),
    }
}

fn value_of(args: &SecretCreateArgs) -> Result<String, ClientError> {
    let value = match (&args.value, &args.from_file, &args.from_env) {
        (Some(value), ..) => value.clone(),
        (_, Some(path), _) => {
            let file_error = |source| ClientError::File { path: path.clone(), source };
            let mut text = String::new();
            let file = std::fs::File::open(path).map_err(file_error)?;
            file.take(VALUE_BYTES_MAX).read_to_string(&mut text).map_err(file_error)?;
            text
        }
        (.., Some(variable)) => from_environment(variable)?,
        (None, None, None) => from_standard_input()?,
    };
    // Files and pipes end in a line break that belongs to no key.
    let value = value.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(ClientError::Said("the value is empty; nothing was stored".to_owned()));
    }
    Ok(value.to_owned())
}

pub fn from_environment(variable: &str) -> Result<String, ClientError> {
    match env::var(variable) {
        Ok(value) if !value.trim().is_empty() => Ok(value.trim().to_owned()),
        _ => Err(ClientError::Said(format!("{variable} is not set or empty; run: export {variable}=…"))),
    }
}

fn from_standard_input() -> Result<String, ClientError> {
    let input = io::stdin();
    if input.is_terminal() {
        return Err(ClientError::Said(
            "no value: pipe it in, or use --from-env VARIABLE or --from-file FILE".to_owned(),
        ));
    }
    let mut text = String::new();
    input.lock().take(VALUE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn show_list(secrets: Vec<Value>, form: Output) -> Result<(), ClientError> {
    if form == Output::Json {
        return output::json(&Value::Array(secrets));
    }
    if secrets.is_empty() {
        return output::say("no secrets; store one: nimgate secret create NAME --from-env VARIABLE");
    }
    let mut table = Table::new(&["NAME", "UPDATED", "DESCRIPTION"]);
    for secret in &secrets {
        let text = |field: &str| secret[field].as_str().unwrap_or_default();
        table.row(&[text("name"), text("updated_at"), text("description")]);
    }
    table.print()
}
