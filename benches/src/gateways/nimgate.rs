//! nimgate's own release binary, in any of its roles, with nothing of the user's configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::local;
use crate::child::{Running, free_port};
use crate::error::BenchError;

const THREADS: &str = "2";
/// As many as nginx is allowed: none of the two shall spend its time on new connections.
const REQUESTS_PER_CONNECTION: &str = "limits.requests_per_connection_max=1000000";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Gateway and registry in one process.
    Up,
    Registry,
    /// On a registry at this address.
    Gateway(SocketAddr),
}

/// A binary, and the folder with the files of one installation.
#[derive(Debug, Clone)]
pub struct Nimgate {
    program: PathBuf,
    folder: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
    registry: SocketAddr,
}

impl Nimgate {
    /// Prepares a folder and a master key; nothing runs yet.
    pub fn prepare(program: &Path, folder: &Path) -> Result<Self, BenchError> {
        fs::create_dir_all(folder).map_err(BenchError::io(format!("can't make {}", folder.display())))?;
        let made = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            listen: local(free_port()?),
            admin: local(free_port()?),
            registry: local(free_port()?),
        };
        let mut keygen = made.command();
        let output = keygen.args(["keygen", "--file"]).arg(made.key_file()).stdin(Stdio::null()).output();
        let output = output.map_err(BenchError::io(format!("can't run {}", program.display())))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(BenchError::Setup(format!("no master key could be made: {text}")));
        }
        Ok(made)
    }

    /// The binary that is measured when none is named: the one built beside this program.
    pub fn default_program() -> Result<PathBuf, BenchError> {
        let own = std::env::current_exe().map_err(BenchError::io("can't find this program"))?;
        let path = own.with_file_name("nimgate");
        if path.exists() {
            return Ok(path);
        }
        Err(BenchError::Setup(format!(
            "{} is not there; build it first: cargo build --release -p nimgate",
            path.display()
        )))
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    pub fn registry_address(&self) -> SocketAddr {
        self.registry
    }

    pub fn start(&self, role: Role) -> Result<Running, BenchError> {
        let mut command = self.command();
        let (name, data) = match role {
            Role::Up => ("up", "data"),
            Role::Registry => ("registry", "data"),
            Role::Gateway(_) => ("gateway", "gateway-data"),
        };
        command.arg(name).arg("--data-dir").arg(self.folder.join(data));
        command.arg("--master-key-file").arg(self.key_file()).args(["--threads", THREADS]);
        match role {
            Role::Registry => {
                command.args(["--listen", &self.registry.to_string()]);
            }
            Role::Up | Role::Gateway(_) => {
                command.args(["--listen", &self.listen.to_string()]);
                command.args(["--admin-listen", &self.admin.to_string(), "--access-log", "off"]);
                command.args(["--set", REQUESTS_PER_CONNECTION]);
            }
        }
        if let Role::Gateway(registry) = role {
            command.args(["--registry", &format!("http://{registry}")]);
        }
        Running::start(&format!("nimgate-{name}"), &mut command, &self.folder)
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("master.key")
    }

    /// The program in a clean environment.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NIMGATE_") {
                command.env_remove(name);
            }
        }
        // Deployments of a bench are objects only: nothing is started for them.
        command.env("NIMGATE_RUNTIME", "none");
        command.env("HOME", &self.folder).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
        command
    }
}
