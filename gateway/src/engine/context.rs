//! What is known of one request, and the one place that writes it down: when it is dropped.

mod notes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access_log::Entry;
use crate::body::Usage;
use crate::engine::app::App;
use crate::engine::choice::Candidate;
use crate::engine::left_behind::LeftEnd;
use crate::metrics::{InFlight, Outcome, RouteKind};
use crate::recent::{Ticket, Trace, ms};
pub use crate::request_id::RequestId;
use crate::route::Provider;

/// Which provider gave an answer, as `workspace/provider`, and with `:model` where it is asked for several: with a
/// split or a stand-in the client can't know.
pub const SERVED_BY_HEADER: &str = "x-nimgate-served-by";
/// One request's account. Dropping it counts and logs, also after errors and panics.
pub struct RequestContext {
    pub id: RequestId,
    pub started: Instant,
    app: Arc<App>,
    line: RequestLine,
    route: Option<(RouteKind, Arc<Provider>, InFlight)>,
    /// Of which of the provider's models, where it is asked for several.
    served_by: Option<Arc<str>>,
    first_byte: Option<Duration>,
    status: u16,
    reason: Option<&'static str>,
    outcome: Option<Outcome>,
    pub attempts: u32,
    pub bytes_sent: u64,
    /// What its upstreams said.
    usage: Usage,
    /// What it met on its way, and where others see that.
    trace: Trace,
    ticket: Option<Ticket>,
    is_seen: bool,
    left: Option<Left>,
    /// The web page that may read the answer.
    allowed_origin: Option<Box<str>>,
}

/// What became of an answer whose client has left.
#[derive(Clone, Copy)]
struct Left {
    after: Duration,
    bytes: u64,
    end: LeftEnd,
}

/// Headers of an answer that are ours.
pub type OwnFields<'a> = smallvec::SmallVec<[(&'static str, &'a str); 9]>;

/// What the access log needs of the request's head; kept only while the log is on.
#[derive(Default)]
struct RequestLine {
    method: Option<http::Method>,
    path: Option<Box<str>>,
}

impl RequestContext {
    pub fn new(app: &Arc<App>, id: RequestId, method: &http::Method, target: &str) -> Self {
        let line = if app.access_log.is_on() {
            RequestLine { method: Some(method.clone()), path: Some(target.into()) }
        } else {
            RequestLine::default()
        };
        Self {
            id,
            started: Instant::now(),
            app: Arc::clone(app),
            line,
            route: None,
            served_by: None,
            first_byte: None,
            status: 0,
            reason: None,
            outcome: None,
            attempts: 0,
            bytes_sent: 0,
            usage: Usage::default(),
            trace: Trace::default(),
            ticket: None,
            is_seen: false,
            left: None,
            allowed_origin: None,
        }
    }

    /// The answer may be read by this web page.
    pub fn allow_origin(&mut self, origin: &str) {
        self.allowed_origin = Some(origin.into());
    }

    /// What a browser needs to hand the answer to its page; empty without one.
    pub fn own_fields(&self) -> OwnFields<'_> {
        let mut own = OwnFields::new();
        if let Some(origin) = &self.allowed_origin {
            own.push(("access-control-allow-origin", origin));
            own.push(("access-control-allow-credentials", "true"));
            own.push(("access-control-expose-headers", "*"));
            own.push(("vary", "Origin"));
        }
        own
    }

    /// The same for the answer of a provider: on routes that name a model, also whose it is.
    pub fn reply_fields(&self) -> OwnFields<'_> {
        let mut own = self.own_fields();
        if let Some((RouteKind::Model | RouteKind::OpenAi, provider, _)) = &self.route {
            own.push((SERVED_BY_HEADER, self.served_by.as_deref().unwrap_or(&provider.label)));
        }
        own
    }

    /// A provider is chosen: from here on the request counts as in flight there.
    pub fn routed(&mut self, kind: RouteKind, candidate: Candidate<'_>) {
        let guard = candidate.provider.metrics.enter();
        self.route = Some((kind, Arc::clone(candidate.provider), guard));
        self.served_by = candidate.label.cloned();
    }

    /// The stream is begun from here: nobody has answered yet.
    pub fn began(&mut self, status: u16) {
        self.status = status;
    }

    /// The client has left, and its answer is read on.
    pub fn left(&mut self) {
        self.left = Some(Left { after: self.started.elapsed(), bytes: 0, end: LeftEnd::Cut });
    }

    /// What is read on has ended.
    pub fn left_behind(&mut self, end: LeftEnd, bytes: u64) {
        self.app.metrics.left_behind.with_label_values(&[end.label()]).inc();
        if let Some(left) = &mut self.left {
            (left.end, left.bytes) = (end, bytes);
        }
    }

    pub fn answered(&mut self, status: u16) {
        if self.left.is_some() {
            // Nobody was answered.
            return;
        }
        self.status = status;
        // The clock was read for the head already.
        let head = self.trace.attempts.last().and_then(|tried| tried.head);
        self.first_byte.get_or_insert_with(|| head.unwrap_or_else(|| self.started.elapsed()));
    }

    pub fn refused(&mut self, status: u16, reason: &'static str) {
        self.status = status;
        self.reason = Some(reason);
        self.app.metrics.refusals.with_label_values(&[reason]).inc();
    }

    /// An upstream said how many tokens its answer took; one that goes on elsewhere takes those of both.
    pub fn used(&mut self, usage: Usage) {
        self.usage = self.usage.plus(usage);
    }

    pub fn ended(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// The outcome of an answer that was delivered whole.
    pub fn ended_whole(&mut self) {
        self.ended(match self.status {
            ..400 => Outcome::Ok,
            400..500 => Outcome::ClientError,
            _ => Outcome::UpstreamError,
        });
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        let duration = self.left.map_or_else(|| self.started.elapsed(), |left| left.after);
        // A request that ends without a word was abandoned: the client left, or the task was dropped.
        let outcome =
            self.outcome.unwrap_or(if self.reason.is_some() { Outcome::Failed } else { Outcome::Cancelled });
        if let Some((kind, provider, _)) = &self.route {
            let metrics = &provider.metrics;
            if self.status != 0 {
                metrics.response(self.status);
            }
            metrics.request(*kind, outcome);
            metrics.duration_seconds.observe(duration.as_secs_f64());
            if let Some(first_byte) = self.first_byte {
                metrics.first_byte_seconds.observe(first_byte.as_secs_f64());
            }
        } else if self.status != 0 {
            self.app.metrics.own_response(self.status);
        }
        if self.app.access_log.is_on() {
            self.app.access_log.write(&Entry {
                id: self.id.as_str(),
                method: self.line.method.as_ref().map_or("", http::Method::as_str),
                path: self.line.path.as_deref().unwrap_or_default(),
                route: self.route.as_ref().map(|(kind, ..)| kind.label()),
                provider: self.route.as_ref().map(|(_, provider, _)| &*provider.label),
                model: self.trace.model.as_deref(),
                status: self.status,
                outcome: outcome.label(),
                reason: self.reason,
                attempts: self.attempts,
                bytes_sent: self.bytes_sent,
                input_tokens: self.usage.input,
                cached_input_tokens: self.usage.cached_input,
                output_tokens: self.usage.output,
                left_behind: self.left.map(|left| left.end.label()),
                left_behind_bytes: self.left.map(|left| left.bytes),
                first_byte_ms: self.first_byte.map(ms),
                duration_ms: ms(duration),
            });
        }
        self.keep(outcome, duration);
    }
}
