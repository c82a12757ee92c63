//! What an operator is shown of an address.

use serde::Serialize;

use crate::health::{Phase, State, Verdict};
use crate::upstream::watched::Watched;
use crate::watch::Continues;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// `down`: probes say so. `out`: requests failed there, `returning`: and one shows whether it is back. Else `up`,
    /// or `unknown` where nobody probes.
    pub state: &'static str,
    /// Why it is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long probes found it up or down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u32>,
    /// What it said itself, when that was not long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<ShownReport>,
    /// Whether it can continue a last message, `yes` or `no`; absent: that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShownReport {
    pub running: u32,
    pub waiting: u32,
    /// Of its cache, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_use: Option<f64>,
    pub age_ms: u32,
}

impl Shown {
    /// Whether anything was found out.
    pub fn is_known(&self) -> bool {
        self.state != "unknown" || self.reported.is_some()
    }

    pub fn of(watched: &Watched, requests: State, now_ms: u64) -> Self {
        let probed = watched.probed();
        let (state, reason) = match (probed.verdict, requests.phase) {
            (Verdict::Down(why), _) => ("down", Some(why.to_string())),
            (_, Phase::Out { .. }) => ("out", Some(requests.grounds.to_string())),
            (_, Phase::Probing { .. }) => ("returning", Some("one request shows whether it is back".into())),
            (Verdict::Unknown, Phase::Closed { .. }) => ("unknown", None),
            (Verdict::Up, Phase::Closed { .. }) => ("up", None),
        };
        let for_s = ((now_ms / 1_000) as u32).saturating_sub(probed.since_s);
        Self {
            state,
            reason,
            for_s: (probed.verdict != Verdict::Unknown).then_some(for_s),
            reported: watched.report(now_ms).map(|reported| ShownReport {
                running: reported.report.running,
                waiting: reported.report.waiting,
                cache_use: reported.report.cache_permille.map(|permille| f64::from(permille) / 1_000.0),
                age_ms: reported.age_ms,
            }),
            continues: Some(watched.continues())
                .filter(|known| *known != Continues::Unknown)
                .map(Continues::label),
        }
    }
}
