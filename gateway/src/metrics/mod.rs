//! Every metric of the gateway, by name. Handles are bound once, per provider; a request touches
//! atomics only. Label values come from the routing table and from enums, never from a request.

mod codes;
mod times;
mod tokens;

use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use codes::CodeCounters;
use dashmap::DashMap;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

pub use times::{Kept, Times};
pub use tokens::ModelTokens;

/// How a request was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    Model,
    Provider,
    OpenAi,
}

impl RouteKind {
    pub fn label(self) -> &'static str {
        ["model", "provider", "openai"][self as usize]
    }
}

/// What became of a request that had a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer below 400, complete.
    Ok,
    /// The upstream's 4xx, complete; or a request that could not be sent to it.
    ClientError,
    /// The upstream's 5xx, complete.
    UpstreamError,
    /// No answer: connect, time-out, broken head.
    Failed,
    /// The answer was cut off.
    Incomplete,
    /// The client left first.
    Cancelled,
}

const OUTCOMES: [&str; 6] = ["ok", "client_error", "upstream_error", "failed", "incomplete", "cancelled"];

impl Outcome {
    pub fn label(self) -> &'static str {
        OUTCOMES[self as usize]
    }
}

/// What became of one attempt to get a connection and an answer's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    Answered,
    ConnectFailed,
    StaleConnection,
    NoAnswer,
    /// An answer that another address was asked to better.
    PassedOver,
}

const ATTEMPTS: [&str; 5] = ["answered", "connect_failed", "stale_connection", "no_answer", "passed_over"];

