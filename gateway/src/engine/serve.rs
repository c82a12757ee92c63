//! The life of one request, in order: what it asks for, its body if the route needs it, who serves
//! it, and on it goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Method;

use super::app::{App, BodyRoom};
use super::context::{RequestContext, RequestId};
use super::control;
use super::down::{Down, DownError, RequestView, Upload};
use super::forward::{Choice, Forward, Forwarded, forward};
use super::local::{self, LocalReply};
use super::plan::Body;
use super::reply::{is_encoded, is_json};
use crate::body;
use crate::h1::head::BodyLength;
use crate::metrics::RouteKind;
use crate::refusal::Refusal;
use crate::route::tail::forwardable;
use crate::route::{ModelQuery, Provider, Target, parse_target, resolve_model};

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

pub async fn serve(app: &Arc<App>, down: &mut Down<'_>, request: RequestView<'_>) -> Served {
    let id = RequestId::of(request.fields.get("x-request-id"));
    let mut context = RequestContext::new(app, id, request.method, request.target);
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
            LocalReply::refusal(&refusal)
        }
    };
    match reply.send(app, down, request.method, &mut context).await {
        Ok(()) => Served::Whole,
        Err(_) => Served::ClientGone,
    }
}

/// The error event of a cut stream goes out, its proper end does not.
async fn finish_cut(app: &App, down: &mut Down<'_>) -> Served {
    let flushing = std::future::poll_fn(|cx| down.poll_flush(cx));
    let _ = tokio::time::timeout(app.limits.write_stall_timeout, flushing).await;
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
    let target = parse_target(path);
    if let Some(reply) = local_reply(app, &target, request.method)? {
        return Err(Stopped::Answered(reply));
    }
    match &target {
        Target::Control => return Ok(control::forward(app, down, request, context).await?),
        Target::Model { .. } | Target::Provider { .. } | Target::OpenAi { .. } => {}
        _ => return Err(Refusal::NoSuchPath.into()),
    }
    if app.routes.load().installation.is_empty() {
        return Err(Refusal::NoTable.into());
    }
    match target {
        Target::Provider { workspace, name, tail } => {
            let provider = find_provider(app, &workspace, &name)?;
            let tail = forwardable(tail).map_err(Refusal::Tail)?;
            let choice = Choice::Provider(provider);
            route_by_provider(app, down, request, context, &choice, &tail, query).await
        }
        Target::Model { workspace, name, tail } => {
            refuse_upgrade(request)?;
            let entry = resolve_model(&app.routes.load(), &workspace, ModelQuery::Url(&name))?;
            let tail = forwardable(tail).map_err(Refusal::Tail)?;
            route_by_model(app, down, request, context, &Choice::Model(entry), &tail, query).await
        }
        Target::OpenAi { workspace, tail } => {
            refuse_upgrade(request)?;
            let tail = forwardable(tail).map_err(Refusal::Tail)?;
            route_by_body(app, down, request, context, &workspace, &tail, query).await
        }
        _ => Err(Refusal::NoSuchPath.into()),
    }
}

