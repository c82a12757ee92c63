//! What engines do when a config says nothing: one table.

use super::plan::User;
use crate::domain::deployment_config::Engine;
use crate::domain::deployment_spec::{SpecError, refused};

/// Size of `/dev/shm` with any GPU: what the vendors' examples use, and enough for processes that share tensors. It
/// is a limit, not a reservation. Without GPUs the container engine's own default does.
pub const SHM_BYTES: u64 = 16 << 30;

pub struct Defaults {
    /// Serves whatever model it is told.
    pub image: Option<&'static str>,
    /// For a config that names no model: it has one.
    pub image_with_model: Option<&'static str>,
    pub port: u16,
    /// `generic` has none, and a config of it always gives one.
    pub health_path: &'static str,
    pub models_path: &'static str,
    pub metrics_path: &'static str,
    /// Absent: the image's own.
    pub user: Option<User>,
}

const NIM: Defaults = Defaults {
    image: Some("nvcr.io/nim/nvidia/llm-nim:1.13.1"),
    image_with_model: Some("nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.5"),
    port: 8000,
    health_path: "/v1/health/ready",
    models_path: "/v1/models",
    metrics_path: "/v1/metrics",
    user: Some(User { uid: 1000, gid: Some(2000) }),
};

const VLLM: Defaults = Defaults {
    image: Some("docker.io/vllm/vllm-openai:v0.22.1"),
    image_with_model: None,
    port: 8000,
    health_path: "/health",
    models_path: "/v1/models",
    metrics_path: "/metrics",
    user: Some(User { uid: 2000, gid: Some(0) }),
};

const GENERIC: Defaults = Defaults {
    image: None,
    image_with_model: None,
    port: 8000,
    health_path: "/",
    models_path: "/v1/models",
    metrics_path: "/metrics",
    user: None,
};

pub fn defaults(engine: Engine) -> &'static Defaults {
    match engine {
        Engine::Nim => &NIM,
        Engine::Vllm => &VLLM,
        Engine::Generic => &GENERIC,
    }
}

/// Each part of its own. A group can't be given to a user that only the image knows.
pub fn user(default: Option<User>, uid: Option<u32>, gid: Option<u32>) -> Result<Option<User>, SpecError> {
    match (uid, default) {
        (Some(uid), default) => Ok(Some(User { uid, gid: gid.or(default.and_then(|user| user.gid)) })),
        (None, Some(default)) => Ok(Some(User { uid: default.uid, gid: gid.or(default.gid) })),
        (None, None) if gid.is_some() => {
            Err(refused("run_as_group", "a group needs a user here; give run_as_user too"))
        }
        (None, None) => Ok(None),
    }
}