/// Seconds: from a cached token to a long prefill.
const TIME_BUCKETS_S: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    attempts: IntCounterVec,
    responses: IntCounterVec,
    upstream_responses: IntCounterVec,
    /// Those of nobody's: refusals, and what is answered from here.
    own_responses: CodeCounters,
    first_byte_seconds: HistogramVec,
    duration_seconds: HistogramVec,
    frames: IntCounterVec,
    tokens: IntCounterVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    busy: IntCounterVec,
    ejections: IntCounterVec,
    pub refusals: IntCounterVec,
    /// Answers whose stream broke off and was to go on elsewhere, by their end.
    pub continued: IntCounterVec,
    /// Answers that were read on after their client had left, by their end.
    pub left_behind: IntCounterVec,
    pub left_behind_now: IntGauge,
    pub connections: IntGauge,
    pub requests_in_flight: IntGauge,
    pub access_log_dropped: IntCounter,
    pub recent_requests_dropped: IntCounter,
    /// Seconds in which there was no file descriptor left.
    pub without_descriptors: IntCounter,
    pub waiting_for_model: IntGauge,
    pub waiting_for_room: IntGauge,
    pub snapshots_applied: IntCounter,
    pub snapshots_refused: IntCounter,
    /// Of the table that is served.
    pub unknown_words: IntGauge,
    pub feed_connected: IntGauge,
    generation: IntGauge,
    table_age_seconds: IntGauge,
    applied_at: parking_lot::Mutex<Option<Instant>>,
    /// By workspace and provider: one set of handles each, however many hold it.
    providers: DashMap<(Box<str>, Box<str>), Weak<ProviderMetrics>>,
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("nimgate_requests_total", "Requests that had a provider, by outcome."),
                &["route", "workspace", "provider", "outcome"],
            )?,
            attempts: IntCounterVec::new(
                Opts::new("nimgate_upstream_attempts_total", "Attempts at upstreams, by result."),
                &["workspace", "provider", "result"],
            )?,
            responses: IntCounterVec::new(
                Opts::new("nimgate_responses_total", "Answers to clients, by status code."),
                &["workspace", "provider", "code"],
            )?,
            upstream_responses: IntCounterVec::new(
                Opts::new("nimgate_upstream_responses_total", "Answers of upstreams, by status code."),
                &["workspace", "provider", "code"],
            )?,
            own_responses: CodeCounters::default(),
            first_byte_seconds: histogram(
                "nimgate_first_byte_seconds",
                "From request to the answer's first byte.",
            )?,
            duration_seconds: histogram("nimgate_request_seconds", "From request to the answer's end.")?,
            frames: IntCounterVec::new(
                Opts::new("nimgate_stream_frames_total", "Server-sent events forwarded."),
                &["workspace", "provider"],
            )?,
            tokens: IntCounterVec::new(
                Opts::new("nimgate_tokens_total", "Tokens, as answers say."),
                &["workspace", "provider", "model", "kind"],
            )?,
            in_flight: IntGaugeVec::new(
                Opts::new("nimgate_provider_in_flight", "Requests a provider is working on."),
                &["workspace", "provider"],
            )?,
            waiting: IntGaugeVec::new(
                Opts::new("nimgate_provider_waiting", "Requests that wait for a place at a provider."),
                &["workspace", "provider"],
            )?,
            ejections: IntCounterVec::new(
                Opts::new("nimgate_ejections_total", "Times an address was left out because it failed."),
                &["workspace", "provider"],
            )?,
            busy: IntCounterVec::new(
                Opts::new("nimgate_provider_busy_total", "Requests that got no place at a provider."),
                &["workspace", "provider"],
            )?,
            refusals: IntCounterVec::new(
                Opts::new("nimgate_refusals_total", "Answers the gateway gave itself, by reason."),
                &["reason"],
            )?,
            continued: IntCounterVec::new(
                Opts::new(
                    "nimgate_continued_answers_total",
                    "Streams that went on at another address, by end.",
                ),
                &["end"],
            )?,
            left_behind: IntCounterVec::new(
                Opts::new(
                    "nimgate_left_behind_answers_total",
                    "Answers that were read on after their client had left, by end.",
                ),
                &["end"],
            )?,
            left_behind_now: IntGauge::new(
                "nimgate_left_behind_answers",
                "Answers that are read on after their client has left.",
            )?,
            connections: IntGauge::new("nimgate_connections", "Open client connections.")?,
            requests_in_flight: IntGauge::new("nimgate_requests_in_flight", "Requests being served.")?,
            access_log_dropped: IntCounter::new(
                "nimgate_access_log_dropped_total",
                "Access log lines dropped because the writer was behind.",
            )?,
            waiting_for_model: IntGauge::new(
                "nimgate_waiting_for_model",
                "Requests that wait because their model is answered as often at once as its owner wants.",
            )?,
            waiting_for_room: IntGauge::new(
                "nimgate_waiting_for_room",
                "Requests that wait because all servers of their model have too much to do.",
            )?,
            without_descriptors: IntCounter::new(
                "nimgate_without_descriptors_seconds_total",
                "Time in which the process had no file descriptor left.",
            )?,
            recent_requests_dropped: IntCounter::new(
                "nimgate_recent_requests_dropped_total",
                "Requests that can't be explained because they could not be noted at once.",
            )?,
            snapshots_applied: IntCounter::new("nimgate_snapshots_applied_total", "Tables swapped in.")?,
            snapshots_refused: IntCounter::new("nimgate_snapshots_refused_total", "Snapshots not applied.")?,
            unknown_words: IntGauge::new(
                "nimgate_routes_unknown_words",
                "What of the routes this gateway is too old to understand.",
            )?,
            feed_connected: IntGauge::new("nimgate_feed_connected", "1 while the registry's feed is open.")?,
            generation: IntGauge::new("nimgate_table_generation", "Generation of the table that is served.")?,
            table_age_seconds: IntGauge::new(
                "nimgate_table_age_seconds",
                "Since the registry was last heard.",
            )?,
            applied_at: parking_lot::Mutex::new(None),
            providers: DashMap::new(),
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let all: Vec<Box<dyn Collector>> = vec![
            Box::new(self.requests.clone()),
            Box::new(self.attempts.clone()),
            Box::new(self.responses.clone()),
            Box::new(self.upstream_responses.clone()),
            Box::new(self.first_byte_seconds.clone()),
            Box::new(self.duration_seconds.clone()),
            Box::new(self.frames.clone()),
            Box::new(self.tokens.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.waiting.clone()),
            Box::new(self.busy.clone()),
            Box::new(self.ejections.clone()),
            Box::new(self.refusals.clone()),
            Box::new(self.continued.clone()),
            Box::new(self.left_behind.clone()),
            Box::new(self.left_behind_now.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.requests_in_flight.clone()),
            Box::new(self.access_log_dropped.clone()),
            Box::new(self.recent_requests_dropped.clone()),
            Box::new(self.without_descriptors.clone()),
            Box::new(self.waiting_for_model.clone()),
            Box::new(self.waiting_for_room.clone()),
            Box::new(self.snapshots_applied.clone()),
            Box::new(self.snapshots_refused.clone()),
            Box::new(self.unknown_words.clone()),
            Box::new(self.feed_connected.clone()),
            Box::new(self.generation.clone()),
            Box::new(self.table_age_seconds.clone()),
        ];
        all.into_iter().try_for_each(|collector| self.registry.register(collector))
    }

    /// Shows what somebody else knows, whenever it is asked for.
    pub fn show(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(collector))
    }

    /// A client was answered from here, without a provider.
    pub fn own_response(&self, status: u16) {
        self.own_responses.count(status, |code| self.responses.with_label_values(&["", "", code]));
    }

    /// The handles of one provider, the same for all who ask. Its series go when the last holder drops them.
    pub fn provider(self: &Arc<Self>, workspace: &str, provider: &str) -> Arc<ProviderMetrics> {
        let mut known = self.providers.entry((workspace.into(), provider.into())).or_default();
        if let Some(known) = known.upgrade() {
            return known;
        }
        let made = Arc::new(ProviderMetrics {
            first_byte_seconds: self.first_byte_seconds.with_label_values(&[workspace, provider]),
            duration_seconds: self.duration_seconds.with_label_values(&[workspace, provider]),
            frames: self.frames.with_label_values(&[workspace, provider]),
            in_flight: self.in_flight.with_label_values(&[workspace, provider]),
            waiting: self.waiting.with_label_values(&[workspace, provider]),
            busy: self.busy.with_label_values(&[workspace, provider]),
            ejections: self.ejections.with_label_values(&[workspace, provider]),
            requests: Default::default(),
            attempts: Default::default(),
            responses: CodeCounters::default(),
            upstream_responses: CodeCounters::default(),
            models: tokens::Models::default(),
            workspace: workspace.into(),
            provider: provider.into(),
            metrics: Arc::clone(self),
        });
        *known = Arc::downgrade(&made);
        made
    }

    /// Notes that the registry was heard, and what is served now.
    pub fn heard(&self, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        *self.applied_at.lock() = Some(Instant::now());
    }

    /// Seconds since the registry was last heard; none: never.
    pub fn table_age_s(&self) -> Option<u64> {
        self.applied_at.lock().map(|at| at.elapsed().as_secs())
    }

    /// The text form for a scrape.
    pub fn render(&self) -> String {
        let age = self.table_age_s().map_or(-1, |age| i64::try_from(age).unwrap_or(i64::MAX));
        self.table_age_seconds.set(age);
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

fn histogram(name: &str, help: &str) -> Result<HistogramVec, prometheus::Error> {
    HistogramVec::new(
        HistogramOpts::new(name, help).buckets(TIME_BUCKETS_S.to_vec()),
        &["workspace", "provider"],
    )
}

/// Handles of one provider, shared by all tables that name it.
pub struct ProviderMetrics {
    pub first_byte_seconds: Histogram,
    pub duration_seconds: Histogram,
    pub frames: IntCounter,
    pub in_flight: IntGauge,
    pub waiting: IntGauge,
    pub busy: IntCounter,
    pub ejections: IntCounter,
    requests: [[OnceLock<IntCounter>; OUTCOMES.len()]; 3],
    attempts: [OnceLock<IntCounter>; ATTEMPTS.len()],
    responses: CodeCounters,
    upstream_responses: CodeCounters,
    models: tokens::Models,
    workspace: Box<str>,
    provider: Box<str>,
    metrics: Arc<Metrics>,
}

impl ProviderMetrics {
    pub fn request(&self, route: RouteKind, outcome: Outcome) {
        let cell = &self.requests[route as usize][outcome as usize];
        cell.get_or_init(|| {
            let labels = [route.label(), &*self.workspace, &*self.provider, outcome.label()];
            self.metrics.requests.with_label_values(&labels)
        })
        .inc();
    }

    pub fn attempt(&self, result: AttemptResult) {
        let cell = &self.attempts[result as usize];
        cell.get_or_init(|| {
            let labels = [&*self.workspace, &*self.provider, ATTEMPTS[result as usize]];
            self.metrics.attempts.with_label_values(&labels)
        })
        .inc();
    }

    /// What a client got whose request had this provider, whoever made it.
    pub fn response(&self, status: u16) {
        self.responses.count(status, |code| {
            self.metrics.responses.with_label_values(&[&*self.workspace, &*self.provider, code])
        });
    }

    /// What the provider answered, whether or not a client got it.
    pub fn upstream_response(&self, status: u16) {
        self.upstream_responses.count(status, |code| {
            self.metrics.upstream_responses.with_label_values(&[&*self.workspace, &*self.provider, code])
        });
    }

    /// The counters of one model here, the same for all who ask. Empty: of requests that name the provider.
    pub fn tokens(self: &Arc<Self>, model: &str) -> Arc<ModelTokens> {
        ModelTokens::of(self, model)
    }

    /// Counts the provider's requests in flight for as long as the guard lives.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.inc();
        self.metrics.requests_in_flight.inc();
        InFlight(Arc::clone(self))
    }
}

