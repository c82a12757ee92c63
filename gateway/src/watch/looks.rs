//! The tasks of one address: its probes, its reports, and learning what it can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Semaphore;

use super::ask::{self, Answer, NoAnswer};
use super::schema::{Continues, Schema};
use super::targets::Target;
use super::trail::{self, Trail, spaced};
use super::{WatchLimits, report};
use crate::engine::app::App;
use crate::health::{Finding, Verdict, Why};
use crate::random::jittered;
use crate::upstream::watched::Turned;
use crate::uptime::now_ms;

/// What is read of a health page, which is thrown away.
const HEALTH_BYTES_MAX: usize = 64 * 1024;

/// What all looks share.
pub struct Looks {
    app: Arc<App>,
    up: Semaphore,
    in_doubt: Semaphore,
    reports: Semaphore,
    lessons: Semaphore,
    /// How many addresses are looked at.
    asked: AtomicUsize,
}

impl Looks {
    pub fn new(app: Arc<App>) -> Self {
        let places = || Semaphore::new(app.limits.watch.concurrent_max.max(1));
        Self {
            up: places(),
            in_doubt: places(),
            reports: places(),
            lessons: places(),
            asked: AtomicUsize::new(0),
            app,
        }
    }

    /// So many addresses are looked at from now on.
    pub fn asked(&self, count: usize) {
        self.asked.store(count, Ordering::Relaxed);
    }

    fn limits(&self) -> &WatchLimits {
        &self.app.limits.watch
    }

    fn spaced(&self, usual: Duration) -> Duration {
        spaced(usual, self.asked.load(Ordering::Relaxed), self.limits().asked_per_second_max)
    }

    /// Probes an address for as long as the task lives.
    pub async fn probe(self: Arc<Self>, target: Arc<Target>) {
        let watched = &target.endpoint.load.watched;
        let mut trail = Trail::health(&target.endpoint.url, target.watch.health_path.as_deref());
        tokio::time::sleep(jittered(self.spaced(Duration::ZERO))).await;
        loop {
            let places = if watched.probed().is_in_doubt() { &self.in_doubt } else { &self.up };
            let (path, timeout) = (trail.path(), self.limits().probe_timeout);
            let answer = match places.acquire().await {
                Ok(_place) => ask::get(&self.app.connector, &target, path, HEALTH_BYTES_MAX, timeout).await,
                Err(_) => return,
            };
            let finding = match answer {
                Ok(Answer { status, .. }) => ask::finding(status),
                Err(NoAnswer::Ours) => {
                    tokio::time::sleep(jittered(self.spaced(self.limits().probe_interval))).await;
                    continue;
                }
                Err(NoAnswer::Theirs(why)) => Some(Finding::Down(why)),
            };
            match finding {
                Some(finding) => {
                    trail.found();
                    self.found(&target, finding);
                }
                None if trail.missing() => continue,
                // Nothing is there that could be asked, and so nothing is known.
                None => watched.unprobed(),
            }
            let usual = match (watched.probed().is_in_doubt(), target.has_others) {
                (true, _) => self.limits().doubt_interval,
                (false, true) => self.limits().probe_interval,
                (false, false) => self.limits().lone_interval,
            };
            let rest = trail.pause(self.spaced(usual), self.limits().rest_max);
            tokio::time::sleep(jittered(rest)).await;
        }
    }

    fn found(&self, target: &Target, finding: Finding) {
        let (endpoint, watched) = (&target.endpoint, &target.endpoint.load.watched);
        let (provider, url) = (&endpoint.label, &endpoint.url);
        match watched.found(finding, now_ms()) {
            Some(Turned::Up) => {
                endpoint.load.reachable(now_ms());
                tracing::info!(%provider, %url, "the address is up again");
            }
            Some(Turned::Down) => {
                let why = match watched.probed().verdict {
                    Verdict::Down(why) => why,
                    Verdict::Up | Verdict::Unknown => Why::Silent,
                };
                tracing::warn!(%provider, %url, %why, "the address is down: others are asked while there are some");
            }
            None => {}
        }
    }

    /// Asks an address what it can do: once, and again after it was down. For as long as the task lives.
    pub async fn learn(self: Arc<Self>, target: Arc<Target>) {
        let watched = &target.endpoint.load.watched;
        let path = trail::schema(&target.endpoint.url);
        let mut failures = 0u32;
        loop {
            // After the first probe, if that is as quick as it should be.
            let usual =
                self.spaced(self.limits().probe_interval).saturating_mul(2u32.saturating_pow(failures));
            tokio::time::sleep(jittered(usual.min(self.limits().rest_max))).await;
            if watched.probed().is_down() {
                failures = 0;
            } else if watched.continues() == Continues::Unknown {
                let Ok(_place) = self.lessons.acquire().await else { return };
                watched.learned(self.ask_schema(&target, &path).await);
                failures = failures.saturating_add(1);
            }
        }
    }

    async fn ask_schema(&self, target: &Target, path: &str) -> Continues {
        let (connector, limits) = (&self.app.connector, self.limits());
        let mut schema = Schema::default();
        let see = |piece: &[u8]| schema.feed(piece);
        let heard =
            ask::hear(connector, target, path, limits.schema_bytes_max, limits.probe_timeout, see).await;
        match heard {
            Ok(heard) if heard.status == StatusCode::OK => schema.says(),
            _ => Continues::Unknown,
        }
    }

    /// Asks an address how much it has to do, for as long as the task lives.
    pub async fn follow_load(self: Arc<Self>, target: Arc<Target>) {
        let load = &target.endpoint.load;
        let mut trail = Trail::metrics(&target.endpoint.url, target.watch.metrics_path.as_deref());
        let mut failures = 0u32;
        tokio::time::sleep(jittered(self.spaced(Duration::ZERO))).await;
        loop {
            let answer = if load.watched.probed().is_down() {
                // Its probes are enough to see it come back.
                Err(NoAnswer::Theirs(Why::Silent))
            } else {
                let (limits, path) = (self.limits(), trail.path());
                let Ok(_place) = self.reports.acquire().await else { return };
                ask::get(&self.app.connector, &target, path, limits.report_bytes_max, limits.report_timeout)
                    .await
            };
            match answer.map(read) {
                Ok(Said::Report(report)) => {
                    trail.found();
                    failures = 0;
                    load.watched.reported(&report, load.in_flight(), now_ms());
                }
                Ok(Said::NotHere) => {
                    if trail.missing() {
                        continue;
                    }
                }
                Ok(Said::Nothing) | Err(_) => failures = failures.saturating_add(1),
            }
            load.watched.unreported(now_ms());
            let usual = self.spaced(self.limits().report_interval);
            let failed = usual.saturating_mul(2u32.saturating_pow(failures));
            let failed = failed.min(self.limits().failed_rest_max.max(usual));
            tokio::time::sleep(jittered(trail.pause(failed, self.limits().rest_max))).await;
        }
    }
}

/// What a metrics path had to say.
enum Said {
    Report(super::Report),
    /// Another path may.
    NotHere,
    /// Nothing now.
    Nothing,
}

fn read(answer: Answer) -> Said {
    match (answer.status, answer.body) {
        (StatusCode::OK, Some(page)) => report::read(&page).map_or(Said::NotHere, Said::Report),
        (status, _) if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => Said::Nothing,
        (StatusCode::TOO_MANY_REQUESTS, _) => Said::Nothing,
        _ => Said::NotHere,
    }
}
