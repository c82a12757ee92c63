//! The life of one request, in order: what it asks for, its body if the route needs it, who serves
//! it, and on it goes.

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;

use super::app::App;
use super::choice::Choice;
use super::context::{RequestContext, RequestId};
use super::control;
use super::down::{Down, RequestView};
use super::forward::{Forward, Forwarded, forward};
use super::last_words::Dialect;
use super::local::{self, LocalReply};
use super::plan::Body;
use super::read_body::{ReadError, read_body};
use super::reply::{is_encoded, is_json};
use crate::body::{self, BodyError};
use crate::dialect::{ErrorClasses, Operation};
use crate::h1::head::BodyLength;
use crate::metrics::RouteKind;
use crate::refusal::Refusal;
use crate::route::tail::forwardable;
use crate::route::{ModelQuery, Provider, Target, parse_target, resolve_model, resolve_provider};

/// How a request ended, as far as its connection cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    Whole,
    /// The connection must not be used on.
    Broken,
    ClientGone,
}

/// Why a request is not forwarded.
enum Stopped {
    Refused(Refusal),
    Answered(LocalReply),
    Gone,
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ReadError> for Stopped {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refusal) => Self::Refused(refusal),
            ReadError::ClientGone => Self::Gone,
        }
    }
}

pub async fn serve(app: &Arc<App>, down: &mut Down<'_>, request: RequestView<'_>) -> Served {
    let id = RequestId::of(request.fields.get("x-request-id"));
    let mut context = RequestContext::new(app, id, request.method, request.target);
    if let Some(origin) = request.origin.filter(|origin| app.cors.allows(origin)) {
        context.allow_origin(origin);
    }
    let stopped = match dispatch(app, down, request, &mut context).await {
        Ok(Forwarded::Delivered) => return Served::Whole,
        Ok(Forwarded::Cut) => return finish_cut(app, down).await,
        Ok(Forwarded::ClientGone) => return Served::ClientGone,
        Err(stopped) => stopped,
    };
    let reply = match stopped {
        Stopped::Gone => return Served::ClientGone,
        Stopped::Answered(reply) => {
            context.ended_whole();
            reply
        }
        Stopped::Refused(refusal) => {
            context.refused(refusal.status().as_u16(), refusal.code());
            LocalReply::refusal_in(&refusal, error_classes(&request))
        }
    };
    match reply.send(app, down, request.method, &mut context).await {
        Ok(()) => Served::Whole,
        Err(_) => Served::ClientGone,
    }
}

/// The error event of a cut stream goes out, its proper end does not.
async fn finish_cut(app: &App, down: &mut Down<'_>) -> Served {
    let telling = async {
        let flushed = std::future::poll_fn(|cx| down.poll_flush(cx)).await;
        if flushed.is_ok() {
            down.written().await;
        }
    };
    let _ = tokio::time::timeout(app.limits.write_stall_timeout, telling).await;
    down.abort();
    Served::Broken
}

async fn dispatch(
    app: &Arc<App>,
    down: &mut Down<'_>,
    request: RequestView<'_>,
    context: &mut RequestContext,
) -> Result<Forwarded, Stopped> {
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (request.target, None),
    };
    if let Some(origin) = request.origin {
        cross_origin(app, request, origin)?;
    }
    let target = parse_target(path);
    if let Some(reply) = local_reply(app, &target, request.method)? {
        return Err(Stopped::Answered(reply));
    }
    if target == Target::Control {
        // The registry's own paths beside the public ones must not be reached on a detour.
        forwardable(path).map_err(Refusal::Tail)?;
        return Ok(control::forward(app, down, request, context).await?);
    }
    let routed = choose(app, &target, request)?;
    forward_routed(app, down, request, context, routed, query).await
}

/// A browser's question whether a page may call, and calls that no browser asks about first.
fn cross_origin(app: &App, request: RequestView<'_>, origin: &str) -> Result<(), Stopped> {
    let allowed = app.cors.allows(origin);
    if *request.method == Method::OPTIONS && request.fields.get("access-control-request-method").is_some() {
        return Err(if allowed {
            Stopped::Answered(LocalReply::preflight(request.fields))
        } else {
            Stopped::Refused(Refusal::Origin)
        });
    }
    if request.websocket && !allowed {
        return Err(Stopped::Refused(Refusal::Origin));
    }
    Ok(())
}

