//! What a simulated server is started with.

use crate::loras::LoraSource;
use std::net::{Ipv4Addr, SocketAddr};

/// The model served when none is named.
pub const DEFAULT_MODEL: &str = "sim/echo-8b";

/// A LoRA adapter: a further model id whose card names its base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lora {
    pub id: String,
    /// The base model's id.
    pub parent: String,
    /// Where it was loaded from.
    pub root: String,
}

impl Lora {
    pub fn new(id: impl Into<String>, parent: impl Into<String>) -> Self {
        let id = id.into();
        let root = format!("/loras/{id}");
        Self { id, parent: parent.into(), root }
    }
}

#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The model ids served, the first being the base model.
    pub models: Vec<String>,
    pub loras: Vec<Lora>,
    /// A folder with more of them. What is half written there is an error, see [`crate::Sim::follow_loras`].
    pub lora_source: Option<LoraSource>,
    /// Until then `/v1/health/ready`, the model list and inference answer 503, as a loading NIM does.
    pub ready_after_ms: u64,
    /// The pause between two streamed tokens.
    pub token_ms: u64,
    /// Certificate chain and private key, both PEM.
    pub tls: Option<(String, String)>,
    /// A fault for every request that names none itself; see [`crate::fault`].
    pub fault: Option<String>,
    /// When set, requests without `Authorization: Bearer <key>` get 401.
    pub api_key: Option<String>,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            models: vec![DEFAULT_MODEL.to_owned()],
            loras: Vec::new(),
            lora_source: None,
            ready_after_ms: 0,
            token_ms: 0,
            tls: None,
            fault: None,
            api_key: None,
        }
    }
}
