//! `nimgate secret`.

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use serde_json::Value;

use super::api::Api;
use super::error::ClientError;
use super::noun::{Body, Cell, Change, Column, Done, Fields, Noun, read_text};
use super::output;
use crate::cli::{Create, KeySource, Named, SecretCommand, SecretFields, SecretValue, Update};

/// Longest value read from a file or standard input.
const VALUE_BYTES_MAX: u64 = 1024 * 1024;

pub const SECRET: Noun = Noun {
    name: "secret",
    service: "secrets",
    collection: "secrets",
    columns: &[
        Column("NAME", Cell::Text("/name")),
        Column("UPDATED", Cell::Age("/updated_at")),
        Column("DESCRIPTION", Cell::Text("/description")),
    ],
    change: Change::Patch(&[]),
    required: &[(&["/value"], "a value")],
    first: "nimgate secret create NAME --from-env VARIABLE",
    next: |_| "nimgate provider create NAME --url URL --secret {name}",
};

/// What a secret is made of, once its value was read.
struct Filled<'a> {
    value: Option<String>,
    description: &'a Option<String>,
}

impl Fields for Filled<'_> {
    fn write(&self, body: &mut Body) {
        body.put("value", &self.value);
        body.text("description", self.description);
    }
}

pub async fn run(command: SecretCommand) -> Result<(), ClientError> {
    match command {
        SecretCommand::Create(args) => create(args).await,
        SecretCommand::List(args) => SECRET.list(args).await,
        SecretCommand::Get(args) => SECRET.get(args).await,
        SecretCommand::Update(args) => update(args).await,
        SecretCommand::Delete(args) => SECRET.delete(args).await,
        SecretCommand::Access(args) => access(args).await,
    }
}

async fn create(args: Create<SecretFields>) -> Result<(), ClientError> {
    let mut value = args.fields.value.read()?;
    if value.is_none() && args.source.file.is_none() {
        value = Some(from_standard_input()?);
    }
    let fields = Filled { value, description: &args.fields.description };
    let (name, body) = SECRET.new_body(args.name, &args.source, &fields)?;
    let api = Api::new(&args.connection)?;
    let (value, done) = SECRET.post(&api, &name, &body, args.exist_ok).await?;
    SECRET.tell_done(&api, args.connection.view.output, &value, &name, done)
}

async fn update(args: Update<SecretFields>) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let fields = Filled { value: args.fields.value.read()?, description: &args.fields.description };
    let value = SECRET.replace(&api, &args.name, &args.source, &fields).await?;
    SECRET.tell_done(&api, args.connection.view.output, &value, &args.name, Done::Updated)
}

/// The value alone, to the byte; on a terminal on a line of its own.
async fn access(args: Named) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let path = format!("{}/access", SECRET.one(&api, &args.name));
    let answer = api.get(&path).await.map_err(|e| SECRET.see_list(&api, e))?;
    let Value::String(value) = &answer["value"] else {
        return Err(ClientError::NotJson { url: api.http.base().to_owned() });
    };
    output::show(args.connection.view.output, &answer, || match output::terminal() {
        true => output::say(&output::plain(value)),
        false => output::push(value),
    })
}

impl SecretValue {
    /// The value, where a flag says where it is.
    fn read(&self) -> Result<Option<String>, ClientError> {
        Ok(match (&self.value, &self.from_file, &self.from_env) {
            (Some(value), ..) => Some(checked(value)?),
            (_, Some(path), _) => Some(checked(&read_text(path, VALUE_BYTES_MAX)?)?),
            (.., Some(variable)) => Some(from_environment(variable)?),
            (None, None, None) => None,
        })
    }
}

impl KeySource {
    /// The key, where a flag says where it is.
    pub fn read(&self) -> Result<Option<String>, ClientError> {
        Ok(match (&self.key_env, &self.key_file) {
            (Some(variable), _) => Some(from_environment(variable)?),
            (_, Some(path)) => Some(checked(&read_text(path, VALUE_BYTES_MAX)?)?),
            (None, None) => None,
        })
    }

    pub fn is_given(&self) -> bool {
        self.key_env.is_some() || self.key_file.is_some()
    }
}

/// Files and pipes end in a line break that belongs to no key.
fn checked(value: &str) -> Result<String, ClientError> {
    match value.trim_end_matches(['\r', '\n']) {
        "" => Err(ClientError::Said("the value is empty; nothing was stored".to_owned())),
        value => Ok(value.to_owned()),
    }
}

fn from_environment(variable: &str) -> Result<String, ClientError> {
    match env::var(variable) {
        Ok(value) if !value.trim().is_empty() => Ok(value.trim().to_owned()),
        _ => Err(ClientError::Said(format!("{variable} is not set or empty; run: export {variable}=…"))),
    }
}

fn from_standard_input() -> Result<String, ClientError> {
    if io::stdin().is_terminal() {
        let how = "no value: pipe it in, or use --from-env VARIABLE or --from-file FILE";
        return Err(ClientError::Usage(how.to_owned()));
    }
    checked(&read_text(Path::new("-"), VALUE_BYTES_MAX)?)
}
