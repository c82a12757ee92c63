//! The routers that SGLang and vLLM publish as Python packages, in a virtual environment of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::local;
use crate::child::{Running, free_port};
use crate::error::BenchError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PythonRouter {
    Sglang,
    Vllm,
}

impl PythonRouter {
    /// The command's and the package's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sglang => "sglang-router",
            Self::Vllm => "vllm-router",
        }
    }

    /// Starts it from the virtual environment in `venv`. Its process is to be killed: it takes its time to end.
    pub fn start(
        self,
        venv: &Path,
        policy: &str,
        servers: &[SocketAddr],
        folder: &Path,
    ) -> Result<(Running, SocketAddr), BenchError> {
        fs::create_dir_all(folder).map_err(BenchError::io("can't make a router's folder"))?;
        let program = venv.join("bin").join(self.name());
        if !program.exists() {
            return Err(BenchError::Setup(format!("{} is not installed", self.name())));
        }
        let address = local(free_port()?);
        let mut command = Command::new(program);
        if self == Self::Sglang {
            command.arg("launch");
        }
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string(), "--policy", policy]);
        command.args(["--prometheus-port", &free_port()?.to_string(), "--log-level", "error"]);
        command.args(["--worker-startup-check-interval", "1", "--health-check-interval-secs", "1"]);
        command.arg("--worker-urls").args(servers.iter().map(|server| format!("http://{server}")));
        Ok((Running::start(self.name(), &mut command, folder)?, address))
    }

    /// What `pip` knows of the package.
    pub fn version(self, venv: &Path) -> Option<String> {
        let mut command = Command::new(venv.join("bin").join("python"));
        let module = format!("import importlib.metadata as m; print(m.version('{}'))", self.name());
        let output = command.args(["-c", &module]).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
