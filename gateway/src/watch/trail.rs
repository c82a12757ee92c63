//! Where a back end is asked, and how often: pure.
//!
//! Which server is behind an address is not known. So the paths of all are tried in turn, and the one that is
//! there is kept. An address that has none of them is asked less and less often.

use std::time::Duration;

use proto_shared::HostUrl;

/// Where servers say that they are ready. The list of models stands for those that have no such path: it costs
/// nothing either.
const HEALTH: [&str; 3] = ["v1/health/ready", "health", "v1/models"];
const METRICS: [&str; 2] = ["metrics", "v1/metrics"];

#[derive(Debug)]
pub struct Trail {
    paths: Vec<String>,
    at: usize,
    /// How often in a row none of them was there.
    misses: u32,
}

impl Trail {
    pub fn health(url: &HostUrl, given: Option<&str>) -> Self {
        Self::new(url, given, &HEALTH)
    }

    pub fn metrics(url: &HostUrl, given: Option<&str>) -> Self {
        Self::new(url, given, &METRICS)
    }

    fn new(url: &HostUrl, given: Option<&str>, usual: &[&str]) -> Self {
        let given = given.map(|path| format!("/{}", path.trim_start_matches('/')));
        let mut paths: Vec<String> = given.into_iter().collect();
        for tail in usual {
            let path = at(url, tail);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        Self { paths, at: 0, misses: 0 }
    }

    pub fn path(&self) -> &str {
        self.paths.get(self.at).map_or("/", String::as_str)
    }

    /// The path is there.
    pub fn found(&mut self) {
        self.misses = 0;
    }

    /// It is not. False: none is, and the first comes next.
    pub fn missing(&mut self) -> bool {
        self.at += 1;
        if self.at < self.paths.len() {
            return true;
        }
        self.at = 0;
        self.misses = self.misses.saturating_add(1);
        false
    }

    /// How long to wait instead of `usual`: twice as long after each time that none was there.
    pub fn pause(&self, usual: Duration, longest: Duration) -> Duration {
        usual.saturating_mul(2u32.saturating_pow(self.misses)).min(longest.max(usual))
    }
}

/// Where a server describes its API.
pub fn schema(url: &HostUrl) -> String {
    at(url, "openapi.json")
}

/// The path on the back end: what is not part of the API is beside its root, not below.
fn at(url: &HostUrl, tail: &str) -> String {
    if tail.starts_with("v1/") {
        return url.join(tail);
    }
    let inside = url.join(&format!("v1/{tail}"));
    match inside.strip_suffix(&format!("v1/{tail}")) {
        Some(root) => format!("{root}{tail}"),
        None => url.join(tail),
    }
}

/// How long each of so many waits, so that there are not more than `per_second_max` asked in a second.
pub fn spaced(usual: Duration, asked: usize, per_second_max: u32) -> Duration {
    let asked = u32::try_from(asked).unwrap_or(u32::MAX);
    usual.max(Duration::from_secs(1).saturating_mul(asked) / per_second_max.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(mut trail: Trail) -> Vec<String> {
        let mut paths = vec![trail.path().to_owned()];
        while trail.missing() {
            paths.push(trail.path().to_owned());
        }
        paths
    }

    fn url(text: &str) -> HostUrl {
        HostUrl::parse(text).unwrap()
    }

    #[test]
    fn wherever_the_api_begins_health_and_metrics_are_beside_it() {
        for host in ["http://nim:8000", "http://nim:8000/", "http://nim:8000/v1", "http://nim:8000/v1/"] {
            let url = url(host);
            assert_eq!(paths(Trail::health(&url, None)), ["/v1/health/ready", "/health", "/v1/models"]);
            assert_eq!(paths(Trail::metrics(&url, None)), ["/metrics", "/v1/metrics"]);
        }
        let below = url("http://proxy/llama/v1");
        assert_eq!(paths(Trail::metrics(&below, None)), ["/llama/metrics", "/llama/v1/metrics"]);
    }

    #[test]
    fn a_path_that_is_known_comes_first_and_once() {
        let url = url("http://nim:8000");
        let health = paths(Trail::health(&url, Some("/health")));
        assert_eq!(health, ["/health", "/v1/health/ready", "/v1/models"]);
        assert_eq!(paths(Trail::metrics(&url, Some("stats"))), ["/stats", "/metrics", "/v1/metrics"]);
    }

    #[test]
    fn what_is_not_there_is_asked_for_less_and_less_often_until_it_is() {
        let mut trail = Trail::metrics(&url("http://nim:8000"), None);
        let pause = |trail: &Trail| trail.pause(Duration::from_secs(1), Duration::from_secs(60)).as_secs();
        assert_eq!(pause(&trail), 1);
        let mut pauses = vec![];
        for _ in 0..9 {
            assert!(trail.missing());
            assert!(!trail.missing());
            pauses.push(pause(&trail));
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60, 60]);
        trail.found();
        assert_eq!(pause(&trail), 1);
    }

    #[test]
    fn many_addresses_are_asked_less_often_each() {
        let second = Duration::from_secs(1);
        assert_eq!(spaced(second, 3, 500), second);
        assert_eq!(spaced(second, 2_000, 500), Duration::from_secs(4));
        assert_eq!(spaced(second, 3, 0), Duration::from_secs(3), "no limit is no division by zero");
    }
}
