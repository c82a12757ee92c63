//! `nimgate import`: providers out of other programs' files. No key is printed, not even a part of it.

mod gym;
mod reference;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use proto_shared::WorkspaceName;
use proto_shared::secret::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::error::ClientError;
use super::noun::{Body, Done, read_text};
use super::output;
use super::provider::{self, PROVIDER, Provider};
use crate::cli::{ImportCommand, ImportGymArgs, Output};
use gym::{File, Plan, Planned};

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const READABLE_BY_ALL: u32 = 0o004;

pub async fn run(command: ImportCommand) -> Result<(), ClientError> {
    match command {
        ImportCommand::Gym(args) => import_gym(args).await,
    }
}

async fn import_gym(args: ImportGymArgs) -> Result<(), ClientError> {
    let workspace = &args.connection.view.workspace;
    let workspace = WorkspaceName::new(workspace.as_str())
        .map_err(|why| ClientError::Usage(format!("workspace {workspace}: {why}")))?;
    let env = read_file(&args.env)?;
    let configs = args.configs.iter().map(|path| read_file(path)).collect::<Result<Vec<_>, _>>()?;
    let mut plan = gym::plan(&workspace, &env, &configs, &|name| std::env::var(name).ok());
    if let Some(name) = &args.name {
        let [only] = &mut plan.providers[..] else {
            let count = plan.providers.len();
            return Err(ClientError::Usage(format!("--name is for one provider; the files hold {count}")));
        };
        only.name.clone_from(name);
    }
    if plan.providers.iter().any(|planned| planned.key.is_some()) {
        warn_of_readers(&args.env);
    }
    let keyed = args.configs.iter().zip(&configs).filter(|(_, config)| gym::holds_key(config));
    keyed.for_each(|(path, _)| warn_of_readers(path));
    let form = args.connection.view.output;
    if args.dry_run {
        return output::show(form, &shown(&plan), || tell_plan(&plan));
    }
    let api = Api::new(&args.connection)?;
    let mut made = Vec::with_capacity(plan.providers.len());
    for planned in &plan.providers {
        made.push(make(&api, planned).await?);
    }
    let (mut values, mut failed) = (Vec::new(), Vec::new());
    for (planned, done) in plan.providers.iter().zip(&made) {
        if form == Output::Table {
            output::say(&format!("provider {} {}", planned.name, done.word()))?;
        }
        let value = provider::wait(&api, &planned.name, Duration::from_secs(args.wait_s)).await?;
        failed.extend(provider::verdict(&Provider::read(&value), args.wait_s, form, &api.at).err());
        values.push(value);
    }
    let all = json!({"providers": values, "left_out": plan.left_out});
    output::show(form, &all, || tell_left_out(&plan))?;
    match failed.is_empty() {
        _ if plan.providers.is_empty() => Err(ClientError::Said("nothing was imported".to_owned())),
        true => Ok(()),
        false => {
            Err(ClientError::Said(failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
        }
    }
}

fn read_file(path: &Path) -> Result<File, ClientError> {
    let bad = |why: &str| ClientError::Said(format!("{}: {why}", path.display()));
    let text = read_text(path, FILE_BYTES_MAX)?;
    // What the parser says may repeat the line, and the line may hold a key.
    let value: Value = yaml_serde::from_str(&text).map_err(|e| match e.location() {
        Some(at) => bad(&format!("not YAML (line {}, column {})", at.line(), at.column())),
        None => bad("not YAML"),
    })?;
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        _ => return Err(bad("must be a mapping of names to values")),
    };
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    Ok(File { label: path.display().to_string(), stem, fields })
}

fn warn_of_readers(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |file| file.permissions().mode());
    if mode & READABLE_BY_ALL != 0 {
        let path = path.display();
        eprintln!("nimgate: {path} can be read by everyone on this machine; run: chmod 600 {path}");
    }
}

/// Its key, then itself, over an older one of its name.
async fn make(api: &Api, planned: &Planned) -> Result<Done, ClientError> {
    let name = &planned.name;
    let present = match PROVIDER.fetch(api, name).await {
        Ok(value) => Some(value),
        Err(e) if e.status() == Some(StatusCode::NOT_FOUND) => None,
        Err(e) => return Err(e),
    };
    let mut body = present.as_ref().map_or_else(Body::default, Body::settable);
    for (field, value) in &planned.body {
        body.put(field, &Some(value));
    }
    if let Some(key) = &planned.key {
        let secret = body.text_at("/api_key_secret_name").unwrap_or_else(|| name.clone());
        api.store_secret(&secret, key.expose_secret(), &format!("key of provider {name}")).await?;
        body.text("api_key_secret_name", &Some(secret));
    }
    if present.is_some() {
        api.send(Method::PUT, &PROVIDER.one(api, name), &body.json()).await?;
        return Ok(Done::Updated);
    }
    body.put("name", &Some(name));
    PROVIDER.post(api, name, &body, false).await.map(|(_, done)| done)
}

fn shown(plan: &Plan) -> Value {
    let providers = plan.providers.iter().map(|planned| {
        let mut body = planned.body.clone();
        body.insert("name".to_owned(), planned.name.as_str().into());
        if planned.key.is_some() {
            body.insert("api_key_secret_name".to_owned(), planned.name.as_str().into());
        }
        Value::Object(body)
    });
    json!({"providers": providers.collect::<Vec<_>>(), "left_out": plan.left_out})
}

fn tell_plan(plan: &Plan) -> Result<(), ClientError> {
    for planned in &plan.providers {
        let key =
            if planned.key.is_some() { "with its key as a secret of that name" } else { "without a key" };
        output::say(&format!("provider {} would be made, {key}:", output::line(&planned.name)))?;
        output::push(&indented(&output::outline(&Value::Object(planned.body.clone()))))?;
    }
    tell_left_out(plan)
}

fn tell_left_out(plan: &Plan) -> Result<(), ClientError> {
    if plan.left_out.is_empty() {
        return Ok(());
    }
    output::say("left out:")?;
    plan.left_out.iter().try_for_each(|what| output::say(&format!("  {}", output::line(what))))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
