//! Control paths: forwarded to the registry like to any upstream. The answer of a change goes down
//! only when this gateway serves the generation that holds it, so the client's next request sees it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::Stream;
use proto_shared::Caller;
use proto_shared::feed::GENERATION_HEADER;

use super::app::App;
use super::context::RequestContext;
use super::down::{Down, ReplyFilter, RequestView};
use super::forward::Forwarded;
use super::last_words::Dialect;
use super::plan::{Body, Length, Receiver, UpstreamHead};
use super::relay::{Gate, Relay, RelayEnd, RelayPlan, UploadFault};
use super::up::{ReplyParts, Up};
use super::up_h1::H1Up;
use crate::caller::{Arrival, caller};
use crate::config::RegistryAddress;
use crate::h1::head::BodyLength;
use crate::refusal::Refusal;
use crate::upstream::connect::{connect_plain, connect_unix};
use crate::upstream::endpoint::Timeouts;
use crate::upstream::{ConnectError, Connection};

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    first_byte: Duration::from_secs(60),
    idle: Duration::from_secs(60),
    total: Duration::from_secs(3600),
    pool_idle: Duration::from_secs(10),
};

/// A log may be silent for as long as the model server that prints it.
const LOG_TIMEOUTS: Timeouts =
    Timeouts { idle: Duration::from_secs(24 * 3600), total: Duration::from_secs(7 * 24 * 3600), ..TIMEOUTS };

fn timeouts(target: &str) -> Timeouts {
    let path = target.split('?').next().unwrap_or_default();
    if path.ends_with("/logs") { LOG_TIMEOUTS } else { TIMEOUTS }
}

pub struct ControlUpstream {
    address: RegistryAddress,
    /// Our own public listeners: they tell who a caller is.
    listeners: Vec<SocketAddr>,
}

impl ControlUpstream {
    pub fn new(address: RegistryAddress, listeners: Vec<SocketAddr>) -> Self {
        Self { address, listeners }
    }

    fn caller(&self, down: &Down<'_>, request: RequestView<'_>) -> Caller {
        let arrival = Arrival {
            local: down.local_address(),
            host: request.fields.get("host"),
            has_origin: request.fields.get("origin").is_some(),
        };
        caller(arrival, &self.listeners)
    }

    /// A new connection: control calls are rare, and a pooled one could be dead.
    async fn connect(&self) -> Result<Stream, ConnectError> {
        let connecting = async {
            match &self.address {
                RegistryAddress::Unix(path) => connect_unix(path).await,
                RegistryAddress::Tcp(address) => match connect_plain(*address).await? {
                    Connection::H1 { stream, .. } => Ok(stream),
                    Connection::H2 { .. } => Err(ConnectError::Unreachable),
                },
            }
        };
        tokio::time::timeout(TIMEOUTS.connect, connecting).await.unwrap_or(Err(ConnectError::Timeout))
    }
}

/// Waits until the change that an answer reports is applied here.
struct AppliedHere<'a>(&'a Arc<App>);

impl Gate for AppliedHere<'_> {
    fn wait_for(&self, head: &ReplyParts) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let generation: u64 = head.fields().text(GENERATION_HEADER)?.parse().ok()?;
        let app = Arc::clone(self.0);
        if app.routes.generation() >= generation {
            return None;
        }
        Some(Box::pin(async move {
            // The change is stored either way; a client is not kept longer than this.
            if !app.routes.wait_for(generation, app.limits.apply_wait_max).await {
                tracing::warn!(generation, "a change is stored but not yet applied here");
            }
        }))
    }
}

pub async fn forward(
    app: &Arc<App>,
    down: &mut Down<'_>,
    request: RequestView<'_>,
    context: &mut RequestContext,
) -> Result<Forwarded, Refusal> {
    let stream = app.control.connect().await.map_err(|_| Refusal::RegistryAway)?;
    let body = match request.body {
        BodyLength::Empty => Body::Empty,
        BodyLength::Known(length) => Body::Stream { length: Some(length) },
        BodyLength::Chunked | BodyLength::UntilClose => Body::Stream { length: None },
    };
    let length = Length::of(&body, None, request.method);
    let head = UpstreamHead {
        request: RequestView { websocket: false, ..request },
        receiver: Receiver::Registry(app.control.caller(down, request)),
        path: request.target,
        length,
        request_id: context.id.as_bytes(),
        identity_only: false,
    };
    let mut up = H1Up::new(stream, false, request.method.clone(), app.limits.upstream_head_bytes_max);
    up.send_request(head.encode_h1().freeze(), [], !body.is_stream(), length == Length::Chunked);
    let mut up = Up::H1(up);
    let gate = AppliedHere(app);
    let plan = RelayPlan {
        method: request.method,
        rewrite: None,
        conversion: None,
        key: &[],
        filter: ReplyFilter::Control,
        timeouts: timeouts(request.target),
        limits: &app.limits,
        dialect: Dialect::OpenAi,
        counts: None,
        gate: Some(&gate),
        trial: None,
        resume: None,
        silence: None,
        reads_on: None,
    };
    let end = Relay::new(down, &mut up, plan, context, body.is_stream()).run().await;
    match end {
        RelayEnd::Delivered | RelayEnd::DeliveredFailure => Ok(Forwarded::Delivered),
        RelayEnd::Cut => Ok(Forwarded::Cut),
        RelayEnd::ClientGone | RelayEnd::Upgraded => Ok(Forwarded::ClientGone),
        RelayEnd::NoAnswer(_)
        | RelayEnd::PassedOver(_)
        | RelayEnd::GoesOn
        | RelayEnd::NoRest
        | RelayEnd::Fault(_) => Err(Refusal::RegistryAway),
        RelayEnd::BadUpload(UploadFault::Framing(why)) => Err(Refusal::Framing(why)),
        RelayEnd::BadUpload(UploadFault::TooSlow) => Err(Refusal::BodyTooSlow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_may_be_silent_for_long_and_nothing_else_may() {
        let idle = |target| timeouts(target).idle;
        assert_eq!(idle("/apis/models/v2/workspaces/w/deployments/d/logs?follow=true"), LOG_TIMEOUTS.idle);
        assert_eq!(idle("/apis/models/v2/workspaces/w/deployments/d?x=/logs"), TIMEOUTS.idle);
    }
}
