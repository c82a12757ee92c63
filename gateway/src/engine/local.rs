//! Answers that come from here: refusals, the model list, health.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Serialize;

use super::app::App;
use super::context::RequestContext;
use super::down::{Down, DownError, ReplyFilter, ReplyHead};
use super::encode::{Fields, Framing};
use crate::cors;
use crate::dialect::ErrorClasses;
use crate::refusal::Refusal;
use crate::route::{ModelEntry, provider_unknown};

/// A small answer of our own.
pub struct LocalReply {
    pub status: StatusCode,
    pub body: Bytes,
    /// Headers beside the content type.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
}

impl LocalReply {
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default().into();
        Self { status, body, fields: Vec::new() }
    }

    pub fn refusal(refusal: &Refusal) -> Self {
        Self::refusal_in(refusal, ErrorClasses::Usual)
    }

    /// The same for a client that knows these classes.
    pub fn refusal_in(refusal: &Refusal, classes: ErrorClasses) -> Self {
        Self {
            status: refusal.status(),
            body: refusal.body_json(classes).into(),
            fields: refusal_fields(refusal),
        }
    }

    /// Tells a browser that its page may call, with the headers it asked for.
    pub fn preflight(asked: Fields<'_>) -> Self {
        let mut fields = vec![
            ("access-control-allow-methods", Cow::Borrowed(cors::METHODS)),
            ("access-control-max-age", Cow::Borrowed(cors::MAX_AGE_S)),
        ];
        if let Some(names) = asked.text("access-control-request-headers") {
            fields.push(("access-control-allow-headers", Cow::Owned(names.to_owned())));
        }
        Self { status: StatusCode::OK, body: Bytes::from_static(b"OK"), fields }
    }

    /// Queues the answer and waits until it is out, as long as the client takes it.
    pub async fn send(
        self,
        app: &App,
        down: &mut Down<'_>,
        method: &Method,
        context: &mut RequestContext,
    ) -> Result<(), DownError> {
        context.answered(self.status.as_u16());
        let mut own = context.own_fields();
        own.push(("content-type", "application/json"));
        own.extend(self.fields.iter().map(|(name, value)| (*name, &**value)));
        let length = self.body.len() as u64;
        let bare = *method == Method::HEAD || self.status == StatusCode::NO_CONTENT;
        down.send_head(&ReplyHead {
            status: self.status,
            fields: Fields::None,
            framing: if bare { Framing::None { stated: Some(length) } } else { Framing::Length(length) },
            request_id: context.id.as_bytes(),
            own: &own,
            filter: ReplyFilter::Control,
            secret: &[],
        })?;
        drop(own);
        if !bare {
            context.bytes_sent += length;
            down.send_data(&mut vec![self.body]);
        }
        down.send_end(None);
        down.flush_within(app.limits.write_stall_timeout).await
    }
}

fn refusal_fields(refusal: &Refusal) -> Vec<(&'static str, Cow<'static, str>)> {
    let mut fields = Vec::new();
    if let Some(seconds) = refusal.retry_after_s() {
        fields.push(("retry-after", seconds.to_string().into()));
    }
    fields.extend(refusal.header().map(|(name, value)| (name, value.into())));
    fields
}

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<ModelCard<'a>>,
}

#[derive(Serialize)]
struct ModelCard<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
}

fn card<'a>(workspace: &'a str, model: &'a ModelEntry) -> ModelCard<'a> {
    ModelCard { id: &model.public_id, object: "model", created: model.created, owned_by: workspace }
}

/// `/v1/models`: what this workspace serves, newest first. An unknown workspace serves nothing.
pub fn model_list(app: &App, workspace: &str) -> LocalReply {
    let table = app.routes.load();
    let data = table.models(workspace).iter().map(|model| card(workspace, model)).collect();
    LocalReply::json(StatusCode::OK, &ModelList { object: "list", data })
}

/// `/v1/models/{id}`: bare or with the workspace in front.
pub fn model_card(app: &App, workspace: &str, id: &str) -> LocalReply {
    let table = app.routes.load();
    let bare = id.strip_prefix(workspace).and_then(|rest| rest.strip_prefix('/'));
    match table.model(workspace, id).or_else(|| table.model(workspace, bare?)) {
        Some(model) => LocalReply::json(StatusCode::OK, &card(workspace, model)),
        None => LocalReply::refusal(&Refusal::ModelUnknown { workspace: workspace.into(), name: id.into() }),
    }
}

#[derive(Serialize)]
struct ProviderReady<'a> {
    ready: bool,
    provider: &'a str,
    host_url: &'a str,
}

pub fn provider_ready(app: &App, workspace: &str, name: &str) -> LocalReply {
    let table = app.routes.load();
    match table.provider(workspace, name) {
        None => LocalReply::refusal(&provider_unknown(workspace, name)),
        Some(Ok(provider)) if provider.ready => {
            let host_url = provider.host_url.as_str();
            let reply = ProviderReady { ready: true, provider: &provider.label, host_url };
            LocalReply::json(StatusCode::OK, &reply)
        }
        Some(_) => {
            LocalReply::refusal(&Refusal::ProviderNotReady { workspace: workspace.into(), name: name.into() })
        }
    }
}

#[derive(Serialize)]
struct Health<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

pub fn live() -> LocalReply {
    LocalReply::json(StatusCode::OK, &Health { status: "live", reason: None })
}

/// Ready: a table is served and the process is not on its way out. A registry that is away does not
/// make a gateway unready: it goes on with the table it has.
pub fn ready(app: &App) -> LocalReply {
    let reason = match () {
        () if app.is_leaving() => Some("draining"),
        () if app.routes.load().installation.is_empty() => Some("no routes yet: waiting for the registry"),
        () => None,
    };
    let status = if reason.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    LocalReply::json(status, &Health { status: if reason.is_some() { "not ready" } else { "ready" }, reason })
}
