//! `nimgate model split` and `nimgate model route`: how the requests for a model are spread.
//!
//! A change makes the virtual model its owner's; taking it back makes it automatic again where nothing else was said.

mod arm;
mod shown;

use http::{Method, StatusCode};
use proto_shared::routing::{StickyKey, Strategy};
use serde_json::{Value, json};

use super::api::Api;
use super::error::ClientError;
use super::http::encoded;
use super::output;
use super::provider::PROVIDER;
use super::virtual_model::VIRTUAL_MODEL;
use super::workspace::WORKSPACE;
use crate::cli::{Named, Number, Output, RouteArgs, SplitArgs};
use shown::{Spread, Standing};

/// Of answers on routes that name a model.
const SERVED_BY_HEADER: &str = "x-nimgate-served-by";

pub async fn split(mut args: SplitArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let form = args.connection.view.output;
    if args.off {
        return off(&api, &args.model, form).await;
    }
    args.shares = arm::resolved(&api, args.shares).await?;
    let (name, before) = found_or_made(&api, &args).await?;
    let routing = routing(Strategy::Weighted, args.sticky, &before, parts("weight", &args.shares));
    let spread = change(&api, &name, &json!({"routing": routing})).await?;
    tell(&api, &spread, form)
}

pub async fn route(args: RouteArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let form = args.connection.view.output;
    if args.off {
        return off(&api, &args.model, form).await;
    }
    let (name, before) = virtual_model(&api, &args.model).await?;
    if args.asks() {
        return tell(&api, &spread_of(&api, before).await?, form);
    }
    let written: Option<Strategy> = serde_json::from_value(before["routing"]["strategy"].clone()).ok();
    let by_tiers = (!args.tiers.is_empty()).then_some(Strategy::Priority);
    let Some(strategy) = args.strategy.or(by_tiers).or(written) else {
        return Err(ClientError::Usage(format!(
            "say who gets a request: nimgate model route {name} --strategy STRATEGY"
        )));
    };
    let providers = match &*args.tiers {
        [] => before["routing"]["providers"].as_array().cloned().unwrap_or_default(),
        tiers => parts("tier", tiers),
    };
    let routing = routing(strategy, args.sticky, &before, providers);
    let spread = change(&api, &name, &json!({"routing": routing})).await?;
    tell(&api, &spread, form)
}

/// `nimgate virtual-model get`: all that is set, and what it comes to.
pub async fn get(args: Named) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let value = VIRTUAL_MODEL.fetch(&api, &args.name).await?;
    super::noun::show_one(args.connection.view.output, &value)?;
    match args.connection.view.output {
        Output::Json | Output::Yaml => Ok(()),
        Output::Table => {
            let spread = spread_of(&api, value).await?;
            output::say("")?;
            output::push(&spread.words())
        }
    }
}

async fn off(api: &Api, model: &str, form: Output) -> Result<(), ClientError> {
    let (name, before) = virtual_model(api, model).await?;
    let before = spread_of(api, before).await?;
    let mut body = json!({"routing": null});
    if before.is_automatic_but_for_routing() {
        body["autoprovisioned"] = json!(true);
    }
    let spread = change(api, &name, &body).await?;
    output::show(form, &spread.virtual_model, || output::push(&spread.words()))
}

/// Its name without the workspace, and what is stored.
async fn virtual_model(api: &Api, model: &str) -> Result<(String, Value), ClientError> {
    let bare = model.strip_prefix(&*api.workspace).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
    let found = api.get(&VIRTUAL_MODEL.one(api, bare)).await;
    let value = found.map_err(|e| {
        e.or_try(StatusCode::NOT_FOUND, || {
            let at = &api.at;
            format!(
                "see which models there are: nimgate model list{at}\n  make a name for one: nimgate virtual-model \
                 create {bare} --default-model WORKSPACE/MODEL{at}"
            )
        })
    })?;
    Ok((bare.to_owned(), value))
}

/// A name that is new is made where each provider is told what to answer it with.
async fn found_or_made(api: &Api, args: &SplitArgs) -> Result<(String, Value), ClientError> {
    let found = virtual_model(api, &args.model).await;
    let is_whole = args.shares.iter().all(|share| share.model.is_some());
    match found {
        Err(e) if e.status() == Some(StatusCode::NOT_FOUND) && is_whole => {
            let made = api.send(Method::POST, &VIRTUAL_MODEL.all(api), &json!({"name": args.model})).await?;
            Ok((args.model.clone(), made))
        }
        other => other,
    }
}