/// Counts a request that waits, for as long as the guard lives.
pub struct Waiting(IntGauge);

impl Waiting {
    pub fn of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Balances the in-flight gauges, however a request ends.
pub struct InFlight(Arc<ProviderMetrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
        self.0.metrics.requests_in_flight.dec();
    }
}

impl Drop for ProviderMetrics {
    fn drop(&mut self) {
        let key = (self.workspace.clone(), self.provider.clone());
        // While the entry is locked nobody makes the same series anew; if somebody did, they are theirs.
        self.metrics.providers.remove_if(&key, |_, holders| {
            let unheld = holders.strong_count() == 0;
            if unheld {
                self.remove_series();
            }
            unheld
        });
    }
}

impl ProviderMetrics {
    fn remove_series(&self) {
        let (workspace, provider, all) = (&*self.workspace, &*self.provider, &self.metrics);
        let both = [workspace, provider];
        // Series that were never touched are not there to remove: that is no error.
        let _ = all.first_byte_seconds.remove_label_values(&both);
        let _ = all.duration_seconds.remove_label_values(&both);
        let _ = all.frames.remove_label_values(&both);
        let _ = all.in_flight.remove_label_values(&both);
        let _ = all.waiting.remove_label_values(&both);
        let _ = all.busy.remove_label_values(&both);
        let _ = all.ejections.remove_label_values(&both);
        for route in [RouteKind::Model, RouteKind::Provider, RouteKind::OpenAi] {
            for outcome in OUTCOMES {
                let _ = all.requests.remove_label_values(&[route.label(), workspace, provider, outcome]);
            }
        }
        for code in CodeCounters::labels() {
            let _ = all.responses.remove_label_values(&[workspace, provider, code]);
            let _ = all.upstream_responses.remove_label_values(&[workspace, provider, code]);
        }
        for result in ATTEMPTS {
            let _ = all.attempts.remove_label_values(&[workspace, provider, result]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_provider_takes_its_series_along() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let provider = metrics.provider("default", "p1");
        provider.request(RouteKind::OpenAi, Outcome::Ok);
        provider.attempt(AttemptResult::Answered);
        let guard = provider.enter();
        let text = metrics.render();
        assert!(text.contains("outcome=\"ok\"") && text.contains("nimgate_provider_in_flight{"), "{text}");
        assert!(text.contains("nimgate_requests_in_flight 1"));
        drop((guard, provider));
        let text = metrics.render();
        assert!(!text.contains("p1"), "{text}");
        assert!(text.contains("nimgate_requests_in_flight 0"));
    }

    #[test]
    fn a_provider_that_comes_back_while_its_last_request_runs_counts_on() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let guard = metrics.provider("default", "p1").enter();
        let again = metrics.provider("default", "p1");
        drop(guard);
        again.request(RouteKind::OpenAi, Outcome::Ok);
        assert!(metrics.render().contains("p1"), "its series are still there");
    }
}