/// What is answered from here, without an upstream.
fn local_reply(app: &App, target: &Target<'_>, method: &Method) -> Result<Option<LocalReply>, Refusal> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let reply = match target {
        Target::Live => local::live(),
        Target::Ready => local::ready(app),
        Target::ProviderReady { workspace, name } => local::provider_ready(app, workspace, name),
        Target::OpenAi { workspace, tail } => {
            let tail = forwardable(tail).map_err(Refusal::Tail)?;
            match tail.strip_prefix("v1/models") {
                Some("" | "/") if reads => local::model_list(app, workspace),
                Some(id) if reads && id.starts_with('/') => {
                    local::model_card(app, workspace, id.trim_start_matches('/'))
                }
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    };
    if reads { Ok(Some(reply)) } else { Err(Refusal::MethodNotAllowed) }
}

fn find_provider(app: &App, workspace: &str, name: &str) -> Result<Arc<Provider>, Refusal> {
    let table = app.routes.load();
    let (workspace, name) = (workspace.to_owned(), name.to_owned());
    match table.provider(&workspace, &name) {
        Some(Ok(provider)) => Ok(Arc::clone(provider)),
        Some(Err(why)) => Err(Refusal::ProviderUnusable { workspace, name, why: why.to_string() }),
        None => Err(Refusal::ProviderUnknown { workspace, name }),
    }
}

fn refuse_upgrade(request: RequestView<'_>) -> Result<(), Refusal> {
    if request.websocket { Err(Refusal::UpgradeNotHere) } else { Ok(()) }
}

/// Provider routes change nothing, unless the provider has body members of its own.
async fn route_by_provider(
    app: &Arc<App>,
    down: &mut Down<'_>,
    request: RequestView<'_>,
    context: &mut RequestContext,
    choice: &Choice,
    tail: &str,
    query: Option<&str>,
) -> Result<Forwarded, Stopped> {
    let Choice::Provider(provider) = choice else { return Err(Refusal::NoSuchPath.into()) };
    let merges = provider.extra_body.is_some() && is_json(request.fields) && !is_encoded(request.fields);
    if !merges || request.body == BodyLength::Empty {
        let body = streamed(request.body);
        let plan = Forward { kind: RouteKind::Provider, request, tail, query, body };
        return Ok(forward(app, down, &plan, choice, context).await?);
    }
    let (bytes, _room) = read_body(app, down, request.body).await?;
    let plan = Forward { kind: RouteKind::Provider, request, tail, query, body: Body::Whole(&bytes) };
    Ok(forward(app, down, &plan, choice, context).await?)
}

/// Model routes put the served name into a JSON body; other bodies pass as they are.
async fn route_by_model(
    app: &Arc<App>,
    down: &mut Down<'_>,
    request: RequestView<'_>,
    context: &mut RequestContext,
    choice: &Choice,
    tail: &str,
    query: Option<&str>,
) -> Result<Forwarded, Stopped> {
    let splices = is_json(request.fields) && request.body != BodyLength::Empty;
    if !splices {
        let plan = Forward { kind: RouteKind::Model, request, tail, query, body: streamed(request.body) };
        return Ok(forward(app, down, &plan, choice, context).await?);
    }
    if is_encoded(request.fields) {
        return Err(Refusal::ContentEncoding.into());
    }
    let (bytes, _room) = read_body(app, down, request.body).await?;
    let scan = body::scan(&bytes).map_err(Refusal::Body)?;
    let plan = Forward { kind: RouteKind::Model, request, tail, query, body: Body::Json(&bytes, &scan) };
    Ok(forward(app, down, &plan, choice, context).await?)
}

/// OpenAI routes learn the model from the body.
async fn route_by_body(
    app: &Arc<App>,
    down: &mut Down<'_>,
    request: RequestView<'_>,
    context: &mut RequestContext,
    workspace: &str,
    tail: &str,
    query: Option<&str>,
) -> Result<Forwarded, Stopped> {
    if request.body == BodyLength::Empty {
        return Err(Refusal::ModelMissing.into());
    }
    if !is_json(request.fields) && request.fields.get("content-type").is_some() {
        return Err(Refusal::UnsupportedMediaType.into());
    }
    if is_encoded(request.fields) {
        return Err(Refusal::ContentEncoding.into());
    }
    let (bytes, _room) = read_body(app, down, request.body).await?;
    let scan = body::scan(&bytes).map_err(Refusal::Body)?;
    let entry = resolve_model(&app.routes.load(), workspace, ModelQuery::Body(scan.model.as_deref()))?;
    let plan = Forward { kind: RouteKind::OpenAi, request, tail, query, body: Body::Json(&bytes, &scan) };
    Ok(forward(app, down, &plan, &Choice::Model(entry), context).await?)
}

fn streamed(length: BodyLength) -> Body<'static> {
    match length {
        BodyLength::Empty => Body::Empty,
        BodyLength::Known(length) => Body::Stream { length: Some(length) },
        BodyLength::Chunked | BodyLength::UntilClose => Body::Stream { length: None },
    }
}

