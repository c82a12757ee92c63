//! Whom the loads go to, and whether the answers are right.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::child::{Running, eventually};
use crate::control::Client;
use crate::error::BenchError;
use crate::gateways::{Nginx, Nimgate, Role, Spread, Upstream};
use crate::load::Target;
use crate::process;
use crate::prompts::Prompt;
use crate::wire;

pub const PATH: &str = "/v1/chat/completions";
const RESPONSES_PATH: &str = "/v1/responses";
const SERVED: &str = "bench-model";
/// What nimgate's clients call it: the gateway has to find and replace it, there and back.
const PUBLIC: &str = "default/bench-model";
const UP_LIMIT: Duration = Duration::from_secs(20);
const UP_PAUSE: Duration = Duration::from_millis(20);

/// What a peer is started from.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The mock itself: what the machine can do at most.
    Direct,
    Nginx(PathBuf),
    Nimgate(PathBuf),
}

#[derive(Debug, Clone)]
pub struct PeerSpec {
    pub name: &'static str,
    pub kind: Kind,
}

/// A peer that runs and answers rightly.
pub struct Peer {
    pub name: &'static str,
    pub address: SocketAddr,
    model: &'static str,
    pub pids: Vec<u32>,
    /// Absent for the upstream, which is not ours to stop.
    _running: Option<Running>,
}

impl PeerSpec {
    /// Starts it below `folder` and waits until it answers; checks the answers to all prompts.
    pub fn start(&self, upstream: &Upstream, folder: &Path) -> Result<Peer, BenchError> {
        let behind = upstream.address()?;
        let folder = folder.join(self.name);
        let (address, model, running) = match &self.kind {
            Kind::Direct => (behind, SERVED, None),
            Kind::Nginx(program) => {
                let nginx = Nginx::start(program, Spread::One(behind), &folder)?;
                (nginx.address, SERVED, Some(nginx.running))
            }
            Kind::Nimgate(program) => {
                let nimgate = Nimgate::prepare(program, &folder)?;
                let running = nimgate.start(Role::Up)?;
                let url = format!("http://{behind}");
                eventually(UP_LIMIT, UP_PAUSE, || {
                    Client::new(nimgate.address()).create_provider("bench", &url)
                })?;
                (nimgate.address(), PUBLIC, Some(running))
            }
        };
        let root = running.as_ref().map_or(upstream.running.pid(), Running::pid);
        let mut peer = Peer { name: self.name, address, model, pids: Vec::new(), _running: running };
        eventually(UP_LIMIT, UP_PAUSE, || peer.target(Prompt::Small))?;
        peer.pids = process::tree(root);
        for prompt in [Prompt::Big, Prompt::Burst, Prompt::Paced { pause_ms: 1 }] {
            peer.target(prompt)?;
        }
        Ok(peer)
    }
}

impl Peer {
    pub fn request(&self, prompt: Prompt) -> Bytes {
        wire::request("POST", PATH, Some(&prompt.body(self.model)))
    }

    /// A target that asks in the Responses dialect, which the upstream does not speak.
    pub fn translated_target(&self, prompt: Prompt) -> Result<Target, BenchError> {
        let request = wire::request("POST", RESPONSES_PATH, Some(&prompt.responses_body(self.model)));
        let reply = Client::new(self.address).send(&request)?;
        let text = String::from_utf8_lossy(reply.body());
        let wanted = if prompt.is_stream() { "response.completed" } else { "\"output_text\"" };
        if reply.status != 200 || !text.contains(wanted) || !text.contains(self.model) {
            let start: String = text.chars().take(300).collect();
            return Err(BenchError::wrong(
                self.name,
                format!("not translated for {prompt:?}: {} {start}", reply.status),
            ));
        }
        Ok(Target { address: self.address, requests: [request].into(), body_bytes: reply.body_bytes })
    }

    /// A target for this prompt, made from one answer that was compared with the upstream's own.
    pub fn target(&self, prompt: Prompt) -> Result<Target, BenchError> {
        let request = self.request(prompt);
        let reply = Client::new(self.address).send(&request)?;
        let wrong = |why: &str| {
            let text: String = String::from_utf8_lossy(reply.body()).chars().take(300).collect();
            BenchError::wrong(self.name, format!("{why} for {prompt:?}: {} {text}", reply.status))
        };
        if reply.status != 200 {
            return Err(wrong("no success"));
        }
        let text = std::str::from_utf8(reply.body()).map_err(|_| wrong("not UTF-8"))?;
        if !is_right(text, self.model, prompt.is_stream()) {
            return Err(wrong("not what the upstream said"));
        }
        Ok(Target { address: self.address, requests: [request].into(), body_bytes: reply.body_bytes })
    }
}

/// Whether every part of the answer names `model`, and nothing else differs from the upstream's answer.
fn is_right(text: &str, model: &str, is_stream: bool) -> bool {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let named = |part: &Value| part["model"] == model;
    if !is_stream {
        let answer = parse(text);
        return named(&answer) && answer["choices"][0]["message"]["content"].is_string();
    }
    let (events, done) = match text.split_once("data: [DONE]\n\n") {
        Some((events, rest)) => (events, rest.is_empty()),
        None => (text, false),
    };
    let events: Vec<_> = events.split_terminator("\n\n").map(|event| event.strip_prefix("data: ")).collect();
    done && events.len() == crate::upstream::EVENTS
        && events.iter().all(|event| event.is_some_and(|event| named(&parse(event))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_under_another_model_or_cut_short_is_not_right() {
        let answer = r#"{"model":"m","choices":[{"message":{"content":"x"}}]}"#;
        assert!(is_right(answer, "m", false));
        assert!(!is_right(answer, "default/m", false));
        assert!(!is_right("{}", "m", false));
        let event = "data: {\"model\":\"m\"}\n\n";
        let whole = format!("{}data: [DONE]\n\n", event.repeat(crate::upstream::EVENTS));
        assert!(is_right(&whole, "m", true));
        assert!(!is_right(&whole, "n", true));
        assert!(!is_right(&whole[..whole.len() - 5], "m", true));
        assert!(!is_right(&whole[event.len()..], "m", true));
    }
}
