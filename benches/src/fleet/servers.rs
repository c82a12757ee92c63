//! The simulated model servers of one run, each a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::replica::{HITS_METRIC, QUERIES_METRIC};
use crate::child::{Running, eventually, free_port};
use crate::control::Client;
use crate::error::BenchError;
use crate::gateways::{AS_REPLICA, local};

const UP_LIMIT: Duration = Duration::from_secs(20);
const UP_PAUSE: Duration = Duration::from_millis(20);

pub struct Fleet {
    running: Vec<Running>,
    pub addresses: Vec<SocketAddr>,
}

/// Tokens of prompts since the start of the servers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tokens {
    pub asked: f64,
    pub known: f64,
}

impl Fleet {
    /// Starts a server for each factor by which it is slow.
    pub fn start(slow: &[f64], late_head: bool, folder: &Path) -> Result<Self, BenchError> {
        let own = std::env::current_exe().map_err(BenchError::io("can't find this program"))?;
        let mut fleet = Self { running: Vec::new(), addresses: Vec::new() };
        for (number, slow) in slow.iter().enumerate() {
            let port = free_port()?;
            let mut command = Command::new(&own);
            command.args([AS_REPLICA, "--until-stdin-ends", "--port", &port.to_string()]);
            command.args(["--slow", &slow.to_string()]);
            if late_head {
                command.arg("--late-head");
            }
            fleet.running.push(Running::start(&format!("replica-{number}"), &mut command, folder)?);
            fleet.addresses.push(local(port));
        }
        for &address in &fleet.addresses {
            eventually(UP_LIMIT, UP_PAUSE, || Client::new(address).call("GET", "/health", None, 200))?;
        }
        Ok(fleet)
    }

    /// Takes one out, to be killed elsewhere.
    pub fn take_last(&mut self) -> Option<Running> {
        self.running.pop()
    }

    /// What those that answer have counted, one by one; nothing of one that is gone.
    pub fn tokens(&self) -> Vec<Tokens> {
        let read = |&address: &SocketAddr| {
            let reply = Client::new(address).call("GET", "/metrics", None, 200).ok()?;
            let text = String::from_utf8_lossy(reply.body()).into_owned();
            Some(Tokens { asked: metric(&text, QUERIES_METRIC)?, known: metric(&text, HITS_METRIC)? })
        };
        self.addresses.iter().map(|address| read(address).unwrap_or_default()).collect()
    }
}

fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# TYPE vllm:a_total counter\nvllm:a_total{engine=\"0\"} 12\nvllm:a{x=\"y\"} 3\n";
        assert_eq!(metric(text, "vllm:a_total{"), Some(12.0));
        assert_eq!(metric(text, "vllm:b"), None);
    }
}