/// A target's route kind and tail, and who serves it where the path says so.
struct Routed<'t> {
    kind: RouteKind,
    workspace: &'t str,
    tail: Cow<'t, str>,
    named: Option<Choice>,
}

fn choose<'t>(app: &App, target: &'t Target<'t>, request: RequestView<'_>) -> Result<Routed<'t>, Refusal> {
    let (kind, workspace, tail) = match target {
        Target::Provider { workspace, tail, .. } => (RouteKind::Provider, workspace, tail),
        Target::Model { workspace, tail, .. } => (RouteKind::Model, workspace, tail),
        Target::OpenAi { workspace, tail } => (RouteKind::OpenAi, workspace, tail),
        _ => return Err(Refusal::NoSuchPath),
    };
    if request.websocket && kind != RouteKind::Provider {
        return Err(Refusal::UpgradeNotHere);
    }
    if app.routes.load().installation.is_empty() {
        return Err(Refusal::NoTable);
    }
    let named = match target {
        Target::Provider { name, .. } => Some(Choice::Provider(find_provider(app, workspace, name)?)),
        Target::Model { name, .. } => {
            let entry = resolve_model(&app.routes.load(), workspace, ModelQuery::Url(name))?;
            Some(Choice::Model(entry))
        }
        _ => None,
    };
    Ok(Routed { kind, workspace, tail: forwardable(tail).map_err(Refusal::Tail)?, named })
}

