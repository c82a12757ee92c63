//! `nimgate demo`: all of it on a temporary folder, with a simulated model server that is deployed as a real one is.
//!
//! The deployment is made through the public control API and every chat goes over the network stack,
//! as a client's would. It runs as a process of this host, so that neither a container engine nor a GPU is needed.
//! Nothing outlives the demo.

pub mod sim;
mod story;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use gateway::Stop;
use proto_shared::KeyRing;
use tokio::sync::watch;

use crate::cli::DemoArgs;
use crate::config::{self, FlagValue, Role, Settings};
use crate::logging;
use crate::master_key::{KeyError, Origin};
use crate::serve::signals::Signals;
use crate::serve::{self, Combined, Problems, ServeError, Start, Upgrade, banner};

/// The pause between two simulated tokens, so that streaming can be seen.
const TOKEN_MS: u64 = 25;
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);

pub fn run(args: &DemoArgs) -> Result<(), ServeError> {
    logging::start(logging::Kind::Demo);
    let folder = tempfile::Builder::new()
        .prefix("nimgate-demo-")
        .tempdir()
        .map_err(|source| ServeError::Io { what: "can't make a temporary folder".into(), source })?;
    let listen = args.listen.unwrap_or_else(|| free(LISTEN));
    let settings = settings(folder.path(), listen, args.insecure_no_auth)?;
    let key = KeyRing::generate().map_err(KeyError::Make)?;
    let start = Start { settings, key: Arc::new(key), origin: Origin::Memory };
    let runtime = serve::runtime(start.settings.threads.get())?;
    if args.listen.is_none() && listen != LISTEN {
        println!("{LISTEN} is taken; using a free port");
    }
    runtime.block_on(play(&start, args.once))
}

fn settings(folder: &Path, listen: SocketAddr, insecure_no_auth: bool) -> Result<Settings, ServeError> {
    let flag = |key: &str, flag, word: String| FlagValue { key: key.to_owned(), flag, words: vec![word] };
    let flags = vec![
        flag("listen", "--listen", listen.to_string()),
        flag("insecure_no_auth", "--insecure-no-auth", insecure_no_auth.to_string()),
        flag("admin_listen", "--admin-listen", free(ADMIN_LISTEN).to_string()),
        // The simulated server, even when the listener is public.
        flag("egress.allow", "--egress-allow", "127.0.0.0/8".to_owned()),
        flag("data_dir", "TMPDIR", folder.display().to_string()),
        flag("runtime", "--runtime", "process".to_owned()),
    ];
    config::from_flags(Role::Up, flags).map_err(|problems| ServeError::Config(Problems(problems)))
}

/// `wanted`, or any free port on the same address when that one is taken.
fn free(wanted: SocketAddr) -> SocketAddr {
    match TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(wanted.ip(), 0),
    }
}

async fn play(start: &Start, once: bool) -> Result<(), ServeError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| ServeError::Io { what, source }
    };
    let signals = Signals::register().map_err(io("signals"))?;
    let program = std::env::current_exe().map_err(io("this program"))?;
    let command = server_command(&program);
    let combined = Combined::bind(start, Upgrade::Fresh).await?;
    let addresses = combined.gateway.addresses();
    let base = banner::url(addresses.first().copied().unwrap_or(LISTEN), false);
    let admin = banner::url(combined.gateway.admin_address(), false);
    let (stop, stopped) = watch::channel(Stop::Run);
    let mut served = tokio::spawn(combined.run(stopped, watch::channel(false).1));
    let nothing = || tracing::warn!("a demo hands nothing over and reloads nothing");
    tokio::spawn(signals.drive(stop.clone(), nothing, nothing));
    let told = tokio::select! {
        told = story::tell(&base, &admin, &command, once) => told,
        ended = &mut served => return joined(ended),
    };
    if once || told.is_err() {
        stop.send_replace(Stop::Drain);
    }
    let ended = joined(served.await);
    told.map_err(ServeError::Demo)?;
    ended
}

/// What is deployed. The registry puts the port in its place.
fn server_command(program: &Path) -> Vec<String> {
    let words = ["nim-sim", "--listen", "127.0.0.1:{port}", "--token-ms"].map(str::to_owned);
    let program = program.to_string_lossy().into_owned();
    std::iter::once(program).chain(words).chain([TOKEN_MS.to_string()]).collect()
}

fn joined(ended: Result<Result<(), ServeError>, tokio::task::JoinError>) -> Result<(), ServeError> {
    ended.unwrap_or_else(|e| {
        Err(ServeError::Io { what: "the server".into(), source: std::io::Error::other(e) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, ServeCommand};

    #[test]
    fn a_port_that_is_taken_gives_way_to_any_other() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        assert_eq!(free(address), SocketAddr::new(address.ip(), 0));
        drop(held);
        assert_eq!(free(address), address);
    }

    #[test]
    fn what_is_deployed_is_a_command_of_this_program() {
        use clap::Parser as _;
        let mut words = server_command(Path::new("/opt/nimgate"));
        words[3] = words[3].replace("{port}", "8000");
        let parsed = crate::cli::Cli::try_parse_from(words).unwrap().command;
        let Command::Serve(ServeCommand::NimSim(args)) = parsed else { panic!("another command") };
        assert_eq!((args.listen.port(), args.token_ms), (8000, TOKEN_MS));
    }

    #[test]
    fn a_demo_reaches_its_simulated_server_whatever_it_listens_on() {
        let folder = Path::new("/tmp/nimgate-demo");
        let public = "0.0.0.0:0".parse().unwrap();
        assert!(settings(folder, public, false).is_err());
        let settings = settings(folder, public, true).unwrap();
        let upstream = proto_shared::HostUrl::parse("http://127.0.0.1:8000").unwrap();
        assert_eq!(settings.egress.check_url(&upstream), Ok(()));
    }
}
