//! The loads on a fleet, and the requests of each. Pure: the same seed gives every peer the same requests.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::zipf::{Dice, Zipf};
use crate::side_by_side::PATH;
use crate::wire;

/// Model servers of a fleet.
pub const REPLICAS: usize = 4;
/// How much slower the slow one is.
const SLOW: f64 = 5.0;
const PREFIXES: usize = 200;
const ZIPF_EXPONENT: f64 = 1.0;
/// About 2,000 tokens: a system prompt with tools, or a document.
const SHARED_BYTES: usize = 8_192;
/// About 1,000 tokens that no other request has.
const OWN_BYTES: usize = 4_096;
const QUESTION_BYTES: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// One of the servers is slow.
    Slow,
    /// Prompts begin alike.
    Prefixes,
    /// One of the servers is killed in the middle.
    Kill,
}

pub const ALL: [Scenario; 3] = [Scenario::Slow, Scenario::Prefixes, Scenario::Kill];

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Prefixes => "prefixes",
            Self::Kill => "kill",
        }
    }

    pub fn title(self) -> String {
        let rate = self.rate_per_s();
        match self {
            Self::Slow => format!("One of {REPLICAS} replicas is {SLOW} × slower ({rate} requests a second)"),
            Self::Prefixes => {
                format!("{PREFIXES} shared prefixes of 8 KB, by Zipf's law ({rate} requests a second)")
            }
            Self::Kill => format!("One of {REPLICAS} replicas is killed half-way ({rate} requests a second)"),
        }
    }

    /// Between a half and three quarters of what the fleet can do at best.
    pub fn rate_per_s(self) -> f64 {
        match self {
            Self::Slow | Self::Kill => 50.0,
            Self::Prefixes => 80.0,
        }
    }

    /// How long the same load goes before anything is counted: caches fill, and who measures has measured.
    pub fn warm_up(self) -> Duration {
        match self {
            Self::Slow | Self::Kill => Duration::from_secs(3),
            Self::Prefixes => Duration::from_secs(10),
        }
    }

    /// By how much each server is slower.
    pub fn slow(self) -> [f64; REPLICAS] {
        let mut factors = [1.0; REPLICAS];
        if let (Self::Slow, Some(last)) = (self, factors.last_mut()) {
            *last = SLOW;
        }
        factors
    }

    /// Whole requests for streams; no two of them are the same.
    pub fn requests(self, model: &str, seed: u64, count: usize) -> Vec<Bytes> {
        let (mut dice, zipf) = (Dice::new(seed), Zipf::new(PREFIXES, ZIPF_EXPONENT));
        let mut request = |number: usize| {
            let (rules, question) = match self {
                Self::Prefixes => {
                    let prefix = format!("Handbook {}. ", zipf.draw(&mut dice));
                    (text(&prefix, SHARED_BYTES), QUESTION_BYTES)
                }
                Self::Slow | Self::Kill => (String::new(), OWN_BYTES),
            };
            let question = text(&format!("Question {seed}-{number}: "), question);
            let body = json!({
                "messages": [{"role": "system", "content": rules}, {"role": "user", "content": question}],
                "model": model, "temperature": 0.2, "max_tokens": 256, "stream": true,
            });
            wire::request("POST", PATH, Some(&body.to_string()))
        };
        (0..count).map(&mut request).collect()
    }
}

/// `start` over and over, so long.
fn text(start: &str, bytes: usize) -> String {
    start.chars().cycle().take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_request_is_its_own_and_the_same_for_every_peer() {
        for scenario in ALL {
            let requests = scenario.requests("m", 1, 300);
            assert_eq!(requests.iter().collect::<HashSet<_>>().len(), 300);
            assert_eq!(requests, scenario.requests("m", 1, 300));
            assert_ne!(requests, scenario.requests("m", 2, 300));
        }
    }

    #[test]
    fn prompts_share_beginnings_only_where_they_are_to() {
        let start = |request: &Bytes| request[..2_000].to_vec();
        let beginnings = |scenario: Scenario| {
            scenario.requests("m", 1, 500).iter().map(start).collect::<HashSet<_>>().len()
        };
        assert_eq!(beginnings(Scenario::Slow), 500);
        assert!((50..=PREFIXES).contains(&beginnings(Scenario::Prefixes)));
    }

    #[test]
    fn one_server_is_slow_in_one_load_alone() {
        assert_eq!(Scenario::Slow.slow(), [1.0, 1.0, 1.0, SLOW]);
        assert_eq!(Scenario::Kill.slow(), [1.0; REPLICAS]);
    }
}