/// What is answered from here, without an upstream.
fn local_reply(app: &App, target: &Target<'_>, method: &Method) -> Result<Option<LocalReply>, Refusal> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if !reads && matches!(target, Target::OpenAi { .. }) {
        // The hot path: tail and table are looked at once, where the request is routed.
        return Ok(None);
    }
    let needs_table = matches!(target, Target::ProviderReady { .. } | Target::OpenAi { .. });
    if needs_table && app.routes.load().installation.is_empty() {
        return Err(Refusal::NoTable);
    }
    let reply = match target {
        Target::Live => local::live(),
        Target::Ready => local::ready(app),
        Target::ProviderReady { workspace, name } => local::provider_ready(app, workspace, name),
        Target::OpenAi { workspace, tail } => {
            let tail = forwardable(tail).map_err(Refusal::Tail)?;
            match tail.strip_prefix("v1/models") {
                Some("" | "/") => local::model_list(app, workspace),
                Some(id) if id.starts_with('/') => {
                    local::model_card(app, workspace, id.trim_start_matches('/'))
                }
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    if reads { Ok(Some(reply)) } else { Err(Refusal::MethodNotAllowed) }
}

/// The errors that the client of a refused request knows.
fn error_classes(request: &RequestView<'_>) -> ErrorClasses {
    let path = request.target.split('?').next().unwrap_or_default();
    match parse_target(path) {
        Target::Provider { tail, .. } | Target::Model { tail, .. } | Target::OpenAi { tail, .. } => {
            let tail = forwardable(tail).unwrap_or(Cow::Borrowed(tail));
            Operation::of(request.method, &tail).error_classes()
        }
        _ => ErrorClasses::Usual,
    }
}

fn find_provider(app: &App, workspace: &str, name: &str) -> Result<Arc<Provider>, Refusal> {
    resolve_provider(&app.routes.load(), workspace, name).map(Arc::clone)
}

/// What a route does with a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It streams through, any size, unlooked at.
    Through,
    /// Read whole: the provider has members of its own to put in, or reasoning to be kept from it.
    Whole,
    /// Read whole and scanned: the served or pinned name goes in, and perhaps the model comes out.
    Scan,
}

/// Provider routes change nothing, unless the provider has body members of its own or pins a model.
/// Model routes put the served name into JSON bodies; others pass. OpenAI routes need a JSON body: it
/// names the model.
fn reading(
    choice: Option<&Choice>,
    operation: Operation<'_>,
    request: RequestView<'_>,
    tail: &str,
) -> Result<Reading, Refusal> {
    let (json, encoded) = (is_json(request.fields), is_encoded(request.fields));
    let empty = request.body == BodyLength::Empty;
    let typed = request.fields.get("content-type").is_some();
    match choice {
        Some(choice) if matches!(operation, Operation::Response { .. }) && choice.translates() => match () {
            () if empty => Err(Refusal::Body(BodyError::Empty)),
            () if !json && typed => Err(Refusal::UnsupportedMediaType),
            () if encoded => Err(Refusal::ContentEncoding),
            () => Ok(Reading::Scan),
        },
        None if empty && operation == Operation::StoredResponse => Err(Refusal::NothingStored),
        Some(Choice::Provider(provider)) if provider.pinned.is_some() && json && !empty => {
            if encoded {
                Err(Refusal::ContentEncoding)
            } else {
                Ok(Reading::Scan)
            }
        }
        Some(Choice::Provider(provider))
            if json && !encoded && !empty && looks_into(provider, operation, tail) =>
        {
            Ok(Reading::Whole)
        }
        Some(Choice::Provider(_)) => Ok(Reading::Through),
        Some(Choice::Model(_)) if empty || !json => Ok(Reading::Through),
        None if empty => Err(Refusal::ModelMissing),
        None if !json && typed => Err(Refusal::UnsupportedMediaType),
        _ if encoded => Err(Refusal::ContentEncoding),
        _ => Ok(Reading::Scan),
    }
}

/// Whether a provider route has something to do in the body, other than to put a model in.
fn looks_into(provider: &Provider, operation: Operation<'_>, tail: &str) -> bool {
    let speaks_up = provider.comment_interval.is_some() && Dialect::of_events(tail).is_some();
    let reasons = provider.backend.uses_reasoning_parser && operation == Operation::ChatCompletions;
    reasons || speaks_up || provider.extra_body.is_some()
}

async fn forward_routed(
    app: &Arc<App>,
    down: &mut Down<'_>,
    request: RequestView<'_>,
    context: &mut RequestContext,
    routed: Routed<'_>,
    query: Option<&str>,
) -> Result<Forwarded, Stopped> {
    let Routed { kind, workspace, tail, named } = routed;
    let operation = Operation::of(request.method, &tail);
    let reading = reading(named.as_ref(), operation, request, &tail)?;
    let mut plan = Forward {
        kind,
        request,
        tail: &tail,
        operation,
        query,
        body: streamed(request.body),
        streams: false,
    };
    if let (Reading::Through, Some(choice)) = (reading, &named) {
        return Ok(forward(app, down, &plan, choice, context).await?);
    }
    let (bytes, mut room) = read_body(app, down, request.body).await?;
    let scan = match reading {
        Reading::Scan => Some(body::scan(&bytes).map_err(Refusal::Body)?),
        _ => None,
    };
    plan.streams = match &scan {
        Some(scan) => scan.stream,
        // Bodies that are not scanned are not refused for what is in them either.
        None if named.as_ref().is_some_and(|choice| choice.comment_interval().is_some()) => {
            body::scan(&bytes).is_ok_and(|scan| scan.stream)
        }
        None => false,
    };
    plan.body = match &scan {
        Some(scan) => Body::Json(&bytes, scan),
        None => Body::Whole(&bytes),
    };
    let choice = match named {
        Some(choice) => choice,
        None => {
            let model = scan.as_ref().and_then(|scan| scan.model.as_deref());
            if model.is_none() && operation == Operation::StoredResponse {
                return Err(Refusal::NothingStored.into());
            }
            Choice::Model(resolve_model(&app.routes.load(), workspace, ModelQuery::Body(model))?)
        }
    };
    if choice.copies(operation) && !room.grow_to(2 * bytes.len()) {
        return Err(Refusal::Overloaded.into());
    }
    Ok(forward(app, down, &plan, &choice, context).await?)
}

fn streamed(length: BodyLength) -> Body<'static> {
    match length {
        BodyLength::Empty => Body::Empty,
        BodyLength::Known(length) => Body::Stream { length: Some(length) },
        BodyLength::Chunked | BodyLength::UntilClose => Body::Stream { length: None },
    }
}
