//! One installation of nimgate in a temporary folder, and the real command run in it.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::client::{self, Reply};
use crate::process::{Process, binary};
use crate::wait::{eventually, within};

const ANY_PORT: &str = "127.0.0.1:0";

/// Folders, a master key, and no environment but its own.
pub struct Home {
    folder: TempDir,
    /// A shell script that serving processes are started through; `"$@"` in it is the command.
    pub launcher: Option<String>,
    /// Variables of every command.
    pub environment: Vec<(String, String)>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// # Panics
    /// When the command failed.
    pub fn expect_done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }
}

impl Home {
    /// # Panics
    /// When there is no room for a temporary folder, or no key can be made.
    pub async fn new() -> Self {
        // Short, because a Unix socket goes into it.
        let folder = tempfile::Builder::new().prefix("nimgate-it-").tempdir();
        let folder = folder.unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let home = Self { folder, launcher: None, environment: Vec::new() };
        let key = home.key_file();
        home.run([OsStr::new("keygen"), OsStr::new("--file"), key.as_os_str()]).await.expect_done();
        home
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn key_file(&self) -> PathBuf {
        self.path().join("master.key")
    }

    /// A command whose environment is empty but for a home folder and the search path.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binary("nimgate"));
        command.args(args);
        self.at_home(command)
    }

    fn at_home(&self, mut command: Command) -> Command {
        let own = self.environment.iter().map(|(name, value)| (name, value));
        // What a test says of deployments must not depend on the machine.
        command
            .env_clear()
            .env("NIMGATE_RUNTIME", "none")
            .envs(own)
            .env("HOME", self.path())
            .current_dir(self.path());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    pub async fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ended {
        self.run_with_input(args, "").await
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it can't be started or goes on until the deadline.
    pub async fn run_with_input<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Ended {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input closes it.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = within(&format!("the end of {command:?}"), child.wait_with_output()).await;
        let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// `nimgate up` on free ports.
    pub async fn up(&self, flags: &[&str]) -> Serving {
        self.up_at(ANY_PORT, ANY_PORT, flags).await
    }

    /// `nimgate up` on these addresses.
    pub async fn up_at(&self, listen: &str, admin: &str, flags: &[&str]) -> Serving {
        self.front(&["up"], "data", [listen, admin], flags).await
    }

    /// `nimgate gateway` on free ports, with a data folder of its own.
    pub async fn gateway(&self, name: &str, registry: SocketAddr, flags: &[&str]) -> Serving {
        self.gateway_at(name, registry, [ANY_PORT, ANY_PORT], flags).await
    }

    /// The same on these addresses: public and admin.
    pub async fn gateway_at(
        &self,
        name: &str,
        registry: SocketAddr,
        at: [&str; 2],
        flags: &[&str],
    ) -> Serving {
        self.front(&["gateway", "--registry", &format!("http://{registry}")], name, at, flags).await
    }

    async fn front(&self, command: &[&str], data: &str, at: [&str; 2], flags: &[&str]) -> Serving {
        let listen = ["--listen", at[0], "--admin-listen", at[1]];
        let mut process = self.serve(command, data, &listen, flags);
        let address = process.prints("its address", |text| address_after(text, "API")).await;
        let admin = process.prints("its admin address", |text| address_after(text, "admin")).await;
        Serving { address, admin, process }
    }

    /// `nimgate registry`; port 0 takes a free one.
    pub async fn registry(&self, listen: &str, flags: &[&str]) -> (SocketAddr, Process) {
        let mut process = self.serve(&["registry"], "registry", &["--listen", listen], flags);
        let address = process.prints("its address", |text| address_after(text, "feed")).await;
        (address, process)
    }

    fn serve(&self, command: &[&str], data: &str, listen: &[&str], flags: &[&str]) -> Process {
        let (data, key) = (self.path().join(data), self.key_file());
        let mut command = match &self.launcher {
            None => self.command(command),
            Some(script) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", script, "sh"]).arg(binary("nimgate")).args(command);
                self.at_home(shell)
            }
        };
        command.args(listen).arg("--data-dir").arg(data).arg("--master-key-file").arg(key).args(flags);
        Process::start(command)
    }
}

/// An address nobody listens on now, for what must be known before it is listened on.
///
/// # Panics
/// When there is none.
pub fn free_address() -> String {
    let address = std::net::TcpListener::bind(ANY_PORT).and_then(|listener| listener.local_addr());
    address.map_or_else(|e| panic!("no free port: {e}"), |address| address.to_string())
}

/// The address in a line such as `  API      http://127.0.0.1:4711  (…)`, also of TLS. The line must be whole.
fn address_after(printed: &str, label: &str) -> Option<SocketAddr> {
    let rest = printed.lines().find_map(|line| line.trim_start().strip_prefix(label))?;
    let url = rest.trim_start();
    url.strip_prefix("http://").or(url.strip_prefix("https://"))?.split_whitespace().next()?.parse().ok()
}

/// A gateway that runs.
pub struct Serving {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub process: Process,
}

impl Serving {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn get(&self, path: &str) -> io::Result<Reply> {
        client::send(self.address, client::request(Method::GET, path, None)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> io::Result<Reply> {
        client::send(self.address, client::request(Method::POST, path, Some(body))).await
    }

    /// Creates a provider with the command and waits until the model `model` is served.
    ///
    /// # Panics
    /// When it can't be created, or the model does not come.
    pub async fn add_provider(&self, home: &Home, name: &str, url: &str, model: &str) {
        let gateway = self.url();
        let args = ["provider", "create", name, "--url", url, "--gateway-url", &gateway];
        home.run(args).await.expect_done();
        self.serves(model).await;
    }

    /// Waits until `model` is in this gateway's list.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn serves(&self, model: &str) {
        let path = format!("/v1/models/default/{model}");
        let served = async || self.get(&path).await.is_ok_and(|reply| reply.status == 200).then_some(());
        eventually(&format!("{model} is served"), served).await;
    }
}
