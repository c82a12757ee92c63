//! The life of one request: record, read, choose the fault, answer, disturb.

use crate::answer::{Answer, Payload, Refusal};
use crate::body::SimBody;
use crate::error::SimError;
use crate::fault::{Fault, FaultError, Scope};
use crate::inbox::{self, Inbox, Wanted};
use crate::record::{Arrival, Ticket};
use crate::routes::{self, Ask};
use crate::socket::Connection;
use crate::state::Shared;
use crate::steps;
use crate::{control, tap, websocket};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, LOCATION, RETRY_AFTER, SET_COOKIE, TRAILER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use std::sync::Arc;

const FAULT_HEADER: &str = "x-sim-fault";
const TRAILERS_HEADER: &str = "x-sim-trailers";
const TRAILER_NAME: HeaderName = HeaderName::from_static("x-sim-trailer");

pub(crate) async fn answer(
    mut request: Request<Incoming>,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
) -> Result<Response<SimBody>, SimError> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, incoming) = request.into_parts();
    let raw_head = if parts.version < Version::HTTP_2 { connection.heads.take() } else { None };
    let target = target_of(&parts, raw_head.as_deref());
    if target.starts_with(control::PREFIX) {
        let answer = control::answer(&parts, &target, incoming, &shared).await?;
        let exchange = Exchange { parts: &parts, connection, ticket: None };
        return Ok(exchange.respond(answer, &Fault::default(), &shared));
    }
    let ticket = shared.recorder.open(arrival(&parts, target.clone(), raw_head, connection.id));
    let by_header = header_fault(&parts.headers);
    let wanted = Wanted { sha256: target.starts_with("/echo"), marker: by_header.is_none() };
    let mut fault = by_header.unwrap_or_else(|| Ok(shared.fault_for(&target)));
    let inbox = inbox::read(incoming, &mut fault, wanted, &ticket).await?;
    let fault = match fault {
        Ok(fault) => fault,
        Err(error) => {
            let answer = Answer::from(Refusal::bad_request(Some(FAULT_HEADER), error.to_string()));
            let exchange = Exchange { parts: &parts, connection, ticket: Some(ticket) };
            return Ok(exchange.respond(answer, &Fault::default(), &shared));
        }
    };
    if fault.hang {
        // Ends when the client leaves, which drops this future and with it the ticket.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(fault.delay).await;
    let ask = Ask { parts: &parts, target: &target, inbox: &inbox, fault: &fault };
    if inbox.early {
        connection.linger();
    }
    let answer = forced(&fault, &parts, &inbox).unwrap_or_else(|| routes::answer(&ask, &shared));
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(websocket::switch(answer, upgrade, connection, ticket));
    }
    let exchange = Exchange { parts: &parts, connection, ticket: Some(ticket) };
    Ok(exchange.respond(answer, &fault, &shared))
}

fn target_of(parts: &Parts, raw_head: Option<&[u8]>) -> String {
    if let Some(target) = raw_head.and_then(tap::target) {
        return String::from_utf8_lossy(target).into_owned();
    }
    parts.uri.path_and_query().map_or_else(|| parts.uri.to_string(), ToString::to_string)
}

fn arrival(parts: &Parts, target: String, raw_head: Option<Bytes>, connection: u64) -> Arrival {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = raw_head.as_deref().map_or_else(
        || parts.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
        |head| tap::header_lines(head).map(|(name, value)| (text(name), text(value))).collect(),
    );
    Arrival {
        connection,
        method: parts.method.to_string(),
        target,
        version: parts.version,
        headers,
        raw_head,
    }
}

fn header_fault(headers: &HeaderMap) -> Option<Result<Fault, FaultError>> {
    let spec = headers.get(FAULT_HEADER)?;
    Some(Fault::parse(&String::from_utf8_lossy(spec.as_bytes()), Scope::Request))
}

/// The answer a fault puts in place of the route's own.
fn forced(fault: &Fault, parts: &Parts, inbox: &Inbox) -> Option<Answer> {
    let simulated = |status: StatusCode| {
        Answer::error(status, "SimulatedFault", None, format!("simulated fault: status {}", status.as_u16()))
    };
    if inbox.early {
        return Some(simulated(fault.status.unwrap_or(StatusCode::PAYLOAD_TOO_LARGE)));
    }
    if let Some(location) = &fault.redirect {
        let status = fault.status.unwrap_or(StatusCode::TEMPORARY_REDIRECT);
        return Some(Answer::empty(status).with(LOCATION, location.clone()));
    }
    if fault.echo_auth {
        let received =
            parts.headers.get(AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let message = format!("Incorrect API key provided: {}", received.unwrap_or("none".into()));
        let status = fault.status.unwrap_or(StatusCode::UNAUTHORIZED);
        return Some(Answer::error(status, "AuthenticationError", None, message));
    }
    let status = fault.status?;
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // 200 keeps the route's answer.
    (status != StatusCode::OK).then(|| if bodiless { Answer::empty(status) } else { simulated(status) })
}

/// A request on its way back.
struct Exchange<'a> {
    parts: &'a Parts,
    connection: Arc<Connection>,
    ticket: Option<Ticket>,
}

impl Exchange<'_> {
    fn respond(self, answer: Answer, fault: &Fault, shared: &Shared) -> Response<SimBody> {
        let status = answer.status;
        if let Some(ticket) = &self.ticket {
            ticket.status(status.as_u16());
        }
        let mut headers = answer.headers;
        self.add_headers(&mut headers, fault);
        let (steps, mut length) = match answer.payload {
            Payload::Whole(bytes) => {
                let length = bytes.len() as u64;
                (steps::whole(bytes), Some(length))
            }
            Payload::Events(frames) => {
                (steps::events(frames, fault.token_gap.unwrap_or(shared.token_gap), fault), None)
            }
        };
        let version = self.parts.version;
        let http10 = fault.http10 && version < Version::HTTP_2;
        if http10 {
            length = None;
        }
        let is_head = self.parts.method == Method::HEAD;
        if is_head && let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let bodiless = is_head || length == Some(0);
        let trailers = self.trailers().filter(|_| !bodiless);
        if trailers.is_some() {
            length = None;
            headers.insert(TRAILER, HeaderValue::from(TRAILER_NAME));
        }
        let body = if bodiless {
            SimBody::empty(self.connection, self.ticket)
        } else {
            let steps = steps::disturb(steps, fault);
            SimBody::new(steps, length, trailers, self.connection, version, self.ticket)
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if http10 {
            *response.version_mut() = Version::HTTP_10;
        }
        response
    }

    fn add_headers(&self, headers: &mut HeaderMap, fault: &Fault) {
        headers.insert(crate::SIM_HEADER.0, HeaderValue::from_static(crate::SIM_HEADER.1));
        if let Some(seconds) = fault.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if fault.set_cookie {
            headers.append(SET_COOKIE, HeaderValue::from_static("sim=1; Path=/; HttpOnly"));
        }
        let closes = fault.close || fault.early_after.is_some();
        if closes && self.parts.version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    fn trailers(&self) -> Option<HeaderMap> {
        self.parts.headers.get(TRAILERS_HEADER)?;
        Some(HeaderMap::from_iter([(TRAILER_NAME, HeaderValue::from_static("done"))]))
    }
}