/// Reads a body whole, within the limits of size, time and rate.
async fn read_body(
    app: &Arc<App>,
    down: &mut Down<'_>,
    length: BodyLength,
) -> Result<(Bytes, BodyRoom), Stopped> {
    let limit_bytes = app.limits.body_bytes_max;
    let announced = match length {
        BodyLength::Known(length) => Some(usize::try_from(length).unwrap_or(usize::MAX)),
        _ => None,
    };
    if announced.is_some_and(|length| length > limit_bytes) {
        return Err(Refusal::BodyTooLarge { limit_bytes }.into());
    }
    let mut room = app.room_for_body(announced.unwrap_or(0)).ok_or(Refusal::Overloaded)?;
    down.want_body();
    let mut pace = Pace::new(app);
    if let (Down::H1(h1), Some(length)) = (&mut *down, announced) {
        while h1.wire.input.len() < length {
            let have = pace
                .keep(
                    h1.wire.input.len(),
                    std::future::poll_fn(|cx| {
                        // A pending "100 Continue" goes out first.
                        if h1.has_output() && h1.poll_flush(cx)?.is_pending() {
                            return std::task::Poll::Pending;
                        }
                        h1.poll_contiguous(cx, length)
                    }),
                )
                .await?;
            have.map_err(stopped)?;
            hold(&mut room, h1.wire.input.len().min(length))?;
        }
        hold(&mut room, length)?;
        return Ok((h1.take_contiguous(length), room));
    }
    let mut whole = Whole::default();
    loop {
        let have = whole.len;
        let reading = std::future::poll_fn(|cx| {
            if down.has_output() && down.poll_flush(cx)?.is_pending() {
                return std::task::Poll::Pending;
            }
            down.poll_body(cx, &mut |bytes| whole.push(bytes))
        });
        let upload = pace.keep(have, reading).await?;
        if whole.len > limit_bytes {
            return Err(Refusal::BodyTooLarge { limit_bytes }.into());
        }
        hold(&mut room, whole.len)?;
        if let Upload::End { .. } = upload.map_err(stopped)? {
            return Ok((whole.into_bytes(), room));
        }
    }
}

fn hold(room: &mut BodyRoom, total_bytes: usize) -> Result<(), Refusal> {
    if room.grow_to(total_bytes) { Ok(()) } else { Err(Refusal::Overloaded) }
}

fn stopped(error: DownError) -> Stopped {
    match error {
        DownError::Gone => Stopped::Gone,
        DownError::Framing(why) => Stopped::Refused(Refusal::Framing(why)),
    }
}

/// A body that comes in pieces of unknown number. One piece stays as it is.
#[derive(Default)]
struct Whole {
    first: Option<Bytes>,
    joined: BytesMut,
    len: usize,
}

impl Whole {
    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if self.first.is_none() && self.joined.is_empty() {
            self.first = Some(bytes);
            return;
        }
        if let Some(first) = self.first.take() {
            self.joined.extend_from_slice(&first);
        }
        self.joined.extend_from_slice(&bytes);
    }

    fn into_bytes(self) -> Bytes {
        self.first.unwrap_or_else(|| self.joined.freeze())
    }
}

/// Holds a body to its least rate and its deadline.
struct Pace<'a> {
    app: &'a App,
    began: Option<Instant>,
}

impl<'a> Pace<'a> {
    fn new(app: &'a App) -> Self {
        Self { app, began: None }
    }

    /// Waits for `reading`, as long as a body of which `have` bytes came may take.
    async fn keep<T>(&mut self, have: usize, reading: impl Future<Output = T>) -> Result<T, Refusal> {
        let limits = &self.app.limits;
        let began = *self.began.get_or_insert_with(Instant::now);
        let earned = limits.time_for_body(have as u64);
        let deadline = (began + limits.body_rate_grace + earned).min(began + limits.body_timeout);
        tokio::time::timeout_at(deadline.into(), reading).await.map_err(|_| Refusal::BodyTooSlow)
    }
}
