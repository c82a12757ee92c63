//! Arguments of the commands that serve. Each flag is a configuration key under another name.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::registry::RegistryCommand;
use crate::config::{FlagValue, Role};

#[derive(Debug, Subcommand)]
pub enum ServeCommand {
    /// Serve: gateway and registry in one process.
    Up(UpArgs),
    /// Serve as a gateway alone, on a registry that runs elsewhere.
    Gateway(GatewayArgs),
    /// Serve as the registry alone; look after its data.
    Registry(RegistryArgs),
    /// Show it working: everything in one process, with a simulated model server.
    Demo(DemoArgs),
    /// The simulated model server that a demo deploys.
    #[command(hide = true)]
    NimSim(NimSimArgs),
    /// Make a master key.
    Keygen(KeygenArgs),
    /// Check the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Flags of every serving command.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML) [default: ~/.config/nimgate/nimgate.toml if it exists]
    #[arg(long, value_name = "FILE", env = "NIMGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the effective configuration and exit
    #[arg(long)]
    pub check: bool,
    /// Folder of the database and the last routes [default: ~/.local/share/nimgate]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// File with the master keys, one a line, the newest first; readable by its owner alone
    #[arg(long, value_name = "FILE")]
    master_key_file: Option<String>,
    /// Network (10.0.0.0/8) or name (.corp.example) that providers may point to; may be repeated
    #[arg(long, value_name = "RULE")]
    egress_allow: Vec<String>,
    /// What deployments run on: auto, docker, process or none [default: auto]
    #[arg(long, value_name = "WHICH")]
    runtime: Option<String>,
    /// Worker threads [default: one per core, at least 2]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// Accept that whoever reaches a public address can use every provider
    #[arg(long)]
    insecure_no_auth: bool,
    /// Any other key of the configuration file, as limits.attempts_max=5; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

/// Flags of the commands that are a gateway.
#[derive(Debug, Default, Args)]
pub struct FrontArgs {
    /// Address clients connect to; may be repeated [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Address of metrics, routes and explain [default: 127.0.0.1:9080]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Certificate chain of the public listeners (PEM); with it they speak TLS
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<String>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Further roots for the TLS of providers (PEM)
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<String>,
    /// One JSON line a request: off, stdout or stderr [default: off]
    #[arg(long, value_name = "WHERE")]
    access_log: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate up
  nimgate up --listen 127.0.0.1:9000 --data-dir ./data
  nimgate up --config config/public.toml --check")]
pub struct UpArgs {
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(flatten)]
    front: FrontArgs,
    /// Take the listeners over from the running process, which then drains
    #[arg(long)]
    pub upgrade: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate gateway --registry http://127.0.0.1:8081
  nimgate gateway --registry /var/lib/nimgate/registry.sock \\
      --listen 127.0.0.1:8082 --admin-listen 127.0.0.1:9082")]
pub struct GatewayArgs {
    /// The registry: http://ADDRESS:PORT or the path of its Unix socket [default: http://127.0.0.1:8081]
    #[arg(long, value_name = "WHERE")]
    registry: Option<String>,
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(flatten)]
    front: FrontArgs,
    /// Take the listeners over from the running process, which then drains
    #[arg(long)]
    pub upgrade: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate registry
  nimgate registry --listen 127.0.0.1:8081 --data-dir /var/lib/nimgate
  nimgate registry backup /backups/nimgate-2026-11-21
  nimgate registry rotate                  # every secret under the newest master key
  nimgate registry verify

SIGHUP has a registry read its master keys again (nimgate registry rotate --help).")]
#[command(args_conflicts_with_subcommands = true)]
pub struct RegistryArgs {
    #[command(subcommand)]
    pub command: Option<RegistryCommand>,
    /// Address gateways connect to [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate demo
  nimgate demo --once                  # leave after the chats
  nimgate demo --listen 127.0.0.1:9000")]
pub struct DemoArgs {
    /// Address to serve on [default: 127.0.0.1:8080, or a free port when that one is taken]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Leave after the chats
    #[arg(long)]
    pub once: bool,
    /// Accept that whoever reaches a public address can use it
    #[arg(long)]
    pub insecure_no_auth: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  nimgate nim-sim --listen 127.0.0.1:8000      # ends with the shell that started it"
)]
pub struct NimSimArgs {
    /// Address to serve on
    #[arg(long, value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// The pause between two tokens
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub token_ms: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate keygen --file master.key         # a file only its owner can read
  nimgate keygen --add --file master.key   # then: nimgate registry rotate
  NIMGATE_MASTER_KEY=$(nimgate keygen)")]
pub struct KeygenArgs {
    /// Write the key here instead of printing it; the file must not exist
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The file exists: put the key above the others, which open what they sealed and seal nothing more
    #[arg(long, requires = "file")]
    pub add: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration, or everything that is wrong with it.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nimgate config check
  nimgate config check --config config/gateway.toml --role gateway")]
pub struct CheckArgs {
    /// The command that would use it
    #[arg(long, value_enum, default_value = "up")]
    pub role: Role,
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(flatten)]
    front: FrontArgs,
}

impl UpArgs {
    pub fn flags(&self) -> Vec<FlagValue> {
        flags(&self.serve, self.front.flags())
    }
}

impl GatewayArgs {
    pub fn flags(&self) -> Vec<FlagValue> {
        let mut own = self.front.flags();
        own.extend(one("registry", "--registry", self.registry.as_ref()));
        flags(&self.serve, own)
    }
}

impl RegistryArgs {
    pub fn flags(&self) -> Vec<FlagValue> {
        let own = one("registry_listen", "--listen", self.listen.as_ref());
        flags(&self.serve, own.into_iter().collect())
    }
}

impl CheckArgs {
    pub fn flags(&self) -> Vec<FlagValue> {
        flags(&self.serve, self.front.flags())
    }
}

impl FrontArgs {
    fn flags(&self) -> Vec<FlagValue> {
        let mut out: Vec<_> = many("listen", "--listen", &self.listen).into_iter().collect();
        out.extend(one("admin_listen", "--admin-listen", self.admin_listen.as_ref()));
        out.extend(one("tls.certificate", "--tls-certificate", self.tls_certificate.as_ref()));
        out.extend(one("tls.key", "--tls-key", self.tls_key.as_ref()));
        out.extend(one("upstream_ca", "--upstream-ca", self.upstream_ca.as_ref()));
        out.extend(one("access_log", "--access-log", self.access_log.as_ref()));
        out
    }
}

fn flags(serve: &ServeArgs, own: Vec<FlagValue>) -> Vec<FlagValue> {
    let set = serve.set.iter().filter_map(|(key, value)| one(key, "--set", Some(value)));
    let mut out: Vec<_> = set.collect();
    out.extend(own);
    out.extend(one("data_dir", "--data-dir", serve.data_dir.as_ref()));
    out.extend(one("master_key_file", "--master-key-file", serve.master_key_file.as_ref()));
    out.extend(many("egress.allow", "--egress-allow", &serve.egress_allow));
    out.extend(one("runtime", "--runtime", serve.runtime.as_ref()));
    out.extend(one("threads", "--threads", serve.threads.as_ref()));
    let no_auth = serve.insecure_no_auth.then(|| "true".to_owned());
    out.extend(one("insecure_no_auth", "--insecure-no-auth", no_auth.as_ref()));
    out
}

pub(super) fn one(key: &str, flag: &'static str, word: Option<&String>) -> Option<FlagValue> {
    word.map(|word| FlagValue { key: key.to_owned(), flag, words: vec![word.clone()] })
}

fn many(key: &str, flag: &'static str, words: &[String]) -> Option<FlagValue> {
    (!words.is_empty()).then(|| FlagValue { key: key.to_owned(), flag, words: words.to_vec() })
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must read KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}
