//! The commands that serve: configuration and master key in, a running process out.
//!
//! Order of a stop: the gateway drains first, while its registry still answers; then the registry.

pub mod banner;
mod declared;
mod error;
mod reload;
mod roles;
pub mod signals;
mod upkeep;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use proto_shared::{KeyRing, MasterKey};
use tokio::runtime::Runtime;

use crate::cli::{
    CheckArgs, ConfigCommand, GatewayArgs, KeygenArgs, RegistryArgs, ServeArgs, ServeCommand, UpArgs,
};
use crate::config::{self, FlagValue, Loaded, Role, Settings};
use crate::demo;
use crate::logging;
use crate::master_key::{self, Origin, Places, WhenAbsent};

pub use error::{Problems, ServeError};
pub use roles::{Combined, Upgrade};

/// What every role starts with.
pub struct Start {
    pub settings: Settings,
    pub key: Arc<KeyRing>,
    pub origin: Origin,
}

pub fn run(command: ServeCommand) -> Result<(), ServeError> {
    match command {
        ServeCommand::Up(args) => up(&args),
        ServeCommand::Gateway(args) => gateway(&args),
        ServeCommand::Registry(args) => registry(&args),
        ServeCommand::Demo(args) => demo::run(&args),
        ServeCommand::NimSim(args) => demo::sim::run(&args),
        ServeCommand::Keygen(args) => keygen(&args),
        ServeCommand::Config(ConfigCommand::Check(args)) => check(&args),
    }
}

fn up(args: &UpArgs) -> Result<(), ServeError> {
    serve(Role::Up, &args.serve, args.flags(), |start| roles::up(start, Upgrade::from_flag(args.upgrade)))
}

fn gateway(args: &GatewayArgs) -> Result<(), ServeError> {
    serve(Role::Gateway, &args.serve, args.flags(), |start| {
        roles::gateway(start, Upgrade::from_flag(args.upgrade))
    })
}

fn registry(args: &RegistryArgs) -> Result<(), ServeError> {
    if let Some(command) = &args.command {
        return upkeep::run(command);
    }
    serve(Role::Registry, &args.serve, args.flags(), roles::registry)
}

/// `nimgate config check`.
fn check(args: &CheckArgs) -> Result<(), ServeError> {
    let loaded = load(args.role, args.serve.config.as_deref(), args.flags())?;
    print!("{}", loaded.show());
    Ok(())
}

/// `nimgate keygen`.
fn keygen(args: &KeygenArgs) -> Result<(), ServeError> {
    if let (Some(path), true) = (&args.file, args.add) {
        let ids = master_key::add(path)?;
        println!("{}: {} seals from now on; {} below it", path.display(), ids[0], ids[1..].join(", "));
        println!("next: nimgate registry rotate --help");
        return Ok(());
    }
    let key = MasterKey::generate().map_err(master_key::KeyError::Make)?;
    match &args.file {
        None => println!("{}", key.to_base64().as_str()),
        Some(path) => {
            let what = format!("can't write {}", path.display());
            master_key::write_new(path, &key).map_err(|source| ServeError::Io { what, source })?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

fn serve<F: Future<Output = Result<(), ServeError>>>(
    role: Role,
    args: &ServeArgs,
    flags: Vec<FlagValue>,
    run: impl FnOnce(Start) -> F,
) -> Result<(), ServeError> {
    let loaded = load(role, args.config.as_deref(), flags)?;
    if args.check {
        print!("{}", loaded.show());
        return Ok(());
    }
    logging::start(logging::Kind::Serving);
    warn_if_root();
    let settings = loaded.settings;
    let places = places(&settings);
    // A key beside the database it opens protects nothing.
    let beside = places.config_home.as_ref().is_some_and(|folder| folder.starts_with(&settings.data_dir));
    let when_absent = if role == Role::Up && !beside { WhenAbsent::Make } else { WhenAbsent::Refuse };
    crate::process::protect_memory();
    let (key, origin) = places.load(when_absent)?;
    if let Origin::Made(path) = &origin {
        tracing::info!(path = %path.display(), "made a master key");
    }
    let runtime = runtime(settings.threads.get())?;
    runtime.block_on(run(Start { settings, key, origin }))
}

fn load(role: Role, file: Option<&Path>, flags: Vec<FlagValue>) -> Result<Loaded, ServeError> {
    config::load(role, file, flags).map_err(|problems| ServeError::Config(Problems(problems)))
}

fn places(settings: &Settings) -> Places {
    Places {
        file: settings.master_key_file.clone(),
        variable: std::env::var(master_key::VARIABLE).ok().filter(|text| !text.is_empty()),
        config_home: config::config_home(),
    }
}

pub fn runtime(threads: usize) -> Result<Runtime, ServeError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)
}

fn warn_if_root() {
    // The owner of our own entry in /proc is the user we run as; std has no call for it.
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0) {
        tracing::warn!("running as root; an ordinary user is enough");
    }
}
