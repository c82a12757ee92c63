//! A fake of the registry: it pushes the snapshots a test gives it and records control calls. No
//! store, no rules.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_shared::RouteSnapshot;
use proto_shared::feed::{FEED_PATH, FeedMessage, GATEWAY_HEADER, GATEWAYS_PATH, GatewayReport};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A control call as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a control call is answered with.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static str,
}

#[derive(Clone)]
struct State {
    /// All lines pushed so far; a new connection begins with the last.
    lines: watch::Sender<Vec<Bytes>>,
    calls: watch::Sender<Vec<Call>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// Who follows, and what it reported under its id.
    follower: Arc<Mutex<String>>,
    reports: watch::Sender<Vec<GatewayReport>>,
}

pub struct FakeRegistry {
    state: State,
    serving: JoinHandle<()>,
}

impl FakeRegistry {
    pub fn start(socket: &Path) -> Self {
        // A registry that starts again finds the socket of the one before.
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let state = State {
            lines: watch::Sender::default(),
            calls: watch::Sender::default(),
            answers: Arc::default(),
            follower: Arc::default(),
            reports: watch::Sender::default(),
        };
        let serving = tokio::spawn(serve(listener, state.clone()));
        Self { state, serving }
    }

    pub fn push(&self, snapshot: &RouteSnapshot) {
        let message = FeedMessage::Snapshot(Arc::new(snapshot.clone()));
        self.push_line(&serde_json::to_string(&message).unwrap());
    }

    pub fn push_line(&self, line: &str) {
        self.state.lines.send_modify(|lines| lines.push(format!("{line}\n").into()));
    }

    /// The answer to the next control call; without one it is 200 and `{}`.
    pub fn answer_next(&self, answer: Answer) {
        self.state.answers.lock().unwrap().push_back(answer);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.borrow().clone()
    }

    /// Waits for the first control call.
    pub async fn called(&self) -> Call {
        let mut calls = self.state.calls.subscribe();
        let seen = super::within("a control call", calls.wait_for(|calls| !calls.is_empty())).await;
        seen.unwrap()[0].clone()
    }

    /// What the gateway that follows has reported.
    pub fn reports(&self) -> Vec<GatewayReport> {
        self.state.reports.borrow().clone()
    }

    /// Waits until the last report is one that `holds`.
    pub async fn reported(&self, what: &str, holds: impl Fn(&GatewayReport) -> bool) -> GatewayReport {
        let mut reports = self.state.reports.subscribe();
        let seen = super::within(what, reports.wait_for(|all| all.last().is_some_and(&holds))).await;
        seen.unwrap().last().unwrap().clone()
    }

    /// Ends it: every connection closes.
    pub fn die(&self) {
        self.serving.abort();
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: UnixListener, state: State) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, state.clone()));
            // How a gateway leaves is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, state: State) -> Result<Response<Body>, Infallible> {
    if request.uri().path() == FEED_PATH {
        let id = request.headers()[GATEWAY_HEADER].to_str().unwrap();
        id.clone_into(&mut state.follower.lock().unwrap());
        return Ok(Response::new(feed(&state)));
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if let Some(id) = parts.uri.path().strip_prefix(GATEWAYS_PATH) {
        assert_eq!((parts.method.as_str(), &id[1..]), ("POST", &**state.follower.lock().unwrap()));
        state.reports.send_modify(|reports| reports.push(serde_json::from_slice(&body).unwrap()));
        return Ok(Response::new(Full::default().boxed()));
    }
    let call = Call {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body,
    };
    let answer = state.answers.lock().unwrap().pop_front();
    let answer = answer.unwrap_or(Answer { status: 200, headers: vec![], body: "{}" });
    state.calls.send_modify(|calls| calls.push(call));
    let mut response = Response::builder().status(answer.status).header("content-type", "application/json");
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(answer.body).boxed()).unwrap())
}

fn feed(state: &State) -> Body {
    let lines = state.lines.subscribe();
    let from = lines.borrow().len().saturating_sub(1);
    let frames = stream::unfold((lines, from), |(mut lines, at)| async move {
        let line = lines.wait_for(|lines| lines.len() > at).await.ok()?[at].clone();
        Some((Ok(Frame::data(line)), (lines, at + 1)))
    });
    BodyExt::boxed(StreamBody::new(frames))
}
