//! What a scrape is told of addresses: read from their state when it is asked for, so requests pay nothing for it, and
//! an address that has left the table has no series. There is one of each name for an address in the table.

use std::sync::Weak;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::endpoint::{Endpoint, Endpoints};
use super::watched::Reported;
use crate::balance::Standing;
use crate::health::{Phase, Verdict};
use crate::metrics::Times;
use crate::uptime::now_ms;

/// In the order in which other metrics show them.
const LABELS: [&str; 3] = ["address", "provider", "workspace"];

/// A value of an address; none: it is not known.
type Read = fn(&Endpoint, u64) -> Option<f64>;

const GAUGES: [(&str, &str, Read); 10] = [
    ("nimgate_address_in_flight", "Requests at an address.", |at, _| Some(at.load.in_flight() as f64)),
    (
        "nimgate_address_concurrency_limit",
        "Requests at once that an address was found to be able to take.",
        |at, _| Some(f64::from(at.load.concurrency.limit())),
    ),
    (
        "nimgate_address_standing",
        "Whether an address should get requests: 0 open, 1 full, 2 busy, 3 out.",
        |at, now| {
            Some(match at.load.standing(now) {
                Standing::Open => 0.0,
                Standing::Full => 1.0,
                Standing::Busy => 2.0,
                Standing::Out => 3.0,
            })
        },
    ),
    (
        "nimgate_address_breaker",
        "What failed requests made of an address: 0 closed, 1 one request shows whether it is back, 2 out.",
        |at, _| {
            Some(match at.load.health.state().phase {
                Phase::Closed { .. } => 0.0,
                Phase::Probing { .. } => 1.0,
                Phase::Out { .. } => 2.0,
            })
        },
    ),
    ("nimgate_address_probed_up", "What probes found: 1 up, 0 down.", |at, _| {
        match at.load.watched.probed().verdict {
            Verdict::Unknown => None,
            Verdict::Up => Some(1.0),
            Verdict::Down(_) => Some(0.0),
        }
    }),
    ("nimgate_address_expected_first_byte_seconds", "How soon it began to answer lately.", |at, now| {
        at.load.pace.first_byte_us(now).map(|us| f64::from(us) / 1e6)
    }),
    ("nimgate_address_idle_connections", "Connections that wait for a request.", |at, _| {
        Some(at.pool.idle_connections() as f64)
    }),
    ("nimgate_address_reported_running", "Requests that it says it works on.", |at, now| {
        reported(at, now, |it| Some(f64::from(it.report.running)))
    }),
    ("nimgate_address_reported_waiting", "Requests that it says wait in it.", |at, now| {
        reported(at, now, |it| Some(f64::from(it.report.waiting)))
    }),
    (
        "nimgate_address_reported_cache_ratio",
        "How much of its cache it says is in use, from 0 to 1.",
        |at, now| reported(at, now, |it| it.report.cache_permille.map(|permille| f64::from(permille) / 1e3)),
    ),
];

type TimesOf = fn(&Endpoint) -> &Times;

const HISTOGRAMS: [(&str, &str, TimesOf); 2] = [
    (
        "nimgate_address_first_byte_seconds",
        "From a POST that was sent to the first byte of a successful answer's body.",
        |at| &at.load.first_bytes,
    ),
    (
        "nimgate_address_event_gap_seconds",
        "In streams, between one read that brought something and the next.",
        |at| &at.load.gaps,
    ),
];

const BUDGET: [(&str, &str); 2] = [
    ("nimgate_retries_allowed", "Attempts beyond the first that the last requests pay for, together."),
    ("nimgate_retries_spent", "How many of them were made."),
];
const BUDGET_REFUSED: (&str, &str) = (
    "nimgate_retries_refused_total",
    "Attempts beyond the first that were not made because they were not paid for.",
);

fn reported(at: &Endpoint, now_ms: u64, read: fn(&Reported) -> Option<f64>) -> Option<f64> {
    read(&at.load.watched.report(now_ms)?)
}

/// Tells what is there when it is asked.
pub struct Series {
    endpoints: Weak<Endpoints>,
    descs: Vec<Desc>,
}

impl Series {
    pub fn of(endpoints: Weak<Endpoints>) -> Result<Self, prometheus::Error> {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(name.into(), help.into(), labels, Default::default())
        };
        let of_addresses = GAUGES
            .map(|(name, help, _)| (name, help))
            .into_iter()
            .chain(HISTOGRAMS.map(|(name, help, _)| (name, help)))
            .map(|(name, help)| desc(name, help, &LABELS));
        let of_budget = BUDGET.into_iter().chain([BUDGET_REFUSED]).map(|(name, help)| desc(name, help, &[]));
        Ok(Self { endpoints, descs: of_addresses.chain(of_budget).collect::<Result<_, _>>()? })
    }
}

impl Collector for Series {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(endpoints) = self.endpoints.upgrade() else { return Vec::new() };
        let (now_ms, all) = (now_ms(), endpoints.all());
        let gauges = GAUGES.iter().map(|(name, help, read)| {
            let values = all.iter().filter_map(|at| Some(gauge(labels(at), read(at, now_ms)?)));
            family(name, help, MetricType::GAUGE, values.collect())
        });
        let histograms = HISTOGRAMS.iter().map(|(name, help, times)| {
            let values = all.iter().filter_map(|at| {
                let mut metric = Metric::from_label(labels(at));
                metric.set_histogram(times(at).collect()?);
                Some(metric)
            });
            family(name, help, MetricType::HISTOGRAM, values.collect())
        });
        let seen = endpoints.retries.seen(now_ms);
        let budget = BUDGET.iter().zip([seen.allowed, seen.spent]).map(|((name, help), value)| {
            family(name, help, MetricType::GAUGE, vec![gauge(Vec::new(), value as f64)])
        });
        let mut refused = Counter::default();
        refused.set_value(seen.refused as f64);
        let mut metric = Metric::default();
        metric.set_counter(refused);
        let refused = family(BUDGET_REFUSED.0, BUDGET_REFUSED.1, MetricType::COUNTER, vec![metric]);
        let families = gauges.chain(histograms).chain(budget).chain([refused]);
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}

fn labels(at: &Endpoint) -> Vec<LabelPair> {
    let (workspace, provider) = at.label.split_once('/').unwrap_or_default();
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.into());
        pair.set_value(value.into());
        pair
    };
    LABELS.into_iter().zip([at.url.as_str(), provider, workspace]).map(pair).collect()
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_gauge(gauge);
    metric.set_label(labels);
    metric
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