fn parts(what: &str, numbers: &[Number]) -> Vec<Value> {
    let part = |Number { provider, model, value }: &Number| match model {
        Some(model) => json!({"provider": provider, "model": model, what: value}),
        None => json!({"provider": provider, what: value}),
    };
    numbers.iter().map(part).collect()
}

fn routing(strategy: Strategy, sticky: Option<StickyKey>, before: &Value, providers: Vec<Value>) -> Value {
    let mut routing = json!({"strategy": strategy});
    match sticky {
        Some(key) => routing["sticky"] = json!(key),
        None if !before["routing"]["sticky"].is_null() => {
            routing["sticky"] = before["routing"]["sticky"].clone();
        }
        None => {}
    }
    if !providers.is_empty() {
        routing["providers"] = Value::Array(providers);
    }
    routing
}

async fn change(api: &Api, name: &str, body: &Value) -> Result<Spread, ClientError> {
    let value = api.send(Method::PATCH, &VIRTUAL_MODEL.one(api, name), body).await?;
    spread_of(api, value).await
}

/// With who serves it, and how those stand who are named and don't.
async fn spread_of(api: &Api, virtual_model: Value) -> Result<Spread, ClientError> {
    let own = virtual_model["name"].as_str().unwrap_or_default();
    let (workspace, model) = match virtual_model["default_model_entity"].as_str() {
        Some(id) => id.split_once('/').unwrap_or((&api.workspace, id)),
        None => (&*api.workspace, own),
    };
    let path = format!("/apis/models/v2/workspaces/{}/models/{}", encoded(workspace), encoded(model));
    let entity = or_absent(api.get(&path).await)?.unwrap_or_default();
    let target = format!("{workspace}/{model}");
    let local_only = if virtual_model["local_only"] == true {
        Some(format!("virtual model {}/{own}", api.workspace))
    } else if entity["local_only"] == true {
        Some(format!("model {target}"))
    } else {
        local_only_workspace(api, [&api.workspace, workspace]).await?
    };
    let serving = texts(&entity["model_providers"]);
    let mut spread = Spread::new(&api.workspace, &target, virtual_model, serving);
    spread.local_only = local_only;
    for part in &mut spread.parts {
        if part.standing == Standing::Serves {
            continue;
        }
        let Some((workspace, name)) = part.provider.split_once('/') else { continue };
        let there = Api { workspace: workspace.to_owned(), ..api.clone() };
        if let Some(provider) = or_absent(there.get(&PROVIDER.one(&there, name)).await)? {
            let status = provider["status"].as_str().unwrap_or_default().to_owned();
            // Who is asked for a model of its own need not serve this one.
            part.standing = if part.model.is_some() { Standing::Serves } else { Standing::Idle { status } };
        }
    }
    Ok(spread)
}

async fn local_only_workspace(api: &Api, [own, other]: [&str; 2]) -> Result<Option<String>, ClientError> {
    for name in [own, other].into_iter().take(if own == other { 1 } else { 2 }) {
        let workspace = or_absent(api.get(&WORKSPACE.one(api, name)).await)?.unwrap_or_default();
        if workspace["local_only"] == true {
            return Ok(Some(format!("workspace {name}")));
        }
    }
    Ok(None)
}

fn or_absent(found: Result<Value, ClientError>) -> Result<Option<Value>, ClientError> {
    match found {
        Err(e) if e.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
        other => other.map(Some),
    }
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn tell(api: &Api, spread: &Spread, form: Output) -> Result<(), ClientError> {
    for warning in spread.warnings() {
        eprintln!("nimgate: {}", output::plain(&warning));
    }
    output::show(form, &spread.virtual_model, || {
        output::push(&spread.words())?;
        let next = spread.next(&|provider| {
            let (workspace, name) = provider.split_once('/').unwrap_or_default();
            let there = Api { workspace: workspace.to_owned(), ..api.clone() };
            format!("{}{}", there.http.base(), there.route(Some(name)))
        });
        if next.is_empty() {
            return Ok(());
        }
        output::push(&format!(
            "\n{next}see it:  nimgate vm get {name}{at}; each answer names its provider in {SERVED_BY_HEADER}\n\
             undo:    {undo}{at}\n",
            name = spread.name(),
            undo = spread.undo(),
            at = api.at
        ))
    })
}
