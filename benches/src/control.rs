//! A small blocking HTTP client: the control API, health, and single requests whose answer is looked at.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::BenchError;
use crate::wire::{self, Reply};

const TIMEOUT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 * 1024;
const TABLES_METRIC: &str = "nimgate_snapshots_applied_total ";
const PROVIDERS: &str = "/apis/models/v2/workspaces/default/providers";
const VIRTUAL_MODELS: &str = "/apis/inference-gateway/v2/workspaces/default/virtual-models";
/// Carries the generation that holds a change, on answers of a registry.
const GENERATION_HEADER: &str = "x-nimgate-generation";

/// One keep-alive connection, made when it is needed.
#[derive(Debug)]
pub struct Client {
    pub address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: vec![0; READ_BYTES] }
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub fn send(&mut self, request: &[u8]) -> Result<Reply, BenchError> {
        let what = |doing: &str| BenchError::io(format!("{doing} {}", self.address));
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).map_err(what("can't connect to"))?;
                stream.set_nodelay(true).map_err(what("can't talk to"))?;
                stream.set_read_timeout(Some(TIMEOUT)).map_err(what("can't talk to"))?;
                stream
            }
        };
        stream.write_all(request).map_err(what("can't write to"))?;
        let mut reply = Reply::keeping();
        while !reply.is_done() {
            let count = stream.read(&mut self.buffer).map_err(what("can't read from"))?;
            if count == 0 {
                return Err(BenchError::wrong(self.address.to_string(), "the answer is cut"));
            }
            reply
                .feed(self.buffer.get(..count).unwrap_or_default())
                .map_err(|error| BenchError::wrong(self.address.to_string(), error.to_string()))?;
        }
        if !reply.closes {
            self.stream = Some(stream);
        }
        Ok(reply)
    }

    /// An answer with the status it must have.
    pub fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        status: u16,
    ) -> Result<Reply, BenchError> {
        let body = body.map(Value::to_string);
        let reply = self.send(&wire::request(method, path, body.as_deref()))?;
        if reply.status != status {
            let text = String::from_utf8_lossy(reply.body()).chars().take(300).collect::<String>();
            let why = format!("{method} {path}: {} instead of {status}: {text}", reply.status);
            return Err(BenchError::wrong(self.address.to_string(), why));
        }
        Ok(reply)
    }

    pub fn json(&mut self, path: &str) -> Result<Value, BenchError> {
        let reply = self.call("GET", path, None, 200)?;
        serde_json::from_slice(reply.body())
            .map_err(|error| BenchError::wrong(self.address.to_string(), format!("{path}: {error}")))
    }

    pub fn create_provider(&mut self, name: &str, host_url: &str) -> Result<(), BenchError> {
        let body = json!({"name": name, "host_url": host_url});
        self.call("POST", PROVIDERS, Some(&body), 201).map(drop)
    }

    /// Says how the requests for a model are spread over those who serve it, and whether streams outlive their server.
    pub fn set_routing(&mut self, model: &str, strategy: &str, resume: bool) -> Result<(), BenchError> {
        let body = json!({"routing": {"strategy": strategy}, "resume": resume});
        let path = format!("{VIRTUAL_MODELS}/{model}");
        self.call("PATCH", &path, Some(&body), 200).map(drop)
    }

    /// Replaces a provider. A registry says which generation holds the change; a gateway has applied it.
    pub fn replace_provider(&mut self, name: &str, host_url: &str) -> Result<Option<u64>, BenchError> {
        let body = json!({"host_url": host_url});
        let reply = self.call("PUT", &format!("{PROVIDERS}/{name}"), Some(&body), 200)?;
        Ok(reply.header(GENERATION_HEADER).and_then(|text| text.parse().ok()))
    }

    /// What a gateway serves, from its admin listener.
    pub fn generation(&mut self) -> Result<u64, BenchError> {
        let health = self.json("/health/ready")?;
        health["generation"]
            .as_u64()
            .ok_or_else(|| BenchError::wrong(self.address.to_string(), "no generation in /health/ready"))
    }

    /// How many tables a gateway has swapped in, from its admin listener.
    pub fn tables_applied(&mut self) -> Result<u64, BenchError> {
        let reply = self.call("GET", "/metrics", None, 200)?;
        let text = String::from_utf8_lossy(reply.body());
        let value = text.lines().find_map(|line| line.strip_prefix(TABLES_METRIC)?.trim().parse().ok());
        value.ok_or_else(|| {
            BenchError::wrong(self.address.to_string(), format!("no {TABLES_METRIC}in /metrics"))
        })
    }

    /// How many providers a gateway knows for a model of this workspace, from its admin listener.
    pub fn candidates_of(&mut self, model: &str) -> Result<usize, BenchError> {
        let dump = self.json("/routes")?;
        let workspaces = dump["workspaces"].as_array().map(Vec::as_slice).unwrap_or_default();
        let id = format!("default/{model}");
        let models = workspaces.iter().filter_map(|w| w["models"].as_array()).flatten();
        let found =
            models.filter(|found| found["id"] == id).filter_map(|found| found["providers"].as_array());
        Ok(found.map(Vec::len).sum())
    }

    /// How many models a gateway routes to, from its admin listener.
    pub fn routed_models(&mut self) -> Result<usize, BenchError> {
        let dump = self.json("/routes")?;
        let workspaces = dump["workspaces"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(workspaces.iter().filter_map(|w| w["models"].as_array()).map(Vec::len).sum())
    }
}
